"""Uses of granted approvals: which grant covers an operation, one more use of it, and what its outcome means for it.

Functions of a transaction, as in L{hoopd.approvals.rows}. Each use is an approval of its own, C{A-7KQ2M9/3}, that begins
claimed. What a grant covers is L{hoopd.approvals.scope}; who may use it the service checks first.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve

from hoopd.approvals import rows, states
from hoopd.approvals.digest import same
from hoopd.approvals.rows import Change, Row
from hoopd.approvals.scope import beyond, least
from hoopd.values import Approval, HeldOperation


def uncovered(tx: Any, row: Row, session: str, held: HeldOperation, digest: str, policy: str) -> str:
    """Why C{row}, granted and not lapsed, does not cover this operation of its requester, or C{""} if it does."""
    grant = row.approval
    if grant.kind == "statements":
        return _out_of_turn(tx, row, session, digest)
    if grant.scope == "session" and row.claimed_by != session:
        return "it is for another session"
    return beyond(grant, held, policy)


def _out_of_turn(tx: Any, row: Row, session: str, digest: str) -> str:
    grant = row.approval
    if row.claimed_by not in ("", session):
        return "another session has begun it"
    if grant.uses >= len(grant.steps):
        return "each of its statements was begun already"
    if not same(grant.steps[grant.uses].digest, digest):
        return f"statement {grant.uses + 1} of {len(grant.steps)} is next, and this is another operation"
    if grant.uses and rows.get(tx, f"{grant.id}/{grant.uses}").approval.state != "executed":
        return f"statement {grant.uses} was not executed"
    return ""


def take(tx: Any, row: Row, session: str, held: HeldOperation, digest: str, now: float, run_within: float) -> Change:
    """One use of C{row}, claimed.

    @param run_within: seconds in which several statements are to be run, from the first.
    @raise hoopd.approvals.rows.Raced
    """
    grant = row.approval
    number = grant.uses + 1
    fields: dict[str, Any] = {"uses": number}
    bound = ""
    if grant.kind == "statements" and number == 1:
        fields["until"] = now + run_within
        bound = session
    used = rows.transition(tx, row, "use", now, grant.requester, session=bound, fields=fields)
    use = evolve(
        grant,
        id=f"{grant.id}/{number}",
        state=states.FIRST_USE["use"],
        session=session,
        redacted=held.redacted,
        classes=tuple(held.classes),
        objects=tuple(held.objects),
        reason=held.reason or grant.reason,
        holds=tuple(held.holds),
        policy=held.policy,
        requested_at=now,
        claim_by=None,
        revision=0,
        estimated_rows=held.estimated_rows,
        max_rows=least(grant.max_rows, held.max_rows),
        facts=dict(held.facts),
        kind="operation",
        scope="once",
        lasts=None,
        until=None,
        uses=0,
        steps=(),
        grant=grant.id,
    )
    return evolve(rows.insert(tx, Row(use, digest, session), "use"), also=(used,))


def told(tx: Any, use: Approval, happening: states.Happening, detail: str, now: float) -> tuple[Change, ...]:
    """What the outcome of C{use} means for its grant: several statements end with the last, or with one that fails."""
    if not use.grant:
        return ()
    row = rows.get(tx, use.grant)
    grant = row.approval
    if grant.state != "granted" or grant.kind != "statements":
        return ()
    number = int(use.id.rpartition("/")[2])
    if happening == "executed" and number < len(grant.steps):
        return ()
    outcome = f"statement {number} of {len(grant.steps)}: {detail}"
    fields = {"settled_at": now, "outcome": outcome}
    return (rows.transition(tx, row, happening, now, grant.requester, outcome, fields=fields),)


def unbound(tx: Any, row: Row, now: float) -> Change:
    """The session that C{row} is bound to is over."""
    grant = row.approval
    if grant.kind == "statements":
        why = f"its session ended after {grant.uses} of {len(grant.steps)} statements"
        return rows.transition(tx, row, "failed", now, "", why, fields={"settled_at": now, "outcome": why})
    why = "its session ended"
    return rows.transition(tx, row, "end", now, "", why, fields={"settled_at": now, "outcome": why})
