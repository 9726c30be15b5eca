"""Whether the server tells how many rows a statement touched, so that a ceiling on them can be kept; not the keeping.

The number is the command tag's (PostgreSQL documentation, "Message Formats", CommandComplete). Rows that triggers,
cascades and rewrite rules touch on top of it are not in it.
"""

from __future__ import annotations

from typing import Literal

from hoopd.sql.analysis import Statement
from hoopd.sql.functions import QUIET
from hoopd.sql.grammar import walk

#: changed: the tag counts what it changes; shown: it changes nothing, and what it returns is counted as it comes;
#: none: no rows are its business (DDL, settings); untold: it may change rows, and nobody says how many
Counting = Literal["changed", "shown", "none", "untold"]

_WRITES = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
_SHOWING = frozenset({"SelectStmt", "CopyStmt", "FetchStmt", "ExplainStmt", "VariableShowStmt", "DeclareCursorStmt"})


def counting(statement: Statement) -> tuple[Counting, str]:
    """@return: which, and for C{"untold"} why."""
    kind, classes = statement.kind, statement.classes
    if classes & {"call", "do"}:
        return "untold", "nobody counts the rows that a procedure or DO block touches"
    if kind == "PrepareStmt":
        return "none", ""  # what it prepares is counted when it is executed
    unknown = [each for each in statement.unknown_functions if not _quiet(each)]
    if unknown:
        return "untold", f"{unknown[0]} may change rows that nobody counts"
    if kind == "ExplainStmt" and "write" not in classes:
        return "shown", ""
    writes = writing(statement)
    if kind in _WRITES and len(writes) == 1:
        return "changed", ""
    if writes:
        return "untold", "rows that are changed inside WITH, EXPLAIN ANALYZE or a cursor are not counted"
    if kind == "CopyStmt" and "copy-in" in classes and not classes & {"file", "program"}:
        return "changed", ""
    if kind == "CreateTableAsStmt" or (kind == "SelectStmt" and "create" in classes):
        return "changed", ""
    if "write" in classes:
        return "untold", f"{kind.removesuffix('Stmt').upper()} does not tell how many rows it touches"
    return ("shown", "") if kind in _SHOWING else ("none", "")


def writing(statement: Statement) -> tuple[str, ...]:
    """The grammar's names of the writes in it, its own included."""
    if statement.known is not None:
        return statement.known.writing
    return tuple(tag for tag, _ in walk({statement.kind: statement.node}) if tag in _WRITES)


def _quiet(function: str) -> bool:
    """Whether it surely is a function of the server's that changes no rows; without its schema it may be somebody's."""
    return function.startswith("pg_catalog.") and function.removeprefix("pg_catalog.") in QUIET


def counted(tag: str) -> int:
    """Rows by a command tag such as C{UPDATE 5} or C{INSERT 0 5}; 0 where it has no number."""
    last = tag.rpartition(" ")[2]
    return int(last) if last.isascii() and last.isdigit() else 0
