"""What a FROM clause offers to expressions: columns by name, each with where its values come from; not expressions.

A trace is a set of origins: C{(relation oid, attribute number)} of covered columns, C{(relation oid, 0)} of relations that
show masked values in ways we do not follow, and the markers below. The empty trace is known to touch nothing masked.
Whatever is not found is C{UNKNOWN}: names never resolve to "clear" by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import evolve, field, frozen

from hoopd.sql.functions import HARMLESS

Origin = tuple[int, int]
Trace = frozenset[Origin]

CLEAR: Trace = frozenset()
#: a relation or name that the catalogue does not have
UNKNOWN: Trace = frozenset({(0, 0)})
#: the result of code that we do not know
OPAQUE: Trace = frozenset({(0, 1)})
#: computed, not passed through
DERIVED: Trace = frozenset({(0, 2)})

#: every table has them (manual, section 5.5); none holds anything of a row's columns
SYSTEM_COLUMNS = frozenset("tableoid xmin cmin xmax cmax ctid".split())


def covered(trace: Trace) -> bool:
    """Whether a masked column is in it, or a relation that shows one."""
    return any(oid for oid, _ in trace)


def masked(trace: Trace) -> bool:
    """Whether something masked may be in it, as opposed to what is merely not in the catalogue."""
    return covered(trace) or (0, 1) in trace


def union(traces: Iterable[Trace]) -> Trace:
    return frozenset().union(*traces)


@frozen
class Output:
    """@ivar name: empty where PostgreSQL makes one up: any name may be it."""

    name: str
    trace: Trace


@frozen
class Source:
    """One FROM item under its name.

    @ivar columns: in order.
    @ivar rest: the trace of any name that C{columns} does not have, or None where there are no others.
    @ivar table: it has system columns, and functions may be called on its row by C{name.function}.
    """

    name: str
    columns: tuple[Output, ...]
    rest: Trace | None = None
    schema: str = ""
    table: bool = False

    @property
    def whole(self) -> Trace:
        return union([*(each.trace for each in self.columns), self.rest or CLEAR])

    def named(self, name: str) -> Trace | None:
        """The trace of a column that surely has the name."""
        found = [each.trace for each in self.columns if each.name == name]
        if found:
            return union(found)
        return CLEAR if self.table and name in SYSTEM_COLUMNS else None

    @property
    def other(self) -> Trace | None:
        """The trace of a column that may have any name; None if there is no such column."""
        nameless = [each.trace for each in self.columns if not each.name]
        if self.rest is not None:
            nameless.append(self.rest)
        return union(nameless) if nameless else None

    def renamed(self, name: str, columns: Sequence[str] = ()) -> Source:
        """As an alias shows it: the first columns may get other names."""
        if self.rest is not None and columns:
            # which columns the names stand for is not known: any of them
            return Source(name, (), self.whole, table=self.table)
        fresh = tuple(
            Output(columns[i], each.trace) if i < len(columns) else each for i, each in enumerate(self.columns)
        )
        return evolve(self, name=name, columns=fresh, schema="")


@frozen
class Item:
    """A FROM item: the sources that qualified names see, and the columns that C{*} gives (None: not known)."""

    sources: tuple[Source, ...]
    star: tuple[Output, ...] | None

    @classmethod
    def of(cls, source: Source) -> Item:
        return cls((source,), source.columns if source.rest is None else None)


@frozen
class Scope:
    """The names an expression sees: its query's FROM items, then those of the queries around it.

    @ivar ctes: what WITH names mean here.
    @ivar functions: names of users' functions, which C{row.name} may call.
    """

    items: tuple[Item, ...] = ()
    outer: Scope | None = None
    ctes: Mapping[str, Source] = field(factory=dict, repr=False)
    functions: frozenset[str] = field(default=frozenset(), repr=False)

    def within(self, ctes: Mapping[str, Source] | None = None) -> Scope:
        """The empty scope of a query inside this one."""
        return Scope((), self, self.ctes if ctes is None else ctes, self.functions)

    def beside(self) -> Scope:
        """The empty scope of a FROM item that does not see the others (not LATERAL)."""
        return Scope((), self.outer, self.ctes, self.functions)

    def plus(self, *items: Item) -> Scope:
        return evolve(self, items=self.items + items)

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(source for item in self.items for source in item.sources)

    @property
    def star(self) -> tuple[Output, ...] | None:
        """What C{*} stands for; None if not known."""
        out: list[Output] = []
        for item in self.items:
            if item.star is None:
                return None
            out.extend(item.star)
        return tuple(out)

    @property
    def everything(self) -> Trace:
        """All that an expression here can see."""
        traces = []
        level: Scope | None = self
        while level is not None:
            traces += [source.whole for source in level.sources]
            level = level.outer
        return union(traces)

    def column(self, name: str) -> Trace:
        """The trace of an unqualified name: a column here or further out, else a whole row."""
        level: Scope | None = self
        possible: list[Trace] = []
        while level is not None:
            sources = level.sources
            possible += [source.other for source in sources if source.other is not None]
            sure = [trace for trace in (source.named(name) for source in sources) if trace is not None]
            if sure:
                return union([*possible, *sure])
            # a source with columns of unknown names may have it or not: what lies further out counts as well
            level = level.outer
        row = self.source(name)
        if row is not None:
            possible.append(row.whole | DERIVED if row.whole else CLEAR)
        return union(possible) if possible else UNKNOWN | self.everything

    def source(self, name: str, schema: str = "") -> Source | None:
        level: Scope | None = self
        while level is not None:
            for source in level.sources:
                if source.name == name and (not schema or source.schema == schema):
                    return source
            level = level.outer
        return None

    def qualified(self, path: Sequence[str]) -> Trace:
        """The trace of C{table.column}, C{schema.table.column}, or C{row.function}."""
        source = self.source(path[-2], path[-3] if len(path) > 2 else "")
        if source is None:
            return UNKNOWN | self.everything
        found = source.named(path[-1])
        if found is not None:
            return found
        # attribute notation may call a function on the whole row (manual, section 8.16.5)
        called = OPAQUE if path[-1] in self.functions else CLEAR
        if source.other is not None:
            return source.other | called
        return source.whole | DERIVED | called | (CLEAR if path[-1] in HARMLESS else UNKNOWN)

    def starred(self, path: Sequence[str]) -> tuple[tuple[Output, ...] | None, Trace]:
        """What C{table.*} stands for (None: not known), and its trace."""
        source = self.source(path[-1], path[-2] if len(path) > 1 else "")
        if source is None:
            return None, UNKNOWN | self.everything
        return (source.columns if source.rest is None else None), source.whole
