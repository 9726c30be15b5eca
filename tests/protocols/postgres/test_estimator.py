"""The estimator over a clock: it asks in turn, never fails, and leaves nothing of one question to the next."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from hoopd.errors import TargetError
from hoopd.protocols.postgres.estimator import IDLE, PATIENCE, WAITING, Estimator
from hoopd.protocols.postgres.session import AskEstimate
from hoopd.sql import estimates

PLAN = '[{"Plan": {"Node Type": "Seq Scan", "Plan Rows": 7}}]'
ASK = AskEstimate((b"SELECT 1", None), (20000,), ("public",))


class Querist:
    """What one connection is asked, and its answers: by default a plan of seven rows."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.lost = ""
        self.closed = False
        self.doubts: list[tuple[str, ...]] = []
        self.plan: Any = succeed([[(PLAN,)]])

    def ask(self, *statements: str) -> Deferred[Any]:
        self.asked.append(statements[0].split(None, 1)[0])
        return succeed([self.doubts] if statements[0].startswith("WITH") else [])

    def exchange(self, octets: bytes) -> Any:
        self.asked.append("explain")
        return self.plan

    def close(self) -> None:
        self.closed = True
        self.lost = "closed"


class EstimatorTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.opened: list[Querist] = []
        self.next = Querist
        self.estimator = Estimator(self.clock, self.open)

    def open(self) -> Deferred[Querist]:
        self.opened.append(self.next())
        return succeed(self.opened[-1])

    def rows(self, question: AskEstimate = ASK) -> Any:
        return self.successResultOf(self.estimator.ask(question))

    def test_one_question(self) -> None:
        self.assertEqual(self.rows(), (7, None))
        self.assertEqual(self.opened[0].asked, ["BEGIN", "WITH", "SET", "explain", "ROLLBACK"])
        self.assertEqual(self.rows(), (7, None))
        self.assertEqual(len(self.opened), 1)
        self.clock.advance(IDLE)
        self.assertTrue(self.opened[0].closed)
        self.assertEqual(self.rows(), (7, None))
        self.assertEqual(len(self.opened), 2)

    def test_what_might_run_code_is_not_explained(self) -> None:
        self.estimator._querist = querist = Querist()
        querist.doubts = [("calls code of users",)]
        self.assertEqual(self.rows(), (None, None))
        self.assertEqual(querist.asked, ["BEGIN", "WITH", "ROLLBACK"])

    def test_no_connection(self) -> None:
        self.estimator = Estimator(self.clock, lambda: fail(TargetError("away")))
        self.assertEqual(self.rows(), (None, None))

    def test_an_error_of_the_planner_costs_nothing_else(self) -> None:
        self.estimator._querist = querist = Querist()
        querist.plan = fail(TargetError("no such table"))
        self.assertEqual(self.rows(), (None, None))
        self.assertEqual(querist.asked[-1], "ROLLBACK")
        querist.plan = succeed([[(PLAN,)]])
        self.assertEqual(self.rows(), (7, None))
        self.assertEqual(self.opened, [])

    def test_patience_is_for_the_whole_question_and_a_late_answer_is_nobodys(self) -> None:
        self.estimator._querist = slow = Querist()
        slow.plan = Deferred()
        first = self.estimator.ask(ASK)
        self.clock.advance(PATIENCE - 1)
        second = self.estimator.ask(ASK)
        self.assertNoResult(first)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(first), (None, None))
        self.assertTrue(slow.closed)
        # what waited behind it is asked over a new connection
        self.assertEqual(self.successResultOf(second), (7, None))
        self.assertFalse(self.opened[0].closed)

    def test_one_that_waited_too_long_takes_nothing_from_the_one_before(self) -> None:
        self.estimator._querist = slow = Querist()
        slow.plan = Deferred()
        first = self.estimator.ask(ASK)
        second = self.estimator.ask(ASK)
        self.clock.advance(PATIENCE / 2)
        slow.plan.callback([[(PLAN,)]])
        self.assertEqual(self.successResultOf(first), (7, None))
        self.assertEqual(self.successResultOf(second), (7, None))
        self.assertEqual(self.opened, [])
        # an opening that hangs is given up with its question
        self.estimator.close()
        self.estimator._opened = lambda: Deferred()
        late, behind = self.estimator.ask(ASK), self.estimator.ask(ASK)
        self.clock.advance(PATIENCE)
        self.assertEqual({self.successResultOf(late), self.successResultOf(behind)}, {(None, None)})

    def test_too_many_wait(self) -> None:
        self.estimator._querist = slow = Querist()
        slow.plan = Deferred()
        waiting = [self.estimator.ask(ASK) for _ in range(WAITING)]
        self.assertEqual(self.rows(), (None, None))
        self.clock.advance(PATIENCE)
        answers = [self.successResultOf(each) for each in waiting]
        self.assertEqual((answers[0], set(answers[1:])), ((None, None), {(7, None)}))

    def test_closed(self) -> None:
        self.rows()
        self.estimator.close()
        self.assertTrue(self.opened[0].closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])


def test_plans() -> None:
    inner = '{"Node Type": "Seq Scan", "Plan Rows": 900, "Parent Relationship": "Outer"}'
    changed = f'[{{"Plan": {{"Node Type": "ModifyTable", "Plan Rows": 0, "Plans": [{inner}]}}}}]'
    assert estimates.planned_rows(changed) == 900
    assert estimates.planned_rows(PLAN) == 7
    for garbage in ("", "[]x", "[{}]", "7", '[{"Plan": {"Plan Rows": "x", "Node Type": "y"}}]', "[" * 100_000):
        assert estimates.planned_rows(garbage) is None
    assert estimates.search_path(('a"b', "c")) == 'SET LOCAL search_path = "a""b", "c"'
    assert estimates.search_path(()) == "SET LOCAL search_path = ''"
