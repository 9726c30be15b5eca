"""Where the value of an expression comes from, and which uses of masked columns are refused; not queries.

A masked column may be shown (masked), passed on, and given to what neither fails on its value nor takes another way because
of it: a comparison, a division, a cast to a number would tell the value by an error or by which rows come. Those are
refused, and so is everything on masked columns that is not listed here. Equality with a constant goes where the masks say
C{find = "equality"}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from hoopd.sql.coverage import Coverage
from hoopd.sql.functions import QUIET, TOTAL, TOTAL_FIRST, TOTAL_VALUES, harmless, trusted
from hoopd.sql.grammar import Node, names, only
from hoopd.sql.shapes import CLEAR, DERIVED, OPAQUE, UNKNOWN, Scope, Source, Trace, covered, masked, union

#: operators that give a value for any value
_TOTAL_OPERATORS = frozenset(("||", "->", "->>", "#>", "#>>"))

#: casts that cannot fail with the value in the message
_SAFE_CASTS = frozenset(("text", "varchar", "bpchar", "name", "bytea"))

#: types whose casts run no code of users
BUILTIN_TYPES = frozenset(
    """
    bit bool bpchar bytea char cidr circle date daterange float4 float8 inet int2 int4 int8 int4range int8range interval
    json jsonb jsonpath line lseg macaddr macaddr8 money name numeric numrange oid path pg_lsn point polygon regclass
    regnamespace regoper regoperator regproc regprocedure regrole regtype text tid time timestamp timestamptz timetz
    tsquery tsrange tstzrange tsvector uuid varbit varchar xid xml unknown
    """.split()
)

#: nodes that hand on what they hold
_PASSING = frozenset(
    """
    CoalesceExpr MinMaxExpr RowExpr A_ArrayExpr CollateClause NamedArgExpr A_Indirection A_Indices MultiAssignRef List
    ResTarget NullTest BooleanTest JsonObjectConstructor JsonArrayConstructor JsonKeyValue JsonValueExpr JsonScalarExpr
    JsonSerializeExpr JsonObjectAgg JsonArrayAgg JsonAggConstructor XmlSerialize SortBy
    """.split()
)
_PASSING_XML = frozenset(("IS_XMLELEMENT", "IS_XMLFOREST", "IS_XMLCONCAT"))

#: parts of aggregates and window calls that decide about rows
_DECIDING = (
    ("agg_filter", "a filter"),
    ("partitionClause", "a window"),
    ("orderClause", "an ordering"),
    ("startOffset", "a window"),
    ("endOffset", "a window"),
)


class Refused(Exception):
    """A use of masked columns that would reveal them. @ivar trace: of which."""

    def __init__(self, why: str, trace: Trace) -> None:
        # a misspelt column gets here too: it could be any of those at hand
        self.why = why + " (it has a name that is not in hoopd's catalogue)" if trace >= UNKNOWN else why
        super().__init__(self.why)
        self.trace = trace


class Expressions:
    """
    @ivar named: a masked column stands in the statement: what it is compared with or set to is not for records.
    @param operators: names of users' operators.
    @param trust: users' functions known to reveal nothing.
    @param lenient: the expressions are not the client's (a view's): what they make of masked columns is masked, not
        refused; conditions are refused all the same.
    """

    def __init__(
        self,
        cover: Coverage,
        operators: frozenset[str],
        trust: tuple[str, ...],
        search_path: Sequence[str],
        lenient: bool = False,
    ) -> None:
        self.lenient = lenient
        self.cover = cover
        self.operators = operators
        self.trust = trust
        self.search_path = search_path
        self.named = False

    def refuse(self, why: str, found: Trace) -> None:
        """An expression would tell a masked value. @raise Refused: unless somebody else wrote it"""
        if not self.lenient:
            raise Refused(why, found)

    def query(self, body: Node, scope: Scope) -> Source:
        """What a SELECT gives; C{scope} is that around it."""
        raise NotImplementedError

    # -- values ------------------------------------------------------------------------------------------------

    def trace(self, node: Any, scope: Scope) -> Trace:
        """Where the value of C{node} comes from. @raise Refused"""
        if isinstance(node, list):
            found = CLEAR
            for each in node:
                found |= self.trace(each, scope)
            return found
        if not isinstance(node, dict):
            return CLEAR
        tag, body = _tagged(node)
        if tag == "A_Const":
            return CLEAR
        special = self._special.get(tag)
        if special is not None:
            return special(self, body, scope)
        found = self._below(body, scope)
        if covered(found):
            if tag and tag not in _PASSING:
                self.refuse(f"a masked column may not be used in {tag}", found)
            return found | DERIVED
        return found

    def _below(self, body: Node, scope: Scope) -> Trace:
        found = CLEAR
        for value in body.values():
            if isinstance(value, dict | list):
                found |= self.trace(value, scope)
        return found

    def _column(self, body: Node, scope: Scope) -> Trace:
        fields = body.get("fields", [])
        path = names(fields)
        if fields and "A_Star" in fields[-1]:
            found = scope.starred(path)[1] if path else scope.everything
            return found | DERIVED if found else CLEAR
        found = scope.column(path[0]) if len(path) == 1 else scope.qualified(path)
        if masked(found):
            self.named = True
        return found

    def _subselect(self, body: Node, scope: Scope) -> Trace:
        return self.query(body, scope).whole

    def _sublink(self, body: Node, scope: Scope) -> Trace:
        _, select = only(body.get("subselect"))
        found = self.query(select, scope).whole
        kind = body.get("subLinkType")
        if kind == "EXISTS_SUBLINK":
            return CLEAR
        if kind in ("ANY_SUBLINK", "ALL_SUBLINK"):
            found |= self.trace(body.get("testexpr"), scope)
            if covered(found):
                self.refuse("a masked column may not be compared", found)
        return found | DERIVED if found else CLEAR

    def _operation(self, body: Node, scope: Scope) -> Trace:
        if self.equality(body, scope):
            self.named = True
            return self._below(body, scope) | DERIVED
        found = self.trace(body.get("lexpr"), scope) | self.trace(body.get("rexpr"), scope)
        name = names(body.get("name"))
        if covered(found):
            if body.get("kind") != "AEXPR_OP" or not name or name[-1] not in _TOTAL_OPERATORS:
                self.refuse("a masked column may not be compared or calculated with", found)
            found |= DERIVED
        return found | (OPAQUE if self._strange(name) else CLEAR)

    def _strange(self, name: tuple[str, ...]) -> bool:
        """Whether an operator may be a user's."""
        return bool(name) and (name[-1] in self.operators or (len(name) > 1 and name[0] != "pg_catalog"))

    def _logic(self, body: Node, scope: Scope) -> Trace:
        found = CLEAR
        for each in body.get("args", ()):
            found |= self.condition(each, scope, "a condition")
        return found

    def _case(self, body: Node, scope: Scope) -> Trace:
        found = CLEAR
        if body.get("arg"):
            found |= self.condition(body["arg"], scope, "a condition")
        for each in body.get("args", ()):
            _, when = only(each)
            found |= self.condition(when.get("expr"), scope, "a condition")
            found |= self.trace(when.get("result"), scope)
        found |= self.trace(body.get("defresult"), scope)
        return found | DERIVED if found else CLEAR

    def _cast(self, body: Node, scope: Scope) -> Trace:
        found = self.trace(body.get("arg"), scope)
        target = body.get("typeName") or {}
        name = names(target.get("names"))
        builtin = bool(name) and name[-1] in BUILTIN_TYPES and (len(name) == 1 or name[0] == "pg_catalog")
        if covered(found):
            if not builtin or name[-1] not in _SAFE_CASTS or target.get("arrayBounds") or target.get("setof"):
                self.refuse("a masked column may not be cast, but to text", found)
            return found | DERIVED
        if not builtin and not _constant(body.get("arg")):
            # CREATE CAST may have given it a function
            return found | UNKNOWN
        return found

    def _call(self, body: Node, scope: Scope) -> Trace:
        name = names(body.get("funcname"))
        arguments = [self.trace(each, scope) for each in body.get("args", ())]
        found = union(arguments)
        over = body.get("over") or {}
        for key, what in _DECIDING:
            for part in (body.get(key), over.get(key)):
                if part:
                    self.condition(part, scope, what)
        if body.get("agg_order"):
            if body.get("agg_within_group"):
                found |= self.trace(body["agg_order"], scope)
            else:
                self.condition(body["agg_order"], scope, "an ordering")
        base = name[-1] if name else ""
        known = self.known(name, scope)
        if covered(found):
            if not known or not _total(base, arguments, body):
                self.refuse(f"a masked column may not be given to {base}(): it could tell the value", found)
            found |= DERIVED
        if masked(found) and base in QUIET:
            raise Refused(f"what a function that hoopd does not know returns may not be given to {base}()", found)
        return found if known else found | OPAQUE

    def known(self, name: tuple[str, ...], scope: Scope) -> bool:
        """Whether a function is known to reveal nothing but its arguments."""
        if harmless(name, scope.functions) or trusted(".".join(name), self.trust, self.search_path):
            return True
        return bool(name) and name[-1] in QUIET and (len(name) == 1 or name[-2] == "pg_catalog")

    def _indirection(self, body: Node, scope: Scope) -> Trace:
        found = self._below(body, scope)
        if set(names(body.get("indirection"))) & scope.functions:
            found |= OPAQUE
        return found | DERIVED if found else CLEAR

    def _xml(self, body: Node, scope: Scope) -> Trace:
        found = self._below(body, scope)
        if covered(found) and body.get("op") not in _PASSING_XML:
            self.refuse("a masked column may not be parsed as XML", found)
            return found | DERIVED
        return found

    _special: ClassVar[dict[str, Callable[[Expressions, Node, Scope], Trace]]] = {
        "ColumnRef": _column,
        "SelectStmt": _subselect,
        "SubLink": _sublink,
        "A_Expr": _operation,
        "BoolExpr": _logic,
        "CaseExpr": _case,
        "TypeCast": _cast,
        "FuncCall": _call,
        "A_Indirection": _indirection,
        "XmlExpr": _xml,
    }

    # -- conditions --------------------------------------------------------------------------------------------

    def condition(self, node: Any, scope: Scope, what: str) -> Trace:
        """Check something that decides which rows come, in which order, or which way is taken. @raise Refused"""
        if isinstance(node, list):
            return union([self.condition(each, scope, what) for each in node])
        tag, body = _tagged(node)
        if tag == "BoolExpr":
            return union([self.condition(each, scope, what) for each in body.get("args", ())])
        if tag == "A_Expr" and self.equality(body, scope):
            self.named = True
            return self._below(body, scope)
        found = self.trace(node, scope)
        if covered(found):
            raise Refused(f"a masked column may not be used in {what}", found)
        if masked(found):
            raise Refused(
                f"a function or operator that hoopd does not know may not be used in {what} where columns are masked",
                found,
            )
        return found

    def equality(self, body: Node, scope: Scope) -> bool:
        """C{column = constant}, C{column IN (constants)} or C{column = ANY (constant)} where the masks permit it."""
        if body.get("kind") not in ("AEXPR_OP", "AEXPR_IN", "AEXPR_OP_ANY"):
            return False
        name = names(body.get("name"))
        if name not in (("=",), ("pg_catalog", "=")) or self._strange(name):
            return False
        sides = [body.get("lexpr"), body.get("rexpr")]
        columns = [each for each in sides if _tagged(each)[0] == "ColumnRef"]
        if len(columns) != 1 or not all(_constant(each) for each in sides if each is not columns[0]):
            return False
        found = self._column(_tagged(columns[0])[1], scope)
        return bool(found) and all(self._findable(each) for each in found)

    def _findable(self, origin: tuple[int, int]) -> bool:
        mask = self.cover.columns.get(origin)
        return mask is not None and mask.find == "equality"


def _tagged(node: Any) -> tuple[str, Node]:
    """The tag and fields of a node; an empty tag where the grammar leaves it away."""
    if not isinstance(node, dict):
        return "", {}
    if len(node) == 1:
        ((tag, body),) = node.items()
        if tag[:1].isupper() and isinstance(body, dict):
            return tag, body
    return "", node


def _total(function: str, arguments: list[Trace], body: Node) -> bool:
    """Whether a function surely gives one value for whatever its masked arguments hold."""
    if function in TOTAL:
        return True
    if function in TOTAL_FIRST:
        return not covered(union(arguments[1:]))
    if function in TOTAL_VALUES:
        return not covered(union(arguments[::2]))
    # as many rows as the array has elements: that must not depend on a value
    return function == "unnest" and all(_tagged(each)[0] == "A_ArrayExpr" for each in body.get("args", ()))


def _constant(node: Any) -> bool:
    tag, body = _tagged(node)
    if tag in ("A_Const", "ParamRef"):
        return True
    if tag == "TypeCast":
        return _constant(body.get("arg"))
    if tag in ("List", "A_ArrayExpr"):
        return all(_constant(each) for each in body.get("items") or body.get("elements") or ())
    return False
