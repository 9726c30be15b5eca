"""A store that forgets: L{IStore} over SQLite in memory, run at once, for tests; never for a gateway.

Its Deferreds have fired when they are returned, so that a unit test needs no reactor.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from hoopd.interfaces import IStore
from hoopd.store.connection import Connection, Work, migrating
from hoopd.store.schema import Migration
from hoopd.store.sqlite import answer


@implementer(IStore)
class MemoryStore:
    """
    @param migrations: applied at once, so that C{MemoryStore(tables.MIGRATIONS)} is ready for use.
    """

    def __init__(self, migrations: Iterable[Migration] = ()) -> None:
        self._connection = Connection(":memory:")
        wanted = list(migrations)
        if wanted:
            (outcome,) = self._connection.run([migrating(wanted)])
            if outcome.error is not None:
                raise outcome.error

    def transact(self, work: Work) -> Deferred[Any]:
        """See L{IStore.transact}."""
        (outcome,) = self._connection.run([work])
        deferred: Deferred[Any] = Deferred()
        answer([(deferred, outcome)])
        return deferred

    def migrate(self, migrations: Iterable[Migration] = ()) -> Deferred[list[str]]:
        """See L{hoopd.store.sqlite.SqliteStore.migrate}."""
        return self.transact(migrating(migrations))

    def close(self) -> Deferred[None]:
        """See L{IStore.close}."""
        self._connection.close()
        return succeed(None)
