"""Whether a WHERE clause narrows anything: C{WHERE true}, C{WHERE id = id} and a cross join do not; not what it selects.

A condition counts only if it depends on the row that is to be changed, and not where it says the same of every row. One
that is true of nearly all rows all the same (C{id > 0}) is found by the target's estimate, not by looking at it. Where it
cannot be told whose column is meant, it is not the row's.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from attrs import evolve, frozen

from hoopd.sql.grammar import Node, names, only, walk

#: where each statement says which rows it means, and what else it looks at
PLACES = {
    "UpdateStmt": ("whereClause", "fromClause"),
    "DeleteStmt": ("whereClause", "usingClause"),
    "MergeStmt": ("joinCondition", "sourceRelation"),
}

#: x OP x says the same of every row that has x
_COMPARISONS = frozenset({"=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*"})
_COMPARING = frozenset({"AEXPR_OP", "AEXPR_LIKE", "AEXPR_ILIKE", "AEXPR_NOT_DISTINCT", "AEXPR_DISTINCT"})
#: x among values, one of which is x
_AMONG = frozenset({"AEXPR_IN", "AEXPR_OP_ANY", "AEXPR_BETWEEN", "AEXPR_BETWEEN_SYM"})


@frozen
class _Scope:
    """Whose columns are meant.

    @ivar own: by what name the row that is changed goes here, or nothing.
    @ivar alone: a name without that is one of its columns.
    @ivar columns: of its table, as far as they are known.
    @ivar table: its table; C{twins} are other names for the same one.
    """

    own: str
    alone: bool
    columns: Collection[str]
    table: str
    twins: frozenset[str] = frozenset()

    def means(self, reference: Node) -> bool:
        fields, name = reference.get("fields", ()), names(reference.get("fields"))
        if len(fields) > 1:
            return bool(self.own) and len(name) >= len(fields) - 1 and _qualifier(reference) == self.own
        return self.alone or (bool(name) and (name[0] in self.columns or name[0] == self.own))

    def inside(self, query: Any) -> _Scope:
        """The same in a subquery, whose own names come first."""
        bound = _bound(query)
        own = "" if self.own in bound else self.own
        return self if not bound else evolve(self, own=own, alone=False, columns=())


def narrowed(tag: str, statement: Node, columns: Collection[str] = ()) -> bool:
    """Whether an UPDATE, DELETE or MERGE (one of L{PLACES}) says which rows it means.

    @param columns: of the relation that it changes, as far as they are known.
    """
    where, others = PLACES[tag]
    relation = statement.get("relation") or {}
    table = relation.get("relname", "")
    beside = statement.get(others) or []
    twins = {
        (body.get("alias") or {}).get("aliasname") or table
        for found, body in walk({"List": {"items": beside}})
        if found == "RangeVar" and body.get("relname") == table
    }
    own = (relation.get("alias") or {}).get("aliasname") or table
    scope = _Scope(own, not beside, columns, table, frozenset(twins))
    for when in statement.get("mergeWhenClauses", ()):
        # it means what the join does not
        if when.get("MergeWhenClause", {}).get("matchKind") == "MERGE_WHEN_NOT_MATCHED_BY_SOURCE":
            return False
    return _narrows(statement.get(where), scope)


def _narrows(where: Any, scope: _Scope) -> bool:
    if not where:
        return False
    tag, body = only(where)
    if tag == "BoolExpr":
        each = [_narrows(argument, scope) for argument in body.get("args", ())]
        # one arm that lets all pass makes an OR let all pass
        return all(each) if body.get("boolop") == "OR_EXPR" else any(each)
    if tag == "A_Expr" and _says_nothing(body, scope):
        return False
    if tag == "SubLink" and _among_its_own(body, scope):
        return False
    return _depends(where, scope)


def _depends(node: Any, scope: _Scope) -> bool:
    """Whether anything in it is the row's."""
    below: list[tuple[Any, _Scope]] = [(node, scope)]
    while below:
        here, seen = below.pop()
        if isinstance(here, list):
            below += [(each, seen) for each in here]
        elif isinstance(here, dict):
            for tag, body in here.items():
                if tag == "CurrentOfExpr" or (tag == "ColumnRef" and seen.means(body)):
                    return True
                if tag == "SubLink":
                    below += [(body.get("testexpr"), seen), (body.get("subselect"), seen.inside(body["subselect"]))]
                elif tag != "ColumnRef":
                    below.append((body, seen))
    return False


def _says_nothing(body: Node, scope: _Scope) -> bool:
    """Whether a comparison is of a thing with itself, or with a pattern that fits everything."""
    kind, name = body.get("kind"), names(body.get("name"))
    left, right = body.get("lexpr"), body.get("rexpr")
    if kind in _COMPARING:
        if kind in ("AEXPR_LIKE", "AEXPR_ILIKE") and _everything(right):
            return True
        return bool(name) and name[-1] in _COMPARISONS and (_same(left, right) or _twin(left, right, scope))
    if kind in _AMONG:
        return any(_same(left, each) for each in _elements(right))
    return False


def _everything(pattern: Any) -> bool:
    if not isinstance(pattern, dict) or "A_Const" not in pattern:
        return False
    text = pattern["A_Const"].get("sval", {}).get("sval", "")
    return bool(text) and not text.strip("%")


def _elements(several: Any) -> list[Any]:
    if isinstance(several, dict):
        if "List" in several:
            return list(several["List"].get("items", ()))
        if "A_ArrayExpr" in several:
            return list(several["A_ArrayExpr"].get("elements", ()))
    return list(several) if isinstance(several, list) else []


def _twin(one: Any, other: Any, scope: _Scope) -> bool:
    """Whether the row's column is compared with the same column of its own table, which has the same values."""
    columns = [each["ColumnRef"] for each in (one, other) if isinstance(each, dict) and "ColumnRef" in each]
    if len(columns) != 2 or names(columns[0].get("fields"))[-1:] != names(columns[1].get("fields"))[-1:]:
        return False
    return any(_qualifier(each) in scope.twins for each in columns)


def _among_its_own(body: Node, scope: _Scope) -> bool:
    """C{x IN (SELECT x FROM the same table)}, with nothing that makes the list shorter."""
    column, query = body.get("testexpr"), body.get("subselect", {}).get("SelectStmt", {})
    if not isinstance(column, dict) or "ColumnRef" not in column or body.get("subLinkType") != "ANY_SUBLINK":
        return False
    shorter = {"whereClause", "limitCount", "limitOffset", "havingClause", "larg"}
    sources = [each.get("RangeVar", {}).get("relname") for each in query.get("fromClause", ())]
    if shorter & query.keys() or sources != [scope.table]:
        return False
    shown = [each.get("ResTarget", {}).get("val", {}) for each in query.get("targetList", ())]
    wanted = names(column["ColumnRef"].get("fields"))[-1:]
    return any(names(each.get("ColumnRef", {}).get("fields"))[-1:] == wanted for each in shown)


def _qualifier(reference: Node) -> str:
    fields = reference.get("fields", ())
    found = names(fields[-2:-1]) if len(fields) > 1 else ()
    return found[0] if found else ""


def _bound(query: Any) -> set[str]:
    """Names that a subquery gives to what it reads, at any depth."""
    found: set[str] = set()
    for _, body in walk(query):
        alias = body.get("alias")
        if isinstance(alias, dict):
            found.add(alias.get("aliasname", ""))
        elif "relname" in body:
            found.add(body["relname"])
    return found


def _same(one: Any, other: Any) -> bool:
    """Whether two expressions read alike, wherever they stand."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = (one.keys() | other.keys()) - {"location"}
        return all(_same(one.get(key), other.get(key)) for key in keys)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
