"""Approvals in the store: reading, writing by compare-and-set, and the outbox of the ledger; run inside transactions.

Each change and the leaf that tells it are written together. A crash between store and ledger loses nothing: what is
in the outbox is sent when the broker starts again, at least once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec
from attrs import evolve, field, frozen

from hoopd.approvals.states import Happening, after
from hoopd.errors import HoopdError
from hoopd.values import Approval

_SELECT = "SELECT body, digest, claimed_by FROM approvals"
_OPEN = ("pending", "approved", "granted")


class Raced(HoopdError):
    """Somebody else changed the row between our reading and writing: look again."""


@frozen
class Row:
    """
    @ivar digest: of the exact operation.
    @ivar claimed_by: the session that claimed it, or that a grant is bound to, or nothing.
    """

    approval: Approval
    digest: str
    claimed_by: str = ""


@frozen
class Change:
    """One transition that was made. @ivar also: what was made along with it, and came first."""

    happening: Happening | Literal["request"]
    was: str
    approval: Approval
    by: str
    reason: str = ""
    also: tuple[Change, ...] = field(default=(), repr=False)


def _row(columns: tuple[Any, ...]) -> Row:
    body, digest, claimed_by = columns
    return Row(msgspec.json.decode(body, type=Approval), str(digest), str(claimed_by))


def get(tx: Any, approval: str) -> Row:
    """@raise KeyError: unknown id."""
    rows = tx.execute(f"{_SELECT} WHERE id = ?", (approval,))
    if not rows:
        raise KeyError(approval)
    return _row(rows[0])


def find(
    tx: Any, states: Iterable[str] | None, requester: str | None, target: str | None, limit: int
) -> list[Approval]:
    """Newest first."""
    conditions: list[str] = []
    values: list[Any] = []
    if states is not None:
        wanted = list(states)
        conditions.append(f"state IN ({', '.join('?' for _ in wanted)})")
        values += wanted
    for column, value in (("requester", requester), ("target", target)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = tx.execute(f"{_SELECT}{where} ORDER BY requested_at DESC, id LIMIT ?", (*values, limit))
    return [_row(row).approval for row in rows]


def in_state(tx: Any, *states: str) -> list[Row]:
    """All rows in these states, oldest first."""
    marks = ", ".join("?" for _ in states)
    return [_row(row) for row in tx.execute(f"{_SELECT} WHERE state IN ({marks}) ORDER BY requested_at, id", states)]


def open_with(tx: Any, digest: str, requester: str) -> list[Row]:
    """What waits, is approved or granted for exactly this operation of this requester."""
    sql = f"{_SELECT} WHERE digest = ? AND state IN (?, ?, ?) AND requester = ? ORDER BY requested_at, id"
    return [_row(row) for row in tx.execute(sql, (digest, *_OPEN, requester))]


def claimed_by(tx: Any, session: str) -> list[Row]:
    """What C{session} claimed and has not settled."""
    return [_row(row) for row in tx.execute(f"{_SELECT} WHERE state = 'claimed' AND claimed_by = ?", (session,))]


def granted(tx: Any, requester: str, target: str) -> list[Row]:
    """What C{requester} was granted on C{target}, oldest first."""
    sql = f"{_SELECT} WHERE requester = ? AND state = 'granted' AND target = ? ORDER BY requested_at, id"
    return [_row(row) for row in tx.execute(sql, (requester, target))]


def bound_to(tx: Any, session: str) -> list[Row]:
    """Grants that end with C{session}."""
    return [_row(row) for row in tx.execute(f"{_SELECT} WHERE state = 'granted' AND claimed_by = ?", (session,))]


def count_pending(tx: Any, requester: str) -> int:
    """How many requests of C{requester} wait."""
    rows = tx.execute("SELECT COUNT(*) FROM approvals WHERE requester = ? AND state = 'pending'", (requester,))
    return int(rows[0][0])


def insert(tx: Any, row: Row, happening: Happening | Literal["request"] = "request") -> Change:
    """A new request, or a use of a grant. @raise hoopd.store.connection.Conflict: its id is taken."""
    one = row.approval
    tx.execute(
        "INSERT INTO approvals (id, state, requester, target, digest, requested_at, claimed_by, revision, body) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            one.id,
            one.state,
            one.requester,
            one.target,
            row.digest,
            one.requested_at,
            row.claimed_by,
            one.revision,
            _body(one),
        ),
    )
    change = Change(happening, "", one, one.requester, one.reason or "")
    _queue(tx, change, row.digest, one.requested_at)
    return change


def transition(
    tx: Any,
    row: Row,
    happening: Happening,
    now: float,
    by: str,
    reason: str = "",
    session: str = "",
    fields: Mapping[str, Any] | None = None,
) -> Change:
    """Write what follows from C{happening}, and the leaf that tells it.

    @param session: who claims it, where it is claimed.
    @param fields: other fields of the approval that change along.
    @raise hoopd.approvals.states.IllegalTransition
    @raise Raced: the row is not the one that was read.
    """
    was = row.approval
    changed = evolve(was, state=after(was.state, happening), revision=was.revision + 1, **(fields or {}))
    claimer = session or row.claimed_by
    written = tx.execute(
        "UPDATE approvals SET state = ?, claimed_by = ?, revision = ?, body = ? "
        "WHERE id = ? AND revision = ? AND state = ? RETURNING id",
        (changed.state, claimer, changed.revision, _body(changed), was.id, was.revision, was.state),
    )
    if not written:
        raise Raced(was.id)
    change = Change(happening, was.state, changed, by, reason)
    _queue(tx, change, row.digest, now, claimer if happening == "claim" else "")
    return change


def _body(approval: Approval) -> str:
    return msgspec.json.encode(approval).decode()


def _queue(tx: Any, change: Change, digest: str, now: float, runs_in: str = "") -> None:
    one = change.approval
    leaf: dict[str, Any] = {
        "approval": one.id,
        "revision": one.revision,
        "event": change.happening,
        "was": change.was,
        "state": one.state,
        "by": change.by,
        "reason": change.reason,
        "requester": one.requester,
        "act": one.act,
        "target": one.target,
        "session": one.session,
        "digest": digest,
        "policy": one.policy,
        "happened_at": int(now * 1e6),
    }
    if not one.revision:
        leaf["rules"] = [terms.rule for terms in one.holds]
        leaf["classes"] = list(one.classes)
    if runs_in:
        # whoever comes back on another connection runs it there
        leaf["runs_in"] = runs_in
    if one.max_rows is not None and (not one.revision or change.happening in ("approve", "grant")):
        leaf["max_rows"] = one.max_rows
    if one.grant:
        leaf["grant"] = one.grant
    if one.kind != "operation":
        leaf["kind"] = one.kind
        leaf["steps"] = [step.digest for step in one.steps]
    if change.happening == "grant":
        leaf |= {"scope": one.scope, "until": one.until}
    if one.state == "granted":
        leaf["uses"] = one.uses
    tx.execute(
        "INSERT INTO approval_outbox (approval, revision, queued_at, leaf) VALUES (?, ?, ?, ?)",
        (one.id, one.revision, now, msgspec.json.encode(leaf).decode()),
    )


def outbox(tx: Any, limit: int) -> list[tuple[str, int, dict[str, Any]]]:
    """Leaves that wait for the ledger: approval, revision and fields, oldest first."""
    rows = tx.execute(
        "SELECT approval, revision, leaf FROM approval_outbox ORDER BY queued_at, approval, revision LIMIT ?", (limit,)
    )
    return [(str(approval), int(revision), msgspec.json.decode(leaf)) for approval, revision, leaf in rows]


def sent(tx: Any, leaves: Iterable[tuple[str, int]]) -> None:
    """These are in the ledger."""
    for approval, revision in leaves:
        tx.execute("DELETE FROM approval_outbox WHERE approval = ? AND revision = ?", (approval, revision))


def queued(tx: Any, approval: str, revision: int) -> bool:
    """Whether this leaf still waits."""
    sql = "SELECT 1 FROM approval_outbox WHERE approval = ? AND revision = ?"
    return bool(tx.execute(sql, (approval, revision)))
