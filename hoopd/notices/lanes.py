"""One channel's queue: what is due goes out, so many at a time, and waits for nobody else's; not what an attempt is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from hoopd.errors import HoopdError
from hoopd.notices import rows
from hoopd.notices.rows import Row

#: attempts under way in one channel: a receiver that takes its 5 s for each still gets 48 a minute
LANE_MAX = 4
#: pause before a store that did not answer is asked again, seconds
RETRY = 5.0


class Lane:
    """
    @param store: L{hoopd.interfaces.IStore}. @param clock: IReactorTime.
    @param attempt: tries one row and writes down what came of it; Deferred of None.
    @param open: whether anything can be sent at all.
    """

    log = Logger()

    def __init__(
        self,
        channel: str,
        store: Any,
        clock: Any,
        attempt: Callable[[Row], Deferred[None]],
        open: Callable[[], bool],
    ) -> None:
        self._channel = channel
        self._store = store
        self._clock = clock
        self._attempt = attempt
        self._open = open
        self._busy: set[str] = set()
        self._looking = False
        self._again = False
        self._stopped = False
        self._timer: Any = None

    def wake(self) -> None:
        """Look what is due."""
        self._again = True
        if not (self._looking or self._stopped):
            self._looking = True
            Deferred.fromCoroutine(self._look()).addErrback(self._failed)

    def stop(self) -> None:
        """Begin nothing more; what waits is in the store."""
        self._stopped = True
        self._unset()

    async def _look(self) -> None:
        try:
            while self._again and not self._stopped and self._open():
                self._again = False
                await self._begin()
        finally:
            self._looking = False

    async def _begin(self) -> None:
        room = LANE_MAX - len(self._busy)
        if room <= 0:
            return  # looked again when one of them ends
        busy = list(self._busy)
        now = self._clock.seconds()
        found, after = await self._store.transact(
            lambda tx: (
                due := rows.due(tx, self._channel, now, busy, room),
                rows.next_due(tx, self._channel, [*busy, *(row.entry.id for row in due)]),
            )
        )
        self._unset()
        if after is not None and not self._stopped:
            self._timer = self._clock.callLater(max(0.05, after - now), self._ring)
        for row in found:
            if self._stopped:
                return
            self._busy.add(row.entry.id)
            self._attempt(row).addErrback(self._attempt_failed).addBoth(self._ended, row.entry.id)

    def _ended(self, result: Any, id: str) -> None:
        self._busy.discard(id)
        self.wake()

    def _attempt_failed(self, failure: Any) -> Any:
        # its row is as it was, and due: a pause, or a store that is away would be asked without end
        self._failed(failure)
        paused: Deferred[None] = Deferred()
        self._clock.callLater(RETRY, paused.callback, None)
        return paused

    def _failed(self, failure: Any) -> None:
        if failure.check(HoopdError):
            self.log.warn("notices to {channel} wait: {why}", channel=self._channel, why=failure.getErrorMessage())
        else:
            self.log.failure("notices to {channel} wait", failure=failure, channel=self._channel)
        if self._timer is None and not self._stopped:
            self._timer = self._clock.callLater(RETRY, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self.wake()

    def _unset(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
