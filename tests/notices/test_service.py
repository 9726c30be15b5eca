"""Posting and delivering: a row for each channel, with what it tells or not at all; at least once, under one key."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from hoopd.config.channels import Channel
from hoopd.errors import RecordError, Unavailable
from hoopd.interfaces import INotices
from hoopd.notices.deliveries import Outcome
from hoopd.notices.lanes import LANE_MAX
from hoopd.notices.memory import MemoryNotices
from hoopd.notices.notice import notice
from hoopd.notices.rows import Entry, key
from tests.notices.parts import GLASS, HELD, SLACK, START, World

BAD = Outcome(False, "status 503")


class Case(TestCase):
    def setUp(self) -> None:
        self.world = World()
        self.begin()

    def begin(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.world.notices.start()))

    def attach(self) -> None:
        self.world.notices.attached(self.world.notifier)

    def tell(self, *arguments: Any) -> None:
        self.successResultOf(self.world.notices.tell(*arguments))

    def entries(self, **wanted: Any) -> list[Entry]:
        found: list[Entry] = self.successResultOf(self.world.notices.find(**wanted))
        return sorted(found, key=lambda entry: (entry.channel, entry.subject))


class Posting(Case):
    def posted(self) -> list[tuple[str, str]]:
        return [(entry.channel, entry.subject) for entry in self.entries()]

    def test_the_interface(self) -> None:
        verifyObject(INotices, self.world.notices)
        verifyObject(INotices, MemoryNotices())

    def test_named_channels_or_the_default_ones(self) -> None:
        self.tell(HELD)
        self.tell(GLASS, ["security", "orders", "security", "gone"])
        assert self.posted() == [("orders", "A-1"), ("orders", "G-1"), ("security", "G-1")]

    def test_a_channel_chooses_its_events(self) -> None:
        self.tell(HELD, ["security"])
        assert self.posted() == []

    def test_the_same_notice_is_posted_once(self) -> None:
        self.tell(HELD)
        self.tell(HELD)
        assert self.posted() == [("orders", "A-1")]

    def test_rolled_back_with_what_it_tells(self) -> None:
        def work(tx: Any) -> None:
            self.world.notices.post(tx, HELD)
            raise ValueError("the transition failed")

        self.failureResultOf(self.world.store.transact(work), ValueError)
        assert self.posted() == []

    def test_keys_differ_by_gateway_channel_kind_and_revision(self) -> None:
        again = notice("approval.held", "A-1", "priya waits", START, revision=1)
        keys = {key("i", "orders", HELD), key("j", "orders", HELD), key("i", "x", HELD), key("i", "orders", GLASS)}
        assert len(keys | {key("i", "orders", again)}) == 5
        assert key("i", "orders", HELD) == key("i", "orders", HELD)
        # Standard Webhooks joins id, time and body by full stops
        assert all("." not in each for each in keys)


class Delivering(Case):
    def test_what_is_told_goes_out_at_once(self) -> None:
        self.attach()
        self.tell(HELD)
        (entry,) = self.entries()
        assert (entry.state, entry.attempts, entry.outcome) == ("delivered", 1, "status 200")
        assert self.world.events == [
            ("notify.delivered", {
                "notice": entry.id, "channel": "orders", "kind": "approval.held", "subject": "A-1", "attempts": 1,
                "seconds": 0.0, "outcome": "status 200",
            })
        ]  # fmt: skip

    def test_without_a_notifier_it_waits_uncounted(self) -> None:
        self.tell(HELD)
        assert [entry.attempts for entry in self.entries(state="waiting")] == [0]
        self.attach()
        assert [entry.state for entry in self.entries()] == ["delivered"]

    def test_failures_are_tried_again_under_the_same_key_ever_more_slowly(self) -> None:
        self.attach()
        self.world.notifier.answer = BAD
        self.tell(HELD)
        times = [0.0]
        for _ in range(2000):
            count = len(self.world.notifier.given)
            self.world.clock.advance(1)
            if len(self.world.notifier.given) > count:
                times.append(self.world.clock.seconds() - START)
        assert times[:6] == [0, 1, 3, 7, 15, 31]
        assert times[-1] - times[-2] <= 600
        assert len(set(self.world.notifier.ids)) == 1
        stamps = [dict(each.headers)["webhook-timestamp"] for each in self.world.notifier.given]
        assert stamps[:2] == [str(int(START)), str(int(START) + 1)]
        self.world.notifier.answer = Outcome(True, "status 200")
        self.world.clock.pump([60.0] * 11)
        assert [entry.state for entry in self.entries()] == ["delivered"]

    def test_a_receiver_may_ask_for_time(self) -> None:
        self.attach()
        self.world.notifier.answer = Outcome(False, "status 429", 90.0)
        self.tell(HELD)
        self.world.clock.pump([1.0] * 89)
        assert len(self.world.notifier.given) == 1
        self.world.clock.pump([1.0] * 2)
        assert len(self.world.notifier.given) == 2

    def test_given_up_after_its_time_with_a_leaf(self) -> None:
        self.world.settings = type(self.world.settings)(default=("orders",), give_up=120.0)
        self.world.notices = self.world.made()
        self.begin()
        self.attach()
        self.world.notifier.answer = BAD
        self.tell(HELD)
        self.world.clock.pump([1.0] * 300)
        (entry,) = self.entries()
        assert (entry.state, entry.outcome) == ("given-up", "status 503")
        (leaf,) = [fields for kind, fields in self.world.ledger.leaves if kind == "notice"]
        assert leaf["notice"] == entry.id
        assert (leaf["act"], leaf["channel"], leaf["why"]) == ("given up", "orders", "status 503")
        assert self.world.names()[-1] == "notify.given-up"
        count = len(self.world.notifier.given)
        self.world.clock.pump([60.0] * 100)
        assert len(self.world.notifier.given) == count

    def test_a_ledger_that_cannot_be_written_keeps_the_notice_alive(self) -> None:
        self.world.settings = type(self.world.settings)(default=("orders",), give_up=60.0)
        broken = [True]
        append = self.world.ledger.append

        def failing(kind: str, fields: Any) -> Any:
            if broken[0]:
                raise RecordError("disk full")
            return append(kind, fields)

        self.world.ledger.append = failing  # type: ignore[method-assign]
        self.world.notices = self.world.made()
        self.begin()
        self.attach()
        self.world.notifier.answer = BAD
        self.tell(HELD)
        self.world.clock.pump([1.0] * 200)
        assert [entry.state for entry in self.entries()] == ["waiting"]
        broken[0] = False
        self.world.clock.pump([1.0] * 20)
        assert [entry.state for entry in self.entries()] == ["given-up"]

    def test_killed_between_attempt_and_outcome_it_is_sent_again_with_the_same_key(self) -> None:
        self.attach()
        self.world.notifier.answer = Deferred()
        self.tell(HELD)
        assert len(self.world.notifier.given) == 1
        self.world.restart()
        self.world.notifier.answer = Outcome(True, "status 200")
        self.begin()
        self.attach()
        first, second = self.world.notifier.ids
        assert first == second
        assert [entry.state for entry in self.entries()] == ["delivered"]

    def test_a_channel_that_is_gone_gives_up_what_waits(self) -> None:
        self.tell(HELD)
        self.world.channels = {name: each for name, each in self.world.channels.items() if name != "orders"}
        self.world.restart()
        self.begin()
        (entry,) = self.entries()
        assert (entry.state, entry.outcome) == ("given-up", "the channel is not configured any more")

    def test_a_dead_channel_delays_no_other_and_is_bounded(self) -> None:
        slow: Deferred[Outcome] = Deferred()
        for number in range(20):
            self.tell(notice("approval.held", f"A-{number}", "x", START))
        self.world.notifier.answer = slow
        self.attach()
        assert len(self.world.notifier.given) == LANE_MAX
        self.world.notifier.answer = Outcome(True, "status 200")
        self.tell(GLASS, ["security"])
        assert self.world.notifier.given[-1].url.reveal() == SLACK.encode()
        assert [entry.state for entry in self.entries(channel="security")] == ["delivered"]
        slow.callback(BAD)
        assert {entry.attempts for entry in self.entries(channel="orders")} == {1}

    def test_new_ones_go_before_repetitions(self) -> None:
        self.attach()
        self.world.notifier.answer = BAD
        for number in range(10):
            self.tell(notice("approval.held", f"A-{number}", "x", START))
        gate: Deferred[Outcome] = Deferred()
        self.world.notifier.answer = gate
        self.world.clock.advance(1)  # the first repetitions are under way, and block the lane
        self.tell(notice("approval.held", "A-new", "x", START))
        before = len(self.world.notifier.given)
        self.world.notifier.answer = Outcome(True, "status 200")
        gate.callback(BAD)
        assert b"A-new" in self.world.notifier.given[before].body

    def test_a_missing_secret_is_said_and_tried_again(self) -> None:
        self.attach()
        self.tell(HELD, ["nokey"])
        assert self.entries()[0].outcome == "the vault has no secret notify/missing: hoopctl vault put notify/missing"
        self.world.secrets["notify/missing"] = "https://teams.example/hook"
        self.world.clock.advance(1)
        assert self.entries()[0].state == "delivered"

    def test_no_secret_is_in_outcomes_or_events(self) -> None:
        self.attach()
        self.world.secrets |= {"notify/orders": "not-a-key", "notify/security": "http://plain.example/t0ken"}
        self.tell(GLASS, ["orders", "security"])
        said = repr((self.entries(), self.world.events))
        assert "not-a-key" not in said
        assert "t0ken" not in said
        assert [entry.outcome[:26] for entry in self.entries()] == [
            "the secret is no signing k",
            "the secret must be https (",
        ]

    def test_a_notifier_that_dies_in_between_is_a_failed_attempt(self) -> None:
        self.attach()
        self.world.notifier.answer = Unavailable("the broker went away before it answered")
        self.tell(HELD)
        assert [(entry.state, entry.attempts) for entry in self.entries()] == [("waiting", 1)]
        # another one is there: nobody waits for the pause of before
        self.world.notifier.answer = Unavailable("the broker went away before it answered")
        self.world.clock.pump([1.0] * 300)
        self.world.notifier.answer = Outcome(True, "status 200")
        assert [entry.state for entry in self.entries()] == ["waiting"]
        self.attach()
        assert [entry.state for entry in self.entries()] == ["delivered"]

    def test_another_notifier_hastens_nothing_that_a_receiver_refused(self) -> None:
        self.attach()
        self.world.notifier.answer = Outcome(False, "status 429", 90.0)
        self.tell(HELD)
        self.attach()
        assert len(self.world.notifier.given) == 1

    def test_our_own_errors_stop_no_lane(self) -> None:
        self.attach()
        self.world.notifier.answer = ZeroDivisionError("s3cret")
        self.tell(HELD)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        assert "s3cret" not in repr(self.entries())
        self.world.notifier.answer = Outcome(True, "status 200")
        self.world.clock.advance(1)
        assert [entry.state for entry in self.entries()] == ["delivered"]

    def test_a_store_that_is_away_is_asked_again(self) -> None:
        self.tell(HELD)
        transact = self.world.store.transact
        self.world.store.transact = lambda work: self._away()
        self.attach()
        self.world.store.transact = transact
        self.world.clock.advance(5)
        assert [entry.state for entry in self.entries()] == ["delivered"]

    def _away(self) -> Deferred[Any]:
        from twisted.internet.defer import fail

        return fail(Unavailable("disk full"))

    def test_stopped_it_begins_nothing(self) -> None:
        self.attach()
        self.world.notices.stop()
        self.tell(HELD)
        assert self.world.notifier.given == []
        assert self.world.clock.getDelayedCalls() == []

    def test_what_is_settled_is_forgotten_after_its_time(self) -> None:
        self.attach()
        self.tell(HELD)
        self.world.clock.pump([3600.0] * (24 * 30))
        assert len(self.entries()) == 1
        self.world.clock.pump([3600.0] * 3)
        assert self.entries() == []


class Problems(Case):
    def problems(self) -> list[str]:
        found: list[str] = self.successResultOf(Deferred.fromCoroutine(self.world.notices.problems()))
        return found

    def test_well(self) -> None:
        self.attach()
        self.tell(HELD)
        self.world.clock.advance(100)
        assert self.problems() == []

    def test_what_fails_and_what_was_never_tried(self) -> None:
        self.tell(GLASS, ["security"])
        self.world.clock.advance(5)
        assert self.problems() == []
        self.world.clock.advance(15)
        assert self.problems() == ["1 notices to security wait for their first attempt"]
        self.attach()
        self.world.notifier.answer = BAD
        self.tell(HELD)
        self.world.clock.pump([1.0] * 20)
        assert self.problems() == ["orders was not told for 20 s, 1 notices wait: status 503"]
        self.world.notifier.answer = Outcome(True, "status 200")
        self.world.clock.pump([1.0] * 60)
        assert self.problems() == []

    def test_what_was_given_up_is_said_for_a_day(self) -> None:
        self.world.settings = type(self.world.settings)(default=("orders",), give_up=60.0)
        self.world.notices = self.world.made()
        self.begin()
        self.attach()
        self.world.notifier.answer = BAD
        self.tell(HELD)
        self.world.clock.pump([1.0] * 200)
        (problem,) = self.problems()
        assert problem.startswith("1 notices to orders were given up in the last day: status 503; hoopctl notify list")
        self.world.clock.pump([3600.0] * 25)
        assert self.problems() == []


class Asked(Case):
    def test_a_test_is_sent_whatever_the_channel_tells(self) -> None:
        self.attach()
        entry = self.successResultOf(Deferred.fromCoroutine(self.world.notices.test("security", "user:root", "T-1")))
        assert (entry.state, entry.kind) == ("delivered", "notify.test")
        self.failureResultOf(Deferred.fromCoroutine(self.world.notices.test("nobody", "user:root", "T-1")), KeyError)

    def test_one_that_fails_says_so_at_once(self) -> None:
        self.attach()
        self.world.notifier.answer = BAD
        entry = self.successResultOf(Deferred.fromCoroutine(self.world.notices.test("orders", "user:root", "T-1")))
        assert (entry.state, entry.outcome) == ("waiting", "status 503")

    def test_without_a_notifier_it_ends_all_the_same(self) -> None:
        asked = Deferred.fromCoroutine(self.world.notices.test("orders", "user:root", "T-1"))
        self.assertNoResult(asked)
        self.world.clock.advance(61)
        assert self.successResultOf(asked).attempts == 0

    def test_what_was_given_up_is_tried_again_under_the_same_key(self) -> None:
        self.world.settings = type(self.world.settings)(default=("orders",), give_up=60.0)
        self.world.notices = self.world.made()
        self.begin()
        self.attach()
        self.world.notifier.answer = BAD
        self.tell(HELD)
        self.world.clock.pump([1.0] * 200)
        self.world.notifier.answer = Outcome(True, "status 200")
        (entry,) = self.entries(state="given-up")
        assert self.successResultOf(Deferred.fromCoroutine(self.world.notices.retry(entry.id))).state == "delivered"
        assert set(self.world.notifier.ids) == {entry.id}
        self.failureResultOf(Deferred.fromCoroutine(self.world.notices.retry("msg_x")), KeyError)


class Kinds(Case):
    def test_every_kind_is_delivered_in_its_own_way(self) -> None:
        mail = Channel(kind="email", server="127.0.0.1", tls="off", sender="h@example.com", to=("o@example.com",))
        self.world.channels = {
            **self.world.channels,
            "mail": mail,
            "page": Channel(kind="command", run=("/usr/bin/page",)),
        }
        self.world.notices = self.world.made()
        self.begin()
        self.attach()
        self.tell(HELD, ["mail", "page", "orders"])
        assert sorted(type(each).__name__ for each in self.world.notifier.given) == ["Mail", "Post", "Run"]
