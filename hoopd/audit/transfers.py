"""Files that went to and from targets, found by path or hash: an index of sealed recordings in the store; broker only.

The recordings are the record; what is not sealed yet is not found here. Filled by L{hoopd.audit.observed}, which reads each recording
once.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred

from hoopd.audit.recording import Entry

#: the frame's number in the catalogue
CODE = 18
#: of one session; a tree of more files is in its recording
SESSION_MAX = 10_000
#: more than a person reads
FOUND_MAX = 500
#: characters kept of a path, of how it ended
TEXT_MAX, TAG_MAX = 4096, 200

MIGRATION = (
    "audit-transfers-1",
    """
    CREATE TABLE transfers (
        session TEXT NOT NULL,
        number INTEGER NOT NULL,
        operation INTEGER NOT NULL,
        at REAL NOT NULL,
        target TEXT NOT NULL,
        identity TEXT NOT NULL,
        act TEXT NOT NULL,
        direction TEXT NOT NULL,
        via TEXT NOT NULL,
        path TEXT NOT NULL,
        name TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        sha256 TEXT,
        whole INTEGER NOT NULL,
        tag TEXT NOT NULL,
        PRIMARY KEY (session, number)
    );
    CREATE INDEX transfers_by_time ON transfers (at);
    CREATE INDEX transfers_by_hash ON transfers (sha256)
    """,
)

_COLUMNS = "session operation at target identity act direction via path name bytes sha256 whole tag".split()


@frozen
class Moved:
    """One transfer, as its record tells it."""

    operation: int
    at: float
    direction: str
    via: str
    path: str
    name: str
    octets: int
    sha256: str | None
    whole: bool
    tag: str


def moved(entry: Entry) -> Moved:
    """Whatever the record holds, this returns: it was written by a process that hostile octets passed through."""
    fields = entry.fields

    def text(name: str, most: int = TEXT_MAX) -> str:
        value = fields.get(name)
        return value[:most] if isinstance(value, str) else ""

    def count(name: str) -> int:
        value = fields.get(name)
        return value if isinstance(value, int) and 0 <= value < 1 << 63 else 0

    return Moved(
        count("operation"),
        entry.at,
        text("direction", 20),
        text("via", 20),
        text("path"),
        text("name"),
        count("bytes"),
        text("sha256", 64) or None,
        fields.get("whole") is True,
        text("tag", TAG_MAX),
    )


def keep(tx: Any, session: str, target: str, identity: str, act: str | None, found: list[Moved]) -> None:
    """Add what a piece of a recording tells. Called in the transaction that says how far it was read."""
    ((number,),) = tx.execute("SELECT COUNT(*) FROM transfers WHERE session = ?", (session,))
    for each in found[: max(0, SESSION_MAX - number)]:
        tx.execute(
            f"INSERT INTO transfers (number, {', '.join(_COLUMNS)}) VALUES (?{', ?' * len(_COLUMNS)})",
            (
                number,
                session,
                each.operation,
                each.at,
                target,
                identity,
                act or "",
                each.direction,
                each.via,
                each.path,
                each.name,
                each.octets,
                each.sha256,
                int(each.whole),
                each.tag,
            ),
        )
        number += 1


def prune(tx: Any, before: float) -> None:
    """Forget what ended before, in seconds since the epoch."""
    tx.execute("DELETE FROM transfers WHERE at < ?", (before,))


class TransferIndex:
    """@param store: L{hoopd.interfaces.IStore} with L{hoopd.audit.tables}."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def find(
        self,
        path: str | None = None,
        sha256: str | None = None,
        identity: str | None = None,
        target: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> Deferred[list[dict[str, Any]]]:
        """Transfers that fit all that is given, the latest first, L{FOUND_MAX} at most.

        @param path: with C{*} and C{?}, which stand for slashes as well.
        @param identity: name of the identity, or of the one on whose behalf it acted.
        @param since, until: when they ended, seconds since the epoch.
        """
        conditions: list[str] = []
        values: list[Any] = []
        for condition, value in (
            ("path GLOB ?", None if path is None else path.replace("[", "[[]")),
            ("sha256 = ?", None if sha256 is None else sha256.lower()),
            ("target = ?", target),
            ("at >= ?", since),
            ("at < ?", until),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        if identity is not None:
            conditions.append("(identity = ? OR act = ?)")
            values += [identity, identity]
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        sql = f"SELECT {', '.join(_COLUMNS)} FROM transfers {where}ORDER BY at DESC, session, number DESC LIMIT ?"

        def work(tx: Any) -> list[dict[str, Any]]:
            rows = tx.execute(sql, (*values, FOUND_MAX))
            found = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
            return [{**each, "whole": bool(each["whole"])} for each in found]

        answer: Deferred[list[dict[str, Any]]] = self._store.transact(work)
        return answer
