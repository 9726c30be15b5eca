"""What is told of a held operation: every change of one, with what an approver has to know, posted with the change."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from hoopd.approvals.rows import Change
from hoopd.approvals.states import Happening
from hoopd.approvals.tables import MIGRATIONS as APPROVALS_TABLES
from hoopd.notices import held, words
from hoopd.notices.tables import MIGRATIONS as NOTICES_TABLES
from hoopd.store.memory import MemoryStore
from hoopd.values import Approval, HoldTerms, Step, Vote
from tests.approvals.parts import LEA, START, TERMS, TOKEN
from tests.approvals.parts import World as Approvals
from tests.approvals.parts import held as operation
from tests.notices.parts import World

#: changes that nobody is told of: the outcome of a claim follows, and grants are used often
SILENT = {"claim", "use"}

APPROVAL = Approval(
    id="A-7KQ2M9",
    state="pending",
    requester="agent:ci/orders@main",
    act="user:priya",
    target="orders",
    session="S-1",
    redacted="UPDATE orders SET card = '?' WHERE id = $1",
    classes=("update", "write"),
    objects=("public.orders", "public.customers"),
    reason="OPS-42",
    holds=(HoldTerms("orders.hold.update", ("group:leads", "user:otto"), quorum=2, why="customers notice"), TERMS),
    policy="p1",
    requested_at=START,
    deadline=START + 900,
    estimated_rows=1200,
    max_rows=2000,
    facts={"where": True, "statements": 3},
)


def change(happening: Any, **fields: Any) -> Change:
    return Change(happening, "pending", evolve(APPROVAL, **fields), "user:lea", "fine by me")


def test_a_held_operation_says_all_that_an_approver_has_to_know() -> None:
    told = held.told(Change("request", "", APPROVAL, APPROVAL.requester, "OPS-42"))
    assert told is not None
    assert (told.kind, told.subject, told.at, told.revision) == ("approval.held", "A-7KQ2M9", START, 0)
    assert told.title == "agent:ci/orders@main on orders: A-7KQ2M9 waits for approval"
    assert told.text == "UPDATE orders SET card = '?' WHERE id = $1"
    assert told.fields == {
        "request": "A-7KQ2M9",
        "state": "pending",
        "requester": "agent:ci/orders@main",
        "on_behalf_of": "user:priya",
        "target": "orders",
        "reason": "OPS-42",
        "does": ["update", "write"],
        "tables": ["public.orders", "public.customers"],
        "estimated_rows": 1200,
        "row_ceiling": 2000,
        "where": True,
        "statements": 3,
        "rules": ["orders.hold.update", "orders.hold.write"],
        "why_held": ["customers notice"],
        "approvers": ["2 of group:leads or user:otto", "1 of group:leads"],
        "requested_at": START,
        "deadline_at": START + 900,
        "session": "S-1",
    }
    assert told.act == (
        "hoopctl approvals show A-7KQ2M9",
        "hoopctl approvals approve A-7KQ2M9 --reason '…'",
        "hoopctl approvals deny A-7KQ2M9 --reason '…'",
    )
    assert not [line for line in (*told.act, told.text, told.title) if "://" in line], "there is no link that decides"
    assert ("deadline", "2026-09-21 14:28:20 UTC") in words.facts(told)


def test_what_an_approver_should_mind_and_has_to_say() -> None:
    terms = HoldTerms("a", ("group:x",), max_rows_factor=1.5)
    facts = {"where": False, "in_transaction": True}
    told = held.told(change("request", estimated_rows=None, max_rows=None, holds=(terms,), facts=facts))
    assert told is not None
    assert told.fields["mind"] == [
        "no WHERE, or one that narrows nothing",
        "in an open transaction: its requester may still roll it back",
    ]
    assert told.act[1] == "hoopctl approvals approve A-7KQ2M9 --reason '…' --max-rows N"
    told = held.told(change("request", kind="window", scope="window"))
    assert told is not None
    assert "estimated_rows" not in told.fields


def test_what_is_not_known_is_said() -> None:
    told = held.told(change("request", estimated_rows=None, reason=None, max_rows=None, facts={}))
    assert told is not None
    assert (told.fields["estimated_rows"], told.fields["reason"]) == ("not known", "(none given)")
    assert "row_ceiling" not in told.fields


def test_hostile_facts_do_not_break_it() -> None:
    odd: dict[str, Any] = {"where": {"a": "b"}, "statements": [object()], "text": "\u202ex", "request": "A-OTHER"}
    told = held.told(change("request", facts=odd))
    assert told is not None
    assert told.fields["request"] == "A-7KQ2M9"
    assert told.fields["text"] == "<U+202E>x"


@pytest.mark.parametrize("happening", ["request", *get_args(Happening)])
def test_every_change_is_told_or_known_to_be_silent(happening: str) -> None:
    told = held.told(change(happening, state="approved", claim_by=START + 60))
    if happening in SILENT:
        assert told is None
        return
    assert told is not None
    if happening != "request":
        assert told.fields["by"] == "user:lea"
        assert told.fields["said"] == "fine by me"
        assert told.title.endswith(" by user:lea")
    assert told.text == "", "the statement is shown while it waits"
    assert told.act == ("hoopctl approvals show A-7KQ2M9",)
    assert told.fields["claim_by_at"] == START + 60


def test_how_far_a_yes_reaches_is_said() -> None:
    steps = (Step("d1", "UPDATE a"), Step("d2", "UPDATE b"))
    for fields, said in (
        ({"kind": "statements", "steps": steps}, "2 statements, in this order, each once"),
        ({"kind": "window", "scope": "window"}, "what the text names, for a time"),
        ({"scope": "window"}, "like statements, for a time"),
        ({"scope": "session"}, "like statements of its session"),
        ({}, None),
    ):
        told = held.told(change("grant", state="granted", until=START + 600, **fields))  # type: ignore[arg-type]
        assert told is not None
        assert told.fields.get("reaches") == said
        assert told.fields["until_at"] == START + 600
    told = held.told(change("request", beside=("A-1: another relation",)))
    assert told is not None
    assert told.fields["granted_already"] == ["A-1: another relation"]


def test_uses_of_a_grant_are_told_only_where_nobody_knows_how_they_ended() -> None:
    told = {each: held.told(change(each, grant="A-1")) for each in ("executed", "failed", "use", "unknown")}
    assert [each for each, one in told.items() if one is not None] == ["unknown"]


def test_what_happened_along_with_a_change_is_told_too() -> None:
    posted: list[Any] = []
    notices: Any = SimpleNamespace(default=("mail",), post=lambda tx, made, named: posted.append((made.kind, named)))
    parent = change("executed", kind="statements")
    held.within(notices)(None, evolve(change("executed", grant="A-1"), also=(parent,)))
    assert posted == [("approval.executed", ("mail",))]


def test_each_revision_is_told_once() -> None:
    vote = Vote("user:lea", True, "yes", START + 5, frozenset({"leads"}))
    told = held.told(change("vote", revision=1, votes=(vote,)))
    assert told is not None
    assert (told.revision, told.at, told.fields["agreed"]) == (1, START + 5, ["user:lea"])
    assert len(told.act) == 3, "somebody else must still decide"


def test_channels_of_rules_and_the_default_for_those_without() -> None:
    one = HoldTerms("a", ("group:x",), notify=("orders", "security"))
    two = HoldTerms("b", ("group:y",), notify=("orders",))
    silent = HoldTerms("c", ("group:z",))
    assert held.channels(evolve(APPROVAL, holds=(one, two)), ("mail",)) == ("orders", "security")
    assert held.channels(evolve(APPROVAL, holds=(one, silent)), ("mail",)) == ("orders", "security", "mail")
    assert held.channels(evolve(APPROVAL, holds=(silent,)), ()) == ()


class Wired(TestCase):
    """Approvals and notices over one store, as the broker has them."""

    def setUp(self) -> None:
        self.world = World()
        self.world.store = MemoryStore((*NOTICES_TABLES, *APPROVALS_TABLES))
        self.world.notices = self.world.made()
        self.approvals = Approvals(self.world.store, self.world.clock)
        self.wire()
        self.done(self.world.notices.start())
        self.done(self.approvals.session("S-1"))

    def wire(self) -> None:
        self.approvals.approvals.within(held.within(self.world.notices))
        self.approvals.approvals.observe(lambda approval: self.world.notices.wake())

    def done(self, what: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(what) if hasattr(what, "send") else what)

    def told(self) -> list[str]:
        return [json.loads(each.body)["type"] for each in self.world.notifier.given]

    def test_from_request_to_end_each_change_is_told_at_once(self) -> None:
        self.world.notices.attached(self.world.notifier)
        asked = self.done(self.approvals.approvals.request("S-1", TOKEN, operation()))
        self.done(self.approvals.approvals.decide(asked.id, LEA, True, "fine"))
        self.assertEqual(self.told(), ["approval.held", "approval.approved"])
        document = json.loads(self.world.notifier.given[0].body)
        self.assertEqual(document["data"]["fields"]["requester"], "user:priya")
        self.assertEqual(document["data"]["text"], "UPDATE orders SET paid = true")

    def test_killed_right_after_the_request_it_is_still_told(self) -> None:
        self.done(self.approvals.approvals.request("S-1", TOKEN, operation()))
        self.assertEqual(self.told(), [])
        self.world.restart()
        self.done(self.world.notices.start())
        self.world.notices.attached(self.world.notifier)
        self.assertEqual(self.told(), ["approval.held"])

    def test_a_request_whose_notice_cannot_be_stored_is_none(self) -> None:
        def broken(tx: Any, notice: Any, channels: Any = ()) -> None:
            raise ValueError("no room")

        self.world.notices.post = broken  # type: ignore[method-assign]
        self.failureResultOf(self.approvals.approvals.request("S-1", TOKEN, operation()), ValueError)
        self.assertEqual(self.done(self.approvals.approvals.find()), [])

    def test_asked_again_it_is_told_once(self) -> None:
        self.world.notices.attached(self.world.notifier)
        for _ in range(3):
            self.done(self.approvals.approvals.request("S-1", TOKEN, operation()))
        self.assertEqual(self.told(), ["approval.held"])
