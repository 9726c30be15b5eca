"""Asks a target's planner how many rows statements would touch, over a connection of our own; shared as a catalogue is.

Not over the session's: EXPLAIN takes locks and snapshots, and an error in it would abort the user's transaction. So
what a session has made and not committed is not seen; such statements have no estimate. How it is asked without running
anybody's code: L{hoopd.sql.estimates}. It never fails: what cannot be told is None, and closes the rules that ask.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.logger import Logger

from hoopd.errors import HoopdError, TargetError
from hoopd.protocols.postgres import frontend
from hoopd.protocols.postgres.frontend import Bind, Execute, Parse
from hoopd.protocols.postgres.session import AskEstimate
from hoopd.sql import estimates

Rows = tuple["int | None", ...]

#: seconds for all of one question, waiting behind others included: people and rules wait no longer for a guess
PATIENCE = 10.0
#: questions that wait; with more, the answer is that nobody knows
WAITING = 32
#: seconds without a question after which the connection is closed
IDLE = 60.0


class Estimator:
    """
    @param opened: opens a connection: Awaitable of L{hoopd.protocols.postgres.catalogue_reader.Querist}.
    """

    log = Logger()

    def __init__(self, reactor: Any, opened: Callable[[], Awaitable[Any]]) -> None:
        self._reactor = reactor
        self._opened = opened
        self._querist: Any = None
        self._turn = DeferredLock()
        self._waiting = 0
        self._idle: Any = None

    def ask(self, question: AskEstimate) -> Deferred[Rows]:
        """@return: Deferred of one number, or None, for each statement; it does not fail."""
        unknown: Rows = (None,) * len(question.texts)
        answer: Deferred[Rows] = Deferred()
        if self._waiting >= WAITING:
            answer.callback(unknown)
            return answer
        self._waiting += 1
        asking = Deferred.fromCoroutine(self._ask(question))
        timer = self._reactor.callLater(PATIENCE, asking.cancel)

        def done(result: Any) -> None:
            self._waiting -= 1
            if timer.active():
                timer.cancel()
            answer.callback(result if isinstance(result, tuple) else unknown)

        asking.addErrback(self._failed)
        asking.addCallback(done)
        return answer

    def _failed(self, failure: Any) -> None:
        if not failure.check(HoopdError, CancelledError):
            self.log.failure("no estimate", failure)

    async def _ask(self, question: AskEstimate) -> Rows:
        await self._turn.acquire()
        try:
            if self._idle is not None and self._idle.active():
                self._idle.cancel()
            if self._querist is None or self._querist.lost:
                self._querist = await self._opened()
            return await self._explained(self._querist, question)
        except TargetError:
            raise
        except BaseException:
            # an answer that is still to come belongs to nobody
            self.close()
            raise
        finally:
            self._turn.release()
            self._idle = self._reactor.callLater(IDLE, self.close)

    @staticmethod
    async def _explained(querist: Any, question: AskEstimate) -> Rows:
        await querist.ask(estimates.BEGIN)
        try:
            found = await Estimator._rows(querist, question)
        except TargetError:
            if not querist.lost:
                await querist.ask(estimates.END)
            raise
        await querist.ask(estimates.END)
        return found

    @staticmethod
    async def _rows(querist: Any, question: AskEstimate) -> Rows:
        (doubts,) = await querist.ask(estimates.guard(question.relations))
        if doubts:
            return (None,) * len(question.texts)
        await querist.ask(estimates.search_path(question.search_path))
        found: list[int | None] = []
        for text in question.texts:
            if text is None:
                found.append(None)
                continue
            (rows,) = await querist.exchange(_exchange(estimates.explain(text), question))
            found.append(estimates.planned_rows("\n".join(row[0] or "" for row in rows)))
        return tuple(found)

    def close(self) -> None:
        """Close the connection; it is opened again when somebody asks."""
        if self._idle is not None and self._idle.active():
            self._idle.cancel()
        querist, self._querist = self._querist, None
        if querist is not None:
            querist.close()


def _exchange(text: bytes, question: AskEstimate) -> bytes:
    return b"".join(
        (
            Parse(b"", text, question.types).encode(),
            Bind(b"", b"", question.formats, question.values).encode(),
            frontend.describe(b"P", b""),
            Execute(b"").encode(),
            frontend.SYNC_MESSAGE,
        )
    )
