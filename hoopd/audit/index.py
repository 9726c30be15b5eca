"""Which sessions there were: one row each in the store, for lists and look-ups; the record itself is the recording."""

from __future__ import annotations

from typing import Any

from attrs import astuple, fields
from twisted.internet.defer import Deferred

from hoopd.values import SessionSummary

_COLUMNS = ", ".join(attribute.name for attribute in fields(SessionSummary))
_MARKS = ", ".join("?" for _ in fields(SessionSummary))
#: more than a person reads; who wants them all asks for a shorter time
FOUND_MAX = 1000


class SessionIndex:
    """@param store: L{hoopd.interfaces.IStore} with the tables of L{hoopd.audit.tables}."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def insert(self, summary: SessionSummary) -> Deferred[None]:
        """A session begins. @return: Deferred of None once it is on disk."""
        row = astuple(summary)

        def work(tx: Any) -> None:
            tx.execute(f"INSERT INTO sessions ({_COLUMNS}) VALUES ({_MARKS})", row)
            # read by L{hoopd.audit.observed}, and gone once all of it is
            tx.execute(
                "INSERT INTO observed_progress (session, path, next_offset, next_sequence) VALUES (?, ?, 0, 0)",
                (summary.id, summary.recording),
            )

        done: Deferred[None] = self._store.transact(work)
        return done

    def end(self, session: str, at: float, why: str, operations: int, denied: int, held: int) -> Deferred[None]:
        """A session ended. The first end counts: a broker that is told again after a restart changes nothing.

        @param at: seconds since the epoch.
        @return: Deferred of None.
        """

        def work(tx: Any) -> None:
            tx.execute(
                "UPDATE sessions SET ended_at = ?, ended_why = ?, operations = ?, denied = ?, held = ? "
                "WHERE id = ? AND ended_at IS NULL",
                (at, why, operations, denied, held, session),
            )

        done: Deferred[None] = self._store.transact(work)
        return done

    def find(
        self,
        identity: str | None = None,
        target: str | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = FOUND_MAX,
    ) -> Deferred[list[SessionSummary]]:
        """Sessions that fit all that is given, newest first.

        @param identity: name of the identity, or of the one on whose behalf it acted.
        @param since: those that still ran at this time or began later, seconds since the epoch.
        @param until: those that began before.
        """
        conditions: list[str] = []
        values: list[Any] = []
        if identity is not None:
            conditions.append("(identity = ? OR act = ?)")
            values += [identity, identity]
        if target is not None:
            conditions.append("target = ?")
            values.append(target)
        if since is not None:
            conditions.append("(ended_at IS NULL OR ended_at >= ?)")
            values.append(since)
        if until is not None:
            conditions.append("started_at < ?")
            values.append(until)
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        sql = f"SELECT {_COLUMNS} FROM sessions {where}ORDER BY started_at DESC, id LIMIT ?"
        values.append(max(0, min(limit, FOUND_MAX)))

        def work(tx: Any) -> list[SessionSummary]:
            return [SessionSummary(*row) for row in tx.execute(sql, values)]

        found: Deferred[list[SessionSummary]] = self._store.transact(work)
        return found

    def get(self, session: str) -> Deferred[SessionSummary]:
        """@return: Deferred of one session. @raise KeyError: unknown id."""

        def work(tx: Any) -> SessionSummary:
            rows = tx.execute(f"SELECT {_COLUMNS} FROM sessions WHERE id = ?", (session,))
            if not rows:
                raise KeyError(session)
            return SessionSummary(*rows[0])

        found: Deferred[SessionSummary] = self._store.transact(work)
        return found
