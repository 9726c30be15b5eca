"""Who waits for which approval: the asking side. Survives brokers; not the deciding (L{hoopd.approvals})."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from hoopd.errors import Unavailable
from hoopd.ipc import commands as c
from hoopd.ipc.end import unless_away
from hoopd.values import Approval

if TYPE_CHECKING:
    from hoopd.ipc.link import Link


class Watches:
    """Deferreds by approval id. Each id is watched once at the broker, and anew at each new one."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting: dict[str, list[Deferred[Approval]]] = {}

    def wait(self, approval: str) -> Deferred[Approval]:
        """@return: Deferred of the approval once it is no longer pending; no deadline, may be cancelled.

        @raise KeyError: the broker knows no such approval.
        """
        deferred: Deferred[Approval] = Deferred(lambda d: self._cancelled(approval, d))
        waiting = self._waiting.setdefault(approval, [])
        waiting.append(deferred)
        if len(waiting) == 1 and self._link.attached:
            self._watch(approval)
        return deferred

    def renew(self) -> None:
        """A new broker is there: watch everything again."""
        for approval in list(self._waiting):
            self._watch(approval)

    def _watch(self, approval: str) -> None:
        self._link.call(c.Watch, approval=approval).addErrback(self._unwatched, approval)

    def _unwatched(self, failure: Failure, approval: str) -> None:
        # A broker that is away is waited for: the next one is asked again. One that is there but did not answer in
        # time is asked again, too; its silence, if it lasts, ends it.
        if failure.check(Unavailable):
            if self._link.attached and approval in self._waiting:
                self._link.reactor.callLater(1.0, self._again, approval)
            return
        self.fail(approval, failure.value)

    def _again(self, approval: str) -> None:
        if self._link.attached and approval in self._waiting:
            self._watch(approval)

    def settle(self, approval: str, result: Approval) -> None:
        """The broker says it is decided."""
        for deferred in self._waiting.pop(approval, []):
            deferred.callback(result)

    def fail(self, approval: str, error: Any) -> None:
        """It cannot be watched at all."""
        for deferred in self._waiting.pop(approval, []):
            deferred.errback(Failure(error))

    def _cancelled(self, approval: str, deferred: Deferred[Approval]) -> None:
        waiting = self._waiting.get(approval, [])
        if deferred in waiting:
            waiting.remove(deferred)
        if not waiting and self._waiting.pop(approval, None) is not None and self._link.attached:
            # nobody waits for this answer, and a broker that is gone watches nothing
            self._link.call(c.Unwatch, approval=approval).addErrback(unless_away)
        deferred.errback(Failure(CancelledError()))
