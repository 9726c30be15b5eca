"""Where the output columns of a statement come from: queries, FROM clauses, writes; expressions are elsewhere.

Every query is walked in its scope, with CTEs, subqueries, joins, set operations and RETURNING. What is not understood is
traced to everything it could be (L{hoopd.sql.shapes}).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hoopd.sql.analysis import SAMPLES, SECRET_RELATIONS
from hoopd.sql.catalogue import Catalogue, Relation
from hoopd.sql.coverage import Coverage
from hoopd.sql.expressions import Refused
from hoopd.sql.grammar import Node, names, only
from hoopd.sql.shapes import CLEAR, OPAQUE, UNKNOWN, Item, Output, Scope, Source, Trace, covered, masked, union
from hoopd.sql.writes import Writes

#: queries of one statement that are looked at: nested WITH RECURSIVE may be looked at three times each
_BUDGET = 5_000


#: rounds after which a recursive CTE's columns count as one
_ROUNDS = 3


class Tracer(Writes):
    """One walk over one statement. @raise Refused: from any method, for a use of masked columns that reveals them."""

    def __init__(
        self,
        cover: Coverage,
        catalogue: Catalogue,
        search_path: Sequence[str],
        trust: tuple[str, ...] = (),
        lenient: bool = False,
    ) -> None:
        super().__init__(cover, catalogue.operators, trust, search_path, lenient)
        self.catalogue = catalogue
        self._queries = 0

    def top(self) -> Scope:
        return Scope(functions=self.catalogue.functions)

    # -- statements --------------------------------------------------------------------------------------------

    def statement(self, kind: str, body: Node, scope: Scope) -> Source:
        """What a statement that returns rows returns."""
        if kind == "SelectStmt":
            return self.query(body, scope)
        write = {
            "InsertStmt": self.insert,
            "UpdateStmt": self.update,
            "DeleteStmt": self.delete,
            "MergeStmt": self.merge,
        }[kind]
        return write(body, self._with(body, scope))

    def query(self, body: Node, scope: Scope) -> Source:
        self._queries += 1
        if self._queries > _BUDGET:
            raise Refused("the statement is too intricate to see where masked columns go", OPAQUE)
        inner = self._with(body, scope)
        if body.get("op", "SETOP_NONE") != "SETOP_NONE":
            found = self._set_operation(body, inner)
        elif body.get("valuesLists"):
            found = self._values(body, inner)
        else:
            found = self._select(body, inner)
        into = body.get("intoClause")
        if into:
            self.copied(found.whole)
        return found

    def _select(self, body: Node, inner: Scope) -> Source:
        scope = self.sources_of(body.get("fromClause", []), inner)
        for key, what in (("whereClause", "a condition"), ("havingClause", "a condition")):
            if body.get(key):
                self.condition(body[key], scope, what)
        targets = [only(each)[1] for each in body.get("targetList", [])]
        found = self.outputs_of(targets, scope)
        for each in body.get("windowClause", []):
            window = only(each)[1]
            for key in ("partitionClause", "orderClause", "startOffset", "endOffset"):
                self.condition(window.get(key, []), scope, "a window")
        if "distinctClause" in body:
            distinct = [each for each in body["distinctClause"] if each]
            self._order(distinct, "DISTINCT", found, scope)
            if not distinct and covered(found.whole):
                raise Refused("DISTINCT would compare masked columns", found.whole)
        self._order(body.get("groupClause", []), "GROUP BY", found, scope)
        self._order(body.get("sortClause", []), "ORDER BY", found, scope)
        self._limit(body, inner)
        return found

    def outputs_of(self, targets: Sequence[Node], scope: Scope) -> Source:
        outputs: list[Output] = []
        rest: Trace | None = None
        for target in targets:
            value = target.get("val")
            tag, body = only(value)
            fields = body.get("fields", []) if tag == "ColumnRef" else []
            if fields and "A_Star" in fields[-1]:
                path = names(fields)
                star, whole = scope.starred(path) if path else (scope.star, scope.everything)
                if star is None:
                    rest = (rest or CLEAR) | whole
                else:
                    outputs.extend(star)
                continue
            trace = self.trace(value, scope)
            if tag == "A_Indirection" and any("A_Star" in each for each in body.get("indirection", [])):
                rest = (rest or CLEAR) | trace
                continue
            name = target.get("name") or (names(fields)[-1] if fields else "")
            outputs.append(Output(name, trace))
        if rest is not None:
            return Source("", (), rest | union([each.trace for each in outputs]))
        return Source("", tuple(outputs))

    def _order(self, nodes: Sequence[Any], what: str, outputs: Source, scope: Scope) -> None:
        """Check sort or group items: names of outputs, positions, expressions."""
        for each in nodes:
            tag, body = only(each)
            node = body.get("node") if tag == "SortBy" else each
            tag, body = only(node)
            if tag == "GroupingSet":
                self._order(body.get("content", []), what, outputs, scope)
                continue
            if tag in ("List", "RowExpr"):
                self._order(body.get("items") or body.get("args") or [], what, outputs, scope)
                continue
            found = CLEAR
            if tag == "A_Const" and "ival" in body:
                position = body["ival"].get("ival", 0)
                if outputs.rest is not None or not 1 <= position <= len(outputs.columns):
                    found = outputs.whole
                else:
                    found = outputs.columns[position - 1].trace
            elif tag == "ColumnRef" and len(body.get("fields", [])) == 1:
                name = names(body["fields"])
                named = outputs.named(name[0]) if name else None
                found = (named if named is not None else outputs.other) or CLEAR
                if named is None or what != "ORDER BY":
                    found |= self.trace(node, scope)
            else:
                self.condition(node, scope, what)
            if masked(found):
                raise Refused(f"a masked column may not be used in {what}", found)

    def _limit(self, body: Node, scope: Scope) -> None:
        for key in ("limitCount", "limitOffset"):
            if body.get(key):
                self.condition(body[key], scope, "LIMIT")

    def _set_operation(self, body: Node, inner: Scope) -> Source:
        left = self.query(body.get("larg", {}), inner)
        right = self.query(body.get("rarg", {}), inner)
        found = _merged(left, right)
        if not body.get("all") and covered(found.whole):
            raise Refused("UNION, INTERSECT and EXCEPT would compare masked columns; use UNION ALL", found.whole)
        if body.get("op") != "SETOP_UNION" and covered(found.whole):
            raise Refused("INTERSECT and EXCEPT would compare masked columns", found.whole)
        self._order(body.get("sortClause", []), "ORDER BY", found, inner.plus(Item.of(found)))
        self._limit(body, inner)
        return found

    def _values(self, body: Node, inner: Scope) -> Source:
        rows = [only(each)[1].get("items", []) for each in body["valuesLists"]]
        traces = [[self.trace(each, inner) for each in row] for row in rows]
        width = max(len(row) for row in traces)
        columns = [union([row[i] for row in traces if i < len(row)]) for i in range(width)]
        found = Source("", tuple(Output(f"column{i + 1}", trace) for i, trace in enumerate(columns)))
        self._order(body.get("sortClause", []), "ORDER BY", found, inner)
        self._limit(body, inner)
        return found

    # -- WITH --------------------------------------------------------------------------------------------------

    def _with(self, body: Node, scope: Scope) -> Scope:
        """The scope of a statement's own names, its CTEs known."""
        clause = body.get("withClause")
        if not clause:
            return scope.within()
        ctes: dict[str, Source] = dict(scope.ctes)
        bodies = [only(each)[1] for each in clause.get("ctes", [])]
        if clause.get("recursive"):
            # a name may be used before the CTE that has it: until that has been looked at, it may be anything
            for each in bodies:
                ctes[each["ctename"]] = Source(each["ctename"], (), OPAQUE)
        for each in bodies:
            ctes[each["ctename"]] = self._cte(each, scope, ctes, bool(clause.get("recursive")))
        return scope.within(ctes)

    def _cte(self, cte: Node, scope: Scope, ctes: Mapping[str, Source], recursive: bool) -> Source:
        name = cte["ctename"]
        kind, query = only(cte.get("ctequery"))
        labels = names(cte.get("aliascolnames"))
        around = Scope(scope.items, scope.outer, ctes, scope.functions)
        if recursive and kind == "SelectStmt" and query.get("op", "SETOP_NONE") == "SETOP_UNION":
            found = self._recursive(name, query, labels, around)
        else:
            found = self.statement(kind, query, around)
        found = found.renamed(name, labels)
        if cte.get("search_clause") or cte.get("cycle_clause"):
            # they add columns made of others
            return Source(name, (), found.whole)
        return found

    def _recursive(self, name: str, query: Node, labels: Sequence[str], around: Scope) -> Source:
        """A fixed point: what the CTE reads of itself is at least what it gives."""
        first = self.query(query.get("larg", {}), around.within({**around.ctes, name: Source(name, (), UNKNOWN)}))
        assumed = first.renamed(name, labels)
        found = self.query(query, around.within({**around.ctes, name: assumed}))
        for _ in range(_ROUNDS):
            if _within(found, assumed):
                return found
            # column by column: what one round gives, the next reads
            assumed = _merged(assumed, found).renamed(name, labels)
            found = self.query(query, around.within({**around.ctes, name: assumed}))
        top = union([found.whole, assumed.whole])
        again = self.query(query, around.within({**around.ctes, name: Source(name, (), top)}))
        return Source(name, (), top | again.whole)

    # -- FROM --------------------------------------------------------------------------------------------------

    def sources_of(self, nodes: Sequence[Any], inner: Scope) -> Scope:
        scope = inner
        for each in nodes:
            scope = scope.plus(*self._item(each, scope))
        return scope

    def _item(self, node: Any, scope: Scope) -> tuple[Item, ...]:
        """One FROM item; C{scope} has those to its left."""
        tag, body = only(node)
        alias = body.get("alias") or {}
        label, labels = alias.get("aliasname", ""), names(alias.get("colnames"))
        if tag == "RangeVar":
            return (Item.of(self.aliased(self.relation(body, scope.ctes), label, labels)),)
        if tag == "RangeSubselect":
            kind, query = only(body.get("subquery"))
            around = scope if body.get("lateral") else scope.beside()
            return (Item.of(self.statement(kind, query, around).renamed(label, labels)),)
        if tag == "JoinExpr":
            return self._join(body, scope, label, labels)
        if tag == "RangeTableSample":
            self.condition(body.get("args", []), scope, "a sample")
            self.condition(body.get("repeatable") or [], scope, "a sample")
            return self._item(body.get("relation"), scope)
        if tag == "RangeFunction":
            return (Item.of(self._function(body, scope, label)),)
        # XMLTABLE, JSON_TABLE and what later versions bring: rows and failures depend on their input
        self.condition([value for value in body.values() if isinstance(value, dict | list)], scope, "FROM")
        return (Item.of(Source(label, (), self.trace(node, scope))),)

    def _function(self, body: Node, scope: Scope, label: str) -> Source:
        """Its columns' names are not known (they depend on its type): any name may be one of them."""
        found = CLEAR
        name = label
        for each in body.get("functions", []):
            call = (only(each)[1].get("items") or [{}])[0]
            found |= self.trace(call, scope)
            if not name:
                name = (names(only(call)[1].get("funcname")) or ("",))[-1]
        if covered(found):
            raise Refused("a masked column may not be given to a function in FROM", found)
        return Source(name, (), found)

    def relation(self, body: Node, ctes: Mapping[str, Source]) -> Source:
        """What a table's name means."""
        schema, name = body.get("schemaname", ""), body.get("relname", "")
        if not schema and name in ctes:
            return ctes[name]
        if schema in ("", "pg_catalog") and (schema or name.startswith("pg_")):
            found = None if schema else self.catalogue.find("", name, self.search_path)
            own = self.system(name)
            if found is None:
                return Source(name, (), own, schema or "pg_catalog", True)
            return Source(name, (), own | self.table(found).whole, "", True)
        if schema == "information_schema":
            return Source(name, (), self.system(name), schema, True)
        relation = self.catalogue.find(schema, name, self.search_path)
        if relation is None:
            # temporary tables, and what came since the snapshot; TOAST tables hold rows of others
            return Source(name, (), OPAQUE if schema.startswith("pg_toast") else UNKNOWN, schema, True)
        return self.table(relation)

    @staticmethod
    def system(name: str) -> Trace:
        if name in SAMPLES:
            return OPAQUE
        return UNKNOWN if name in SECRET_RELATIONS else CLEAR

    def table(self, relation: Relation) -> Source:
        """A relation of the catalogue as a source."""
        traced = relation.oid in self.cover.traced
        columns = []
        for column in relation.columns:
            origin = (relation.oid, column.number if traced else 0)
            hidden = not traced or origin in self.cover.columns
            columns.append(Output(column.name, frozenset({origin}) if hidden else CLEAR))
        # sequences have columns that the catalogue does not list
        rest = CLEAR if not columns else None
        return Source(relation.name, tuple(columns), rest, relation.schema, True)

    def _join(self, body: Node, scope: Scope, label: str, labels: Sequence[str]) -> tuple[Item, ...]:
        left = self._item(body.get("larg"), scope)
        right = self._item(body.get("rarg"), scope.plus(*left))
        sides = (
            Scope(left, scope.outer, scope.ctes, scope.functions),
            Scope(right, scope.outer, scope.ctes, scope.functions),
        )
        both = Scope((*left, *right), scope.outer, scope.ctes, scope.functions)
        using = list(names(body.get("usingClause")))
        if body.get("isNatural"):
            if covered(both.everything) and (sides[0].star is None or sides[1].star is None):
                raise Refused("NATURAL JOIN may compare masked columns; write the condition", both.everything)
            there = {each.name for each in sides[1].star or ()}
            using = [each.name for each in sides[0].star or () if each.name in there and each.name]
        for name in using:
            found = sides[0].column(name) | sides[1].column(name)
            if masked(found):
                raise Refused("a masked column may not be used in a join", found)
        if body.get("quals"):
            self.condition(body["quals"], both, "a join condition")
        star = _joined(sides[0].star, sides[1].star, using)
        sources = (*both.sources,)
        alias = (body.get("join_using_alias") or {}).get("aliasname")
        if alias:
            sources = (*sources, Source(alias, tuple(Output(name, both.column(name)) for name in using)))
        if label:
            rest = None if star is not None else union([source.whole for source in sources])
            return (Item.of(Source("", star or (), rest).renamed(label, labels)),)
        return (Item(sources, star),)


def _merged(left: Source, right: Source) -> Source:
    """Two arms of a set operation: names of the first, values of both."""
    if left.rest is not None or right.rest is not None or len(left.columns) != len(right.columns):
        return Source("", (), left.whole | right.whole)
    pairs = zip(left.columns, right.columns, strict=True)
    return Source("", tuple(Output(mine.name, mine.trace | other.trace) for mine, other in pairs))


def _within(found: Source, assumed: Source) -> bool:
    if found.rest is not None or assumed.rest is not None:
        return assumed.rest is not None and found.whole <= assumed.rest
    pairs = zip(found.columns, assumed.columns, strict=False)
    return len(found.columns) == len(assumed.columns) and all(mine.trace <= other.trace for mine, other in pairs)


def _joined(
    left: tuple[Output, ...] | None, right: tuple[Output, ...] | None, using: Sequence[str]
) -> tuple[Output, ...] | None:
    """The columns of C{*} over a join: those of USING come first, once."""
    if left is None or right is None:
        return None
    wanted = set(using)
    both = [*left, *right]
    merged = [Output(name, union([each.trace for each in both if each.name == name])) for name in using]
    return tuple(merged + [each for each in both if each.name not in wanted])
