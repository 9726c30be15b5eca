"""How far an approval reaches: how votes add up to a scope, and which operations a grant covers; pure.

Not who may approve (L{hoopd.approvals.quorum}). A grant never reaches further than the rules that its approvers were
entitled under, the classes and objects that they saw, and the policy that was in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hoopd.policy.reasons import fits
from hoopd.policy.rules import touches
from hoopd.policy.words import narrowed, uncovered
from hoopd.values import Approval, HeldOperation, HoldTerms, Scope, Vote

_REACH: Mapping[Scope, int] = {"once": 0, "session": 1, "window": 2}


def narrowest(scopes: Iterable[Scope]) -> Scope:
    """The one that reaches least."""
    return min(scopes, key=_REACH.__getitem__)


def window_max(holds: Iterable[HoldTerms]) -> float:
    """How long a window under all of these terms may last, seconds."""
    return min(terms.window_max for terms in holds)


def chosen(approval: Approval, scope: Scope | None, lasts: float | None) -> tuple[Scope, float | None]:
    """The scope and seconds of one yes.

    @param scope, lasts: what its approver said, or None: as it was asked for.
    @raise ValueError: more than the rules let anybody grant, or no sense; the text is for the approver.
    """
    wanted: Scope = scope or approval.scope
    if approval.kind == "statements" and wanted != "once":
        raise ValueError(f"{approval.id} is for {len(approval.steps)} statements, each once: it has no other scope")
    if approval.kind == "window" and wanted != "window":
        raise ValueError(f"{approval.id} asks for a time, not for one operation: approve it as a window, or deny it")
    for terms in approval.holds:
        if wanted not in terms.scopes:
            raise ValueError(f"{terms.rule} allows no scope {wanted}, only {', '.join(terms.scopes)}")
    if wanted == "once":
        if lasts is not None:
            raise ValueError("a time is for the scopes session and window")
        return wanted, None
    longest = window_max(approval.holds)
    if wanted == "window" and approval.lasts is not None:
        longest = min(longest, approval.lasts)  # nobody grants more than was asked for
    if lasts is None:
        return wanted, longest if wanted == "window" else None
    # what is no number at all (NaN) is neither
    if not lasts > 0:
        raise ValueError("a grant lasts longer than nothing")
    if not lasts <= longest:
        raise ValueError(f"at most {longest:.0f} s are possible here")
    return wanted, lasts


def agreed(votes: Iterable[Vote]) -> tuple[Scope, float | None]:
    """What all who said yes said yes to."""
    said = [vote for vote in votes if vote.approve]
    scope = narrowest(vote.scope for vote in said)
    times = [vote.lasts for vote in said if vote.lasts is not None]
    return scope, min(times) if times and scope != "once" else None


def least(*rows: int | None) -> int | None:
    """The tightest of several row ceilings; None is none."""
    known = [each for each in rows if each is not None]
    return min(known) if known else None


def beyond(approval: Approval, held: HeldOperation, policy: str) -> str:
    """Why the grant C{approval} of a session or window does not cover C{held}, or C{""} if it does.

    @param policy: version of the policy in force.
    """
    if not approval.policy == held.policy == policy:
        return "the policy has changed since it was approved"
    if held.skipped or held.break_glass:
        return "it passes under break glass"
    known = [_said(terms) for terms in approval.holds]
    for terms in held.holds:
        if _said(terms) not in known:
            return f"{terms.rule} holds it, and was not asked about"
        if approval.scope not in terms.scopes:
            return f"{terms.rule} allows no scope {approval.scope}"
    opened = approval.classes if approval.kind == "window" else narrowed(approval.classes)
    missing = uncovered(frozenset(held.classes), opened)
    if missing:
        return f"it was not approved for {', '.join(missing)}"
    return _elsewhere(approval, held)


def reasoned(approval: Approval, held: HeldOperation) -> bool:
    """Whether the reason that C{approval} was asked for with does for C{held}, which brings none itself."""
    return held.unreasoned is None or all(fits(pattern, approval.reason) for pattern in held.unreasoned.patterns)


def _said(terms: HoldTerms) -> tuple[str, int, frozenset[str]]:
    return terms.rule, terms.quorum, frozenset(terms.by)


def _elsewhere(approval: Approval, held: HeldOperation) -> str:
    if approval.kind == "operation":
        # names that were seen are names, whatever characters they have
        others = sorted(set(held.objects) - set(approval.objects))
        if others or bool(held.objects) != bool(approval.objects):
            return f"it touches {', '.join(others) or 'no relation'}, and was not approved for that"
        return ""
    if not approval.objects:
        return ""
    own = [name for name in held.objects if not name.startswith("pg_catalog.")]
    others = [name for name in own if not any(touches(pattern, name) for pattern in approval.objects)]
    if others or not own:
        return f"it touches {', '.join(others) or 'no relation'}, and was not approved for that"
    return ""
