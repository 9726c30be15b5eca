"""What the columns of views show of masked columns: each view's own query is traced, those that it reads before it.

Materialised views too: their rows are what their query gave. A view stays unknown, that is masked wholly, where its
definition was not read, is too long, or uses a masked column so that its rows would tell the value. The definitions are the
server's own words (C{pg_get_viewdef}) under a search_path of C{pg_catalog}: every user's name in them is qualified.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from attrs import evolve

from hoopd.sql.catalogue import Catalogue, Relation
from hoopd.sql.coverage import Coverage, Held, covered_tables, strongest
from hoopd.sql.expressions import Refused
from hoopd.sql.grammar import ParseTree, Unparsed, parse
from hoopd.sql.shapes import Source, Trace
from hoopd.sql.tracing import Tracer
from hoopd.values import Mask

#: bytes of definitions that are traced for one catalogue: about a second of work, at each change of it
DEFINITIONS_MAX = 1024 * 1024


def coverage(masks: tuple[Mask, ...], catalogue: Catalogue) -> Coverage:
    """What C{masks} cover in C{catalogue}, views column by column; cached by version. C{masks} must not be empty."""
    return _coverage(masks, Held(catalogue))


# few: each entry keeps a catalogue alive (10,000 relations are about 30 MB)
@lru_cache(maxsize=16)
def _coverage(masks: tuple[Mask, ...], held: Held) -> Coverage:
    catalogue = held.catalogue
    cover = covered_tables(masks, catalogue)
    columns, traced = dict(cover.columns), set(cover.traced)
    for view in _in_order(catalogue, cover):
        found = _view(view, evolve(cover, columns=columns, traced=frozenset(traced)), catalogue)
        if found is None:
            continue
        traced.add(view.oid)
        for column, output in zip(view.columns, found.columns, strict=True):
            mask = _shown(output.trace, columns, cover.worst)
            own = columns.get((view.oid, column.number))
            if mask is not None:
                columns[view.oid, column.number] = mask if own is None else strongest([own, mask])
    return evolve(cover, columns=columns, traced=frozenset(traced))


def _in_order(catalogue: Catalogue, cover: Coverage) -> Iterator[Relation]:
    """Views that show masked columns, each behind those that it reads, as far as the bound goes."""
    wanted = {oid for oid in cover.tainted if oid in catalogue.definitions and oid not in cover.traced}
    reads: dict[int, set[int]] = {oid: set() for oid in wanted}
    for read, views in catalogue.readers.items():
        for view in views & wanted if read in wanted else ():
            reads[view].add(read)
    size = 0
    ready = sorted(oid for oid in wanted if not reads[oid])
    while ready:
        oid = ready.pop()
        size += len(catalogue.definitions[oid])
        if size > DEFINITIONS_MAX:
            return
        yield catalogue.relations[oid]
        for view in sorted(catalogue.readers.get(oid, frozenset()) & wanted):
            reads[view].discard(oid)
            if not reads[view]:
                ready.append(view)


def _view(view: Relation, cover: Coverage, catalogue: Catalogue) -> Source | None:
    """The columns of a view, or None where they cannot be told."""
    tree = _parsed(catalogue.definitions[view.oid])
    if tree is None or len(tree.statements) != 1 or tree.statements[0].kind != "SelectStmt":
        return None
    tracer = Tracer(cover, catalogue, (), lenient=True)
    try:
        found = tracer.query(tree.statements[0].node, tracer.top())
    except (Refused, RecursionError, KeyError, ValueError, TypeError, AttributeError, IndexError):
        # what is not walked rightly, or tells masked values by its rows, is unknown
        return None
    if found.rest is not None or len(found.columns) != len(view.columns):
        return None
    pairs = zip(found.columns, view.columns, strict=True)
    # labels of pg_get_viewdef are the columns' names, unless a column was renamed since
    return found if all(not out.name or out.name == column.name for out, column in pairs) else None


# a refresh of the catalogue leaves most definitions as they were
@lru_cache(maxsize=2048)
def _parsed(definition: str) -> ParseTree | None:
    try:
        return parse(definition.encode())
    except Unparsed:
        return None


def _shown(trace: Trace, columns: dict[tuple[int, int], Mask], worst: Mask) -> Mask | None:
    """The mask of an output: a column that is passed on keeps its own."""
    if not trace:
        return None
    masks = [columns.get(origin) for origin in trace]
    known = [mask for mask in masks if mask is not None]
    return strongest(known) if len(known) == len(masks) else worst
