"""Opening, following, sealing and closing recordings: the broker's side; the worker writes (L{hoopd.audit.recorder}).

The worker has an appending descriptor, which confines it to one file but not to appending. So the broker reads along
four times a second, hashes whole frames, and puts the hash of each segment into the ledger. What is sealed cannot be
changed unnoticed; what was written since the last seal, 1 MiB or 10 s at most by default, is the stated exposure.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from hoopd.audit import closing, recording, seals
from hoopd.audit.durable import InThread
from hoopd.audit.seals import SUFFIX, Sealed
from hoopd.audit.segments import Followed, Sealing
from hoopd.audit.tail import Tail, Tampered
from hoopd.config.schema import AuditConfig
from hoopd.errors import RecordError, Unavailable

#: pause between two looks at every open recording, seconds
LOOK = 0.25
#: Bytes read of one recording, and of all, before the reactor does something else: 4 MiB are read, hashed and parsed
#: in about 20 ms. A worker that floods its file delays only its own seals.
READ_MAX = 256 * 1024
TURN_MAX = 4 * 1024 * 1024
#: every so many looks one sealed segment of one recording is hashed again
SAMPLE_LOOKS = 4
#: pause before the end of a session that the ledger did not take is tried again, seconds
RETRY = 10.0

_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


class Recordings:
    """
    @param directory: of all recordings; made with mode 0700.
    @param ledger: L{hoopd.audit.ledger.Ledger}, started.
    @param config: when a segment is sealed.
    @param clock: IReactorTime, whose seconds are seconds since the epoch.
    @param event: takes an event's name and fields.
    @param sealed: called with a session's id, up to which byte its recording is sealed, and whether that is all of it.
    @param tampered: called with a session's id and why when its recording can be relied on no longer: end it.
    @param system: functions of the C{os} module.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        ledger: Any,
        config: AuditConfig,
        clock: Any,
        event: Callable[[str, dict[str, Any]], None] = lambda name, fields: None,
        tampered: Callable[[str, str], None] = lambda session, why: None,
        in_thread: InThread = deferToThread,
        system: Any = os,
        sealed: Callable[[str, int, bool], None] = lambda session, end, closed: None,
    ) -> None:
        self.directory = Path(directory)
        self._ledger = ledger
        self._clock = clock
        self._event = event
        self._in_thread = in_thread
        self._system = system
        self._sealing = Sealing(ledger, config, clock, event, tampered, sealed, in_thread, system)
        self._open: dict[str, Followed] = {}
        #: open according to the ledger, and not followed: from before this broker started
        self._left: dict[str, Sealed] = {}
        self._order: deque[str] = deque()
        self._looks = 0
        self._timer: Any = None
        self._more: Any = None
        self._retries: dict[str, Any] = {}

    # -- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to follow recordings."""
        self._timer = self._clock.callLater(LOOK, self._look)

    def stop(self) -> Deferred[None]:
        """Seal what there is and let go; sessions that live go on under the next broker. @return: Deferred of None"""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for timer in (self._timer, self._more, *self._retries.values()):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._more = None
        self._retries.clear()
        for one in list(self._open.values()):
            one.advance(TURN_MAX)
            # a ledger that takes nothing now: the next broker seals it
            await one.seal()
            await one.lock.acquire()
            self._system.close(one.tail.fd)
        self._open.clear()

    def name(self, session: str) -> str:
        """Path of a recording below the directory. @raise KeyError: it is not open."""
        found = self._open.get(session)
        return found.sealed.path if found is not None else self._left[session].path

    # -- opening -----------------------------------------------------------------------------------------------

    def open(self, session: str, header: Mapping[str, Any]) -> Deferred[int]:
        """Make the recording of a new session, on disk and in the ledger.

        @param header: fields of the C{open} frame besides the session.
        @return: Deferred of a descriptor open for appending, whose owner the caller becomes.
        @raise hoopd.errors.RecordError: it cannot be made: the session must not begin.
        """
        return Deferred.fromCoroutine(self._opening(session, header))

    async def _opening(self, session: str, header: Mapping[str, Any]) -> int:
        if not _SESSION.fullmatch(session):
            raise ValueError(f"{session!r} is no session id")
        now = self._clock.seconds()
        day = datetime.fromtimestamp(now, UTC).strftime("%Y/%m/%d")
        relative = f"{day}/{session}{SUFFIX}"
        frame, _ = recording.encode(0, int(now * 1e6), 0, "open", {"session": session, **header})
        content = recording.file_header(session) + frame
        path = self.directory / relative
        try:
            reading, writing = await self._in_thread(closing.create, self.directory, path, content, self._system)
        except OSError as error:
            self._event("audit.unwritable", {"session": session, "what": "recording", "why": str(error)})
            raise RecordError(f"no recording can be made: {error.strerror or error}") from error
        try:
            public = {
                name: header.get(name) for name in ("identity", "kind", "act", "target", "protocol", "peer", "policy")
            }
            await self._ledger.append("session-opened", {"session": session, "path": relative, **public})
        except BaseException:
            self._system.close(reading)
            self._system.close(writing)
            # without a leaf it is no session, and the verifier would ask where its leaf is
            await self._in_thread(self._system.unlink, path)
            raise
        self._follow(Followed(Sealed(session, relative, now), Tail(reading, self._system), self._sealing))
        return int(writing)

    def _follow(self, one: Followed) -> None:
        self._open[one.sealed.session] = one
        self._order.append(one.sealed.session)

    # -- following ---------------------------------------------------------------------------------------------

    def _look(self) -> None:
        self._timer = self._clock.callLater(LOOK, self._look)
        self._looks += 1
        if self._looks % SAMPLE_LOOKS == 0 and self._order:
            self._open[self._order[0]].look_again()
        self._turn()

    def _turn(self) -> None:
        """Read a bounded amount, each recording its share; come back at once while there is more."""
        if self._more is not None and self._more.active():
            self._more.cancel()
        self._more = None
        budget = TURN_MAX
        more = False
        for _ in range(len(self._order)):
            if budget <= 0:
                more = True
                break
            session = self._order[0]
            self._order.rotate(-1)
            one = self._open[session]
            if one.quiet:
                continue
            read = one.advance(min(READ_MAX, budget))
            budget -= read
            more = more or read == READ_MAX
            if one.due:
                one.seal()
        if more:
            self._more = self._clock.callLater(0, self._turn)

    # -- closing -----------------------------------------------------------------------------------------------

    def close(self, session: str, why: str) -> Deferred[None]:
        """The session is over: read and compare the whole recording, mark a torn tail, seal the rest.

        @return: Deferred of None once the last leaf is in the ledger; at once for a session that is not open.
        @raise hoopd.errors.RecordError: the ledger did not take it; tried again until it does.
        """
        return Deferred.fromCoroutine(self._close(session, why))

    async def _close(self, session: str, why: str) -> None:
        one = self._open.get(session)
        if one is not None:
            if one.closing:
                return
            one.closing = True
            await one.lock.acquire()
            del self._open[session]
            self._order.remove(session)
            self._system.close(one.tail.fd)
            self._left[session] = one.sealed
        if session in self._left:
            await self._finish(self._left[session], why)

    async def _finish(self, sealed: Sealed, why: str) -> None:
        try:
            end = await self._in_thread(
                closing.finish,
                self.directory / sealed.path,
                tuple(sealed.segments),
                why,
                self._clock.seconds(),
                self._system,
            )
            for found in end.tampered:
                self._sealing.report(sealed, found)
            if end.torn:
                self._event("audit.torn", {"session": sealed.session, "offset": end.size - end.torn, "bytes": end.torn})
            if end.rest is not None:
                await self._ledger.append("segment", end.rest.fields(sealed.session))
                sealed.segments.append(end.rest)
            await self._ledger.append("session-closed", end.fields(sealed.session, why, len(sealed.segments)))
            self._sealing.sealed(sealed.session, sealed.end, True)
        except (RecordError, OSError) as error:
            self._event("audit.unwritable", {"session": sealed.session, "what": "seal", "why": str(error)})
            self._retries[sealed.session] = self._clock.callLater(RETRY, self._retry, sealed.session, why)
            raise
        self._left.pop(sealed.session, None)
        self._retries.pop(sealed.session, None)

    def _retry(self, session: str, why: str) -> None:
        self._retries.pop(session, None)
        # a failure is told as an event and arms the next try itself
        self.close(session, why).addErrback(lambda failure: failure.trap(RecordError, OSError) and None)

    # -- after a restart ---------------------------------------------------------------------------------------

    def recover(self, live: Collection[str] = ()) -> Deferred[list[str]]:
        """Read from the ledger what the broker before us left open, and finish what nobody will resume.

        @param live: sessions that a worker may still resume: L{adopt} or L{close} each of them.
        @return: Deferred of the sessions that were finished.
        """
        return Deferred.fromCoroutine(self._recover(frozenset(live)))

    async def _recover(self, live: frozenset[str]) -> list[str]:
        def read() -> tuple[dict[str, Sealed], float]:
            last = 0.0
            leaves = []
            for leaf in self._ledger.read():
                leaves.append(leaf)
                last = max(last, leaf.at)
            return seals.fold(leaves)[0], last

        known, last = await self._in_thread(read)
        self._left = {session: sealed for session, sealed in known.items() if sealed.closed is None}
        paths = {sealed.path for sealed in known.values()}
        for path in await self._in_thread(closing.strays, self.directory, paths, last, SUFFIX):
            session = Path(path).name.removesuffix(SUFFIX)
            # made, and not yet in the ledger when the broker died: its worker never got it
            await self._ledger.append("session-opened", {"session": session, "path": path})
            self._left[session] = Sealed(session, path, self._clock.seconds())
        finished = []
        for session, sealed in list(self._left.items()):
            if session not in live:
                try:
                    await self._finish(sealed, "the gateway stopped before the session was closed")
                except (RecordError, OSError):
                    continue  # told and to be tried again; the sessions that live must not wait for it
                self._event("audit.recovered", {"session": session, "path": sealed.path, "why": "left open"})
                finished.append(session)
        return finished

    def adopt(self, session: str) -> Deferred[None]:
        """Follow on where the broker before us stopped: a worker resumed this session.

        @return: Deferred of None. A recording that is not what was sealed is reported as tampered with.
        @raise hoopd.errors.Unavailable: no such recording is open.
        """
        return Deferred.fromCoroutine(self._adopt(session))

    async def _adopt(self, session: str) -> None:
        if session in self._open:
            return
        sealed = self._left.pop(session, None)
        if sealed is None:
            raise Unavailable(f"no recording of {session} is open")
        try:
            fd = self._system.open(self.directory / sealed.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            self._left[session] = sealed
            self._sealing.report(sealed, Tampered("vanished", 0, str(error)))
            raise Unavailable(f"the recording of {session} is gone") from error
        one = Followed(sealed, Tail(fd, self._system), self._sealing)
        found: Tampered | None = None
        try:
            await self._in_thread(one.tail.rebuild, tuple(sealed.segments))
        except Tampered as error:
            found = error
        except OSError as error:
            found = Tampered("unreadable", 0, str(error))
        self._follow(one)
        if found is not None:
            one.tampered(found)
