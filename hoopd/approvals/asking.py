"""Requests as they are put on file: for one operation, for several statements in order, for a time; pure.

Not who asks, nor whether it is covered already (L{hoopd.approvals.service}).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hoopd.approvals.scope import narrowest, window_max
from hoopd.display import spoken
from hoopd.values import Approval, HeldOperation, HoldTerms, Identity, Step


def _open_until(holds: Sequence[HoldTerms], now: float, open_for: float) -> float:
    # longer than the requester's connection waits, by the shortest of the rules' waits
    return now + max(open_for, min(terms.wait for terms in holds))


def one(
    id: str, session: str, identity: Identity, target: str, held: HeldOperation, now: float, open_for: float
) -> Approval:
    """What one operation asks for."""
    scope = narrowest(terms.scope for terms in held.holds)
    return Approval(
        id=id,
        state="pending",
        requester=identity.name,
        act=identity.act,
        target=target,
        session=session,
        redacted=held.redacted,
        classes=tuple(held.classes),
        objects=tuple(held.objects),
        reason=held.reason,
        holds=tuple(held.holds),
        policy=held.policy,
        requested_at=now,
        deadline=_open_until(held.holds, now, open_for),
        estimated_rows=held.estimated_rows,
        max_rows=held.max_rows,
        facts=dict(held.facts),
        scope=scope,
        lasts=window_max(held.holds) if scope == "window" else None,
    )


def several(
    id: str,
    session: str,
    identity: Identity,
    target: str,
    plan: Sequence[HeldOperation],
    digests: Sequence[str],
    shown: str,
    now: float,
    open_for: float,
) -> Approval:
    """What several statements ask for that are to run in this order, each once.

    @param shown: the redacted text of all that will run, also of what needs no approval.
    """
    holds: dict[str, HoldTerms] = {}
    for held in plan:
        for each in held.holds:
            holds.setdefault(each.rule, each)
    terms = tuple(holds.values())
    return Approval(
        id=id,
        state="pending",
        requester=identity.name,
        act=identity.act,
        target=target,
        session=session,
        redacted=shown,
        classes=tuple(sorted({word for held in plan for word in held.classes})),
        objects=tuple(dict.fromkeys(name for held in plan for name in held.objects)),
        reason=plan[0].reason,
        holds=terms,
        policy=plan[0].policy,
        requested_at=now,
        deadline=_open_until(terms, now, open_for),
        kind="statements",
        steps=tuple(
            Step(digest, held.redacted, tuple(held.classes), tuple(held.objects))
            for digest, held in zip(digests, plan, strict=True)
        ),
    )


def time(
    id: str,
    identity: Identity,
    target: str,
    do: Sequence[str],
    objects: Sequence[str],
    lasts: float,
    reason: str,
    holds: tuple[HoldTerms, ...],
    policy: str,
    now: float,
    open_for: float,
) -> Approval:
    """What a time in which to run C{do} on C{objects} (patterns; empty is all) asks for.

    @raise ValueError: longer than the rules allow
    """
    longest = window_max(holds)
    if not 0 < lasts <= longest:
        raise ValueError(f"the rules that hold this allow windows of at most {spoken(longest)}")
    where = ", ".join(objects) or "any relation"
    fields: dict[str, Any] = {"kind": "window", "scope": "window", "lasts": lasts}
    return Approval(
        id=id,
        state="pending",
        requester=identity.name,
        act=identity.act,
        target=target,
        session="",
        redacted=f"for {spoken(lasts)} from approval: any {', '.join(do)} on {where}",
        classes=tuple(do),
        objects=tuple(objects),
        reason=reason,
        holds=holds,
        policy=policy,
        requested_at=now,
        deadline=_open_until(holds, now, open_for),
        **fields,
    )
