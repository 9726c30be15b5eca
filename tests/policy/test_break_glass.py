"""Break glass in policy: what an opening lets pass, for whom, and what it never does."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.config.structure import ConfigErrors
from hoopd.policy.snapshot import PolicySnapshot
from hoopd.policy.testing import identity
from hoopd.policy.words import WORDS
from hoopd.values import Decision, Identity, Opening, Operation, Target

ORDERS = Target("orders", "postgres", "db", 5432, {"env": "prod"})
OTHER = Target("other", "postgres", "db", 5432)
ANN = identity("user:ann", ("eng", "oncall"))
KEY = b"k" * 32

POLICY = """
targets = ["orders", "other"]
mask.card = { columns = ["*.card"], show = "last4" }
allow.all = { who = ["group:eng", "agent:*"], do = ["read", "write"] }
hold.write = { do = ["write"], by = ["group:leads"] }
deny.delete = { do = ["delete"] }
break_glass.sre = { who = ["group:oncall"], except = ["user:eve"], SKIP }
"""


def load(skip: str = 'skip = "holds"', policy: str = POLICY) -> PolicySnapshot:
    targets = {"orders": ORDERS, "other": OTHER}
    return PolicySnapshot.load({"p.toml": policy.replace("SKIP", skip)}, targets, KEY)


def opened(who: Identity = ANN, **more: Any) -> Opening:
    every = ("holds", "denies", "masks")
    return evolve(
        Opening("G-1", who.name, who.act, "orders", "p.break_glass.sre", every, "INC-1", 900.0, 2000.0, who.scopes),
        **more,
    )


def judge(
    policy: PolicySnapshot, word: str, opening: Opening | None, who: Identity = ANN, target: Target = ORDERS
) -> Decision:
    classes = frozenset({word, "write"}) if word in ("update", "delete") else frozenset({word})
    return policy.decide(who, target, Operation("postgres", classes, word), 1000.0, opening)


#: operation, skip, verdict, rules that decide, what remains to be approved, what is skipped
TABLE = [
    ("read", "holds", "allow", ["p.allow.all"], 0, []),
    ("update", "", "hold", ["p.hold.write"], 1, []),
    ("update", "holds", "hold", ["p.break_glass.sre"], 0, ["p.hold.write"]),
    ("update", "masks", "hold", ["p.hold.write"], 1, []),
    ("update", "denies", "hold", ["p.hold.write"], 1, []),
    ("delete", "holds", "deny", ["p.deny.delete"], 0, []),
    ("delete", "denies", "hold", ["p.hold.write", "p.break_glass.sre"], 1, ["p.deny.delete"]),
    ("delete", "holds denies", "hold", ["p.break_glass.sre"], 0, ["p.deny.delete", "p.hold.write"]),
    # what no rule allows stays refused, whatever is skipped
    ("drop", "holds denies masks", "deny", [], 0, []),
]


@pytest.mark.parametrize(("word", "skip", "verdict", "rules", "remaining", "skipped"), TABLE)
def test_what_an_opening_lets_pass(word, skip, verdict, rules, remaining, skipped) -> None:
    policy = load(f"skip = {(skip or 'holds').split()}".replace("'", '"'))
    decision = judge(policy, word, opened() if skip else None)
    assert (decision.verdict, list(decision.rules)) == (verdict, rules)
    assert (len(decision.holds), list(decision.skipped)) == (remaining, skipped)
    assert decision.break_glass == ("G-1" if skipped else "")


@pytest.mark.parametrize(
    ("opening", "who"),
    [
        (opened(identity="user:bob"), ANN),
        (opened(target="other"), ANN),
        (opened(until=1000.0), ANN),
        (opened(rule="p.break_glass.gone"), ANN),
        (opened(skip=("masks",)), ANN),
        (opened(act="user:bob"), ANN),
        # opened with a narrower token than the session's
        (opened(scopes=("do:read",)), ANN),
        # not in the group (any more), named as an exception, or an agent that only a pattern names
        (opened(identity("user:ann", ("eng",))), identity("user:ann", ("eng",))),
        (opened(identity("user:eve", ("eng", "oncall"))), identity("user:eve", ("eng", "oncall"))),
        (opened(identity("agent:bot", ("eng", "oncall"))), identity("agent:bot", ("eng", "oncall"))),
    ],
)
def test_whom_and_when_it_does_not_cover(opening: Opening, who: Identity) -> None:
    policy = load('skip = ["holds", "denies", "masks"]')
    decision = judge(policy, "update", opening, who)
    assert (decision.verdict, decision.skipped, len(decision.holds)) == ("hold", (), 1)
    assert policy.skips(opening, who, ORDERS, 1000.0) <= {"masks"}


def test_an_agent_needs_its_own_name_in_the_rule() -> None:
    bot = identity("agent:bot", ("oncall",))
    for who, armed in (("agent:*", False), ("*", False), ("group:oncall", False), ("agent:bot", True)):
        policy = load(policy=POLICY.replace('who = ["group:oncall"]', f'who = ["{who}"]'))
        assert bool(policy.break_glass(bot, ORDERS)) is armed, who


def test_scopes_narrow_the_right() -> None:
    policy = load()
    assert policy.break_glass(ANN, ORDERS)
    assert not policy.break_glass(evolve(ANN, scopes=("target:other",)), ORDERS)
    reader = evolve(ANN, scopes=("do:read",))
    assert judge(policy, "update", opened(reader), reader).verdict == "deny"


def test_masks_stay_unless_they_are_named() -> None:
    shown = load("skip = ['holds', 'denies']").masks(ANN, ORDERS, 1000.0, opened())
    assert [mask.rule for mask in shown] == ["p.mask.card"]
    named = load("skip = ['masks']")
    assert named.masks(ANN, ORDERS, 1000.0, opened()) == ()
    assert [mask.rule for mask in named.masks(ANN, OTHER, 1000.0, opened())] == ["p.mask.card"]
    # what is recorded stays masked
    assert [mask.rule for mask in named.record_masks(ORDERS)] == ["p.mask.card"]


def test_an_observed_target_has_no_glass_to_break() -> None:
    policy = load(policy='mode = "observe"\n' + POLICY)
    assert policy.break_glass(ANN, ORDERS) == ()
    decision = judge(policy, "update", opened())
    assert (decision.verdict, decision.observed, decision.break_glass) == ("allow", "hold", "")


def test_tests_beside_the_rules_suppose_an_opening() -> None:
    beside = """
identity."user:ann" = { groups = ["eng", "oncall"] }
identity."user:bob" = { groups = ["eng"] }
test."user:ann UPDATE t SET a = 1 WHERE b" = { break_glass = "sre", expect = ["break_glass.sre"] }
test."user:ann DELETE FROM t" = { break_glass = "sre", expect = ["deny.delete"] }
"""
    load(policy=POLICY + beside)
    with pytest.raises(ConfigErrors, match=r"break_glass\.sre gives user:bob no right"):
        load(policy=POLICY + beside + 'test."user:bob SELECT 1" = { break_glass = "sre", expect = [] }\n')
    with pytest.raises(ConfigErrors, match=r"no rule break_glass\.ops"):
        load(policy=POLICY + beside + 'test."user:ann SELECT 1" = { break_glass = "ops", expect = [] }\n')


def test_an_explanation_names_the_way_out() -> None:
    said = load().explain(ANN, ORDERS, Operation("postgres", frozenset({"write", "update"}), "u"), 0.0)
    assert said.decision.verdict == "hold"
    assert [each.because for each in said.findings if each.verb == "break_glass"] == [
        "in an emergency it lets user:ann skip holds for 30 min, reviewed afterwards"
    ]


_classes = st.frozensets(st.sampled_from(sorted(WORDS)), min_size=1, max_size=4)
_skip = st.frozensets(st.sampled_from(["holds", "denies", "masks"]), min_size=1)


def _rule(verb: str, do: frozenset[str]) -> str:
    by = ', by = ["group:l"]' if verb == "hold" else ""
    return f"{verb}.x = {{ do = {sorted(do)}{by} }}\n".replace("'", '"')


@settings(max_examples=150, deadline=None)
@given(_classes, _classes, _classes, _classes, _skip, _skip)
def test_it_never_opens_what_is_refused_nor_unmasks_unless_named(classes, allow, hold, deny, skip, asked) -> None:
    text = 'targets = ["orders"]\nmask.m = { columns = ["*.card"] }\n'
    text += _rule("allow", allow) + _rule("hold", hold) + _rule("deny", deny)
    glass = f'break_glass.sre = {{ who = ["group:oncall"], skip = {sorted(skip)} }}\n'.replace("'", '"')
    policy = load(policy=text + glass)
    operated = Operation("postgres", classes, "x")
    opening = opened(skip=tuple(sorted(asked)))
    before = policy.decide(ANN, ORDERS, operated, 1000.0)
    during = policy.decide(ANN, ORDERS, operated, 1000.0, opening)
    both = skip & asked
    # nothing that was not open opens by itself: what passes is a hold that the broker has the last word on
    assert during.verdict != "allow" or before.verdict == "allow"
    assert (during.verdict == "hold" and bool(during.skipped)) == bool(during.break_glass)
    if before.verdict == "deny" and "denies" not in both:
        assert during == before
    if before.verdict == "hold" and "holds" not in both:
        assert during.holds == before.holds
    bare = load(policy=text.replace(_rule("deny", deny), "") + glass).decide(ANN, ORDERS, operated, 1000.0)
    if bare.verdict == "deny":
        assert during.verdict == "deny"
    if "masks" not in both:
        assert policy.masks(ANN, ORDERS, 1000.0, opening) == policy.masks(ANN, ORDERS, 1000.0)
    assert policy.record_masks(ORDERS)
