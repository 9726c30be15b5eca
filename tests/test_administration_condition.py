"""What status calls wrong: each sentence has its cause, and a healthy gateway has none."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hoopd.administration_condition import Condition
from hoopd.config.channels import Channel
from hoopd.config.schema import Config, Listener
from hoopd.errors import Unavailable
from hoopd.roles.commands import ProcessState

NOW = 1_000_000.0
FAMILY = [
    ProcessState("supervisor", "supervisor", 1, "", 2, "ready", NOW - 60),
    ProcessState("broker", "broker", 2, "", 2, "ready", NOW - 60),
    ProcessState("verifier", "verifier", 3, "", 2, "ready", NOW - 60),
    ProcessState("control", "control", 4, "", 2, "ready", NOW - 60),
    ProcessState("worker", "worker/postgres/1", 5, "", 2, "ready", NOW - 60),
]


class ConditionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.family = list(FAMILY)
        self.exports: list[str] = []
        self.ledger = SimpleNamespace(size=9, signed=9, signed_at=NOW - 500, broken="", origin="o", witnesses=[])
        self.notices: list[str] = []
        self.channels: dict[str, Channel] = {}
        self.statvfs: Any = lambda path: os.statvfs_result((4096, 4096, 10**8, 10**8, 5 * 10**7, 0, 0, 0, 0, 255))

    def processes(self) -> Deferred[list[ProcessState]]:
        return succeed(self.family)

    async def untold(self) -> list[str]:
        return self.notices

    def problems(self) -> list[str]:
        config = Config("/etc/hoopd", listen={"postgres": Listener(port=1, workers=1)}, notify=self.channels)
        condition = Condition(
            config,
            self.ledger,
            SimpleNamespace(live={}),
            self.clock,
            self.processes,
            self.untold,
            NOW,
            SimpleNamespace(problems=lambda: succeed(self.exports), outstanding=lambda: succeed([])),
            SimpleNamespace(statvfs=lambda path: self.statvfs(path)),
        )
        found = self.successResultOf(Deferred.fromCoroutine(condition.describe([])))
        return list(found["problems"])

    def test_well(self) -> None:
        self.assertEqual(self.problems(), [])

    def test_each_thing_that_is_wrong(self) -> None:
        worker = FAMILY[4]
        for family, said in (
            (FAMILY[:4], "0 of 1 workers of postgres"),
            ([*FAMILY[:4], evolve(worker, generation=1)], "0 of 1 workers of postgres"),
            (FAMILY[:3] + FAMILY[4:], "the control is not there"),
            (FAMILY[:2] + FAMILY[3:], "the verifier is not there"),
            ([*FAMILY[:4], evolve(worker, restarts=3)], "started again 3 times"),
            ([*FAMILY, evolve(worker, name="worker/postgres/2", phase="starting")], "has been starting for 60 s"),
        ):
            self.family = family
            (problem,) = self.problems()
            self.assertIn(said, problem)

    def test_the_supervisor_is_away(self) -> None:
        self.processes = lambda: fail(Failure(Unavailable("gone")))  # type: ignore[method-assign]
        (problem,) = self.problems()
        self.assertIn("the supervisor does not answer", problem)

    def test_notices(self) -> None:
        self.notices = ["orders was not told for 20 s"]
        self.assertEqual(self.problems(), self.notices)
        self.notices = []
        self.channels = {"orders": Channel(kind="command", run=("/bin/true",))}
        self.assertEqual(self.problems(), ["the notifier is not there"])
        self.family.append(ProcessState("notifier", "notifier", 6, "", 2, "ready", NOW - 60))
        self.assertEqual(self.problems(), [])

    def test_the_record(self) -> None:
        self.ledger.size = 12
        (problem,) = self.problems()
        self.assertIn("no checkpoint for 500 s, and 3 leaves wait", problem)
        self.ledger.signed_at = NOW - 5
        self.assertEqual(self.problems(), [])
        self.ledger.witnesses = [SimpleNamespace(place="/w", behind=2, attempts=1, conflict="")]
        (problem,) = self.problems()
        self.assertIn("/w has not taken 2 checkpoints", problem)
        self.ledger.witnesses = [SimpleNamespace(place="/w", behind=0, attempts=0, conflict="leaves were lost")]
        (problem,) = self.problems()
        self.assertEqual(problem, "the witness /w contradicts the record: leaves were lost")
        self.ledger.witnesses = []
        self.ledger.broken = "No space left"
        self.assertIn("the ledger takes nothing any more", self.problems()[0])

    def test_room(self) -> None:
        self.statvfs = lambda path: os.statvfs_result((4096, 4096, 10**8, 10**8, 25600, 0, 0, 0, 0, 255))
        (problem,) = self.problems()
        self.assertIn("100 MiB are free", problem)

        def gone(path: str) -> None:
            raise OSError(2, "No such file or directory")

        self.statvfs = gone
        self.assertIn("cannot be looked at", self.problems()[0])
