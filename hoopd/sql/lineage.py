"""Which output columns of a statement may hold what a mask covers, and which uses of masked columns are refused.

Attributed columns (table oid and attribute in RowDescription) go by the catalogue. For the others the rule is: clear
only if the expression surely touches nothing masked. "Surely" is judged by names: a set of *suspicious* names is grown to a
fixed point (masked columns of the relations at hand, row names of those relations, and every alias or column list
through which such a value may pass), and an expression with a suspicious name, or with anything not understood, is masked. It
errs to the safe side: an unmasked column called like a masked one may be masked too, unless its table qualifies it.

Views over masked tables, materialised views, foreign tables and users' functions count as unknown: wholly masked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from attrs import field, frozen

from hoopd.sql.analysis import SessionSettings, Statement
from hoopd.sql.catalogue import FIRST_USER_OID, Catalogue, Relation
from hoopd.sql.grammar import Node, names, only, walk
from hoopd.values import Mask

#: which of two masks hides more
_STRENGTH = {"null": 4, "full": 3, "hash": 2, "partial": 1, "last4": 0}

#: statements on a masked relation that keep the masks what they are
_HARMLESS_DDL = frozenset(
    {"DropStmt", "TruncateStmt", "VacuumStmt", "LockStmt", "IndexStmt", "CommentStmt", "GrantStmt"}
)

#: names that PostgreSQL gives to unnamed output columns
_UNNAMED = frozenset(
    "?column? case coalesce array row exists greatest least nullif xmlelement xmlforest xmlagg json_object json_array "
    "int4 int8 int2 text varchar bpchar numeric float8 float4 bool date timestamp timestamptz jsonb json bytea "
    "json_objectagg json_arrayagg merge_action grouping overlay substring position trim extract normalize".split()
)


@frozen
class Field:
    """One column of RowDescription."""

    name: bytes
    table_oid: int
    attribute: int
    type_oid: int
    format: int


@frozen
class Coverage:
    """What the masks of an identity cover in one database.

    @ivar columns: (relation oid, attribute number) to mask.
    @ivar tainted: every relation that holds or shows a masked value: oid to the mask of what is unknown in it.
    @ivar strongest: the mask for what cannot be traced at all.
    @ivar traced: relations whose own columns are known one by one (tables).
    """

    columns: Mapping[tuple[int, int], Mask]
    tainted: Mapping[int, Mask]
    strongest: Mask
    traced: frozenset[int] = frozenset()


def strongest(masks: Sequence[Mask]) -> Mask:
    return max(masks, key=lambda mask: _STRENGTH[mask.show])


def matches(pattern: str, schema: str, table: str, column: str) -> bool:
    """Whether C{pattern} (C{table.column} or C{schema.table.column}, C{*} within a part) names the column."""
    parts = pattern.split(".")
    if len(parts) == 2:
        parts = ["*", *parts]
    return len(parts) == 3 and all(
        fnmatchcase(value, part) for part, value in zip(parts, (schema, table, column), strict=True)
    )


@lru_cache(maxsize=64)
def _coverage(masks: tuple[Mask, ...], held: _Held) -> Coverage:
    catalogue = held.catalogue
    columns: dict[tuple[int, int], Mask] = {}
    for relation in catalogue.relations.values():
        for column in relation.columns:
            found = [
                mask
                for mask in masks
                if any(matches(pattern, relation.schema, relation.name, column.name) for pattern in mask.columns)
            ]
            if found:
                columns[relation.oid, column.number] = strongest(found)
    _inherit(catalogue, columns)
    tainted: dict[int, Mask] = {}
    for (oid, _), mask in columns.items():
        tainted[oid] = strongest([mask, tainted[oid]]) if oid in tainted else mask
    worst = strongest(masks)
    # foreign tables may lead anywhere, a masked table included; so may views that call users' functions
    for relation in catalogue.relations.values():
        if relation.kind == "f" or relation.oid in catalogue.opaque_views:
            tainted.setdefault(relation.oid, worst)
    pending = list(tainted)
    while pending:
        for view in catalogue.readers.get(pending.pop(), ()):
            if view not in tainted:
                tainted[view] = worst
                pending.append(view)
    traced = frozenset(oid for oid, each in catalogue.relations.items() if each.kind in "rpS" or oid not in tainted)
    return Coverage(columns, tainted, worst, traced)


def _inherit(catalogue: Catalogue, columns: dict[tuple[int, int], Mask]) -> None:
    """Children and partitions show their parents' rows and the reverse: same name, same mask."""
    pending = list(columns.items())
    while pending:
        (oid, number), mask = pending.pop()
        relation = catalogue.relations[oid]
        name = next((column.name for column in relation.columns if column.number == number), None)
        for kin in catalogue.parents.get(oid, frozenset()) | catalogue.children.get(oid, frozenset()):
            other = catalogue.relations.get(kin)
            column = other.column(name) if other and name else None
            if column and (kin, column.number) not in columns:
                columns[kin, column.number] = mask
                pending.append(((kin, column.number), mask))


@frozen(eq=False)
class _Held:
    """Lets a catalogue (which is not hashable) stand in a cache under its version."""

    catalogue: Catalogue

    def __hash__(self) -> int:
        return hash(self.catalogue.version)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and other.catalogue.version == self.catalogue.version


def coverage(masks: tuple[Mask, ...], catalogue: Catalogue) -> Coverage:
    """What C{masks} cover in C{catalogue}; cached by version. C{masks} must not be empty."""
    return _coverage(masks, _Held(catalogue))


@frozen
class OutputPlan:
    """
    @ivar refused: C{(why, rule ids)} where a masked column is used in a way that would reveal it, or None.
    @ivar untouched: nothing masked can appear in what this statement returns or says.
    @ivar suspicious: the statement names something masked: its literals and parameters are redacted.
    @ivar copy_columns: masks of the columns of COPY … TO STDOUT, or None where nothing is masked.
    """

    refused: tuple[str, tuple[str, ...]] | None = None
    untouched: bool = False
    suspicious: bool = True
    copy_columns: tuple[Mask | None, ...] | None = None
    _coverage: Coverage | None = field(default=None, repr=False, alias="coverage")
    #: per output column: True where an unattributed one is surely clear; None where positions are not known
    _clear: tuple[bool, ...] | None = field(default=None, repr=False, alias="clear")
    _fallback: Mask | None = field(default=None, repr=False, alias="fallback")

    def for_fields(self, fields: Sequence[Field]) -> tuple[Mask | None, ...]:
        """The mask of each output column, None where it may be shown."""
        cover = self._coverage
        if self.untouched:
            return (None,) * len(fields)
        if cover is None:
            return (self._fallback,) * len(fields)
        clear = self._clear if self._clear is not None and len(self._clear) == len(fields) else None
        return tuple(_mask(cover, each, bool(clear and clear[i])) for i, each in enumerate(fields))


def _mask(cover: Coverage, column: Field, clear: bool) -> Mask | None:
    oid, attribute = column.table_oid, column.attribute
    if oid and attribute > 0:
        mask = cover.columns.get((oid, attribute))
        if mask is not None or oid in cover.traced or oid < FIRST_USER_OID:
            return mask
        return cover.tainted.get(oid, cover.strongest)
    if oid and attribute < 0:
        return None  # ctid, xmin and their like
    return None if clear else cover.strongest


UNTOUCHED = OutputPlan(untouched=True, suspicious=False)


def output_plan(
    statement: Statement,
    masks: tuple[Mask, ...],
    catalogue: Catalogue | None,
    settings: SessionSettings,
    trusted_functions: tuple[str, ...] = (),
) -> OutputPlan:
    """How the masks of an identity apply to one statement of a session."""
    if not masks:
        return UNTOUCHED
    if catalogue is None:
        return OutputPlan(fallback=strongest(masks))
    cover = coverage(masks, catalogue)
    if not cover.tainted:
        return UNTOUCHED
    opaque = [name for name in statement.unknown_functions if name not in trusted_functions]
    touched = [relation for relation in statement.relations if relation.oid in cover.tainted]
    blind = bool(
        opaque
        or statement.unresolved
        or statement.kind in ("FetchStmt", "CallStmt", "DoStmt", "ExecuteStmt")
        or "read-secret" in statement.classes
    )
    if not touched and not blind:
        return UNTOUCHED
    if not touched:
        # no masked relation by name; what the output may hold is not known
        return OutputPlan(coverage=cover, suspicious=bool(opaque))
    names_at_hand = _Suspects(statement, cover, touched)
    why = names_at_hand.refusal()
    if why:
        rules = tuple(sorted({cover.tainted[relation.oid].rule for relation in touched}))
        return OutputPlan(refused=(why, rules), coverage=cover)
    copy = None
    if statement.kind == "CopyStmt" and not statement.node.get("is_from"):
        copied = _copied(statement, cover)
        if isinstance(copied, str):
            rules = tuple(sorted({cover.tainted[relation.oid].rule for relation in touched}))
            return OutputPlan(refused=(copied, rules), coverage=cover)
        copy = copied
    clear = None if blind else names_at_hand.clear_outputs()
    return OutputPlan(suspicious=names_at_hand.named, copy_columns=copy, coverage=cover, clear=clear)


def _copied(statement: Statement, cover: Coverage) -> tuple[Mask | None, ...] | str:
    relation_name = (statement.node.get("relation") or {}).get("relname")
    relation = next((each for each in statement.relations if each.name == relation_name), None)
    if relation is None or relation.oid not in cover.traced:
        return "COPY of a query over masked columns cannot be masked yet; use SELECT"
    for option in statement.node.get("options", ()):
        body = only(option)[1]
        value = only(body.get("arg"))[1].get("sval", "")
        if body.get("defname") != "format" or value != "text":
            return "COPY of masked columns is possible in text format with default options only"
    listed = names(statement.node.get("attlist"))
    columns = [relation.column(name) for name in listed] if listed else list(relation.columns)
    return tuple(cover.columns.get((relation.oid, column.number)) if column else None for column in columns)


class _Suspects:
    """The suspicious names of one statement that touches something masked."""

    def __init__(self, statement: Statement, cover: Coverage, touched: Sequence[Relation]) -> None:
        self.statement = statement
        self.cover = cover
        self.touched = {relation.oid for relation in touched}
        self.root = {statement.kind: statement.node}
        #: alias or name of FROM items to the relation, where every use of the name in the statement agrees
        self.tables: dict[str, Relation | None] = {}
        self.suspicious: set[str] = set()
        self._tables()
        self._seed(touched)
        self._grow()
        self.named = self._names_masked(self.root) or statement.kind == "InsertStmt"

    def _tables(self) -> None:
        by_name: dict[str, list[Relation]] = {}
        for relation in self.statement.relations:
            by_name.setdefault(relation.name, []).append(relation)
        ctes = {body.get("ctename") for tag, body in walk(self.root) if tag == "CommonTableExpr"}
        for tag, body in walk(self.root):
            alias = (body.get("alias") or {}).get("aliasname") if isinstance(body.get("alias"), dict) else None
            if "relname" in body and tag in ("", "RangeVar"):
                found = by_name.get(body["relname"], [])
                sole = found[0] if len(found) == 1 and body["relname"] not in ctes else None
                self._bind(alias or body["relname"], sole)
            elif tag in ("RangeSubselect", "RangeFunction", "RangeTableFunc", "JoinExpr") and alias:
                self._bind(alias, None)
            elif tag == "CommonTableExpr":
                self._bind(body.get("ctename", ""), None)

    def _bind(self, name: str, relation: Relation | None) -> None:
        if name in self.tables and self.tables[name] is not relation:
            relation = None
        self.tables[name] = relation

    def _seed(self, touched: Sequence[Relation]) -> None:
        for relation in touched:
            for column in relation.columns:
                if relation.oid not in self.cover.traced or (relation.oid, column.number) in self.cover.columns:
                    self.suspicious.add(column.name)
            self.suspicious.add(relation.name)  # the whole row
        for name, bound in self.tables.items():
            if bound is None or bound.oid in self.touched:
                self.suspicious.add(name)

    def _grow(self) -> None:
        """Aliases through which a suspicious value may pass are suspicious, until nothing changes."""
        for tag, body in walk(self.root):
            if tag in ("", "Alias") and "colnames" in body:
                self.suspicious |= set(names(body["colnames"]))
            if tag == "CommonTableExpr":
                self.suspicious |= set(names(body.get("aliascolnames")))
            if tag in ("RangeFunction", "RangeTableFunc"):
                self.suspicious |= {"column1", "value", "key", "ordinality"}
        grown = True
        while grown:
            before = len(self.suspicious)
            for tag, body in walk(self.root):
                if tag == "ResTarget" and body.get("val") and self.touches(body["val"]):
                    if body.get("name"):
                        self.suspicious.add(body["name"])
                    else:
                        self.suspicious |= _default_names(body["val"])
            grown = len(self.suspicious) > before

    # -- judging expressions -----------------------------------------------------------------------------------

    def column(self, body: Node) -> bool:
        """Whether one ColumnRef may be, or hold, something masked."""
        fields = body.get("fields", ())
        if not fields or "A_Star" in fields[-1]:
            return True
        path = names(fields)
        if len(path) >= 2:
            table = self.tables.get(path[-2])
            if table is not None:
                column = table.column(path[-1])
                if table.oid not in self.touched:
                    return False
                if column is not None and table.oid in self.cover.traced:
                    return (table.oid, column.number) in self.cover.columns
        return path[-1] in self.suspicious

    def touches(self, node: Any) -> bool:
        """Whether an expression names anything that may be masked."""
        for tag, body in walk(node):
            if tag == "ColumnRef" and self.column(body):
                return True
            if tag == "SubLink" and _has_star(body):
                return True
            if tag in ("SetToDefault", "CurrentOfExpr", "XmlSerialize"):
                return True
        return False

    def _names_masked(self, node: Any) -> bool:
        masked = set(self.suspicious) - set(self.tables)
        for tag, body in walk(node):
            if tag == "ColumnRef" and self.column(body):
                fields = body.get("fields", ())
                if not (fields and "A_Star" in fields[-1]):
                    return True
            if tag == "ResTarget" and body.get("name") in masked:
                return True
        return False

    def clear_outputs(self) -> tuple[bool, ...] | None:
        """For each output column whether its expression surely touches nothing masked; None: not known."""
        kind, node = self.statement.kind, self.statement.node
        if kind == "ExplainStmt":
            return (True,)
        if kind == "DeclareCursorStmt":
            return None
        if kind == "SelectStmt":
            if node.get("op", "SETOP_NONE") != "SETOP_NONE" or node.get("valuesLists"):
                return None
            targets = node.get("targetList", ())
        else:
            returning = node.get("returningClause") or {}
            targets = returning.get("exprs") or node.get("returningList") or ()
        values = [only(target)[1].get("val") for target in targets]
        if any(_is_star(value) for value in values):
            return None
        return tuple(not self.touches(value) for value in values)

    # -- refusing uses that would reveal -----------------------------------------------------------------------

    def refusal(self) -> str:
        """Why the statement uses a masked column in a way that would reveal it, or C{""}."""
        kind = self.statement.kind
        if "ddl" in self.statement.classes and kind not in _HARMLESS_DDL and kind != "SelectStmt":
            return "the definition of an object with masked columns cannot be changed under a mask"
        for tag, body in walk(self.root):
            why = self._use(tag, body)
            if why:
                return why
        return ""

    def _use(self, tag: str, body: Node) -> str:
        for key, what in _PREDICATES.items():
            if key in body and self._predicate(body[key]):
                return f"a masked column may not be used in {what}"
        if tag == "SelectStmt" or ("targetList" in body and "op" in body):
            why = self._select(body)
            if why:
                return why
        if tag == "TypeCast" and self._plain(body.get("arg")):
            return "a masked column may not be cast"
        if tag == "JoinExpr":
            if body.get("isNatural"):
                return "NATURAL JOIN may compare masked columns; write the condition"
            if set(names(body.get("usingClause"))) & self.suspicious:
                return "a masked column may not be used in a join"
        if tag in ("UpdateStmt", "InsertStmt", "MergeStmt", "OnConflictClause") or "onConflictClause" in body:
            return self._source(body)
        if tag == "SelectStmt" and body.get("intoClause") and self._outputs_touch(body):
            return "masked columns may not be copied into another table"
        return ""

    def _predicate(self, node: Any) -> bool:
        return self.touches(node) and not self._equality(node)

    def _equality(self, node: Any) -> bool:
        """A conjunction whose every suspicious part is C{column = constant} under a mask that permits that."""
        tag, body = only(node) if isinstance(node, dict) and len(node) == 1 else ("", {})
        if tag == "BoolExpr":
            return all(not self.touches(each) or self._equality(each) for each in body.get("args", ()))
        if tag != "A_Expr" or body.get("kind") != "AEXPR_OP" or names(body.get("name")) != ("=",):
            return False
        sides = [only(body.get("lexpr")), only(body.get("rexpr"))]
        columns = [each for side, each in sides if side == "ColumnRef"]
        constants = [side for side, _ in sides if side in ("A_Const", "ParamRef")]
        return len(columns) == 1 and len(constants) == 1 and self._findable(columns[0])

    def _findable(self, body: Node) -> bool:
        path = names(body.get("fields"))
        table = self.tables.get(path[-2]) if len(path) > 1 else None
        if table is not None:
            owners = [table]
        else:
            # an unqualified name may be any relation's: each that has it must permit the comparison
            owners = [each for each in self.statement.relations if each.column(path[-1])]
        if not owners or None in self.tables.values():
            return False
        for owner in owners:
            column = owner.column(path[-1])
            mask = self.cover.columns.get((owner.oid, column.number)) if column else None
            if owner.oid not in self.cover.traced or (mask is not None and mask.find != "equality"):
                return False
        return True

    def _plain(self, node: Any) -> bool:
        tag, body = only(node) if isinstance(node, dict) and len(node) == 1 else ("", {})
        return tag == "ColumnRef" and self.column(body)

    def _outputs_touch(self, select: Node) -> bool:
        if any(self._outputs_touch(select[arm]) for arm in ("larg", "rarg") if arm in select):
            return True
        return any(self.touches(only(each)[1].get("val")) for each in select.get("targetList", ()))

    def _select(self, body: Node) -> str:
        targets = [only(each)[1] for each in body.get("targetList", ())]
        masked = [self.touches(each.get("val")) for each in targets]
        distinct = body.get("distinctClause")
        if distinct is not None and (any(masked) or self.touches(distinct)):
            return "DISTINCT would compare masked columns"
        if body.get("op", "SETOP_NONE") != "SETOP_NONE" and not body.get("all") and self._outputs_touch(body):
            return "UNION, INTERSECT and EXCEPT would compare masked columns; use UNION ALL"
        for key, what in (("sortClause", "ORDER BY"), ("groupClause", "GROUP BY")):
            for each in body.get(key, ()):
                node = only(each)[1].get("node", each)
                if self.touches(node) or self._position(node, targets, masked):
                    return f"a masked column may not be used in {what}"
        return ""

    @staticmethod
    def _position(node: Any, targets: Sequence[Node], masked: Sequence[bool]) -> bool:
        body = only(node)[1] if isinstance(node, dict) and len(node) == 1 else {}
        if "ival" not in body:
            return False
        if any(_is_star(each.get("val")) for each in targets):
            return True
        position = body["ival"].get("ival", 0)
        return not 1 <= position <= len(masked) or masked[position - 1]

    def _source(self, body: Node) -> str:
        select = only(body.get("selectStmt"))[1] if body.get("selectStmt") else {}
        if select and not select.get("valuesLists") and self._outputs_touch(select):
            return "masked columns may not be copied into another table"
        for values in select.get("valuesLists", ()):
            if self.touches(values):
                return "masked columns may not be copied into another table"
        for each in body.get("targetList", ()):
            if self.touches(only(each)[1].get("val")):
                return "a masked column may not be the source of an assignment"
        return ""


_PREDICATES = {
    "whereClause": "a condition",
    "havingClause": "a condition",
    "quals": "a join condition",
    "joinCondition": "a join condition",
    "limitCount": "LIMIT",
    "limitOffset": "OFFSET",
    "windowClause": "a window",
    "over": "a window",
    "agg_filter": "a filter",
    "agg_order": "an ordering",
    "partitionClause": "a window",
    "orderClause": "an ordering",
}


def _is_star(value: Any) -> bool:
    tag, body = only(value) if isinstance(value, dict) and len(value) == 1 else ("", {})
    fields = body.get("fields", []) if tag == "ColumnRef" else []
    return bool(fields) and "A_Star" in fields[-1]


def _has_star(node: Node) -> bool:
    return any(
        tag == "ColumnRef" and any("A_Star" in each for each in body.get("fields", ())) for tag, body in walk(node)
    )


def _default_names(value: Any) -> set[str]:
    """The names that PostgreSQL may give to an unnamed output column."""
    found = set(_UNNAMED)
    for tag, body in walk(value):
        if tag == "ColumnRef":
            found |= set(names(body.get("fields"))[-1:])
        elif tag == "FuncCall":
            found |= set(names(body.get("funcname"))[-1:])
        elif tag in ("TypeCast", "", "TypeName") and "names" in body:
            found |= set(names(body.get("names"))[-1:])
        elif tag == "A_Indirection":
            found |= set(names(body.get("indirection")))
    return found
