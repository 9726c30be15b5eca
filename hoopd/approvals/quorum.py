"""Who may decide, and when enough have: pure.

Each L{HoldTerms} needs its own quorum of distinct people; one person's word counts once in each whose C{by} names them.
One entitled person's no denies. Requesters, the people they act for, and agents never decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal

from hoopd.errors import Denied
from hoopd.values import Approval, HoldTerms, Identity, Vote


def entitled(terms: HoldTerms, name: str, groups: frozenset[str]) -> bool:
    """Whether C{terms.by} names this person or one of their groups."""
    for pattern in terms.by:
        if pattern.startswith("group:"):
            if any(fnmatchcase(group, pattern[6:]) for group in groups):
                return True
        elif fnmatchcase(name, pattern):
            return True
    return False


def check_voter(approval: Approval, voter: Identity) -> None:
    """@raise Denied: why this identity cannot decide on this request"""
    if voter.kind != "human" or voter.act is not None:
        raise Denied("agents do not approve, and nobody through one", hint="ask a person")
    if voter.name == approval.requester:
        raise Denied("nobody approves what they asked for themselves", hint=whom_to_ask(approval))
    if voter.name == approval.act:
        raise Denied("nobody approves what was asked for on their behalf", hint=whom_to_ask(approval))
    if "approver" not in voter.duties:
        raise Denied(f"{voter.name} does not have the duty approver", hint="ask an administrator")
    if not any(entitled(terms, voter.name, voter.groups) for terms in approval.holds):
        raise Denied(f"{voter.name} is in none of the groups that decide this", hint=whom_to_ask(approval))
    if any(vote.identity == voter.name for vote in approval.votes):
        raise Denied(f"{voter.name} has decided already")


def whom_to_ask(approval: Approval) -> str:
    people = dict.fromkeys(pattern for terms in approval.holds for pattern in terms.by)
    return f"ask {' or '.join(people)}"


def outcome(holds: Sequence[HoldTerms], votes: Sequence[Vote]) -> Literal["approve", "deny", ""]:
    """What C{votes} amount to: C{""} while more are needed."""
    for vote in votes:
        if not vote.approve and any(entitled(terms, vote.identity, vote.groups) for terms in holds):
            return "deny"
    for terms in holds:
        people = {vote.identity for vote in votes if vote.approve and entitled(terms, vote.identity, vote.groups)}
        if len(people) < terms.quorum:
            return ""
    return "approve" if holds else ""
