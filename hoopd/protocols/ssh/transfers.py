"""What went through of one file: how much, which parts, and the hash of what came in its order from the beginning; pure.

Pieces may come in any order (clients ask for many at once): those that come early wait for what is before them, within a bound.
Where they never come so there is no hash, and the record says which parts went instead. Contents are never in the record.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from typing import Any, Literal

from attrs import Factory, define

from hoopd.display import visible

#: what came early waits in memory, so much of one channel's files together: as a window. OpenSSH's server answers in order; others
#: hand out of order what they read at once
AHEAD_MAX = 2 * 1024 * 1024
AHEAD_PIECES = 1024
#: parts of one file that are told apart
RANGES_MAX = 64


@define(eq=False)
class Ahead:
    """What the files of one channel have waiting. @ivar octets, pieces: how much"""

    octets: int = 0
    pieces: int = 0

    def takes(self, octets: int) -> bool:
        """Make room for a piece, if there is any."""
        if self.octets + octets > AHEAD_MAX or self.pieces >= AHEAD_PIECES:
            return False
        self.octets += octets
        self.pieces += 1
        return True

    def gives(self, octets: int) -> None:
        self.octets -= octets
        self.pieces -= 1


@define(eq=False)
class Transfer:
    """One way of one opened file.

    @ivar path: at the target, for people.
    @ivar began: when it was opened, by the session's clock.
    @ivar fresh: an upload into a file that was empty when it began.
    @ivar name: what its sender called it, where the path may be that of a directory.
    """

    operation: int
    direction: Literal["download", "upload"]
    via: str
    path: str
    began: float
    fresh: bool = False
    name: str = ""
    ahead: Ahead = Factory(Ahead)
    octets: int = 0
    _digest: Any = Factory(hashlib.sha256)
    _hashed: int = 0
    _early: dict[int, bytes] = Factory(dict)
    _ranges: list[tuple[int, int]] | None = Factory(list)
    _ends: int | None = None

    def moved(self, offset: int, piece: bytes | memoryview) -> None:
        """A piece went through."""
        size = len(piece)
        self.octets += size
        self._cover(offset, offset + size)
        if self._digest is None or not size:
            return
        if offset == self._hashed and not self._early:
            self._digest.update(piece)
            self._hashed += size
            return
        if offset < self._hashed and self.direction == "upload":
            # what was hashed is written over
            self.spoilt()
            return
        if offset + size <= self._hashed:
            return
        if offset in self._early or not self.ahead.takes(size):
            self.spoilt()
            return
        self._early[offset] = bytes(piece)
        self._catch_up()

    def _catch_up(self) -> None:
        while self._early:
            offset = min(self._early)
            if offset > self._hashed:
                return
            piece = self._early.pop(offset)
            self.ahead.gives(len(piece))
            if offset < self._hashed and self.direction == "upload":
                self.spoilt()
                return
            piece = piece[self._hashed - offset :]
            self._digest.update(piece)
            self._hashed += len(piece)

    def spoilt(self) -> None:
        """What the file holds is not told by what went through in order."""
        self._digest = None
        self.let_go()
        self.fresh = False

    def let_go(self) -> None:
        """What waits need not wait any more."""
        for piece in self._early.values():
            self.ahead.gives(len(piece))
        self._early.clear()

    def unplaced(self) -> None:
        """More was written than went through: the target copied it there."""
        self.spoilt()
        self._ranges = None

    def ended(self, offset: int) -> None:
        """The target says that nothing is at C{offset}: the file ends there, or before."""
        self._ends = offset if self._ends is None else min(self._ends, offset)

    def _cover(self, start: int, end: int) -> None:
        ranges = self._ranges
        if ranges is None or start == end:
            return
        if ranges and ranges[-1][1] == start:
            ranges[-1] = (ranges[-1][0], end)
            return
        place = bisect_right(ranges, (start, end))
        ranges.insert(place, (start, end))
        merged: list[tuple[int, int]] = []
        for first, last in ranges:
            if merged and first <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
            else:
                merged.append((first, last))
        self._ranges = merged if len(merged) <= RANGES_MAX else None

    @property
    def sequential(self) -> bool:
        """All that went is hashed, from the beginning."""
        return self._digest is not None and not self._early

    @property
    def whole(self) -> bool:
        """All of the file went."""
        if not self.sequential:
            return False
        return self.fresh if self.direction == "upload" else self._ends == self._hashed

    def fields(self, tag: str, now: float, good: bool = True) -> dict[str, Any]:
        """Its frame of the record. @param good: it was ended as it should be"""
        whole = good and self.whole
        return {
            "operation": self.operation,
            "direction": self.direction,
            "via": self.via,
            "path": self.path,
            **({"name": self.name} if self.name else {}),
            "bytes": self.octets,
            "sha256": self._digest.hexdigest() if self.sequential else None,
            "whole": whole,
            **({} if whole or self._ranges is None else {"ranges": [list(each) for each in self._ranges]}),
            "tag": tag,
            "duration": round(now - self.began, 6),
        }


def told(route: Any, transfer: Transfer, tag: str, now: float, approval: str | None, good: bool) -> None:
    """Record a transfer that is over, and log it. @raise RecordError"""
    fields = transfer.fields(visible(tag), now, good)
    transfer.let_go()
    route.record("transfer", fields)
    public = {name: value for name, value in fields.items() if name not in ("duration", "ranges")}
    route.event("transfer.finished", {**public, "seconds": fields["duration"], "approval": approval})
