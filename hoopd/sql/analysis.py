"""What each statement of a SQL text does, in policy's words, and to what; not whether it may (L{hoopd.policy}).

Every part counts: CTEs, subqueries, EXPLAIN's statement, COPY's and a cursor's query, each statement of a text. The
words and what falls under them are in docs/sql.md. What cannot be followed is refused, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, field, frozen

from hoopd.sql import changes, functions
from hoopd.sql.catalogue import FIRST_USER_OID, Catalogue, Relation
from hoopd.sql.conditions import PLACES, narrowed
from hoopd.sql.grammar import Node, ParseTree, Unparsed, names, only, parse, walk
from hoopd.sql.kinds import CLASSES, SPECIAL, WRITES
from hoopd.sql.known import Known
from hoopd.sql.named import NOBODY, Definition, Named, Overlay, resolved
from hoopd.sql.session_settings import SessionSettings
from hoopd.sql.variables import Effect
from hoopd.values import Mask

__all__ = ["Analysis", "Effect", "Question", "Reading", "SessionSettings", "Statement", "analyse", "undecodable"]

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
    #: under which it is looked at: statements before it in the same text count
    settings: SessionSettings = field(factory=SessionSettings)
    #: what the name in it stands for: the cursor whose rows it returns, or the statement that it executes
    source: Definition | None = field(default=None, eq=False, repr=False)
    #: what has been worked out of it already, where C{node} is not here
    known: Known | None = field(default=None, eq=False, repr=False)


@frozen
class Analysis:
    """@ivar refused: why the text as a whole cannot be judged, or C{""}; C{syntax} when it is a syntax error."""

    statements: tuple[Statement, ...]
    refused: str = ""
    syntax: bool = False
    text: bytes = b""
    #: the text as it may be shown, by masks, where that has been worked out already
    redacted: Mapping[tuple[Mask, ...], str] = field(factory=dict, repr=False, eq=False)


@frozen
class Question:
    """What the meaning of a text depends on, for who works it out elsewhere (L{hoopd.sql.reading}).

    @ivar version: of the catalogue.
    @ivar masks: sets of masks by which statements are planned; C{scrub}: by which texts are shown.
    @ivar names: C{(kind, name, definition)} of names that the text uses; kind C{"statement"} or C{"cursor"}.
    """

    settings: SessionSettings
    version: str
    types: tuple[int, ...]
    inner: bool
    masks: tuple[tuple[Mask, ...], ...]
    scrub: tuple[Mask, ...]
    trusted: tuple[str, ...]
    names: tuple[tuple[str, str, Definition | None], ...] = ()


@frozen
class Reading:
    """The answer; stands where a tree would. @ivar missing: kinds and names that the question did not tell of."""

    question: Question
    analysis: Analysis
    missing: tuple[tuple[str, str], ...] = ()


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
    tree: ParseTree | Reading | None = None,
    parameter_types: tuple[int, ...] = (),
    named: Named = NOBODY,
    inner: bool = False,
) -> Analysis:
    """
    @param tree: if C{text} has been parsed, or read, already
    @param named: the session's prepared statements and cursors
    @param inner: the text is a PREPARE or DECLARE; the statement inside is meant
    @param catalogue: None offline: relations stay as written, unqualified ones in C{public}
    """
    if isinstance(tree, Reading):
        asked = tree.question
        if tree.missing or (asked.settings, asked.inner, asked.types) != (settings, inner, parameter_types):
            raise ValueError("the reading of a text under other circumstances")
        return tree.analysis
    refused = undecodable(text, settings)
    if refused:
        return Analysis((), refused, text=text)
    if tree is None:
        try:
            tree = parse(text)
        except Unparsed as problem:
            return Analysis((), str(problem), problem.syntax, text)
    statements: list[Statement] = []
    overlay = Overlay(named)
    for raw in tree.statements:
        part = text[raw.start : raw.end].strip()
        kind, node = only(raw.node["query"]) if inner else (raw.kind, raw.node)
        found = _named_statement(kind, node, part, settings, catalogue, overlay)
        statements.append(found)
        try:
            settings = settings.after(found.effect, catalogue)
        except LookupError as savepoint:
            why = f"where savepoint {savepoint} began cannot be told; send it as a statement of its own"
            return Analysis(tuple(statements), why, text=text)
        overlay.follow(found.effect, part, found.settings)
    return Analysis(tuple(statements), next((each.refused for each in statements if each.refused), ""), text=text)


def _named_statement(
    kind: str, node: Node, text: bytes, settings: SessionSettings, catalogue: Catalogue | None, named: Named
) -> Statement:
    """One statement; EXECUTE and FETCH are what they run."""
    meant = resolved(kind, node, named)
    if meant is None:
        return _statement(kind, node, text, settings, catalogue)
    if meant.refused:
        return evolve(_statement(kind, node, text, settings, catalogue), refused=meant.refused)
    # a cursor's query was planned when it was declared
    under = meant.settings if meant.settings is not None else settings
    made = _statement(meant.kind, meant.node, text, under, catalogue)
    outer = _statement(kind, node, text, settings, catalogue) if kind in ("ExecuteStmt", "FetchStmt") else made
    effect = made.effect if made.effect is not None else outer.effect
    return evolve(
        made,
        effect=effect if kind != "FetchStmt" else None,
        classes=made.classes | outer.classes,
        facts={**made.facts, "classes": sorted(made.classes | outer.classes)},
        unknown_functions=tuple(sorted({*made.unknown_functions, *outer.unknown_functions})),
        refused=made.refused or outer.refused,
        source=meant.source,
    )


def _statement(kind: str, node: Node, text: bytes, settings: SessionSettings, catalogue: Catalogue | None) -> Statement:
    found = _Findings(settings, catalogue)
    found.read(kind, node)
    special = SPECIAL.get(kind)
    if special is not None:
        special(found, node)
    elif kind in CLASSES:
        found.classes |= CLASSES[kind]
    else:
        found.refused = f"{kind.removesuffix('Stmt')} statements are not known to hoopd"
    if found.configures and not found.refused:
        changes.configured(found, kind, node)
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
        settings=settings,
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
        #: set_config() is called
        self.configures = False

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
            elif tag in PLACES and not narrowed(tag, body, self._columns(body)):
                self.where = False
            elif tag == "IntoClause" or (tag == "" and "rel" in body and "onCommit" in body):
                self.classes |= {"ddl", "create"}
            elif tag == "LockingClause":
                self.classes.add("lock")
            if tag in WRITES:
                self.classes |= {"write", WRITES[tag]}
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

    def _columns(self, body: Node) -> frozenset[str]:
        """Of the relation that a writing statement names."""
        relation = body.get("relation")
        if not isinstance(relation, dict) or "relname" not in relation:
            return frozenset()
        found = self._find(relation.get("schemaname", ""), relation["relname"])
        return frozenset(column.name for column in found.columns) if found is not None else frozenset()

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
        own = self.catalogue.functions if self.catalogue is not None else ()
        if name == ("pg_catalog", "set_config") or (name == ("set_config",) and "set_config" not in own):
            self.configures = True
            self.called.add(".".join(name))
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
        if own or schema in ("public", *self.settings.search_path):
            self.classes.add(functions.group(base))
        if "large-object" not in self.classes or not own or base not in functions.LARGE_OBJECTS:
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
        if "prepare" in self.classes:
            return
        if self.secret:
            self.classes.add("read-secret")
        if self.functions:
            # a function that we do not know may write
            self.classes.add("write")
        if self.classes & {"write", "ddl"} and "SelectStmt" in self.tags and self.user_relation:
            self.classes.add("read")
