"""The route's order: gate, record, hold, claim, settle; with a clock and services of the test's own."""

from types import SimpleNamespace
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hoopd.audit.memory import MemoryRecorder
from hoopd.errors import Denied, RecordError, Unavailable
from hoopd.flow import route
from hoopd.flow.route import Route
from hoopd.flow.waiting import StillOpen, Ticket, Withdrawn, describe
from hoopd.secret import Secret
from hoopd.values import Admission, Approval, Covering, Grant, HeldOperation, HoldTerms, Identity, Target, Vote

TERMS = HoldTerms("r.hold", ("group:leads",), wait=600.0, why="customers notice")


class Approvals:
    def __init__(self, state: Any = "pending") -> None:
        self.state = state
        self.calls: list[tuple[Any, ...]] = []
        self.waiting: list[Deferred[Approval]] = []

    def approval(self, state: Any, **more: Any) -> Approval:
        fields: Any = {"holds": (TERMS,), "policy": "p", "requested_at": 1000.0, "deadline": 1900.0, **more}
        return Approval("A-1", state, "user:p", None, "t", "S-1", "UPDATE …", ("write",), ("public.t",), None, **fields)

    def request(self, session: str, token: Secret, held: HeldOperation) -> Deferred[Approval]:
        self.calls.append(("request",))
        return succeed(self.approval(self.state))

    def covering(self, session: str, token: Secret, held: HeldOperation) -> Deferred[Covering]:
        self.calls.append(("covering",))
        beside = ("A-9 does not cover it: it was not approved for read",)
        return succeed(Covering(None, beside) if self.state == "pending" else Covering(self.approval(self.state)))

    def decided(self, approval: str) -> Deferred[Approval]:
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def claim(self, session: str, token: Secret, approval: str, held: HeldOperation) -> Deferred[Approval]:
        self.calls.append(("claim",))
        return succeed(self.approval("claimed"))

    def settle(self, session: str, token: Secret, approval: str, outcome: str, detail: str) -> Deferred[Approval]:
        self.calls.append(("settle", outcome))
        return succeed(self.approval(outcome))

    def withdraw(self, session: str, token: Secret, approval: str, why: str) -> Deferred[Approval]:
        self.calls.append(("withdraw",))
        return succeed(self.approval("cancelled"))


class RouteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.approvals = Approvals()
        self.ends: list[Any] = []
        self.away = ""
        self.worker = SimpleNamespace(
            reactor=self.clock,
            approvals=self.approvals,
            available=lambda: self.away,
            event=lambda name, fields: None,
            sessions=SimpleNamespace(ended=lambda *arguments: self.ends.append(arguments) or succeed(None)),
        )
        grant = Grant("S-1", "t", "user:p", 0.0, 1.0, Secret(b"g"))
        target = Target("t", "postgres", "h", 1)
        self.admission = Admission("S-1", Secret(b"t"), Identity("p", "human"), target, grant, -1, 1000.0)
        self.recorder = MemoryRecorder()
        self.route = Route(self.worker, self.admission, self.recorder, "writes")
        self.told: list[Any] = []
        self.present = True
        self.held = HeldOperation(
            "S-1", "postgres", b"UPDATE", b"", "", "UPDATE …", ("write",), (), None, (TERMS,), "p"
        )

    def hold(self, in_transaction: bool = False, wait: float | None = None) -> Deferred[Approval]:
        return self.route.hold(
            1, self.held, in_transaction, lambda *said: self.told.append(said), self.is_present, wait
        )

    async def is_present(self, approval: Approval) -> bool:
        return self.present

    def states(self) -> list[str]:
        return [fields["state"] for kind, fields in self.recorder.frames if kind in ("hold", "approval")]

    def test_approved_is_claimed(self) -> None:
        done = self.hold()
        self.assertNoResult(done)
        self.assertEqual(len(self.told), 1)
        self.approvals.waiting[0].callback(self.approvals.approval("approved"))
        self.assertEqual(self.successResultOf(done).state, "claimed")
        self.assertEqual(self.approvals.calls, [("request",), ("claim",)])
        self.assertEqual(self.states(), ["pending", "approved"])
        self.route.settle("A-1", "executed", "")
        self.route.settle("A-1", "failed", "")
        self.assertEqual(self.approvals.calls[2:], [("settle", "executed")])

    def test_an_approval_that_is_there_is_claimed_without_waiting(self) -> None:
        self.approvals.state = "approved"
        self.assertEqual(self.successResultOf(self.hold()).state, "claimed")
        self.assertEqual(self.told, [])

    def test_denied_says_who_and_why(self) -> None:
        done = self.hold()
        vote = Vote("user:lea", False, "not on a Friday", 0.0)
        self.approvals.waiting[0].callback(evolve(self.approvals.approval("denied"), votes=(vote,)))
        error = self.failureResultOf(done, Denied).value
        self.assertIn("user:lea: not on a Friday", error.why)
        self.assertEqual(error.rules, ("r.hold",))

    def test_time_passes_and_the_request_stays_open(self) -> None:
        done = self.hold()
        self.clock.advance(599)
        self.assertNoResult(done)
        self.clock.advance(1)
        self.assertIn("Repeat", self.failureResultOf(done, StillOpen).value.hint)
        self.assertNotIn(("withdraw",), self.approvals.calls)

    def test_withdrawn(self) -> None:
        done = self.hold()
        self.assertTrue(self.route.withdraw("Ctrl-C"))
        self.failureResultOf(done, Withdrawn)
        self.assertEqual(self.approvals.calls, [("request",), ("withdraw",)])
        self.assertFalse(self.route.withdraw("again"))

    def several(self, *operations: int) -> list[Deferred[Any]]:
        """Held at once; the request of operation 7 is A-7."""
        self.asked: dict[str, HeldOperation] = {}
        ids = iter(operations)

        def request(session: str, token: Secret, held: HeldOperation) -> Deferred[Approval]:
            id = f"A-{next(ids)}"
            self.asked[id] = held
            return succeed(evolve(self.approvals.approval("pending"), id=id))

        def claim(session: str, token: Secret, approval: str, held: HeldOperation) -> Deferred[Approval]:
            self.approvals.calls.append(("claim", approval))
            return succeed(evolve(self.approvals.approval("claimed"), id=approval))

        def withdraw(session: str, token: Secret, approval: str, why: str) -> Deferred[Approval]:
            self.approvals.calls.append(("withdraw", approval, why))
            return succeed(self.approvals.approval("cancelled"))

        self.approvals.request, self.approvals.claim, self.approvals.withdraw = request, claim, withdraw  # type: ignore
        tell = lambda *said: self.told.append(said)  # noqa: E731
        return [self.route.hold(number, self.held, False, tell, self.is_present) for number in operations]

    def test_several_wait_at_once_and_are_decided_in_any_order(self) -> None:
        first, second, third = self.several(1, 2, 3)
        self.assertEqual(len(self.told), 3)
        self.assertEqual([held.apart for held in self.asked.values()], [(), ("A-1",), ("A-1", "A-2")])
        approved = evolve(self.approvals.approval("approved"), id="A-3")
        self.approvals.waiting[2].callback(approved)
        self.assertEqual(self.successResultOf(third).id, "A-3")
        self.assertTrue(self.route.withdraw("closed", 1))
        self.failureResultOf(first, Withdrawn)
        self.assertNoResult(second)
        self.assertFalse(self.route.withdraw("closed", 1))
        self.approvals.waiting[1].callback(evolve(approved, id="A-2"))
        self.assertEqual(self.successResultOf(second).id, "A-2")
        self.assertEqual(self.approvals.calls, [("claim", "A-3"), ("withdraw", "A-1", "closed"), ("claim", "A-2")])
        self.assertFalse(self.route.withdraw("nothing waits"))

    def test_all_that_waits_is_given_up_together(self) -> None:
        holds = self.several(1, 2)
        self.assertTrue(self.route.withdraw("goodbye"))
        for each in holds:
            self.failureResultOf(each, Withdrawn)
        self.assertEqual([call[1] for call in self.approvals.calls], ["A-1", "A-2"])

    def test_requests_are_asked_for_one_after_the_other_each_knowing_those_before(self) -> None:
        self.several()
        answers: list[Deferred[Approval]] = []
        asked: list[HeldOperation] = []

        def request(session: str, token: Secret, held: HeldOperation) -> Deferred[Approval]:
            asked.append(held)
            answers.append(Deferred())
            return answers[-1]

        self.approvals.request = request  # type: ignore[method-assign]
        holds = [self.route.hold(n, self.held, False, lambda *said: None, self.is_present) for n in (1, 2, 3, 4)]
        self.assertEqual(len(asked), 1)
        # given up before it was asked for: it never is
        self.route.withdraw("closed", 2)
        holds[2].cancel()
        self.failureResultOf(holds[2])
        answers[0].callback(self.approvals.approval("pending"))
        self.failureResultOf(holds[1], Withdrawn)
        self.assertEqual([each.apart for each in asked], [(), ("A-1",)])
        answers[1].errback(Failure(Unavailable("away")))
        self.failureResultOf(holds[3], Unavailable)
        self.assertNoResult(holds[0])

    def test_a_client_that_is_gone_claims_nothing(self) -> None:
        done = self.hold()
        self.present = False
        self.approvals.waiting[0].callback(self.approvals.approval("approved"))
        self.failureResultOf(done, StillOpen)
        self.assertEqual(self.approvals.calls, [("request",)])

    def test_in_a_transaction(self) -> None:
        denied = self.failureResultOf(self.hold(True), Denied).value
        self.assertIn("A-9 does not cover it: it was not approved for read. Ask in advance", denied.hint)
        self.assertEqual(self.approvals.calls, [("covering",)])
        self.approvals.calls.clear()
        self.held = evolve(self.held, holds=(evolve(TERMS, in_transaction=True),))
        done = self.hold(True)
        self.clock.advance(120)
        self.failureResultOf(done, StillOpen)

    def test_in_a_transaction_what_was_granted_runs(self) -> None:
        for state in ("approved", "granted"):
            self.approvals.state = state
            self.approvals.calls.clear()
            self.assertEqual(self.successResultOf(self.hold(True)).state, "claimed")
            self.assertEqual(self.approvals.calls, [("covering",), ("claim",)])
        self.assertEqual(self.told, [])

    def test_a_ticket_waits_for_nobody(self) -> None:
        self.held = evolve(self.held, holds=(evolve(TERMS, wait=0.0),))
        for in_transaction in (False, True):
            error = self.failureResultOf(self.hold(in_transaction), Ticket).value
            self.assertIn("ticket A-1: customers notice; it has not run", error.why)
            self.assertIn("repeat exactly this statement", error.hint)
        self.assertEqual(self.approvals.calls, [("request",), ("request",)])
        self.assertEqual((self.told, self.approvals.waiting), ([], []))

    def test_a_client_waits_less_than_the_rules_let_it_and_never_longer(self) -> None:
        self.failureResultOf(self.hold(wait=0.0), Ticket)
        done = self.hold(wait=20.0)
        self.assertIn("This connection waits 20 s", self.told[0][1].detail)
        self.clock.advance(20)
        self.failureResultOf(done, StillOpen)
        done = self.hold(wait=6000.0)
        self.clock.advance(599)
        self.assertNoResult(done)
        self.clock.advance(1)
        self.failureResultOf(done, StillOpen)

    def test_a_broker_that_comes_back_is_asked_again(self) -> None:
        done = self.hold()
        self.approvals.waiting[0].errback(Failure(Unavailable("away")))
        self.clock.advance(1)
        self.approvals.waiting[1].callback(self.approvals.approval("approved"))
        self.successResultOf(done)

    def test_what_was_claimed_and_not_answered_is_unknown(self) -> None:
        self.approvals.state = "approved"
        self.successResultOf(self.hold())
        self.route.close("lost")
        self.assertIn(("settle", "unknown"), self.approvals.calls)
        self.assertEqual(self.ends[0][2:], ("lost", 0, 0, 1))
        self.assertTrue(self.recorder.closed)

    def test_a_record_that_failed_once_stays_failed(self) -> None:
        self.recorder.broken = "No space left on device"
        self.assertRaises(RecordError, self.route.record, "notice", {})
        self.recorder.broken = ""
        self.assertRaises(RecordError, self.route.record, "notice", {})
        self.assertRaises(RecordError, self.route.gate)

    def test_what_is_gathered_is_written_together_in_order_before_anything_behind_it(self) -> None:
        self.route.gather("operation", {"operation": 1})
        self.route.gather("rows", {"operation": 1})
        self.assertEqual(self.recorder.frames, [])
        self.route.record("notice", {"operation": 1})
        self.assertEqual([kind for kind, _ in self.recorder.frames], ["operation", "rows", "notice"])
        self.route.gather("result", {"operation": 1})
        self.successResultOf(self.route.sync())
        self.assertEqual(self.recorder.synced, 4)

    def test_gathering_is_bounded(self) -> None:
        for _ in range(route.GATHER_MAX):
            self.route.gather("operation", {})
        self.assertEqual(len(self.recorder.frames), route.GATHER_MAX)

    def test_nobody_is_told_of_an_outcome_before_it_is_written(self) -> None:
        self.approvals.state = "approved"
        self.successResultOf(self.hold())
        written: list[int] = []
        self.approvals.settle = lambda *_: written.append(len(self.recorder.frames)) or succeed(None)  # type: ignore
        before = len(self.recorder.frames)
        self.route.gather("result", {"operation": 1})
        self.route.settle("A-1", "executed", "UPDATE 1")
        self.assertEqual(written, [before + 1])

    def test_what_is_gathered_is_not_lost_at_the_end(self) -> None:
        self.route.gather("result", {"operation": 1})
        self.route.close("bye")
        self.assertEqual([kind for kind, _ in self.recorder.frames], ["result", "close"])

    def test_what_cannot_be_written_later_fails_what_would_follow(self) -> None:
        self.route.gather("operation", {})
        self.recorder.broken = "No space left on device"
        self.assertRaises(RecordError, self.route.flush)
        self.assertRaises(RecordError, self.route.flush)
        self.assertRaises(RecordError, self.route.gather, "operation", {})

    def test_a_failed_sync_is_final(self) -> None:
        self.recorder.sync = lambda: fail(Failure(OSError("EIO")))  # type: ignore[method-assign]
        self.failureResultOf(self.route.sync(), RecordError)
        self.assertRaises(RecordError, self.route.gate)

    def test_the_broker_is_away(self) -> None:
        self.route.gate()
        self.away = "the broker is away"
        self.assertRaises(Unavailable, self.route.gate)

    def test_what_waits_for_the_disk(self) -> None:
        for durability, read, write, approved in (
            ("none", False, False, False),
            ("writes", False, True, True),
            ("all", True, True, True),
        ):
            made = Route(self.worker, self.admission, self.recorder, durability)
            self.assertEqual(made.durable(frozenset({"read"}), False), read)
            self.assertEqual(made.durable(frozenset({"write"}), False), write)
            self.assertEqual(made.durable(frozenset({"read"}), True), approved)

    def test_notice(self) -> None:
        notice = describe(self.approvals.approval("pending"), 1000.0, 20.0)
        self.assertIn("A-1 by rule r.hold: customers notice", notice.text)
        self.assertIn("This connection waits 20 s, the request stays open for 15 min.", notice.detail)
        self.assertEqual(notice.hint, "hoopctl approvals approve A-1")
