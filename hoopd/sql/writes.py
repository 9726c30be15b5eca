"""What INSERT, UPDATE, DELETE and MERGE do with masked columns, and where what they return comes from; not queries.

Nothing masked may be copied to where it could be read in clear, nor decide which rows are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hoopd.sql.catalogue import Catalogue
from hoopd.sql.expressions import Expressions, Refused
from hoopd.sql.grammar import Node, only
from hoopd.sql.shapes import OPAQUE, Item, Output, Scope, Source, Trace, covered, masked


class Writes(Expressions):
    """
    @ivar ruled: what a write returns is made by rules or triggers of its table, whatever the server says it is.
    """

    catalogue: Catalogue
    ruled = False

    def sources_of(self, nodes: Sequence[Any], inner: Scope) -> Scope:
        """The scope of a FROM clause."""
        raise NotImplementedError

    def outputs_of(self, targets: Sequence[Node], scope: Scope) -> Source:
        """What a list of targets gives."""
        raise NotImplementedError

    def relation(self, body: Node, ctes: Mapping[str, Source]) -> Source:
        """What a table's name means."""
        raise NotImplementedError

    @staticmethod
    def aliased(source: Source, label: str, labels: Sequence[str]) -> Source:
        """A source under its alias, if it has one."""
        return source.renamed(label, labels) if label else source

    def insert(self, body: Node, scope: Scope) -> Source:
        target = self._target(body, scope)
        if covered(target.whole):
            self.named = True
        if body.get("selectStmt"):
            found = self.query(only(body["selectStmt"])[1], scope)
            self.copied(found.whole)
        inner = scope.plus(Item.of(target))
        conflict = body.get("onConflictClause") or {}
        if conflict:
            inner = inner.plus(Item.of(target.renamed("excluded")))
            infer = conflict.get("infer") or {}
            for each in infer.get("indexElems", []):
                element = only(each)[1]
                column = target.named(element["name"]) if "name" in element else self.trace(element, inner)
                if column is None or masked(column):
                    raise Refused("ON CONFLICT would compare a masked column", column or target.whole)
            self.condition(infer.get("whereClause") or [], inner, "a condition")
            self._assign(conflict.get("targetList", []), target, inner)
            self.condition(conflict.get("whereClause") or [], inner, "a condition")
        return self._returning(body, target, scope)

    def update(self, body: Node, scope: Scope) -> Source:
        target = self._target(body, scope)
        inner = self.sources_of(body.get("fromClause", []), scope.plus(Item.of(target)))
        self._assign(body.get("targetList", []), target, inner)
        self.condition(body.get("whereClause") or [], inner, "a condition")
        return self._returning(body, target, inner, True)

    def delete(self, body: Node, scope: Scope) -> Source:
        target = self._target(body, scope)
        inner = self.sources_of(body.get("usingClause", []), scope.plus(Item.of(target)))
        self.condition(body.get("whereClause") or [], inner, "a condition")
        return self._returning(body, target, inner, True)

    def merge(self, body: Node, scope: Scope) -> Source:
        target = self._target(body, scope)
        inner = self.sources_of([body.get("sourceRelation")], scope.plus(Item.of(target)))
        self.condition(body.get("joinCondition"), inner, "a join condition")
        for each in body.get("mergeWhenClauses", []):
            clause = only(each)[1]
            self.condition(clause.get("condition") or [], inner, "a condition")
            self._assign(clause.get("targetList", []), target, inner)
            self._given(clause.get("values", []), inner)
        # versions differ in what * gives here
        return self._returning(body, target, inner, True, star=None)

    def _target(self, body: Node, scope: Scope) -> Source:
        relation = body.get("relation") or {}
        label = (relation.get("alias") or {}).get("aliasname", "")
        return self.aliased(self.relation(relation, {}), label, ())

    def _assign(self, targets: Sequence[Any], target: Source, scope: Scope) -> None:
        for each in targets:
            assignment = only(each)[1]
            column = target.named(assignment.get("name", ""))
            if column is None or covered(column):
                self.named = self.named or covered(target.whole)
            self._given(assignment.get("val"), scope)
            self.trace(assignment.get("indirection", []), scope)

    def _given(self, value: Any, scope: Scope) -> None:
        if value:
            self.copied(self.trace(value, scope))

    @staticmethod
    def copied(found: Trace) -> None:
        """Check what is written into a table: from there it could be read in clear."""
        if covered(found):
            raise Refused("masked columns may not be copied into other columns", found)
        if masked(found):
            raise Refused(
                "what a function that hoopd does not know returns may not be stored where columns are masked", found
            )

    def _returning(
        self,
        body: Node,
        target: Source,
        scope: Scope,
        within: bool = False,
        star: tuple[Output, ...] | None = (),
    ) -> Source:
        clause = body.get("returningClause") or {}
        targets = [only(each)[1] for each in clause.get("exprs", [])]
        inner = scope if within else scope.plus(Item.of(target))
        # old and new rows (PostgreSQL 18), under these names or others of the statement's choice
        labels = ["old", "new", *(only(each)[1].get("value", "") for each in clause.get("options", []))]
        rows = Item(tuple(target.renamed(label) for label in labels), star)
        found = self.outputs_of(targets, inner.plus(rows))
        relation = body.get("relation") or {}
        table = self.catalogue.find(relation.get("schemaname", ""), relation.get("relname", ""), self.search_path)
        if table is None or table.oid not in self.catalogue.ruled:
            return found
        self.ruled = True
        columns = tuple(Output(each.name, each.trace | OPAQUE) for each in found.columns)
        return Source("", columns, None if found.rest is None else found.rest | OPAQUE)
