"""One SQLite connection and the running of transactions on it, many to one commit; blocking, not a service.

Whoever owns a L{Connection} uses it from one thread only. Transactions that wait together are run one after
the other, each in its own savepoint, and made durable by a single commit (WAL, C{synchronous=FULL}): the price
of a disk flush is paid once for all of them, and none is answered before it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import define, field

from hoopd.errors import HoopdError, Unavailable
from hoopd.store import schema

Work = Callable[["Transaction"], Any]

#: primary result codes (sqlite.org/rescode.html) that mean the disk or another process is in the way, not us
_AWAY = {
    sqlite3.SQLITE_PERM: "no permission",
    sqlite3.SQLITE_BUSY: "locked by another process",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_READONLY: "not writable",
    sqlite3.SQLITE_IOERR: "disk error",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_FULL: "disk full",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_NOTADB: "not a store",
}
#: after these nothing that this process believes about the file can be relied on: a failed flush may have
#: thrown the pages away, so that a second one that succeeds proves nothing. Only a restart reads them again.
_FINAL = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Conflict(HoopdError):
    """A row breaks a constraint of its table: a second one of a unique name, a missing reference."""


class Transaction:
    """What C{work} is given: the statements of one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; changed rows are read with C{RETURNING}.

        @return: its rows.
        @raise Conflict: a constraint does not hold.
        """
        try:
            return self._connection.execute(sql, tuple(args)).fetchall()
        except sqlite3.IntegrityError as error:
            raise Conflict(str(error)) from error


@define
class Outcome:
    """How one piece of work ended: C{value}, or C{error} if that is not None."""

    value: Any = None
    error: BaseException | None = None


def _primary(error: sqlite3.Error) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def unavailable(error: sqlite3.Error) -> Unavailable | None:
    """@return: the error as one of a service that is away, or None if it is a mistake in the statement."""
    why = _AWAY.get(_primary(error))
    return Unavailable(f"the store is {why}" if why else "") if why else None


@define
class Connection:
    """
    @ivar path: the file, or C{":memory:"}.
    @ivar busy: seconds to wait for another process (a backup) that holds the file.
    """

    path: str
    busy: float = 5.0
    _connection: sqlite3.Connection | None = None
    _broken: str = field(default="", init=False)

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        if self.path != ":memory:":
            # the file exists with its mode before SQLite sees it; -wal and -shm take their mode from it
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.fchmod(descriptor, 0o600)
            finally:
                os.close(descriptor)
        opened = sqlite3.connect(self.path, timeout=self.busy, isolation_level=None, check_same_thread=False)
        try:
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                "foreign_keys=ON",
                # a removed secret, though sealed, does not stay behind in a free page
                "secure_delete=ON",
                "trusted_schema=OFF",
            ):
                opened.execute(f"PRAGMA {pragma}")
        except BaseException:
            opened.close()
            raise
        self._connection = opened
        return opened

    def run(self, works: Sequence[Work]) -> list[Outcome]:
        """Run C{works} in order, each all or nothing, and commit once.

        Never raises: whatever goes wrong is in the outcomes, and an outcome without error is on disk.
        """
        if self._broken:
            return [Outcome(error=Unavailable(self._broken)) for _ in works]
        outcomes: list[Outcome] = []
        try:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            for work in works:
                outcomes.append(self._run_one(connection, work))
            connection.execute("COMMIT")
        except Exception as error:
            return self._lost(error, outcomes, len(works))
        return outcomes

    def _run_one(self, connection: sqlite3.Connection, work: Work) -> Outcome:
        """@raise Exception: the whole transaction is gone, not only this work."""
        connection.execute("SAVEPOINT work")
        try:
            outcome = Outcome(value=work(Transaction(connection)))
        except Exception as error:
            away = isinstance(error, sqlite3.Error) and _primary(error) in _AWAY
            if away or not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO work")
            outcome = Outcome(error=error)
        connection.execute("RELEASE work")
        return outcome

    def _lost(self, error: Exception, outcomes: list[Outcome], count: int) -> list[Outcome]:
        """Nothing of this batch is on disk; those that failed by themselves keep their own reason."""
        away = Unavailable(f"the store refused: {error}")
        if isinstance(error, OSError):
            away = Unavailable(f"the store cannot be opened: {error.strerror}")
        elif isinstance(error, sqlite3.Error):
            away = unavailable(error) or away
            if _primary(error) in _FINAL:
                self._broken = f"{away}; it is not used again before a restart"
        if self._connection is not None and self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as second:
                self._broken = f"{away}, and cannot be rolled back ({second})"
        lost = [outcome if outcome.error else Outcome(error=away) for outcome in outcomes]
        return lost + [Outcome(error=away) for _ in range(count - len(outcomes))]

    def close(self) -> None:
        """Write the WAL back into the file and close it."""
        connection, self._connection = self._connection, None
        self._broken = "the store is closed"
        if connection is not None:
            connection.close()


def migrating(migrations: Iterable[schema.Migration]) -> Work:
    """@return: the work that applies C{migrations}; its value is the list of names that ran."""
    wanted = [*schema.MIGRATIONS, *migrations]

    def work(tx: Transaction) -> list[str]:
        tx.execute(schema.APPLIED)
        applied = {str(name): str(mark) for name, mark in tx.execute("SELECT name, digest FROM migrations")}
        ran = []
        for name, sql in schema.pending(applied, wanted):
            for statement in schema.statements(sql):
                tx.execute(statement)
            tx.execute(
                "INSERT INTO migrations (name, digest, applied_at) VALUES (?, ?, ?)",
                (name, schema.digest(sql), time.time()),
            )
            ran.append(name)
        return ran

    return work
