"""What notices say of held operations: from one change of an approval to a notice and its channels; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hoopd.approvals import ceiling
from hoopd.approvals.rows import Change
from hoopd.approvals.words import warnings
from hoopd.notices.notice import Notice, notice
from hoopd.values import Approval

#: the transition (L{hoopd.approvals.states}) to the kind of notice and the end of its title; a claim or a use is not told
_TOLD: dict[str, tuple[str, str]] = {
    "request": ("approval.held", "waits for approval"),
    "vote": ("approval.voted", "was agreed to by one more"),
    "approve": ("approval.approved", "was approved"),
    "grant": ("approval.approved", "was approved"),
    "end": ("approval.ended", "has ended"),
    "deny": ("approval.denied", "was denied"),
    "expire": ("approval.expired", "has lapsed"),
    "withdraw": ("approval.withdrawn", "was withdrawn"),
    "revoke": ("approval.withdrawn", "is not approved any more"),
    "executed": ("approval.executed", "was executed"),
    "failed": ("approval.failed", "was run and failed"),
    "unknown": ("approval.unknown", "was begun, and nobody knows how it ended"),
}


def channels(approval: Approval, default: Sequence[str]) -> tuple[str, ...]:
    """@return: every channel that a rule holding it names, and the default ones for each rule that names none."""
    return tuple(dict.fromkeys(name for terms in approval.holds for name in (terms.notify or default)))


def told(change: Change) -> Notice | None:
    """@return: what is told of a change; None where nothing is."""
    approval = change.approval
    # what was granted for many times would be told as often: only of what nobody knows somebody must hear
    if change.happening not in _TOLD or (approval.grant and change.happening != "unknown"):
        return None
    kind, ending = _TOLD[change.happening]
    waits = approval.state == "pending"
    title = f"{approval.requester} on {approval.target}: {approval.id} {ending}"
    at = change.approval.requested_at if kind == "approval.held" else _when(approval)
    return notice(
        kind,
        approval.id,
        title if not change.by or kind == "approval.held" else f"{title} by {change.by}",
        at,
        _fields(change),
        approval.redacted if waits else "",
        _act(approval) if waits else (f"hoopctl approvals show {approval.id}",),
        approval.revision,
    )


def _when(approval: Approval) -> float:
    return approval.settled_at or max([approval.requested_at, *(vote.at for vote in approval.votes)])


def _fields(change: Change) -> dict[str, Any]:
    approval = change.approval
    said = {} if change.happening == "request" else {"by": change.by or None, "said": change.reason or None}
    fields = {
        "request": approval.id,
        "state": approval.state,
        "requester": approval.requester,
        "on_behalf_of": approval.act,
        "target": approval.target,
        "reason": approval.reason or "(none given)",
        **said,
        "reaches": _reach(approval),
        "until_at": approval.until,
        "granted_already": approval.beside or None,
        "outcome": approval.outcome or None,
        "does": approval.classes,
        "tables": approval.objects,
        "estimated_rows": _estimate(approval),
        "row_ceiling": approval.max_rows,
        "mind": warnings({"facts": approval.facts}) or None,
        "rules": [terms.rule for terms in approval.holds],
        "why_held": [terms.why for terms in approval.holds if terms.why] or None,
        "approvers": [f"{terms.quorum} of {' or '.join(terms.by)}" for terms in approval.holds],
        "agreed": [vote.identity for vote in approval.votes if vote.approve] or None,
        "requested_at": approval.requested_at,
        **({"deadline_at": approval.deadline} if approval.state == "pending" else {"claim_by_at": approval.claim_by}),
        "session": approval.session,
    }
    for name, value in approval.facts.items():
        if isinstance(value, bool | int | float | str):
            fields.setdefault(name, value)
    return fields


def _reach(approval: Approval) -> str | None:
    """How far a yes reaches, where it is further than one run."""
    if approval.kind == "statements":
        return f"{len(approval.steps)} statements, in this order, each once"
    if approval.scope == "session":
        return "like statements of its session"
    if approval.scope == "window":
        return "what the text names, for a time" if approval.kind == "window" else "like statements, for a time"
    return None


def _estimate(approval: Approval) -> int | str | None:
    if approval.kind != "operation":
        return None
    return "not known" if approval.estimated_rows is None else approval.estimated_rows


def _act(approval: Approval) -> tuple[str, ...]:
    id, rows = approval.id, ""
    try:
        ceiling.chosen(approval, None)
    except ValueError:
        rows = " --max-rows N"  # its approver has to say how many
    return (
        f"hoopctl approvals show {id}",
        f"hoopctl approvals approve {id} --reason '…'{rows}",
        f"hoopctl approvals deny {id} --reason '…'",
    )


def within(notices: Any) -> Callable[[Any, Change], None]:
    """@param notices: L{hoopd.notices.service.Notices}.

    @return: for L{hoopd.approvals.service.Approvals.within}: posts what is told with the change itself.
    """

    def post(tx: Any, change: Change) -> None:
        for each in (*change.also, change):
            made = told(each)
            named = channels(each.approval, notices.default)
            if made is not None and named:
                notices.post(tx, made, named)

    return post
