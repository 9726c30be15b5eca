"""Which output columns of a statement may hold what a mask covers, and which uses of masked columns are refused.

Columns that RowDescription attributes to a table go by the catalogue. The others are clear only if their expression is
traced (L{hoopd.sql.tracing}) to nothing masked and nothing unknown; they are masked wholly otherwise, whatever the column's
own mask would show: the last four characters of an expression of the client's choice would give away the rest.

Views are traced to what they read (L{hoopd.sql.views}). Foreign tables and users' functions count as unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from attrs import evolve, field, frozen

from hoopd.sql.analysis import SessionSettings, Statement
from hoopd.sql.catalogue import FIRST_USER_OID, Catalogue
from hoopd.sql.copying import CopyPlan, copy_format
from hoopd.sql.coverage import Coverage, Held, derived, matches, strongest
from hoopd.sql.expressions import Refused
from hoopd.sql.functions import trusted
from hoopd.sql.grammar import Node, names, only, walk
from hoopd.sql.shapes import Item, Output, Trace, union
from hoopd.sql.tracing import Tracer
from hoopd.sql.views import coverage
from hoopd.values import Mask

__all__ = ["UNTOUCHED", "Field", "OutputPlan", "coverage", "matches", "output_plan", "strongest"]

#: statements on a masked relation that neither move its values nor what the masks cover
_HARMLESS_DDL = frozenset(
    {"DropStmt", "TruncateStmt", "VacuumStmt", "LockStmt", "CommentStmt", "GrantStmt", "RefreshMatViewStmt"}
)

#: statements whose rows come from what was said earlier, or from code
_ELSEWHERE = frozenset({"FetchStmt", "CallStmt", "DoStmt", "ExecuteStmt"})

#: MaxTupleAttributeNumber of PostgreSQL
COLUMNS_MAX = 1664

_ROWS = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})


@frozen
class Field:
    """One column of RowDescription."""

    name: bytes
    table_oid: int
    attribute: int
    type_oid: int
    format: int


@frozen
class OutputPlan:
    """
    @ivar refused: C{(why, rule ids)} where a masked column is used in a way that would reveal it, or None.
    @ivar untouched: nothing masked can appear in what this statement returns or says.
    @ivar suspicious: literals and parameters may be values of masked columns: they are redacted. Texts of errors and
        notices may hold such values whenever the plan is not C{untouched}.
    @ivar copy: the columns of COPY … TO STDOUT and how they are written, or None where nothing is masked.
    """

    refused: tuple[str, tuple[str, ...]] | None = None
    untouched: bool = False
    suspicious: bool = True
    copy: CopyPlan | None = None
    _coverage: Coverage | None = field(default=None, repr=False, alias="coverage")
    #: what the statement gives, in order; None where positions are not known
    _outputs: tuple[Output, ...] | None = field(default=None, repr=False, alias="outputs")
    _fallback: Mask | None = field(default=None, repr=False, alias="fallback")
    #: RowDescription says which columns, but their values are other people's rules' or triggers'
    _ruled: bool = field(default=False, repr=False, alias="ruled")
    #: catalogs with samples of columns' values are read
    _samples: bool = field(default=False, repr=False, alias="samples")

    @property
    def hides(self) -> bool:
        """Whether something of what it returns is hidden, as far as can be told before it comes."""
        if self.untouched or self._outputs is None:
            return not self.untouched
        masked = self.copy is not None and any(each is not None for each in self.copy.masks)
        return masked or any(each.trace is None or bool(each.trace) for each in self._outputs)

    def for_fields(self, fields: Sequence[Field]) -> tuple[Mask | None, ...]:
        """The mask of each output column, None where it may be shown."""
        cover = self._coverage
        if self.untouched:
            return (None,) * len(fields)
        if cover is None:
            return (self._fallback,) * len(fields)
        if self._ruled:
            return (cover.worst,) * len(fields)
        outputs = self._outputs
        # a RowDescription unlike the plan: the catalogue is not what the server sees
        if outputs is None or not _alike(outputs, fields):
            return tuple(self._mask(cover, each, None) for each in fields)
        return tuple(self._mask(cover, each, out.trace) for each, out in zip(fields, outputs, strict=True))

    def _mask(self, cover: Coverage, column: Field, trace: Trace | None) -> Mask | None:
        oid, attribute = column.table_oid, column.attribute
        if oid and attribute > 0:
            mask = cover.columns.get((oid, attribute))
            if mask is not None or oid in cover.traced:
                return mask
            if oid < FIRST_USER_OID:
                return cover.worst if self._samples else None
            return cover.tainted.get(oid, cover.worst)
        if oid and attribute < 0:
            return None  # ctid, xmin and their like
        return None if trace is not None and not trace else cover.worst


def _alike(outputs: Sequence[Output], fields: Sequence[Field]) -> bool:
    return len(outputs) == len(fields) and all(
        not out.name or _same(out.name, each.name) for out, each in zip(outputs, fields, strict=True)
    )


def _same(name: str, shown: bytes) -> bool:
    """Names beyond ASCII come in the client's encoding: those are not compared."""
    return not name.isascii() or name.encode() == shown


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
        return OutputPlan(fallback=derived(masks))
    if statement.known is not None:
        found: OutputPlan | None = statement.known.plans.get(masks)
        return found if found is not None else OutputPlan(fallback=derived(masks))
    return _planned(statement, masks, Held(catalogue), statement.settings.search_path, trusted_functions)


def short(plan: OutputPlan) -> OutputPlan:
    """C{plan} without more columns than a result can have: what has more fails at the server."""
    return plan if len(plan._outputs or ()) <= COLUMNS_MAX else evolve(plan, outputs=None)


# the same statement is planned for what is shown, what is recorded, its text and its parameters
@lru_cache(maxsize=8)
def _planned(
    statement: Statement,
    masks: tuple[Mask, ...],
    held: Held,
    search_path: tuple[str, ...],
    trusted_functions: tuple[str, ...],
) -> OutputPlan:
    catalogue = held.catalogue
    cover = coverage(masks, catalogue)
    opaque = [name for name in statement.unknown_functions if not trusted(name, trusted_functions, search_path)]
    touched = [relation for relation in statement.relations if relation.oid in cover.tainted]
    blind = bool(opaque or statement.unresolved or statement.kind in _ELSEWHERE or "read-secret" in statement.classes)
    # rules and triggers in place of a write may return anything
    blind = blind or ("write" in statement.classes and any(each.oid in catalogue.ruled for each in statement.relations))
    if not touched and not blind:
        return UNTOUCHED
    plan = OutputPlan(
        coverage=cover,
        suspicious=bool(opaque or statement.unresolved) or statement.kind in _ELSEWHERE - {"FetchStmt"},
        samples="read-secret" in statement.classes,
    )
    tracer = Tracer(cover, catalogue, search_path, trusted_functions)
    try:
        outputs, copied = _outputs(statement, tracer, bool(touched), bool(opaque))
    except Refused as refused:
        rules = _rules(cover, refused.trace, [relation.oid for relation in touched])
        return evolve(plan, refused=(refused.why, rules), suspicious=True)
    except (RecursionError, KeyError, ValueError, TypeError, AttributeError, IndexError):
        # a tree that we do not walk rightly must not pass for one without masked columns
        why = "the statement is too intricate to see where masked columns go"
        return evolve(plan, refused=(why, _rules(cover, frozenset(), ())), suspicious=True)
    # rows of COPY have no description to mask by: they are wholly clear, masked by column, or refused above
    clear = statement.kind == "CopyStmt" and copied is None and not statement.node.get("is_from")
    return evolve(
        plan,
        untouched=clear,
        suspicious=plan.suspicious or tracer.named,
        copy=copied,
        outputs=outputs,
        ruled=tracer.ruled,
    )


def _rules(cover: Coverage, trace: Trace, touched: Sequence[int]) -> tuple[str, ...]:
    """The masks that a refusal is about."""
    found = {
        cover.columns[oid, number].rule if (oid, number) in cover.columns else cover.tainted[oid].rule
        for oid, number in trace
        if oid in cover.tainted
    }
    found = found or {cover.tainted[oid].rule for oid in touched if oid in cover.tainted}
    return tuple(sorted(found or {cover.worst.rule}))


_Result = tuple[tuple[Output, ...] | None, CopyPlan | None]


def _outputs(statement: Statement, tracer: Tracer, touched: bool, opaque: bool) -> _Result:
    """Output columns and COPY's columns, as far as they are known. @raise Refused"""
    kind, node = statement.kind, statement.node
    scope = tracer.top()
    if kind in _ROWS:
        found = tracer.statement(kind, node, scope)
        return (found.columns if found.rest is None else None), None
    if kind == "ExplainStmt":
        _explained(node, tracer)
        # the plan is one column of text; the planner runs immutable functions and prints what they return
        return (None if opaque else (Output("QUERY PLAN", frozenset()),)), None
    if kind in ("DeclareCursorStmt", "PrepareStmt"):
        query_kind, query = only(node.get("query"))
        tracer.statement(query_kind, query, scope)
        return (), None
    if kind == "CopyStmt":
        return (), _copy(node, tracer, statement.settings.client_encoding)
    if kind == "CreateTableAsStmt":
        _created(node, tracer)
        return (), None
    if kind == "IndexStmt":
        _indexed(node, tracer)
        return (), None
    if "ddl" in statement.classes and touched and kind not in _HARMLESS_DDL:
        raise Refused("the definition of an object with masked columns cannot be changed under a mask", frozenset())
    if kind in _ELSEWHERE:
        # arguments of CALL: masked columns in them would be given to code
        for tag, body in walk(node):
            if tag == "SubLink":
                tracer.condition({tag: body}, scope, "an argument")
        return None, None
    return ((), None) if "ddl" in statement.classes else (None, None)


def _explained(node: Node, tracer: Tracer) -> None:
    kind, query = only(node.get("query"))
    if kind == "CreateTableAsStmt":
        _created(query, tracer)
        return
    if kind == "DeclareCursorStmt":
        kind, query = only(query.get("query"))
    tracer.statement(kind, query, tracer.top())


def _created(node: Node, tracer: Tracer) -> None:
    kind, query = only(node.get("query"))
    tracer.copied(tracer.statement(kind, query, tracer.top()).whole)


def _indexed(node: Node, tracer: Tracer) -> None:
    """An index on a masked column: its building may fail with values in the message, its use tells their order."""
    source = tracer.relation(node.get("relation") or {}, {})
    scope = tracer.top().plus(Item.of(source))
    for each in (*node.get("indexParams", []), *node.get("indexIncludingParams", [])):
        element = only(each)[1]
        if "name" in element:
            tracer.condition({"ColumnRef": {"fields": [{"String": {"sval": element["name"]}}]}}, scope, "an index")
        else:
            tracer.condition(element.get("expr"), scope, "an index")
    tracer.condition(node.get("whereClause") or [], scope, "an index")


def _copy(node: Node, tracer: Tracer, encoding: str) -> CopyPlan | None:
    """The columns of COPY, None where nothing is masked. @raise Refused"""
    if node.get("query"):
        kind, query = only(node["query"])
        found = tracer.statement(kind, query, tracer.top())
        if not found.whole:
            return None
        if found.rest is not None:
            raise Refused("COPY of a query whose columns cannot be told cannot be masked; use SELECT", found.whole)
        names_, traces = [each.name for each in found.columns], [each.trace for each in found.columns]
    else:
        source = tracer.relation(node.get("relation") or {}, {})
        if not source.whole:
            return None
        # without a list COPY leaves generated columns out
        names_ = list(names(node.get("attlist")) or _stored(node["relation"], tracer))
        columns = [source.named(name) for name in names_]
        if node.get("is_from"):
            tracer.named = True
            tracer.condition(node.get("whereClause") or [], tracer.top().plus(Item.of(source)), "a condition")
            return None
        traces = [each for each in columns if each is not None]
        if source.rest is not None or not columns or len(traces) != len(columns):
            raise Refused("COPY of what is not in the catalogue cannot be masked; use SELECT", source.whole)
    masks = tuple(_column_mask(tracer.cover, each) for each in traces)
    if not any(masks):
        return None
    try:
        format = copy_format(node.get("options", []), _plain(encoding))
    except ValueError as problem:
        raise Refused(f"COPY of masked columns: {problem}", union(traces)) from None
    types = tuple(_column_type(tracer.catalogue, each) for each in traces)
    return CopyPlan(masks, types, tuple(names_), format)


def _plain(encoding: str) -> bool:
    return encoding.upper().replace("-", "") in ("UTF8", "UNICODE")


def _stored(relation: Node, tracer: Tracer) -> list[str]:
    found = tracer.catalogue.find(relation.get("schemaname", ""), relation["relname"], tracer.search_path)
    return [column.name for column in found.columns if not column.generated] if found else []


def _column_mask(cover: Coverage, trace: Trace) -> Mask | None:
    """Of a column that is passed on its own mask, else the one that shows nothing."""
    masks = [cover.columns.get(origin) or cover.worst for origin in trace]
    return strongest(masks) if masks else None


def _column_type(catalogue: Catalogue, trace: Trace) -> int:
    """The type of a column that is passed on; 0 where it is not known."""
    if len(trace) != 1:
        return 0
    ((oid, number),) = trace
    relation = catalogue.relations.get(oid)
    return next((each.type_oid for each in relation.columns if each.number == number), 0) if relation else 0
