"""What each kind of statement does, in policy's words: a table, and a closer look at those that need one.

Not what any part of any statement does (L{hoopd.sql.analysis}). The words are in docs/sql.md.
"""

from __future__ import annotations

from typing import Any

from hoopd.sql import changes
from hoopd.sql.grammar import Node, names, only
from hoopd.sql.variables import Effect

WRITES = {"InsertStmt": "insert", "UpdateStmt": "update", "DeleteStmt": "delete", "MergeStmt": "merge"}

#: statement to its classes; what has an entry in L{SPECIAL} gets more looks
CLASSES: dict[str, frozenset[str]] = {
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


def _select(found: Any, node: Node) -> None:
    if node.get("intoClause"):
        found.classes |= {"ddl", "create"}


def _copy(found: Any, node: Node) -> None:
    if node.get("is_program"):
        found.classes |= {"copy-program", "program"}
    elif node.get("filename"):
        found.classes |= {"copy-file", "file"}
    if node.get("is_from"):
        found.classes |= {"copy-in", "write", "insert"}
    else:
        found.classes.add("copy-out")
        found.reading()


def _explain(found: Any, node: Node) -> None:
    kind, _ = only(node.get("query"))
    found.classes.add("explain")
    analyze = False
    for option in node.get("options", ()):
        body = only(option)[1]
        if body.get("defname", "").lower() == "analyze":
            argument = only(body.get("arg"))[1]
            analyze = str(argument.get("sval", argument.get("boolval", "on"))).lower() not in ("off", "false", "0")
    if not analyze:
        # planning alone writes nothing; functions that it may run count as before
        found.classes -= {"write", "insert", "update", "delete", "merge", "ddl", "create"}
    elif kind in CLASSES:
        found.classes |= CLASSES[kind]
    found.user_relation = found.user_relation or kind in WRITES


#: CURSOR_OPT_HOLD of parsenodes.h
_HOLD = 0x0020


def _declare(found: Any, node: Node) -> None:
    found.classes.add("cursor")
    if found.configures:
        found.refused = "set_config() in a cursor cannot be followed"
    found.effect = Effect("declare", node.get("portalname"), "hold" if node.get("options", 0) & _HOLD else None)


def _prepare(found: Any, node: Node) -> None:
    # what it prepares is judged when it is executed: nothing of it runs before
    found.classes.clear()
    found.classes.add("prepare")
    found.effect = Effect("prepare", node.get("name"))


def _execute(found: Any, node: Node) -> None:
    found.classes.add("execute")


def _lock(found: Any, node: Node) -> None:
    # ACCESS SHARE is what every SELECT takes
    found.classes.add("read" if node.get("mode") == 1 else "lock")


def _domain(found: Any, node: Node) -> None:
    # the check is kept, not run
    found.classes -= {"function"}
    found.functions.clear()
    found.classes |= {"ddl", "create"}


def _create(found: Any, node: Node) -> None:
    found.classes |= {"ddl", "create"}
    relation = node.get("relation") or node.get("view") or (node.get("into") or {}).get("rel") or {}
    if relation.get("relpersistence") == "t":
        found.effect = Effect("temporary", relation.get("relname"))


def _create_function(found: Any, node: Node) -> None:
    found.classes |= {"ddl", "create"}
    for option in node.get("options", ()):
        body = only(option)[1]
        if body.get("defname") == "language":
            language = only(body.get("arg"))[1].get("sval", "").lower()
            if language not in _SANDBOXED:
                # C, internal, and the untrusted languages reach files, programs and memory
                found.classes.add("program")


def _create_foreign(found: Any, node: Node) -> None:
    found.classes |= {"ddl", "create", "network"}
    for option in node.get("options", ()):
        name = only(option)[1].get("defname", "").lower()
        found.classes |= {"program"} if name == "program" else {"file"} if name == "filename" else set()


def _drop(found: Any, node: Node) -> None:
    found.classes |= {"ddl", "drop"}
    if node.get("removeType", "") in _RELATIONS:
        for each in node.get("objects", ()):
            name = names(only(each)[1].get("items"))
            if name:
                found.named(name[-2] if len(name) > 1 else "", name[-1])


SPECIAL: dict[str, Any] = {
    "DropStmt": _drop,
    "CreateFunctionStmt": _create_function,
    "CreateForeignTableStmt": _create_foreign,
    "CreateForeignServerStmt": _create_foreign,
    "CreateFdwStmt": _create_foreign,
    "ImportForeignSchemaStmt": _create_foreign,
    "VariableSetStmt": changes.variable_set,
    "VariableShowStmt": changes.variable_show,
    "TransactionStmt": changes.transaction,
    "SelectStmt": _select,
    "CopyStmt": _copy,
    "ExplainStmt": _explain,
    "DeclareCursorStmt": _declare,
    "DiscardStmt": changes.discard,
    "DeallocateStmt": changes.deallocate,
    "PrepareStmt": _prepare,
    "ExecuteStmt": _execute,
    "ClosePortalStmt": changes.close_portal,
    "LockStmt": _lock,
    "CreateDomainStmt": _domain,
    "CreateStmt": _create,
    "CreateTableAsStmt": _create,
    "ViewStmt": _create,
}
