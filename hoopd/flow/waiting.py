"""What requesters are told of an operation that is held, and the errors that end its waiting. Pure; the waiting is L{hoopd.flow.route}'s."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from hoopd.display import spoken
from hoopd.errors import Denied
from hoopd.values import Approval


class Withdrawn(Denied):
    """The requester gave the operation up."""


class StillOpen(Denied):
    """The requester's connection waited as long as it may; the request itself stays open."""


class Ticket(Denied):
    """The requester's connection does not wait: the request is open under the number that the error says."""


@frozen
class Notice:
    """What the requester is told while an operation waits."""

    text: str
    detail: str
    hint: str


def describe(approval: Approval, now: float, wait: float) -> Notice:
    """The notice for a request that waits.

    @param now: seconds since the epoch.
    @param wait: seconds that the requester's connection waits from now.
    """
    terms = approval.holds
    who = ", ".join(dict.fromkeys(name for each in terms for name in each.by)) or "an approver"
    why = " ".join(dict.fromkeys(each.why for each in terms if each.why))
    rules = ", ".join(each.rule for each in terms)
    return Notice(
        f"held for approval as {approval.id} by rule {rules}" + (f": {why}" if why else ""),
        f"Approvers: {who}. This connection waits {spoken(wait)}, the request stays open for "
        f"{spoken(approval.deadline - now)}. Interrupt (Ctrl-C) to withdraw it."
        + "".join(f" {each}" for each in sentences(approval.beside)),
        f"hoopctl approvals approve {approval.id}",
    )


def ticket(approval: Approval, now: float) -> Ticket:
    """The error for one whose connection does not wait. @param now: seconds since the epoch"""
    why = " ".join(dict.fromkeys(each.why for each in approval.holds if each.why))
    left = spoken(approval.deadline - now)
    return Ticket(
        f"approval needed, ticket {approval.id}" + (f": {why}" if why else "") + "; it has not run",
        tuple(terms.rule for terms in approval.holds),
        " ".join(
            [
                *sentences(approval.beside),
                f"The request stays open for {left}. Once {approval.id} is approved (hoopctl approvals approve "
                f"{approval.id}), repeat exactly this statement, and it will run, once.",
            ]
        ),
    )


def still_open(approval: Approval, now: float) -> StillOpen:
    """The error for one whose connection has waited long enough. @param now: seconds since the epoch"""
    left = approval.deadline - now
    return StillOpen(
        f"nobody has decided on {approval.id} yet; it has not run",
        tuple(terms.rule for terms in approval.holds),
        f"The request stays open for {spoken(left)}. Repeat exactly this statement once {approval.id} is approved "
        "(hoopctl approvals show says so), and it will run, once.",
    )


def sentences(beside: Iterable[str]) -> list[str]:
    """What an approval says beside its terms, as sentences."""
    return [f"{each}." for each in beside]


def refused(approval: Approval, rules: tuple[str, ...]) -> Denied:
    """The error for one that colleagues said no to, or that nobody may run any more."""
    said = "; ".join(f"{vote.identity}: {vote.reason}" for vote in approval.votes if not vote.approve and vote.reason)
    return Denied(
        f"{approval.id} was {approval.state}" + (f" ({said})" if said else ""),
        rules,
        "" if approval.state == "denied" else "Run the statement again to ask again.",
    )
