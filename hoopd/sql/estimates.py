"""What the target's planner expects of a statement, asked in a way that runs no code of users; pure: texts and answers.

EXPLAIN does not execute a statement, but planning it evaluates immutable functions (and stable ones, for estimates) of
constants: in the statement, in views, defaults, CHECK constraints, index and partition expressions, row security,
statistics and domains, and behind operators and casts. So a statement is explained only if every function, operator
and type that it names is the server's own (L{unsafe}), and everything its relations depend on is as well, or came with
an extension, which an administrator installed (L{guard}). Anything else has no estimate.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from hoopd.sql.analysis import SessionSettings, Statement
from hoopd.sql.catalogue import FIRST_USER_OID, Catalogue
from hoopd.sql.expressions import BUILTIN_TYPES
from hoopd.sql.grammar import names, walk

_EXPLAINED = frozenset("SelectStmt InsertStmt UpdateStmt DeleteStmt MergeStmt DeclareCursorStmt".split())

#: operators that statements use without writing them (IN, BETWEEN, CASE, USING, LIKE, DISTINCT, ORDER BY)
_IMPLIED = frozenset("= <> < > <= >= ~~ !~~ ~~* !~~* ~ !~ ~* !~* || @> &&".split())

#: classes of statements that change what the ones behind them mean
_MOVING = frozenset({"ddl", "session", "session-privileged"})

#: planning is bounded: five seconds of it, a tenth of one waiting for a lock; the order of joins does not change how many rows
_SETTINGS = (
    "SET LOCAL statement_timeout = 5000; SET LOCAL lock_timeout = 100; "
    "SET LOCAL idle_in_transaction_session_timeout = 15000; SET LOCAL join_collapse_limit = 1; "
    "SET LOCAL from_collapse_limit = 1; SET LOCAL constraint_exclusion = off; SET LOCAL jit = off"
)

#: read-only, rolled back: what is asked in it leaves nothing behind
BEGIN = f"BEGIN TRANSACTION READ ONLY; SET LOCAL search_path = pg_catalog; {_SETTINGS}"
END = "ROLLBACK"


def explainable(
    statements: Sequence[Statement], settings: SessionSettings, catalogue: Catalogue, types: Iterable[int] = ()
) -> tuple[bytes | None, ...]:
    """Those of a text's statements that may be explained, and None in place of the others.

    Behind one that changes what names mean the others mean something else than we could ask.
    """
    if len(statements) > 1 and any(each.classes & _MOVING for each in statements):
        return (None,) * len(statements)
    return tuple(None if unsafe(each, settings, catalogue, types) else each.text for each in statements)


def unsafe(statement: Statement, settings: SessionSettings, catalogue: Catalogue, types: Iterable[int] = ()) -> str:
    """Why a statement is not explained, or C{""}. @param types: of its parameters, as far as the client said them."""
    if statement.kind not in _EXPLAINED:
        return f"{statement.kind.removesuffix('Stmt').upper()} is not explained"
    if statement.refused or statement.unresolved:
        return "not everything in it is known"
    if statement.source is not None:
        return "it runs what the session has prepared"
    if statement.unknown_functions:
        return f"it calls {statement.unknown_functions[0]}"
    if settings.temporary:
        return "the session has temporary objects"
    if "pg_catalog" in settings.search_path[1:]:
        return "search_path has other schemas before pg_catalog"
    if catalogue.operators & _IMPLIED:
        return "the database has an operator of its own for a common sign"
    if any(each >= FIRST_USER_OID for each in types):
        return "a parameter's type is not the server's own"
    foreign = foreign_type(statement)
    return "" if foreign is None else f"{foreign} is not a type of the server's own"


def foreign_type(statement: Statement) -> str | None:
    """The name of a type in it that is not known to be the server's own, or None."""
    if statement.known is not None:
        return statement.known.foreign_type
    for tag, body in walk({statement.kind: statement.node}):
        if tag in ("", "TypeName") and "names" in body and "typemod" in body:
            name = names(body["names"])
            if not name or name[-1] not in BUILTIN_TYPES or (len(name) > 1 and name[0] != "pg_catalog"):
                return ".".join(name)
    return None


def search_path(path: Sequence[str]) -> str:
    """The statement that makes names mean what they mean to the session."""
    quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in path)
    return f"SET LOCAL search_path = {quoted or chr(39) * 2}"


def explain(text: bytes) -> bytes:
    """The statement that asks. @param text: one statement"""
    return b"EXPLAIN (FORMAT JSON, COSTS ON, VERBOSE OFF) " + text


_FOREIGN = (
    "{0}.refobjid >= 16384 AND {0}.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass,"
    " 'pg_opclass'::regclass, 'pg_opfamily'::regclass, 'pg_am'::regclass) AND NOT EXISTS (SELECT FROM pg_depend e"
    " WHERE e.classid = {0}.refclassid AND e.objid = {0}.refobjid AND e.deptype = 'e')"
)


def guard(oids: Iterable[int]) -> str:
    """The query that gives a row if planning these relations might run code of users. Under search_path pg_catalog."""
    wanted = ", ".join(str(int(oid)) for oid in oids)
    return f"""WITH RECURSIVE related(oid) AS (
  SELECT c.oid FROM pg_class c WHERE c.oid = ANY (ARRAY[{wanted}]::oid[])
 UNION
  SELECT x.oid FROM related r, LATERAL (
    SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = r.oid
    UNION ALL SELECT d.refobjid FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass
      AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass WHERE w.ev_class = r.oid AND d.refobjid >= 16384
  ) x(oid)
), parts(classid, objid) AS (
  SELECT 'pg_class'::regclass::oid, oid FROM related
  UNION ALL SELECT 'pg_class'::regclass::oid, i.indexrelid FROM pg_index i JOIN related r ON i.indrelid = r.oid
  UNION ALL SELECT 'pg_rewrite'::regclass::oid, w.oid FROM pg_rewrite w JOIN related r ON w.ev_class = r.oid
  UNION ALL SELECT 'pg_attrdef'::regclass::oid, a.oid FROM pg_attrdef a JOIN related r ON a.adrelid = r.oid
  UNION ALL SELECT 'pg_constraint'::regclass::oid, c.oid FROM pg_constraint c JOIN related r ON c.conrelid = r.oid
  UNION ALL SELECT 'pg_policy'::regclass::oid, p.oid FROM pg_policy p JOIN related r ON p.polrelid = r.oid
  UNION ALL SELECT 'pg_statistic_ext'::regclass::oid, s.oid FROM pg_statistic_ext s JOIN related r ON s.stxrelid = r.oid
)
SELECT 'calls code of users' FROM parts p JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid
 WHERE {_FOREIGN.format("d")}
UNION ALL
SELECT 'has a column of a type of users' FROM related r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0
   AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type m ON m.oid = t.typelem AND t.typlen = -1
 WHERE t.oid >= 16384 AND t.typtype <> 'e' AND coalesce(m.typtype, '') <> 'e'
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_type'::regclass AND e.deptype = 'e'
     AND e.objid IN (t.oid, m.oid))
   AND NOT (t.typtype = 'd' AND t.typbasetype < 16384 AND NOT EXISTS (SELECT FROM pg_constraint c JOIN pg_depend d
     ON d.classid = 'pg_constraint'::regclass AND d.objid = c.oid WHERE c.contypid = t.oid AND {_FOREIGN.format("d")}))
UNION ALL
SELECT 'is served from elsewhere' FROM related r JOIN pg_class c ON c.oid = r.oid
 WHERE c.relkind = 'f' OR c.relam >= 16384
UNION ALL
SELECT 'may be cast by code of users' FROM pg_cast c WHERE c.oid >= 16384 AND c.castfunc >= 16384 AND NOT EXISTS
  (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = c.castfunc AND e.deptype = 'e')
LIMIT 1"""


def planned_rows(answer: str) -> int | None:
    """How many rows a statement touches by its plan: what it returns, or what it changes, whichever is more.

    @param answer: EXPLAIN's JSON
    @return: None if it is no plan
    """
    try:
        total = 0
        for each in json.loads(answer):
            returned, changed = _rows(each["Plan"])
            total += max(returned, changed)
        return total
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _rows(plan: dict[str, Any]) -> tuple[int, int]:
    """What a plan returns, and what is changed in it."""
    changed = 0
    below: list[dict[str, Any]] = [plan]
    while below:
        node = below.pop()
        children = node.get("Plans", [])
        below.extend(children)
        if node["Node Type"] == "ModifyTable":
            inputs = [each for each in children if each.get("Parent Relationship") in ("Outer", "Member")]
            changed += sum(int(each["Plan Rows"]) for each in inputs)
    return int(plan["Plan Rows"]), changed
