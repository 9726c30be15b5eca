"""The settings that a statement's meaning depends on, followed through SET LOCAL, savepoints, commit and rollback.

Pure values. Not what each SET says (L{hoopd.sql.changes}), nor when the server agreed: whoever calls L{Variables.after}
knows that it did. The rules are those of PostgreSQL's guc.c: SET lasts if its transaction commits, SET LOCAL to the end of
the transaction, and both end when the savepoint before them is rolled back to.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, field, frozen

#: what changes how a text is read, or what its names mean
FOLLOWED = frozenset({"search_path", "role", "client_encoding", "standard_conforming_strings"})

#: savepoints that are told apart; JDBC's autosave makes one with each statement and releases none
LEVELS = 1000


@frozen
class Effect:
    """What a successful run changes in the session.

    @ivar kind: transaction words (C{begin commit rollback savepoint release rollback-to}), C{set}, C{reset}, C{show},
        C{ddl}, C{temporary}, C{discard}, C{prepare}, C{deallocate}, C{declare}, C{close}.
    @ivar value: of C{set} other settings than C{search_path}, whose names are in C{path}; C{chain} of C{commit} and
        C{rollback}; C{hold} of C{declare}.
    @ivar local: of C{set} and C{reset}: to the end of the transaction only.
    """

    kind: str
    name: str | None = None
    value: str | None = None
    path: tuple[str, ...] | None = None
    local: bool = False


@frozen
class _Level:
    """One transaction or savepoint: what was set since it began, to last and to end with the transaction."""

    savepoint: str = ""
    lasting: tuple[tuple[str, object], ...] = ()
    local: tuple[tuple[str, object], ...] = ()

    def find(self, name: str) -> tuple[object] | None:
        for values in (self.local, self.lasting):
            for each, value in values:
                if each == name:
                    return (value,)
        return None


def _put(values: tuple[tuple[str, object], ...], name: str, value: object) -> tuple[tuple[str, object], ...]:
    return tuple(sorted([*_without(values, name), (name, value)], key=lambda pair: pair[0]))


def _without(values: tuple[tuple[str, object], ...], name: str) -> tuple[tuple[str, object], ...]:
    return tuple(pair for pair in values if pair[0] != name)


def _merged(below: _Level, top: _Level) -> _Level:
    for name, value in top.lasting:
        below = evolve(below, lasting=_put(below.lasting, name, value), local=_without(below.local, name))
    for name, value in top.local:
        below = evolve(below, local=_put(below.local, name, value))
    return below


@frozen
class Variables:
    """One session's followed settings.

    @ivar levels: the open transaction and its savepoints; empty outside.
    """

    committed: tuple[tuple[str, object], ...] = ()
    levels: tuple[_Level, ...] = field(default=())

    @property
    def touched(self) -> bool:
        """Whether the end of a transaction, or of a part of it, would change a value."""
        return any(level.lasting or level.local for level in self.levels)

    @property
    def plain(self) -> Variables:
        """The same for judging a text: levels that hold nothing do not tell sessions apart."""
        return self if self.touched else Variables(self.committed)

    def get(self, name: str) -> object:
        """The present value; None is what the session began with."""
        for level in reversed(self.levels):
            found = level.find(name)
            if found is not None:
                return found[0]
        return next((value for each, value in self.committed if each == name), None)

    def after(self, effect: Effect | None) -> Variables:
        """What a successful run of a statement makes of them.

        @raise LookupError: it goes back to a savepoint that is not known, over values that were set
        """
        if effect is None:
            return self
        if effect.kind in ("set", "reset"):
            return self._set(effect)
        if effect.kind == "discard" and effect.name == "all":
            return Variables(())
        moved = _TRANSACTIONS.get(effect.kind)
        found = moved(self, effect.name or "") if moved is not None else self
        # COMMIT AND CHAIN
        return found.begun() if effect.value == "chain" else found

    def _set(self, effect: Effect) -> Variables:
        names = [effect.name] if effect.name is not None else sorted(FOLLOWED - {"role"})  # RESET ALL leaves the role
        value: object = None if effect.kind == "reset" else effect.path if effect.path is not None else effect.value
        found = self
        for name in names:
            if name in FOLLOWED:
                found = found._put(str(name), value, effect.local)
        return found

    def _put(self, name: str, value: object, local: bool) -> Variables:
        # outside a transaction block the statement, or what was sent with it, is a transaction of its own
        levels = self.levels or (_Level(),)
        top = levels[-1]
        if local:
            top = evolve(top, local=_put(top.local, name, value))
        else:
            top = evolve(top, lasting=_put(top.lasting, name, value), local=_without(top.local, name))
        return evolve(self, levels=(*levels[:-1], top))

    def begun(self, _: str = "") -> Variables:
        """A transaction block begins; what was sent with it before is part of it."""
        return self if self.levels else evolve(self, levels=(_Level(),))

    def ended(self, committed: bool) -> Variables:
        """The transaction is over."""
        if not committed:
            return Variables(self.committed)
        merged = self
        while len(merged.levels) > 1:
            merged = merged._merge()
        kept = merged.committed
        for level in merged.levels:
            for name, value in level.lasting:
                kept = _put(kept, name, value) if value is not None else _without(kept, name)
        return Variables(kept)

    def saved(self, name: str) -> Variables:
        levels = self.levels or (_Level(),)
        if len(levels) > LEVELS:
            # the oldest savepoint is not told from what is around it any more
            levels = (_merged(levels[0], levels[1]), *levels[2:])
        return evolve(self, levels=(*levels, _Level(name)))

    def _merge(self) -> Variables:
        """The last level becomes part of the one below."""
        *rest, below, top = self.levels
        return evolve(self, levels=(*rest, _merged(below, top)))

    def released(self, name: str) -> Variables:
        found = self
        for _ in range(len(self.levels) - self._index(name)):
            found = found._merge()
        return found

    def rolled_back_to(self, name: str) -> Variables:
        at = self._index(name)
        return evolve(self, levels=(*self.levels[:at], _Level(name))) if at < len(self.levels) else self

    def _index(self, name: str) -> int:
        """Where the savepoint is; behind all levels where it is not known and nothing is at stake."""
        for at in range(len(self.levels) - 1, 0, -1):
            if self.levels[at].savepoint == name:
                return at
        if self.touched:
            raise LookupError(name)
        return len(self.levels)


_TRANSACTIONS = {
    "begin": Variables.begun,
    "commit": lambda variables, _: variables.ended(True),
    "rollback": lambda variables, _: variables.ended(False),
    "savepoint": Variables.saved,
    "release": Variables.released,
    "rollback-to": Variables.rolled_back_to,
}


def path_of(text: str) -> tuple[str, ...] | None:
    """Names in a list as C{search_path} has it, or None where the server would not read it.

    Specification: SplitIdentifierString of varlena.c: names are folded unless quoted, and cut at 63 bytes.
    """
    names: list[str] = []
    at, size = 0, len(text)
    while True:
        while at < size and text[at] in " \t\n\r\f\v":
            at += 1
        if at >= size:
            return () if not names else None
        if text[at] == '"':
            name, at = "", at + 1
            while True:
                end = text.find('"', at)
                if end < 0:
                    return None
                name += text[at:end]
                at = end + 1
                if text[at : at + 1] != '"':
                    break
                name += '"'
                at += 1
        else:
            begin = at
            while at < size and text[at] not in ", \t\n\r\f\v":
                at += 1
            name = text[begin:at]
            if not name or not name.isascii():
                return None  # folding beyond ASCII depends on the server's locale
            name = name.lower()
        if not name or len(name.encode()) > 63:
            return None
        names.append(name)
        while at < size and text[at] in " \t\n\r\f\v":
            at += 1
        if at >= size:
            return tuple(names)
        if text[at] != ",":
            return None
        at += 1


def effective(names: tuple[str, ...], role: str, usable: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """The schemas that unqualified names are looked up in.

    @param usable: role to the schemas that it may use: the server passes over the others
    """
    own = usable.get(role, frozenset())
    found = []
    for each in names:
        schema = role if each == "$user" else each
        if schema in own and schema not in found:
            found.append(schema)
    return tuple(found)
