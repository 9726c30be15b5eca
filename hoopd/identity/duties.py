"""Duties: which an identity's groups give it, and which exclude each other; pure.

Where the configuration says that two duties exclude each other, whoever holds both has neither: which of the two was
meant is for people to say, not for us to guess. C{user}, which is to use targets and to ask for approval, everybody
has: who holds one that excludes it keeps that one, and uses none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import attrs

from hoopd.values import DUTIES, Identity

#: the duty that everybody has
USER = "user"

#: pairs, or larger sets of which nobody holds two
Conflicts = Sequence[Sequence[str]]


def given(duties: Mapping[str, str], groups: Iterable[str], kind: str) -> frozenset[str]:
    """The duties of somebody whom a provider proved.

    @param duties: group to duties, separated by spaces.
    @param kind: C{human} or C{agent}; an agent approves nothing.
    """
    held = {USER} | {duty for group in groups for duty in duties.get(group, "").split()}
    if kind == "agent":
        held.discard("approver")
    return frozenset(held) & frozenset(DUTIES)


def clashes(held: Collection[str], conflicts: Conflicts) -> frozenset[str]:
    """@return: the duties among C{held} that exclude another one among them."""
    found: set[str] = set()
    for excluding in conflicts:
        both = set(excluding) & set(held)
        if len(both) > 1 and USER in both:
            found.add(USER)
            both.discard(USER)
        if len(both) > 1:
            found |= both
    return frozenset(found)


def parted(identity: Identity, held: Collection[str], conflicts: Conflicts) -> Identity:
    """C{identity} without the duties that exclude each other, which are named as withheld.

    @param held: everything it holds, whatever a token's scopes leave of it: who holds both cannot pick one by scope.
    """
    withheld = clashes(held, conflicts)
    return attrs.evolve(identity, duties=identity.duties - withheld, withheld=withheld) if withheld else identity


def explained(name: str, clashing: Collection[str]) -> str:
    """Why none of C{clashing} counts, as a sentence."""
    if set(clashing) == {USER}:
        return f"{name} has a duty that excludes the use of targets here ([duties] conflicts)"
    listed = " and ".join(sorted({*clashing} - {USER}))
    return f"{name} holds {listed}, which exclude each other here ([duties] conflicts): none of them counts"


def mistakes(conflicts: Conflicts) -> list[str]:
    """What is wrong with the configured conflicts, as sentences."""
    found = []
    for excluding in conflicts:
        unknown = sorted(set(excluding) - set(DUTIES))
        if unknown:
            found.append(f"{unknown[0]!r} is no duty: {', '.join(DUTIES)}")
        elif len(set(excluding)) < 2:
            found.append(f"{list(excluding)} names fewer than two duties")
    return found
