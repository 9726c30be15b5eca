"""Who may decide, and what votes add up to."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.approvals import quorum
from hoopd.values import Approval, HoldTerms, Identity, Vote
from tests.approvals.parts import BOTH, BULK, DAN, DORA, LARS, LEA, PRIYA, TERMS, person

APPROVAL = Approval(
    id="A-1",
    state="pending",
    requester="user:priya",
    act=None,
    target="orders",
    session="S-1",
    redacted="UPDATE orders SET paid = true",
    classes=("update", "write"),
    objects=("public.orders",),
    reason=None,
    holds=(TERMS,),
    policy="p1",
    requested_at=0.0,
    deadline=900.0,
)


def vote(identity: Identity, approve: bool = True) -> Vote:
    return Vote(identity.name, approve, "", 0.0, identity.groups)


@pytest.mark.parametrize(
    ("who", "why"),
    [
        (PRIYA, "themselves"),
        (person("Priya", "leads"), "themselves"),
        (person("ｐriya", "leads"), "themselves"),
        (Identity("ci", "agent", frozenset({"leads"}), duties=frozenset({"approver"})), "agents"),
        (person("lea", "leads", duties=("user",)), "duty"),
        (person("lea", "leads", duties=("administrator", "auditor")), "duty"),
        (person("otto", "eng"), "none of the groups"),
        (person("otto", "group:leads"), "none of the groups"),
        (person("otto", "leads", act="user:priya"), "through one"),
    ],
)
def test_who_may_not(who: Identity, why: str) -> None:
    assert why in quorum.refusal(APPROVAL, who)


def test_who_may() -> None:
    assert quorum.refusal(APPROVAL, LEA) == ""
    by_name = evolve(APPROVAL, holds=(HoldTerms("r", ("user:otto",)),))
    assert quorum.refusal(by_name, person("otto")) == ""
    assert "none of" in quorum.refusal(by_name, LEA)
    by_pattern = evolve(APPROVAL, holds=(HoldTerms("r", ("group:lea*",)),))
    assert quorum.refusal(by_pattern, LEA) == ""
    nobody = evolve(APPROVAL, holds=(HoldTerms("r", ()),))
    assert "none of" in quorum.refusal(nobody, LEA)


def test_not_the_one_on_whose_behalf_it_was_asked() -> None:
    asked = evolve(APPROVAL, requester="agent:helper", act="user:lea")
    assert "on their behalf" in quorum.refusal(asked, LEA)
    assert quorum.refusal(asked, LARS) == ""
    assert "through one" in quorum.refusal(asked, person("x", "leads", act="user:lea"))


def test_a_person_votes_once() -> None:
    voted = evolve(APPROVAL, holds=(evolve(TERMS, quorum=2),), votes=(vote(LEA),))
    assert "voted already" in quorum.refusal(voted, LEA)
    assert "voted already" in quorum.refusal(voted, person("LEA", "leads"))
    assert quorum.missing(voted) == {"orders.hold.write": 1}


@pytest.mark.parametrize(
    ("votes", "result"),
    [
        ([], "vote"),
        ([LEA], "vote"),
        ([LEA, DORA], "vote"),
        ([DORA, DAN], "vote"),
        ([LEA, DORA, DAN], "approve"),
        ([BOTH, DORA], "approve"),
        ([BOTH], "vote"),
        ([LEA, LARS, DORA], "vote"),
    ],
)
def test_all_terms_must_be_met_each_by_its_own_quorum(votes: list[Identity], result: str) -> None:
    assert quorum.result((TERMS, BULK), tuple(map(vote, votes))) == result


def test_one_entitled_no_is_enough_and_another_counts_for_nothing() -> None:
    assert quorum.result((TERMS, BULK), (vote(LEA), vote(DORA), vote(DAN, False))) == "deny"
    assert quorum.result((TERMS,), (vote(DORA, False),)) == "vote"
    assert quorum.result((TERMS,), (vote(DORA, False), vote(LEA))) == "approve"


def test_the_same_person_twice_is_one() -> None:
    assert quorum.result((BULK,), (vote(DORA), vote(DORA))) == "vote"


def test_without_terms_nothing_is_approved_and_a_quorum_of_none_is_one() -> None:
    assert quorum.result((), (vote(LEA),)) == "vote"
    assert quorum.result((evolve(TERMS, quorum=0),), ()) == "vote"
    assert quorum.result((evolve(TERMS, quorum=0),), (vote(LEA),)) == "approve"


@given(
    votes=st.lists(st.tuples(st.sampled_from([LEA, LARS, DORA, DAN, BOTH, PRIYA]), st.booleans()), max_size=8),
    wanted=st.integers(1, 3),
)
@settings(max_examples=150)
def test_approved_means_enough_distinct_entitled_people_and_no_no(
    votes: list[tuple[Identity, bool]], wanted: int
) -> None:
    cast = tuple(vote(who, approve) for who, approve in votes)
    yes = {who.name for who, approve in votes if approve and "leads" in who.groups}
    no = any(not approve and "leads" in who.groups for who, approve in votes)
    result = quorum.result((evolve(TERMS, quorum=wanted),), cast)
    assert result == ("deny" if no else "approve" if len(yes) >= wanted else "vote")
