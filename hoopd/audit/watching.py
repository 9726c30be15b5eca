"""Watching sessions that run: what their recordings grow by, piece after piece, to people entitled; broker only.

Not who is entitled (L{hoopd.administration}), nor how it looks (L{hoopd.audit.live}). What is shown is the recording, masked as it is.
The session and its worker are not touched: who watches slowly is behind, and nobody else. That somebody begins to watch is in the
ledger before they see anything, and so is the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from hoopd.errors import Denied, HoopdError, Unavailable
from hoopd.values import Identity, SessionSummary

#: bytes of one answer; whoever is behind asks again
PIECE = 256 * 1024
#: seconds between looks at a recording that somebody waits for: with the way there, it is shown within a quarter of a second
LOOK = 0.1
#: seconds that a question waits for something new; less than a broker that leaves gives its questions (5 s)
WAIT = 4.0
#: seconds without a question after which who watched is taken to be gone
LAPSE = 15.0
#: of one person, and of all: each costs a look at a file every L{LOOK}, and a connection of control's
OF_ONE, OF_ALL = 4, 32


@define(eq=False)
class Watch:
    """
    @ivar who: who watches, as they were proven last.
    @ivar shown: file offset up to which they have it.
    @ivar why: why nothing more is shown, or empty.
    @ivar lapse: the call that takes them to be gone.
    @ivar next: when their next question is answered at the earliest: what comes in small pieces is told together.
    """

    id: str
    who: Identity
    session: str
    path: str
    began: float
    shown: int = 0
    why: str = ""
    lapse: Any = None
    next: float = 0.0


@define(eq=False)
class Watches:
    """
    @ivar views: L{hoopd.audit.views.Views}.
    @ivar live: C{(session id) -> bool}: it runs, as far as memory knows; asked before C{find} is.
    @ivar find: C{(session id) -> Deferred of SessionSummary}; fails with KeyError.
    @ivar recordings: directory that summaries name recordings in.
    @ivar clock: IReactorTime, seconds since the epoch.
    """

    views: Any
    live: Callable[[str], bool]
    find: Callable[[str], Deferred[SessionSummary]]
    recordings: str
    clock: Any
    new_id: Callable[[], str]
    _open: dict[str, Watch] = field(factory=dict, init=False)
    log = Logger()

    async def begin(self, who: Identity, session: SessionSummary) -> Mapping[str, Any]:
        """C{who}, who is entitled, begins to watch.

        @return: C{watch}, its id; and C{size}: bytes that there are already
        @raise ValueError: it is over, or its recording is not here. @raise Denied: too many are watched.
        @raise RecordError: it cannot be recorded.
        """
        if session.ended_at is not None:
            raise ValueError(f"{session.id} is over: hoopctl sessions replay {session.id}")
        path = os.path.join(self.recordings, session.recording)
        size = _size(path)
        if size is None:
            raise ValueError(f"the recording of {session.id} is not on this gateway")
        mine = [each for each in self._open.values() if each.who.name == who.name]
        if len(mine) >= OF_ONE or len(self._open) >= OF_ALL:
            raise Denied(
                "too many sessions are watched at once",
                hint=f"{OF_ONE} by one person, {OF_ALL} by all; what is left without a word is over in {LAPSE:.0f} s",
            )
        watch = Watch(self.new_id(), who, session.id, path, self.clock.seconds())
        self._open[watch.id] = watch
        try:
            await self._record(watch, {"watch": watch.id})
        except BaseException:
            self._open.pop(watch.id, None)
            raise
        self._wait(watch)
        return {"watch": watch.id, "size": size}

    async def more(self, who: Identity, id: str, offset: int) -> Mapping[str, Any]:
        """What there is after C{offset}; waits for it for a while.

        @return: C{bytes}, perhaps none; and C{over}: empty, or why nothing more will come
        @raise KeyError: nothing of theirs is watched under this id. @raise Denied: not any more.
        """
        watch = self._mine(who, id)
        # what ends the proof that is shown now ends the watching
        watch.who = who
        self._stop_waiting(watch)
        until = self.clock.seconds() + WAIT
        try:
            pause = watch.next - self.clock.seconds()
            if pause > 0:
                await deferLater(self.clock, pause)
            while True:
                # asked before the file is read: what a session wrote before it ended is read
                over = await self._over(watch)
                if not watch.why and who.expires_at is not None and who.expires_at <= self.clock.seconds():
                    await self._end(watch, "the proof has lapsed")
                if watch.why:
                    raise Denied(f"nothing more is shown: {watch.why}")
                piece = _read(watch.path, offset)
                watch.shown = max(watch.shown, offset + len(piece))
                if piece:
                    watch.next = self.clock.seconds() + LOOK if len(piece) < PIECE else 0.0
                    return {"bytes": piece, "over": ""}
                if over:
                    await self._end(watch, f"the session ended: {over}")
                    return {"bytes": b"", "over": over}
                if self.clock.seconds() >= until:
                    return {"bytes": b"", "over": ""}
                await deferLater(self.clock, LOOK)
        finally:
            if not watch.why:
                self._wait(watch)

    async def leave(self, who: Identity, id: str) -> None:
        """They watch no more. @raise KeyError: nothing of theirs is watched under this id"""
        await self._end(self._mine(who, id), "left")

    async def barred(self, who: Identity, id: str) -> None:
        """C{who} may not any more, whatever they watch under this id."""
        watch = self._open.get(id)
        if watch is not None and watch.who.name == who.name:
            await self._end(watch, f"{who.name} may not any more")

    def session_of(self, who: Identity, id: str) -> str:
        """@return: the session that C{who} watches under C{id}. @raise KeyError"""
        return self._mine(who, id).session

    def revoke(self, identity: str, id: str) -> None:
        """@param id: of the token, code or key that proved them; C{""} is all"""
        for watch in list(self._open.values()):
            who = watch.who
            if identity in (who.name, who.act) and (not id or who.proof.partition(":")[2] == id):
                self._finish(watch, f"what {who.name} may was changed")

    async def stop(self) -> None:
        """The gateway stops: so does all watching."""
        for watch in list(self._open.values()):
            try:
                await self._end(watch, "the gateway is stopping")
            except HoopdError:
                # a ledger that cannot be written keeps nothing else from stopping
                self.log.failure("end of {watch} not recorded", watch=watch.id)

    # -- inside ------------------------------------------------------------------------------------------------

    def _mine(self, who: Identity, id: str) -> Watch:
        watch = self._open.get(id)
        if watch is None or watch.who.name != who.name:
            raise KeyError(id)
        return watch

    async def _over(self, watch: Watch) -> str:
        if self.live(watch.session):
            return ""
        summary = await self.find(watch.session)
        return "" if summary.ended_at is None else summary.ended_why or "ended"

    def _wait(self, watch: Watch) -> None:
        # of two questions at once, each would set one
        self._stop_waiting(watch)
        if watch.id in self._open:
            watch.lapse = self.clock.callLater(LAPSE, self._finish, watch, "went away")

    @staticmethod
    def _stop_waiting(watch: Watch) -> None:
        lapse, watch.lapse = watch.lapse, None
        if lapse is not None and lapse.active():
            lapse.cancel()

    def _finish(self, watch: Watch, why: str) -> None:
        """As L{_end}, where nobody waits for it."""
        done = Deferred.fromCoroutine(self._end(watch, why))
        done.addErrback(lambda failure: self.log.failure("end of {watch} not recorded", failure, watch=watch.id))

    async def _end(self, watch: Watch, why: str) -> None:
        if watch.why:
            return
        watch.why = why
        self._stop_waiting(watch)
        self._open.pop(watch.id, None)
        seconds = round(self.clock.seconds() - watch.began, 3)
        await self._record(watch, {"watch": watch.id, "ended": why, "seconds": seconds, "bytes": watch.shown})

    async def _record(self, watch: Watch, detail: Mapping[str, Any]) -> None:
        await self.views.record(watch.who.name, "sessions.watch", watch.session, detail)


def _size(path: str) -> int | None:
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return None


def _read(path: str, offset: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(PIECE)
    except OSError as problem:
        raise Unavailable(f"the recording cannot be read: {problem.strerror}") from None
