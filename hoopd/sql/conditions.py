"""Whether a WHERE clause narrows anything: C{WHERE true}, C{WHERE 1 = 1} and C{WHERE id = id} do not; not what it selects.

A condition counts only if it depends on the row. One that is true of nearly all rows all the same (C{id > 0}) is found
by the target's estimate, not by looking at it.
"""

from __future__ import annotations

from typing import Any

from hoopd.sql.grammar import names, only, walk

_ROW = frozenset({"ColumnRef", "CurrentOfExpr"})

#: x OP x is true of every row that has x
_REFLEXIVE = frozenset({"=", "<=", ">=", "~~"})


def narrows(where: Any) -> bool:
    """@param where: the grammar's node, or None"""
    if not where:
        return False
    tag, body = only(where)
    if tag == "BoolExpr":
        each = [narrows(argument) for argument in body.get("args", ())]
        # one arm that lets all pass makes an OR let all pass
        return all(each) if body.get("boolop") == "OR_EXPR" else any(each)
    if tag == "A_Expr" and body.get("kind") in ("AEXPR_OP", "AEXPR_LIKE", "AEXPR_NOT_DISTINCT"):
        name = names(body.get("name"))
        if name and name[-1] in _REFLEXIVE and _same(body.get("lexpr"), body.get("rexpr")):
            return False
    return any(found in _ROW for found, _ in walk(where))


def _same(one: Any, other: Any) -> bool:
    """Whether two expressions read alike, wherever they stand."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = (one.keys() | other.keys()) - {"location"}
        return all(_same(one.get(key), other.get(key)) for key in keys)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
