"""One recording that is followed: read along, sealed in segments, and what is sealed hashed again; broker only.

Which recordings there are, when each is looked at, and their beginning and end are L{hoopd.audit.sealing}; how bytes are
read and compared is L{hoopd.audit.tail}. A segment is on disk before its leaf is in the ledger.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import Factory, define
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThread

from hoopd.audit.durable import InThread
from hoopd.audit.seals import Sealed, Segment
from hoopd.audit.tail import Tail, Tampered, hash_range
from hoopd.config.schema import AuditConfig


@define(eq=False)
class Sealing:
    """What sealing takes and whom it tells; one for all recordings. Parameters as in L{hoopd.audit.sealing.Recordings}."""

    ledger: Any
    config: AuditConfig
    clock: Any
    event: Callable[[str, dict[str, Any]], None]
    tampered: Callable[[str, str], None]
    sealed: Callable[[str, int, bool], None]
    in_thread: InThread = deferToThread
    system: Any = os

    def report(self, sealed: Sealed, found: Tampered) -> None:
        """Tell the log and the ledger of what is not as it was sealed."""
        fields = {"session": sealed.session, "what": found.what, "offset": found.offset, "detail": found.detail}
        self.event("audit.tamper", dict(fields))
        self.ledger.append("tamper", fields).addErrback(self.unwritable, sealed.session, "tamper leaf")

    def unwritable(self, failure: Any, session: str, what: str) -> None:
        """An errback: something of the record could not be written, and is tried again by whoever wrote it."""
        self.event("audit.unwritable", {"session": session, "what": what, "why": failure.getErrorMessage()})


@define(eq=False)
class Followed:
    """
    @ivar waiting: segments taken from the tail whose leaves are not in the ledger yet.
    @ivar since: when the oldest unsealed frame was seen, in the clock's seconds.
    @ivar lock: one at a time: sealing, hashing again, closing.
    """

    sealed: Sealed
    tail: Tail
    by: Sealing
    waiting: deque[Segment] = Factory(deque)
    since: float | None = None
    broken: bool = False
    closing: bool = False
    lock: DeferredLock = Factory(DeferredLock)
    sealing: bool = False
    _sample: int = 0

    @property
    def quiet(self) -> bool:
        """Whether it is followed no further: it is not what was sealed, or it is being closed."""
        return self.broken or self.closing

    def advance(self, limit: int) -> int:
        """Read on. @return: bytes read, C{limit} at most."""
        if self.quiet:
            return 0
        try:
            read = self.tail.advance(limit)
        except Tampered as found:
            self.tampered(found)
            return 0
        except OSError as error:
            self.tampered(Tampered("unreadable", self.tail.hashed, str(error)))
            return 0
        if self.since is None and self.tail.unsealed:
            self.since = self.by.clock.seconds()
        return read

    @property
    def due(self) -> bool:
        """Whether a segment is to be sealed now."""
        if self.sealing:
            return False
        if self.tail.unsealed >= self.by.config.segment_bytes:
            return True
        return self.since is not None and self.by.clock.seconds() - self.since >= self.by.config.segment_every

    def seal(self) -> Deferred[None]:
        """Seal what was read. @return: Deferred of None; that the ledger did not take it is told, and tried again"""
        self.sealing = True
        taken = self.tail.take()
        self.since = None
        if taken is not None:
            self.waiting.append(taken)
        done = self.lock.run(lambda: Deferred.fromCoroutine(self._put())).addBoth(self._sealed)
        return done.addErrback(self.by.unwritable, self.sealed.session, "ledger")

    def _sealed(self, result: Any) -> Any:
        self.sealing = False
        if self.waiting and self.since is None:
            self.since = self.by.clock.seconds()  # again after another segment_every
        return result

    async def _put(self) -> None:
        if not self.waiting or self.closing:
            return
        session, by = self.sealed.session, self.by
        try:
            await by.in_thread(by.system.fdatasync, self.tail.fd)
        except OSError as error:
            self.tampered(Tampered("not on disk", self.sealed.end, str(error)))
            return
        while self.waiting:
            segment = self.waiting[0]
            leaf = await by.ledger.append("segment", segment.fields(session))
            self.waiting.popleft()
            self.sealed.segments.append(segment)
            by.sealed(session, segment.end, False)
            by.event(
                "audit.sealed",
                {
                    "session": session,
                    "segment": segment.number,
                    "bytes": segment.length,
                    "first": segment.first,
                    "last": segment.last,
                    "leaf": leaf,
                },
            )

    def look_again(self) -> None:
        """Hash one sealed segment again: in time every one."""
        if self.sealed.segments and not (self.sealing or self.quiet):
            self._sample = (self._sample + 1) % len(self.sealed.segments)
            again = self.lock.run(self._compare, self.sealed.segments[self._sample])
            again.addErrback(self.by.unwritable, self.sealed.session, "ledger")

    def _compare(self, segment: Segment) -> Deferred[None]:
        async def compare() -> None:
            if self.closing:
                return
            by = self.by
            found = await by.in_thread(hash_range, self.tail.fd, segment.offset, segment.length, by.system)
            if found != segment.sha256:
                raise Tampered("changed", segment.offset, f"segment {segment.number} is not what was sealed")

        def changed(failure: Any) -> None:
            self.tampered(failure.trap(Tampered) and failure.value)

        return Deferred.fromCoroutine(compare()).addErrback(changed)

    def tampered(self, found: Tampered) -> None:
        """It is not what was sealed: told once, and the session ends."""
        if self.broken:
            return
        self.broken = True
        self.by.report(self.sealed, found)
        self.by.tampered(self.sealed.session, f"its recording was tampered with: {found}")
