"""What the masks of an identity cover in one database: columns, and relations that show them; not statements.

A column is covered where a pattern names it, in children, partitions and parents of its table, and where it is generated
from other columns of such a table. A relation is tainted if it has covered columns or reads a tainted one (views,
materialised views), and if what it reads cannot be known (foreign tables, views that call users' functions). What the
columns of views show is L{hoopd.sql.views}' matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import translate
from functools import lru_cache

from attrs import evolve, frozen

from hoopd.sql.catalogue import Catalogue, Relation
from hoopd.values import Mask

#: which of two masks hides more
_STRENGTH = {"null": 4, "full": 3, "hash": 2, "partial": 1, "last4": 0}

#: relation kinds whose rows are their own: their columns are known one by one
TABLES = frozenset("rp")


@frozen
class Coverage:
    """
    @ivar columns: (relation oid, attribute number) to mask.
    @ivar tainted: every relation that holds or shows a masked value: oid to the mask of what is unknown in it.
    @ivar worst: the mask of what cannot be traced, and of everything derived: it shows nothing of the value, since the
        last four characters or the hash of an expression of the client's choice would reveal all of it bit by bit.
    @ivar traced: relations whose columns are known one by one.
    """

    columns: Mapping[tuple[int, int], Mask]
    tainted: Mapping[int, Mask]
    worst: Mask
    traced: frozenset[int] = frozenset()


def strongest(masks: Sequence[Mask]) -> Mask:
    """The one that hides most."""
    return max(masks, key=lambda mask: _STRENGTH.get(mask.show, 5))


def derived(masks: Sequence[Mask]) -> Mask:
    """The mask for values computed from, or not known to be free of, what C{masks} cover: C{full} at least."""
    chosen = strongest(masks)
    return chosen if _STRENGTH.get(chosen.show, 5) >= _STRENGTH["full"] else evolve(chosen, show="full")


def matches(pattern: str, schema: str, table: str, column: str) -> bool:
    """Whether C{pattern} (C{table.column} or C{schema.table.column}, C{*} within a part) names the column."""
    parts = _parts(pattern)
    return parts is not None and all(
        part.match(value) is not None for part, value in zip(parts, (schema, table, column), strict=True)
    )


@lru_cache(maxsize=1024)
def _parts(pattern: str) -> tuple[re.Pattern[str], ...] | None:
    parts = pattern.split(".")
    if len(parts) == 2:
        parts = ["*", *parts]
    return tuple(re.compile(translate(part)) for part in parts) if len(parts) == 3 else None


@frozen(eq=False)
class Held:
    """Lets a catalogue (which is not hashable) stand in a cache under its version."""

    catalogue: Catalogue

    def __hash__(self) -> int:
        return hash(self.catalogue.version)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and other.catalogue.version == self.catalogue.version


def covered_tables(masks: tuple[Mask, ...], catalogue: Catalogue) -> Coverage:
    """What C{masks} cover in C{catalogue}; of views only that they show it. C{masks} must not be empty."""
    worst = derived(masks)
    columns: dict[tuple[int, int], Mask] = {}
    for relation in catalogue.relations.values():
        for number, mask in _named(masks, relation):
            columns[relation.oid, number] = mask
    _inherit(catalogue, columns)
    for oid in {oid for oid, _ in columns}:
        for column in catalogue.relations[oid].columns:
            if column.generated:
                columns.setdefault((oid, column.number), worst)
    _inherit(catalogue, columns)
    tainted: dict[int, Mask] = {}
    for (oid, _), mask in columns.items():
        tainted[oid] = derived([mask, tainted[oid]]) if oid in tainted else derived([mask])
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
    traced = frozenset(oid for oid, each in catalogue.relations.items() if each.kind in TABLES or oid not in tainted)
    return Coverage(columns, tainted, worst, traced)


def _named(masks: Sequence[Mask], relation: Relation) -> list[tuple[int, Mask]]:
    """Covered columns of one relation. The table's part of a pattern is looked at once, not for every column."""
    wanted: list[tuple[re.Pattern[str], Mask]] = []
    for mask in masks:
        for pattern in mask.columns:
            parts = _parts(pattern)
            if parts and parts[1].match(relation.name) and parts[0].match(relation.schema):
                wanted.append((parts[2], mask))
    if not wanted:
        return []
    found = []
    for column in relation.columns:
        here = [mask for pattern, mask in wanted if pattern.match(column.name)]
        if here:
            found.append((column.number, strongest(here)))
    return found


def _inherit(catalogue: Catalogue, columns: dict[tuple[int, int], Mask]) -> None:
    """Children and partitions show their parents' rows and the reverse: same name, the stronger mask."""
    pending = list(columns.items())
    while pending:
        (oid, number), mask = pending.pop()
        relation = catalogue.relations[oid]
        name = next((column.name for column in relation.columns if column.number == number), None)
        for kin in catalogue.parents.get(oid, frozenset()) | catalogue.children.get(oid, frozenset()):
            other = catalogue.relations.get(kin)
            column = other.column(name) if other and name else None
            if column is None:
                continue
            own = columns.get((kin, column.number))
            chosen = mask if own is None else strongest([own, mask])
            if chosen != own:
                columns[kin, column.number] = chosen
                pending.append(((kin, column.number), chosen))
