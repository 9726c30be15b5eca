"""Who may decide on a held operation, and what the votes add up to; pure.

Every rule that holds an operation has its own terms, and all of them must be met. A person counts once for each term
that names them. One entitled person's no is enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from hoopd.approvals.states import Happening
from hoopd.identity.names import folded, same_person
from hoopd.values import Approval, HoldTerms, Identity, Vote


def entitled(terms: HoldTerms, name: str, groups: Iterable[str]) -> bool:
    """Whether C{terms.by} name this identity or one of its groups, patterns as in policies; nobody if they are empty."""
    known = [name, *(f"group:{group}" for group in groups)]
    return any(fnmatchcase(each, pattern) for pattern in terms.by for each in known)


def refusal(approval: Approval, identity: Identity) -> str:
    """Why C{identity} may not decide on C{approval}, as a sentence, or nothing if it may."""
    name = identity.name
    if identity.kind != "human" or identity.act is not None:
        return "agents do not approve, and nobody through one: approval is a person's word"
    if same_person(name, approval.requester):
        return "nobody approves what they asked for themselves"
    if same_person(name, approval.act):
        return f"nobody approves what was asked for on their behalf, as {approval.requester} did for {name}"
    if "approver" not in identity.duties:
        return f"{name} does not have the duty approver"
    if not any(entitled(terms, name, identity.groups) for terms in approval.holds):
        return f"{name} is in none of the groups that decide this"
    if any(same_person(vote.identity, name) for vote in approval.votes):
        return f"{name} has voted already"
    return ""


def revocation_refusal(approval: Approval, identity: Identity) -> str:
    """Why C{identity} may not take C{approval} back, or nothing if it may: more may stop something than start it."""
    name = identity.name
    if identity.kind != "human" or identity.act is not None:
        return "agents do not revoke, and nobody through one: their people do"
    if "administrator" in identity.duties or same_person(name, approval.act) or same_person(name, approval.requester):
        return ""
    if "approver" in identity.duties and any(entitled(terms, name, identity.groups) for terms in approval.holds):
        return ""
    return f"{name} is neither an administrator nor among those who decide this"


def whom_to_ask(approval: Approval) -> str:
    """For whoever may not decide."""
    return "ask " + " or ".join(dict.fromkeys(each for terms in approval.holds for each in terms.by))


def met(terms: HoldTerms, votes: Iterable[Vote]) -> int:
    """How many distinct people entitled under C{terms} said yes."""
    return len(
        {folded(vote.identity) for vote in votes if vote.approve and entitled(terms, vote.identity, vote.groups)}
    )


def missing(approval: Approval) -> dict[str, int]:
    """How many more people each rule needs; rules that are satisfied are left out."""
    lacking = {terms.rule: max(1, terms.quorum) - met(terms, approval.votes) for terms in approval.holds}
    return {rule: count for rule, count in lacking.items() if count > 0}


def result(holds: tuple[HoldTerms, ...], votes: tuple[Vote, ...]) -> Happening:
    """What a vote leads to, given all of them: C{"deny"}, C{"approve"}, or only C{"vote"}.

    Votes of people whom no term names do not count, in either direction.
    """
    for vote in votes:
        if not vote.approve and any(entitled(terms, vote.identity, vote.groups) for terms in holds):
            return "deny"
    # without terms there is nothing that could be met: what holds without saying how is never approved
    if holds and all(met(terms, votes) >= max(1, terms.quorum) for terms in holds):
        return "approve"
    return "vote"
