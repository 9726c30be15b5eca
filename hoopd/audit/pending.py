"""Leaves that wait in the store until the ledger has them: sent in order, at least once; not what they say.

Whoever changes something that must be proven later writes the change and its leaf in one transaction (L{add}), and
then sends (L{Pending.send}). A crash in between loses neither: what waits is sent when the broker starts again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock

from hoopd.audit.events import check_leaf
from hoopd.errors import HoopdError, RecordError

#: leaves sent in one go
BATCH = 100
#: pause before a ledger that took nothing is tried again, seconds
RETRY = 5.0


def add(tx: Any, kind: str, fields: Mapping[str, Any]) -> int:
    """Have a leaf wait, inside the caller's transaction.

    @return: its number, for L{Pending.send}.
    @raise hoopd.audit.events.UnknownName: no such kind of leaf.
    """
    check_leaf(kind)
    # numbers of leaves that were sent may come again: they order those that wait
    ((last,),) = tx.execute("SELECT COALESCE(MAX(number), 0) FROM pending_leaves")
    number = int(last) + 1
    row = (number, kind, json.dumps(fields))
    tx.execute("INSERT INTO pending_leaves (number, kind, fields) VALUES (?, ?, ?)", row)
    return number


class Pending:
    """
    @param store: L{hoopd.interfaces.IStore} with L{hoopd.audit.tables}. @param ledger: L{hoopd.interfaces.ILedger}
    @param clock: IReactorTime.
    """

    def __init__(self, store: Any, ledger: Any, clock: Any, event: Callable[[str, dict[str, Any]], None]) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._event = event
        self._lock: DeferredLock = DeferredLock()
        self._retry: Any = None
        self._stopped = False

    def send(self) -> Deferred[None]:
        """Send what waits.

        @return: Deferred of None once the ledger has all of it.
        @raise RecordError: it has not; it is tried again by itself.
        """
        return self._lock.run(lambda: Deferred.fromCoroutine(self._send()))

    async def _send(self) -> None:
        try:
            while True:
                waiting = await self._store.transact(
                    lambda tx: tx.execute(
                        "SELECT number, kind, fields FROM pending_leaves ORDER BY number LIMIT ?", (BATCH,)
                    )
                )
                if not waiting:
                    return
                for number, kind, fields in waiting:
                    await self._ledger.append(kind, json.loads(fields))
                    await self._store.transact(
                        lambda tx, number=number: tx.execute("DELETE FROM pending_leaves WHERE number = ?", (number,))
                    )
        except HoopdError as error:
            self._event("audit.unwritable", {"what": "leaves that wait for the ledger", "why": str(error)})
            if self._retry is None and not self._stopped:
                self._retry = self._clock.callLater(RETRY, self._again)
            raise RecordError("the ledger cannot be written") from error

    def _again(self) -> None:
        self._retry = None
        # what fails has been told as an event, and is tried again
        self.send().addErrback(lambda failure: failure.trap(RecordError))

    def stop(self) -> None:
        """Try no further; what waits is in the store."""
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
