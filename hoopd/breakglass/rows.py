"""Uses of break glass in the store: reading and writing, with the leaf of each change; run inside transactions."""

from __future__ import annotations

from typing import Any

import msgspec

from hoopd.audit import pending
from hoopd.breakglass.values import Use
from hoopd.ipc import wire

_SELECT = "SELECT body FROM break_glass_uses"
#: more than one person looks through
FOUND_MAX = 1000


def _use(row: tuple[Any, ...]) -> Use:
    use: Use = msgspec.json.decode(row[0], type=Use)
    return use


def get(tx: Any, id: str) -> Use:
    """@raise KeyError: no such use."""
    found = tx.execute(f"{_SELECT} WHERE id = ?", (id,))
    if not found:
        raise KeyError(id)
    return _use(found[0])


def find(tx: Any, identity: str | None = None, target: str | None = None) -> list[Use]:
    """Newest first."""
    rows = tx.execute(
        f"{_SELECT} WHERE (? IS NULL OR identity = ?) AND (? IS NULL OR target = ?) ORDER BY opened_at DESC, id LIMIT ?",
        (identity, identity, target, target, FOUND_MAX),
    )
    return [_use(row) for row in rows]


def live(tx: Any) -> list[Use]:
    """Those in use now, oldest first."""
    return [_use(row) for row in tx.execute(f"{_SELECT} WHERE live = 1 ORDER BY opened_at, id")]


def unreviewed(tx: Any, identity: str | None = None) -> list[Use]:
    """Those whose review is not closed, oldest first."""
    sql = f"{_SELECT} WHERE reviewed = 0 AND (? IS NULL OR identity = ?) ORDER BY opened_at, id"
    return [_use(row) for row in tx.execute(sql, (identity, identity))]


def write(tx: Any, use: Use, event: str, by: str, **more: Any) -> None:
    """Keep C{use} as it is now, and have the leaf that says so wait for the ledger.

    @param event: opened, skipped, ended, overdue or reviewed. @param more: further fields of the leaf.
    """
    opening = use.opening
    row = (
        opening.id,
        opening.identity,
        opening.target,
        opening.opened_at,
        int(use.ended_at is None),
        int(use.reviewed_at is not None),
        wire.encode(use).decode(),
    )
    tx.execute("DELETE FROM break_glass_uses WHERE id = ?", (opening.id,))
    tx.execute("INSERT INTO break_glass_uses VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    known = {"identity": opening.identity, "act": opening.act, "target": opening.target, "rule": opening.rule}
    pending.add(tx, "break-glass", {"use": opening.id, "event": event, "by": by, **known, **more})
