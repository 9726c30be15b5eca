"""Notices in the store: posting, what is due, and what came of it; run inside transactions."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec
from attrs import frozen

from hoopd.notices.notice import Notice

#: what waits, what a receiver took, and what was tried for too long
WAITING, DELIVERED, GIVEN_UP = "waiting", "delivered", "given-up"

#: outcome of an attempt that reached no receiver, because of ourselves
AWAY = "the notifier was away"

STATES = (WAITING, DELIVERED, GIVEN_UP)

_COLUMNS = "id, channel, kind, subject, state, posted_at, attempts, next_at, give_up_at, settled_at, outcome"


@frozen
class Entry:
    """One notice on its way to one channel, as lists show it. Times are epoch seconds.

    @ivar id: the idempotency key: the same in every attempt.
    @ivar state: one of L{STATES}. @ivar outcome: of the last attempt, in words.
    """

    id: str
    channel: str
    kind: str
    subject: str
    state: str
    posted_at: float
    attempts: int
    next_at: float
    give_up_at: float
    settled_at: float | None
    outcome: str


@frozen
class Row:
    entry: Entry
    notice: Notice


def key(installation: str, channel: str, notice: Notice) -> str:
    """@return: the idempotency key: the same whenever the same notice is posted to the same channel."""
    what = "\0".join((installation, channel, notice.kind, notice.subject, str(notice.revision)))
    return "msg_" + base64.b32encode(hashlib.sha256(what.encode()).digest()[:20]).decode().lower()


def insert(tx: Any, id: str, channel: str, notice: Notice, now: float, give_up_at: float) -> bool:
    """@return: whether it was new: one that was posted before is not posted again."""
    if tx.execute("SELECT 1 FROM notices WHERE id = ?", (id,)):
        return False
    tx.execute(
        f"INSERT INTO notices ({_COLUMNS}, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (id, channel, notice.kind, notice.subject, WAITING, now, 0, now, give_up_at, None, "", _body(notice)),
    )
    return True


def due(tx: Any, channel: str, now: float, but: Iterable[str], most: int) -> list[Row]:
    """What may be tried now: first what was never tried, so that nobody waits behind the repetitions of others."""
    left_out = ["", *but]  # never empty: PostgreSQL knows no IN ()
    marks = ", ".join("?" for _ in left_out)
    rows = tx.execute(
        f"SELECT {_COLUMNS}, body FROM notices WHERE state = ? AND channel = ? AND next_at <= ? "
        f"AND id NOT IN ({marks}) ORDER BY attempts, next_at, id LIMIT ?",
        (WAITING, channel, now, *left_out, most),
    )
    return [Row(Entry(*row[:-1]), msgspec.json.decode(row[-1], type=Notice)) for row in rows]


def next_due(tx: Any, channel: str, but: Iterable[str]) -> float | None:
    """When the next one of C{channel} is due."""
    left_out = ["", *but]  # never empty: PostgreSQL knows no IN ()
    marks = ", ".join("?" for _ in left_out)
    rows = tx.execute(
        f"SELECT MIN(next_at) FROM notices WHERE state = ? AND channel = ? AND id NOT IN ({marks})",
        (WAITING, channel, *left_out),
    )
    return None if rows[0][0] is None else float(rows[0][0])


def get(tx: Any, id: str) -> Entry:
    """@raise KeyError: unknown id."""
    rows = tx.execute(f"SELECT {_COLUMNS} FROM notices WHERE id = ?", (id,))
    if not rows:
        raise KeyError(id)
    return Entry(*rows[0])


def find(tx: Any, state: str | None, channel: str | None, most: int) -> list[Entry]:
    """Newest first."""
    wanted = [(name, value) for name, value in (("state", state), ("channel", channel)) if value is not None]
    where = f" WHERE {' AND '.join(f'{name} = ?' for name, _ in wanted)}" if wanted else ""
    sql = f"SELECT {_COLUMNS} FROM notices{where} ORDER BY posted_at DESC, id LIMIT ?"
    return [Entry(*row) for row in tx.execute(sql, (*(value for _, value in wanted), most))]


@frozen
class Trouble:
    """What is wrong with one channel.

    @ivar failing: notices that wait and were refused at least once. @ivar since: when the oldest of them was posted.
    @ivar untried: notices that wait for their first attempt since C{before}. @ivar given_up: since C{after}.
    @ivar outcome: of the latest failure, in words.
    """

    channel: str
    failing: int
    since: float | None
    untried: int
    given_up: int
    outcome: str


def trouble(tx: Any, before: float, after: float) -> list[Trouble]:
    """What is wrong with the channels: notices posted before C{before} that still wait, and those given up later than
    C{after}. A channel without any is left out."""
    found = tx.execute(
        "SELECT channel, SUM(CASE WHEN state = ? AND attempts > 0 THEN 1 ELSE 0 END), "
        "MIN(CASE WHEN state = ? AND attempts > 0 THEN posted_at END), "
        "SUM(CASE WHEN state = ? AND attempts = 0 THEN 1 ELSE 0 END), SUM(CASE WHEN state = ? THEN 1 ELSE 0 END) "
        "FROM notices WHERE (state = ? AND posted_at < ?) OR (state = ? AND settled_at > ?) "
        "GROUP BY channel ORDER BY channel",
        (WAITING, WAITING, WAITING, GIVEN_UP, WAITING, before, GIVEN_UP, after),
    )
    said = {
        row[0]: row[1]
        for row in tx.execute(
            "SELECT channel, outcome FROM notices WHERE state IN (?, ?) AND outcome <> '' ORDER BY next_at",
            (WAITING, GIVEN_UP),
        )
    }
    return [Trouble(channel, int(a), b, int(c), int(d), said.get(channel, "")) for channel, a, b, c, d in found]


def stranded(tx: Any, channels: Iterable[str]) -> list[Entry]:
    """What waits for channels that are not among C{channels} any more."""
    known = ["", *channels]
    marks = ", ".join("?" for _ in known)
    sql = f"SELECT {_COLUMNS} FROM notices WHERE state = ? AND channel NOT IN ({marks})"
    return [Entry(*row) for row in tx.execute(sql, (WAITING, *known))]


def again(tx: Any, id: str, attempts: int, next_at: float, outcome: str) -> None:
    """It failed, and is tried again."""
    tx.execute(
        "UPDATE notices SET attempts = ?, next_at = ?, outcome = ? WHERE id = ?", (attempts, next_at, outcome, id)
    )


def hasten(tx: Any, now: float) -> None:
    """What waits only because there was no notifier need not wait longer."""
    tx.execute(
        "UPDATE notices SET next_at = ? WHERE state = ? AND next_at > ? AND outcome = ?", (now, WAITING, now, AWAY)
    )


def settle(tx: Any, id: str, state: str, attempts: int, now: float, outcome: str) -> None:
    """It is delivered, or given up."""
    tx.execute(
        "UPDATE notices SET state = ?, attempts = ?, settled_at = ?, outcome = ? WHERE id = ?",
        (state, attempts, now, outcome, id),
    )


def revive(tx: Any, id: str, now: float, give_up_at: float) -> Entry:
    """Try it now, as if it were new; the key stays the same. @raise KeyError: unknown id."""
    get(tx, id)
    tx.execute(
        "UPDATE notices SET state = ?, attempts = 0, next_at = ?, give_up_at = ?, settled_at = NULL WHERE id = ?",
        (WAITING, now, give_up_at, id),
    )
    return get(tx, id)


def forget(tx: Any, before: float) -> None:
    """Remove what was settled before C{before}: the log and the ledger have it."""
    tx.execute("DELETE FROM notices WHERE settled_at IS NOT NULL AND settled_at < ?", (before,))


def _body(notice: Notice) -> str:
    return msgspec.json.encode(notice).decode()
