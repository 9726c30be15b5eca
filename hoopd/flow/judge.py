"""Decisions on the operations of sessions, cached while nothing that they depend on has changed.

Not the rules (L{hoopd.policy}) nor the waiting (L{hoopd.flow.route}). Pure: the clock is injected. What a decision
depends on is the caller's fingerprint; a decision that is not cacheable (it read clock, parameters or counters) is
made anew each time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from attrs import evolve

from hoopd.policy.obligations import tightest
from hoopd.values import Decision, HoldTerms, Mask, Opening, Unreasoned, Verdict

V = TypeVar("V")

_WEIGHT: dict[Verdict | None, int] = {"allow": 0, "hold": 1, "deny": 2}


class Judgements(Generic[V]):
    """A bounded map from fingerprints to what was judged; the least recently used goes first.

    @param capacity: entries.
    @param weigh: how much memory an entry takes, in bytes.
    @param octets: of all entries: many large texts must not make a worker grow.
    """

    def __init__(
        self, capacity: int = 2048, weigh: Callable[[V], int] = lambda _: 0, octets: int = 64 * 1024 * 1024
    ) -> None:
        self._capacity = capacity
        self._weigh = weigh
        self._octets = octets
        self._weight = 0
        self._entries: OrderedDict[Hashable, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, fingerprint: Hashable) -> bool:
        return fingerprint in self._entries

    def find(self, fingerprint: Hashable, make: Callable[[], V], keep: Callable[[V], bool]) -> V:
        """What was judged under C{fingerprint}, or what C{make} judges now, kept if C{keep} says so."""
        found = self._entries.get(fingerprint)
        if found is not None:
            self._entries.move_to_end(fingerprint)
            return found
        made = make()
        if keep(made):
            self._entries[fingerprint] = made
            self._weight += self._weigh(made)
            while len(self._entries) > self._capacity or self._weight > self._octets:
                self._weight -= self._weigh(self._entries.popitem(last=False)[1])
        return made


def merged(decisions: Iterable[Decision]) -> Decision:
    """One decision on operations that run together or not at all: deny beats hold beats allow, limits tighten.

    @raise ValueError: no decision at all; nothing is allowed by saying nothing.
    """
    each = list(decisions)
    if not each:
        raise ValueError("no decision to merge")
    if len(each) == 1:
        return each[0]
    verdict = max((one.verdict for one in each), key=_WEIGHT.__getitem__)
    speaking = next(one for one in each if one.verdict == verdict)
    holds: dict[str, HoldTerms] = {}
    for one in each:
        for terms in one.holds:
            holds.setdefault(terms.rule, terms)
    unreasoned = _unreasoned([one for one in each if one.verdict == "deny"])
    observed: list[Verdict] = [one.observed for one in each if one.observed is not None]
    return Decision(
        verdict=verdict,
        rules=tuple(dict.fromkeys(rule for one in each for rule in one.rules)),
        why=speaking.why,
        hint=speaking.hint,
        holds=tuple(holds.values()) if verdict == "hold" or unreasoned else (),
        limits=tightest(one.limits for one in each),
        policy=speaking.policy,
        observed=max(observed, key=_WEIGHT.__getitem__) if observed else None,
        cacheable=all(one.cacheable for one in each),
        best=_best(each),
        skipped=tuple(dict.fromkeys(rule for one in each for rule in one.skipped)) if verdict == "hold" else (),
        break_glass=next((one.break_glass for one in each if one.break_glass), "") if verdict == "hold" else "",
        unreasoned=unreasoned,
    )


def _unreasoned(denials: list[Decision]) -> Unreasoned | None:
    """What all of them lack, if it is nothing but reasons."""
    lacks = [one.unreasoned for one in denials if one.unreasoned is not None]
    if not lacks or len(lacks) < len(denials):
        return None
    patterns = dict.fromkeys(pattern for lack in lacks for pattern in lack.patterns)
    return Unreasoned(tuple(patterns), lacks[0].why, lacks[0].hint)


def _best(decisions: list[Decision]) -> Verdict | None:
    if all(one.best is None for one in decisions):
        return None
    return max((one.best or one.verdict for one in decisions), key=_WEIGHT.__getitem__)


def unmasked(decision: Decision, opening: Opening, masks: tuple[Mask, ...]) -> Decision:
    """What is shown unmasked under break glass passes as a hold does: after the broker has written it down."""
    if decision.verdict == "deny" or not masks:
        return decision
    rules = decision.rules if decision.verdict == "hold" else ()
    return evolve(
        decision,
        verdict="hold",
        rules=tuple(dict.fromkeys((*rules, opening.rule))),
        why=decision.why or f"break glass {opening.id}: {opening.reason}",
        skipped=(*decision.skipped, *(mask.rule for mask in masks)),
        break_glass=opening.id,
    )
