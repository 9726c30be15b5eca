"""What each statement of a SQL text does, in policy's words, and to what; not whether it may (L{hoopd.policy}).

Every part counts: CTEs, subqueries, EXPLAIN's statement, COPY's and a cursor's query, each statement of a text. The
words and what falls under them are in docs/sql.md. What cannot be followed is refused, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from hoopd.sql import functions
from hoopd.sql import settings as session_settings
from hoopd.sql.catalogue import FIRST_USER_OID, Catalogue, Relation
from hoopd.sql.conditions import narrows
from hoopd.sql.grammar import Node, ParseTree, Unparsed, names, only, parse, walk

#: system catalogs and views whose rows hold secrets, other people's statements or samples of columns' values
SECRET_RELATIONS = frozenset(
    """
    pg_authid pg_shadow pg_statistic pg_stats pg_stats_ext pg_stats_ext_exprs pg_statistic_ext_data pg_largeobject
    pg_user_mapping pg_user_mappings pg_stat_activity pg_hba_file_rules pg_file_settings pg_subscription
    pg_foreign_server pg_stat_ssl pg_stat_wal_receiver pg_prepared_statements pg_cursors pg_ident_file_mappings
    user_mapping_options
    """.split()
)

#: of those, the ones that hold values of tables' columns
SAMPLES = frozenset(
    "pg_statistic pg_stats pg_stats_ext pg_stats_ext_exprs pg_statistic_ext_data pg_largeobject".split()
)

_WRITES = {"InsertStmt": "insert", "UpdateStmt": "update", "DeleteStmt": "delete", "MergeStmt": "merge"}

#: where each says which rows it means
_CONDITIONS = {"UpdateStmt": "whereClause", "DeleteStmt": "whereClause", "MergeStmt": "joinCondition"}

#: statement to its classes; what has an entry in L{_SPECIAL} gets more looks
_CLASSES: dict[str, frozenset[str]] = {
    kind: frozenset(words.split())
    for words, kinds in {
        "ddl create": "CreateStmt CreateTableAsStmt ViewStmt IndexStmt CreateSeqStmt CreateSchemaStmt "
        "CreateDomainStmt CreateEnumStmt CreateRangeStmt CompositeTypeStmt DefineStmt CreateStatsStmt "
        "CreateForeignTableStmt CommentStmt "
        "CreatePolicyStmt CreateTrigStmt RuleStmt CreateCastStmt CreateConversionStmt CreateOpClassStmt "
        "CreateOpFamilyStmt CreateTransformStmt CreateAmStmt CreatePublicationStmt SecLabelStmt "
        "CreateEventTrigStmt ImportForeignSchemaStmt CreatedbStmt CreateExtensionStmt "
        "CreateFunctionStmt CreateFdwStmt CreateForeignServerStmt",
        "ddl create file": "CreateTableSpaceStmt",
        "ddl create program": "CreatePLangStmt",
        "ddl alter network": "AlterFdwStmt AlterForeignServerStmt",
        "ddl alter": "AlterTableStmt RenameStmt AlterSeqStmt AlterDomainStmt AlterEnumStmt AlterObjectSchemaStmt "
        "AlterObjectDependsStmt AlterOwnerStmt AlterTypeStmt AlterStatsStmt AlterPolicyStmt AlterOperatorStmt "
        "AlterOpFamilyStmt AlterCollationStmt AlterTSDictionaryStmt AlterTSConfigurationStmt AlterFunctionStmt "
        "AlterExtensionStmt AlterExtensionContentsStmt AlterPublicationStmt "
        "AlterTableMoveAllStmt AlterTableSpaceOptionsStmt AlterDatabaseStmt AlterDatabaseSetStmt "
        "AlterDatabaseRefreshCollStmt AlterEventTrigStmt",
        "ddl drop": "DropStmt DropOwnedStmt DropdbStmt DropTableSpaceStmt",
        "write truncate": "TruncateStmt",
        "ddl grant": "GrantStmt AlterDefaultPrivilegesStmt ReassignOwnedStmt",
        "role": "CreateRoleStmt AlterRoleStmt AlterRoleSetStmt DropRoleStmt GrantRoleStmt",
        "role network": "CreateUserMappingStmt AlterUserMappingStmt DropUserMappingStmt CreateSubscriptionStmt "
        "AlterSubscriptionStmt DropSubscriptionStmt",
        "write maintenance": "RefreshMatViewStmt",
        "maintenance": "VacuumStmt ClusterStmt ReindexStmt CheckPointStmt",
        "program": "LoadStmt",
        "session-privileged": "AlterSystemStmt",
        "write": "InsertStmt UpdateStmt DeleteStmt MergeStmt",
        "transaction": "TransactionStmt ConstraintsSetStmt",
        "session": "DiscardStmt DeallocateStmt ClosePortalStmt UnlistenStmt",
        "cursor": "FetchStmt DeclareCursorStmt",
        "introspect": "VariableShowStmt",
        "lock": "LockStmt",
        "listen": "ListenStmt",
        "notify": "NotifyStmt",
        "call": "CallStmt",
        "do": "DoStmt",
    }.items()
    for kind in kinds.split()
}

#: DROP names these as plain lists of strings
_RELATIONS = frozenset(
    "OBJECT_TABLE OBJECT_VIEW OBJECT_MATVIEW OBJECT_FOREIGN_TABLE OBJECT_SEQUENCE OBJECT_INDEX".split()
)

#: languages whose functions reach nothing but the database
_SANDBOXED = frozenset(("sql", "plpgsql", "pltcl", "plperl", "plv8"))

_TRANSACTION = {
    "TRANS_STMT_BEGIN": "begin",
    "TRANS_STMT_START": "begin",
    "TRANS_STMT_COMMIT": "commit",
    "TRANS_STMT_ROLLBACK": "rollback",
    "TRANS_STMT_SAVEPOINT": "savepoint",
    "TRANS_STMT_RELEASE": "release",
    "TRANS_STMT_ROLLBACK_TO": "rollback-to",
}


@frozen
class SessionSettings:
    """What a statement's meaning depends on; the fingerprint under which decisions are cached.

    @ivar temporary: counts the temporary objects that the session made.
    """

    database: str = ""
    role: str = ""
    search_path: tuple[str, ...] = ("public",)
    standard_conforming_strings: bool = True
    client_encoding: str = "UTF8"
    temporary: int = 0


@frozen
class Effect:
    """What a successful run changes in the session: transaction words, C{set}, C{reset}, C{show}, C{ddl},
    C{temporary}, C{discard}, C{deallocate}."""

    kind: str
    name: str | None = None
    value: str | None = None


@frozen
class Statement:
    """
    @ivar kind: the grammar's name, such as C{"SelectStmt"}.
    @ivar objects: relations as C{"schema.name"}, sorted.
    @ivar relations: those found in the catalogue.
    @ivar unresolved: names that are neither in the catalogue nor CTEs nor the server's own.
    @ivar unknown_functions: calls not known harmless.
    @ivar refused: why it cannot be followed, or C{""}.
    """

    kind: str
    classes: frozenset[str]
    objects: tuple[str, ...]
    facts: Mapping[str, Any] = field(hash=False)
    text: bytes
    effect: Effect | None = None
    node: Node = field(factory=dict, repr=False, hash=False)
    relations: tuple[Relation, ...] = field(factory=tuple, repr=False)
    unresolved: tuple[str, ...] = ()
    unknown_functions: tuple[str, ...] = ()
    refused: str = ""


@frozen
class Analysis:
    """@ivar refused: why the text as a whole cannot be judged, or C{""}; C{syntax} when it is a syntax error."""

    statements: tuple[Statement, ...]
    refused: str = ""
    syntax: bool = False
    text: bytes = b""


def undecodable(text: bytes, settings: SessionSettings) -> str:
    """Why C{text} cannot be read the way the server will, or C{""}."""
    if not settings.standard_conforming_strings:
        return "standard_conforming_strings is off: hoopd reads statements with it on"
    if settings.client_encoding.upper().replace("-", "") in ("UTF8", "UNICODE", "SQL_ASCII", "SQLASCII"):
        return ""
    if not text.isascii():
        return f"client_encoding is {settings.client_encoding}: only plain ASCII statements can be judged in it"
    return ""


def analyse(
    text: bytes,
    settings: SessionSettings,
    catalogue: Catalogue | None,
    tree: ParseTree | None = None,
    parameter_types: tuple[int, ...] = (),
) -> Analysis:
    """
    @param tree: if C{text} has been parsed already
    @param catalogue: None offline: relations stay as written, unqualified ones in C{public}
    """
    refused = undecodable(text, settings)
    if refused:
        return Analysis((), refused, text=text)
    if tree is None:
        try:
            tree = parse(text)
        except Unparsed as problem:
            return Analysis((), str(problem), problem.syntax, text)
    statements = tuple(
        _statement(raw.kind, raw.node, text[raw.start : raw.end].strip(), settings, catalogue)
        for raw in tree.statements
    )
    return Analysis(statements, next((each.refused for each in statements if each.refused), ""), text=text)


def _statement(kind: str, node: Node, text: bytes, settings: SessionSettings, catalogue: Catalogue | None) -> Statement:
    found = _Findings(settings, catalogue)
    found.read(kind, node)
    special = _SPECIAL.get(kind)
    if special is not None:
        special(found, node)
    elif kind in _CLASSES:
        found.classes |= _CLASSES[kind]
    else:
        found.refused = f"{kind.removesuffix('Stmt')} statements are not known to hoopd"
    if kind in ("SelectStmt", "ExplainStmt", "DeclareCursorStmt"):
        found.reading()
    found.deeper()
    if "ddl" in found.classes and found.effect is None:
        found.effect = Effect("ddl")
    facts = {
        "kind": kind.removesuffix("Stmt").lower(),
        "where": found.where,
        "tables": sorted(found.objects),
        "functions": sorted(found.functions),
        "called": sorted(found.called),
        "classes": sorted(found.classes),
    }
    return Statement(
        kind=kind,
        classes=frozenset(found.classes),
        objects=tuple(sorted(found.objects)),
        facts=facts,
        text=text,
        effect=found.effect,
        node=node,
        relations=tuple(found.relations.values()),
        unresolved=tuple(sorted(found.unresolved)),
        unknown_functions=tuple(sorted(found.functions)),
        refused=found.refused,
    )


class _Findings:
    """One walk over one statement."""

    def __init__(self, settings: SessionSettings, catalogue: Catalogue | None) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self.classes: set[str] = set()
        self.objects: set[str] = set()
        self.relations: dict[int, Relation] = {}
        self.unresolved: set[str] = set()
        self.functions: set[str] = set()
        #: every function that is called, the harmless ones included
        self.called: set[str] = set()
        self.effect: Effect | None = None
        self.refused = ""
        self.where = True
        self.tags: set[str] = set()
        self.system = False
        self.secret = False
        self.user_relation = False

    def read(self, kind: str, node: Node) -> None:
        ctes: set[str] = set()
        relations: list[Node] = []
        #: names behind a dot: attribute notation may call a function (manual, section 8.16.5)
        fields: set[str] = set()
        for tag, body in walk({kind: node}):
            self.tags.add(tag)
            if tag == "CommonTableExpr":
                ctes.add(body.get("ctename", ""))
            elif tag == "FuncCall":
                self._call(body)
            elif tag == "ColumnRef" and len(body.get("fields", ())) > 1:
                fields |= set(names(body["fields"])[-1:])
            elif tag == "A_Indirection":
                fields |= set(names(body.get("indirection")))
            elif tag == "A_Expr":
                self._operator(names(body.get("name")))
            elif tag in _CONDITIONS and not narrows(body.get(_CONDITIONS[tag])):
                self.where = False
            elif tag == "IntoClause" or (tag == "" and "rel" in body and "onCommit" in body):
                self.classes |= {"ddl", "create"}
            elif tag == "LockingClause":
                self.classes.add("lock")
            if tag in _WRITES:
                self.classes |= {"write", _WRITES[tag]}
            if "relname" in body and tag in ("", "RangeVar"):
                relations.append(body)
        for each in relations:
            self._relation(each, ctes)
        if self.catalogue is not None:
            columns = {column.name for relation in self.relations.values() for column in relation.columns}
            for name in fields & self.catalogue.functions - columns:
                self._function((name,))

    def _relation(self, body: Node, ctes: set[str]) -> None:
        schema, name = body.get("schemaname", ""), body["relname"]
        if not schema and name in ctes:
            # it may still mean a table where the CTE is out of scope: look there as well, conservatively
            if self._find(schema, name) is not None or name in SECRET_RELATIONS:
                self.named(schema, name)
            return
        if body.get("relpersistence") == "t":
            self.effect = Effect("temporary")
        self.named(schema, name)

    def named(self, schema: str, name: str) -> None:
        """A relation's name as written stands in the statement."""
        # PostgreSQL looks into pg_catalog first, whatever a user's own table is called
        implied = not schema and name.startswith("pg_")
        if schema in ("pg_catalog", "information_schema") or implied:
            self.objects.add(f"{schema or 'pg_catalog'}.{name}")
            self.system = True
            self.secret = self.secret or name in SECRET_RELATIONS
        if schema.startswith("pg_toast"):
            self.secret = True
        found = self._find(schema, name)
        if found is not None:
            self._add(found)
            return
        if self.system and (schema in ("pg_catalog", "information_schema") or implied):
            return
        self.user_relation = True
        self.objects.add(f"{schema or 'public'}.{name}")
        if self.catalogue is not None:
            self.unresolved.add(f"{schema}.{name}" if schema else name)

    def _find(self, schema: str, name: str) -> Relation | None:
        if self.catalogue is None:
            return None
        return self.catalogue.find(schema, name, self.settings.search_path)

    def _add(self, relation: Relation) -> None:
        if relation.oid < FIRST_USER_OID:
            self.system = True
        else:
            self.user_relation = True
        self.relations[relation.oid] = relation
        self.objects.add(f"{relation.schema}.{relation.name}")

    def _call(self, body: Node) -> None:
        name = names(body.get("funcname"))
        if name in (("set_config",), ("pg_catalog", "set_config")):
            # drivers set harmless ones so (asyncpg: jit); the name must stand there as a constant
            tag, setting = only((body.get("args") or [{}])[0])
            wanted = setting.get("sval", {}).get("sval", "").lower() if tag == "A_Const" else ""
            if wanted in session_settings.HARMLESS and wanted not in session_settings.FIXED:
                self.classes.add("session")
                return
        self._function(name)

    def _function(self, name: tuple[str, ...]) -> None:
        if not name:
            return
        schema, base = ("", name[-1]) if len(name) == 1 else (name[-2], name[-1])
        self.called.add(".".join(name))
        if functions.harmless(name, self.catalogue.functions if self.catalogue is not None else ()):
            return
        own = schema in ("", "pg_catalog")
        self.functions.add(".".join(name))
        if own and base == "set_config":
            self.classes.add("session-privileged")
            self.refused = "set_config() changes settings in a way hoopd cannot follow; use SET"
        if own or schema in ("public", *self.settings.search_path):
            self.classes.add(functions.group(base))
        self.classes.add("function")

    def _operator(self, name: tuple[str, ...]) -> None:
        if len(name) > 1 and name[0] != "pg_catalog":
            self.functions.add("operator " + ".".join(name))
            self.classes.add("function")
        elif name and self.catalogue is not None and name[-1] in self.catalogue.operators:
            self.functions.add("operator " + name[-1])
            self.classes.add("function")

    def reading(self) -> None:
        if self.secret:
            self.classes.add("read-secret")
        if self.user_relation:
            self.classes.add("read")
        elif not self.secret:
            self.classes.add("introspect")

    def deeper(self) -> None:
        """What goes for every kind of statement once its own words are there."""
        if self.secret:
            self.classes.add("read-secret")
        if self.functions:
            # a function that we do not know may write
            self.classes.add("write")
        if self.classes & {"write", "ddl"} and "SelectStmt" in self.tags and self.user_relation:
            self.classes.add("read")


def _set(found: _Findings, node: Node) -> None:
    name = node.get("name", "").lower()
    kind = node.get("kind", "")
    if kind == "VAR_RESET_ALL":
        found.classes.add("session")
        found.effect = Effect("reset", None)
        return
    if kind == "VAR_SET_MULTI":
        found.classes.add("transaction" if name == "transaction" else "session")
        if name not in ("transaction", "session characteristics"):
            found.refused = "a snapshot cannot be followed"
        return
    value = _argument(node)
    reset = kind in ("VAR_RESET", "VAR_SET_DEFAULT")
    if name in session_settings.OWN:
        found.classes.add("session")
        found.effect = Effect("reset" if reset else "set", name, None if reset else value)
        return
    if name in session_settings.PRIVILEGED:
        found.classes.add("session-privileged")
        if not reset:
            found.refused = f"SET {name} changes whose rights the session has; hoopd cannot follow it yet"
        return
    found.classes.add("session")
    fixed = session_settings.FIXED.get(name)
    if name not in session_settings.HARMLESS:
        found.refused = f"SET {name} is not among the settings that hoopd follows (docs/sql.md lists them)"
    elif fixed and not reset and (value or "").lower() not in fixed:
        found.refused = f"{name} can only be set to {fixed[0]} through hoopd"
    found.effect = Effect("reset" if reset else "set", name, value)


def _argument(node: Node) -> str | None:
    """The one value of SET, as text; several are joined by commas."""
    values = []
    for each in node.get("args", ()):
        tag, body = only(each)
        if tag == "TypeCast":
            tag, body = only(body.get("arg"))
        if "sval" in body:
            values.append(body["sval"].get("sval", ""))
        elif "ival" in body:
            values.append(str(body["ival"].get("ival", 0)))
        elif "fval" in body:
            values.append(body["fval"].get("fval", ""))
        elif "boolval" in body:
            values.append("on" if body["boolval"].get("boolval") else "off")
    return ", ".join(values) if values else None


def _show(found: _Findings, node: Node) -> None:
    found.classes.add("introspect")
    found.effect = Effect("show", node.get("name", "").lower())


def _transaction(found: _Findings, node: Node) -> None:
    found.classes.add("transaction")
    kind = node.get("kind", "")
    if kind not in _TRANSACTION:
        found.refused = "two-phase commit outlives the session: hoopd cannot attribute it"
        return
    found.effect = Effect(_TRANSACTION[kind], node.get("savepoint_name"), "chain" if node.get("chain") else None)


def _select(found: _Findings, node: Node) -> None:
    if node.get("intoClause"):
        found.classes |= {"ddl", "create"}


def _copy(found: _Findings, node: Node) -> None:
    if node.get("is_program"):
        found.classes |= {"copy-program", "program"}
    elif node.get("filename"):
        found.classes |= {"copy-file", "file"}
    if node.get("is_from"):
        found.classes |= {"copy-in", "write", "insert"}
    else:
        found.classes.add("copy-out")
        found.reading()


def _explain(found: _Findings, node: Node) -> None:
    kind, _ = only(node.get("query"))
    found.classes.add("explain")
    analyze = False
    for option in node.get("options", ()):
        body = only(option)[1]
        if body.get("defname", "").lower() == "analyze":
            argument = only(body.get("arg"))[1]
            analyze = str(argument.get("sval", argument.get("boolval", "on"))).lower() not in ("off", "false", "0")
    if kind == "ExecuteStmt":
        found.refused = "EXPLAIN EXECUTE: prepared statements of SQL are not followed yet"
    if not analyze:
        # planning alone writes nothing; functions that it may run count as before
        found.classes -= {"write", "insert", "update", "delete", "merge", "ddl", "create"}
    elif kind in _CLASSES:
        found.classes |= _CLASSES[kind]
    found.user_relation = found.user_relation or kind in _WRITES


def _declare(found: _Findings, node: Node) -> None:
    found.classes.add("cursor")


def _discard(found: _Findings, node: Node) -> None:
    found.classes.add("session")
    found.effect = Effect("discard", node.get("target", "").removeprefix("DISCARD_").lower())


def _deallocate(found: _Findings, node: Node) -> None:
    found.classes.add("session")
    found.effect = Effect("deallocate", node.get("name") or None)


def _prepare(found: _Findings, node: Node) -> None:
    found.classes.add("prepare")
    found.refused = "PREPARE and EXECUTE as SQL are not followed yet; drivers' own prepared statements are"


def _create(found: _Findings, node: Node) -> None:
    found.classes |= {"ddl", "create"}
    relation = node.get("relation") or node.get("view") or (node.get("into") or {}).get("rel") or {}
    if relation.get("relpersistence") == "t":
        found.effect = Effect("temporary", relation.get("relname"))


def _create_function(found: _Findings, node: Node) -> None:
    found.classes |= {"ddl", "create"}
    for option in node.get("options", ()):
        body = only(option)[1]
        if body.get("defname") == "language":
            language = only(body.get("arg"))[1].get("sval", "").lower()
            if language not in _SANDBOXED:
                # C, internal, and the untrusted languages reach files, programs and memory
                found.classes.add("program")


def _create_foreign(found: _Findings, node: Node) -> None:
    found.classes |= {"ddl", "create", "network"}
    for option in node.get("options", ()):
        name = only(option)[1].get("defname", "").lower()
        found.classes |= {"program"} if name == "program" else {"file"} if name == "filename" else set()


def _drop(found: _Findings, node: Node) -> None:
    found.classes |= {"ddl", "drop"}
    if node.get("removeType", "") in _RELATIONS:
        for each in node.get("objects", ()):
            name = names(only(each)[1].get("items"))
            if name:
                found.named(name[-2] if len(name) > 1 else "", name[-1])


_SPECIAL: dict[str, Any] = {
    "DropStmt": _drop,
    "CreateFunctionStmt": _create_function,
    "CreateForeignTableStmt": _create_foreign,
    "CreateForeignServerStmt": _create_foreign,
    "CreateFdwStmt": _create_foreign,
    "ImportForeignSchemaStmt": _create_foreign,
    "VariableSetStmt": _set,
    "VariableShowStmt": _show,
    "TransactionStmt": _transaction,
    "SelectStmt": _select,
    "CopyStmt": _copy,
    "ExplainStmt": _explain,
    "DeclareCursorStmt": _declare,
    "DiscardStmt": _discard,
    "DeallocateStmt": _deallocate,
    "PrepareStmt": _prepare,
    "ExecuteStmt": _prepare,
    "CreateStmt": _create,
    "CreateTableAsStmt": _create,
    "ViewStmt": _create,
}
