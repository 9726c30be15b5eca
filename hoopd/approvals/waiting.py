"""Who waits for a decision, and which requests lapse when; in memory, made anew from the store at every start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from hoopd.errors import Unavailable
from hoopd.values import Approval

#: pause before an expiry that could not be written is tried again, seconds
RETRY = 5.0


def ends(approval: Approval) -> float | None:
    """When what is open lapses by itself, seconds since the epoch; None: never, or it has ended already."""
    return {"pending": approval.deadline, "approved": approval.claim_by, "granted": approval.until}.get(approval.state)


class Waiters:
    """Deferreds of L{Approval} by its id."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Deferred[Approval]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def wait(self, approval: str) -> Deferred[Approval]:
        """@return: a Deferred that L{fire} fires; cancelling it lets go."""
        waiting: Deferred[Approval] = Deferred(lambda deferred: self._let_go(approval, deferred))
        self._waiting.setdefault(approval, []).append(waiting)
        return waiting

    def _let_go(self, approval: str, deferred: Deferred[Approval]) -> None:
        left = [each for each in self._waiting.get(approval, ()) if each is not deferred]
        if left:
            self._waiting[approval] = left
        else:
            self._waiting.pop(approval, None)

    def fire(self, approval: Approval) -> None:
        """Everybody who waits for this one gets it."""
        for waiting in self._waiting.pop(approval.id, ()):
            waiting.callback(approval)

    def fail(self, waiting: Deferred[Approval], failure: Failure) -> None:
        """One of them cannot wait: there is no such approval, or the store is away."""
        for approval, all_waiting in list(self._waiting.items()):
            if any(each is waiting for each in all_waiting):
                self._let_go(approval, waiting)
                waiting.errback(failure)
                return

    def stop(self) -> None:
        """Nobody decides here any more."""
        waiting, self._waiting = self._waiting, {}
        for each in (each for all_waiting in waiting.values() for each in all_waiting):
            each.errback(Failure(Unavailable("the broker is stopping")))


class Expiries:
    """One timer for each open request.

    @param clock: IReactorTime. @param due: called with the id when its time is over.
    """

    def __init__(self, clock: Any, due: Callable[[str], None]) -> None:
        self._clock = clock
        self._due = due
        self._timers: dict[str, Any] = {}

    def arm(self, approval: Approval) -> None:
        """Set, move or remove the timer, as the approval's state wants it."""
        self._disarm(approval.id)
        until = ends(approval)
        if until is not None:
            self._set(approval.id, max(0.0, until - self._clock.seconds()))

    def again(self, approval: str) -> None:
        """It could not be written that this one lapsed: try in a while."""
        if approval not in self._timers:
            self._set(approval, RETRY)

    def _set(self, approval: str, delay: float) -> None:
        self._timers[approval] = self._clock.callLater(delay, self._ring, approval)

    def _ring(self, approval: str) -> None:
        del self._timers[approval]
        self._due(approval)

    def _disarm(self, approval: str) -> None:
        timer = self._timers.pop(approval, None)
        if timer is not None:
            timer.cancel()

    def stop(self) -> None:
        """Forget all timers."""
        for approval in list(self._timers):
            self._disarm(approval)
