"""The default store: one SQLite file, one connection, one thread; not for more than one process at a time.

Implements L{IStore}. Work that arrives while the thread is busy is taken up together and made durable by one
commit (L{hoopd.store.connection}).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopd.errors import Unavailable
from hoopd.interfaces import IStore
from hoopd.store.connection import Connection, Outcome, Work, migrating
from hoopd.store.schema import Migration

_Job = tuple[Work, "Deferred[Any]"]

#: works to one commit: bounds how long the first of them waits for the last; a work takes well under 1 ms
BATCH = 64


def answer(answers: list[tuple[Deferred[Any], Outcome]]) -> None:
    """Fire each Deferred with its outcome."""
    for deferred, outcome in answers:
        if outcome.error is not None:
            deferred.errback(Failure(outcome.error))
        else:
            deferred.callback(outcome.value)


@implementer(IStore)
class SqliteStore:
    """
    @param path: the file; made with mode 0600 if it is missing, by the first transaction.
    @param reactor: IReactorFromThreads; answers are given in its thread.
    @param busy: seconds to wait for another process that holds the file.
    """

    def __init__(self, path: str, reactor: Any, busy: float = 5.0) -> None:
        self._reactor = reactor
        self._connection = Connection(str(path), busy)
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed: Deferred[None] | None = None
        # a daemon: a process that ends without close() loses nothing that was answered
        self._thread = threading.Thread(target=self._serve, name="hoopd-store", daemon=True)
        self._thread.start()

    def transact(self, work: Work) -> Deferred[Any]:
        """See L{IStore.transact}. C{work} runs in the store's thread: it touches nothing of the reactor's."""
        if self._closed is not None:
            return fail(Unavailable("the store is closed"))
        deferred: Deferred[Any] = Deferred()
        self._queue.put((work, deferred))
        return deferred

    def migrate(self, migrations: Iterable[Migration] = ()) -> Deferred[list[str]]:
        """Bring the tables up to date, in one transaction.

        @return: Deferred of the names that ran.
        @raise hoopd.errors.ConfigError: the store was made by another form of one of them.
        """
        return self.transact(migrating(migrations))

    def close(self) -> Deferred[None]:
        """See L{IStore.close}. Works that were accepted before are finished first."""
        if self._closed is not None:
            return succeed(None)
        self._closed = Deferred()
        self._queue.put(None)
        return self._closed

    def _serve(self) -> None:
        ending = False
        while not ending:
            jobs: list[_Job] = []
            job = self._queue.get()
            while job is not None:
                jobs.append(job)
                if len(jobs) == BATCH or self._queue.empty():
                    break
                job = self._queue.get()
            ending = job is None
            if jobs:
                outcomes = self._connection.run([work for work, _ in jobs])
                answers = [(deferred, outcome) for (_, deferred), outcome in zip(jobs, outcomes, strict=True)]
                self._reactor.callFromThread(answer, answers)
        self._connection.close()
        self._reactor.callFromThread(self._end)

    def _end(self) -> None:
        self._thread.join()
        if self._closed is not None:
            self._closed.callback(None)
