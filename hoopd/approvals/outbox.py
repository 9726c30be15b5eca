"""Leaves on their way from the store to the ledger: sent in order, at least once; not what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock

from hoopd.approvals import rows
from hoopd.errors import HoopdError
from hoopd.values import Approval

#: leaves sent in one go
BATCH = 100
#: pause before a ledger that took nothing is tried again, seconds
RETRY = 5.0


class Outbox:
    """
    @param store: where the leaves wait. @param ledger: where they go.
    @param clock: IReactorTime.
    """

    def __init__(self, store: Any, ledger: Any, clock: Any, event: Callable[[str, dict[str, Any]], None]) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._event = event
        self._lock = DeferredLock()
        self._retry: Any = None
        self._stopped = False

    def drain(self) -> Deferred[None]:
        """Send what waits. A ledger or store that fails is told as an event and tried again.

        @return: Deferred of None, when all is sent or it failed.
        """
        return self._lock.run(lambda: Deferred.fromCoroutine(self._drain()))

    async def _drain(self) -> None:
        try:
            while True:
                leaves = await self._store.transact(lambda tx: rows.outbox(tx, BATCH))
                if not leaves:
                    return
                for _, _, fields in leaves:
                    await self._ledger.append("approval", fields)
                done = [(approval, revision) for approval, revision, _ in leaves]
                await self._store.transact(lambda tx, done=done: rows.sent(tx, done))
        except HoopdError as error:
            self._event("audit.unwritable", {"what": "approvals in the ledger", "why": str(error)})
            if self._retry is None and not self._stopped:
                self._retry = self._clock.callLater(RETRY, self._again)

    def _again(self) -> None:
        self._retry = None
        self.drain()

    def stop(self) -> None:
        """Try no further; what waits is in the store."""
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def waits(self, approval: Approval) -> Deferred[bool]:
        """@return: Deferred of whether the leaf of this revision still waits, because the ledger did not take it."""
        found: Deferred[bool] = self._store.transact(lambda tx: rows.queued(tx, approval.id, approval.revision))
        return found
