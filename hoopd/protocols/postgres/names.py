"""Named statements and portals, as the server will know them when it reads each message; not their content.

After an error the server skips messages until Sync, so what a name means is certain only when the server has
answered. Within one pipeline segment (up to Sync) the client's order may be believed: if something before failed, what
follows is skipped too. A name changed in an earlier segment and not yet answered is L{UNSETTLED}: whoever asks waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Generic, TypeVar

from attrs import define

V = TypeVar("V")


class _Unsettled(Enum):
    UNSETTLED = "unsettled"


UNSETTLED = _Unsettled.UNSETTLED


@define(eq=False)
class Change(Generic[V]):
    """A name that will mean C{value} (None: nothing) once the server has agreed."""

    names: Namespace[V]
    name: bytes
    segment: int
    value: V | None

    def settle(self, agreed: bool) -> None:
        """The server answered, or skipped it; called in the order of proposals."""
        self.names._settle(self, agreed)


#: the server keeps so many bytes of a name (NAMEDATALEN of pg_config_manual.h): longer ones with the same beginning are one
NAME_MAX = 63


class Namespace(Generic[V]):
    """One session's statements, or its portals.

    @param limit: names a session may have; drivers' caches hold some hundreds.
    """

    def __init__(self, limit: int = 5000) -> None:
        self._limit = limit
        self._known: dict[bytes, V] = {}
        self._pending: dict[bytes, deque[Change[V]]] = {}

    @property
    def full(self) -> bool:
        return len(self._known) + len(self._pending) >= self._limit

    def propose(self, name: bytes, value: V | None, segment: int) -> Change[V]:
        """C{value} was sent under C{name}."""
        name = name[:NAME_MAX]
        change = Change(self, name, segment, value)
        self._pending.setdefault(name, deque()).append(change)
        return change

    def find(self, name: bytes, segment: int) -> V | _Unsettled | None:
        """What C{name} will mean to a message of C{segment} sent now, if the server reads it at all."""
        name = name[:NAME_MAX]
        pending = self._pending.get(name)
        if not pending:
            return self._known.get(name)
        last = pending[-1]
        return last.value if last.segment == segment else UNSETTLED

    def _settle(self, change: Change[V], agreed: bool) -> None:
        pending = self._pending.get(change.name)
        if pending and change in pending:
            pending.remove(change)
            if not pending:
                del self._pending[change.name]
        if agreed:
            if change.value is None:
                self._known.pop(change.name, None)
            else:
                self._known[change.name] = change.value

    def define(self, name: bytes, value: V | None) -> None:
        """The server has said that C{name} means C{value} now (None: nothing)."""
        if value is None:
            self._known.pop(name[:NAME_MAX], None)
        elif name[:NAME_MAX] in self._known or not self.full:
            self._known[name[:NAME_MAX]] = value

    def forget(self, name: bytes) -> None:
        """The server may have dropped C{name} by other means: it is unknown until it is proposed again."""
        name = name[:NAME_MAX]
        self._known.pop(name, None)
        for change in self._pending.get(name, ()):
            change.value = None

    def keep_known(self, keep: Callable[[V], bool]) -> None:
        """Of everything answered so far only this is left (cursors WITH HOLD at the end of a transaction)."""
        if self._known:
            self._known = {name: value for name, value in self._known.items() if keep(value)}
