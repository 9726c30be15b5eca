"""Control's socket over the lives of its processes, and its patience with brokers."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from hoopd.errors import Unavailable
from hoopd.roles.control import PATIENCE, Control, PresentAdministration
from hoopd.secret import Secret


class Link:
    """A link whose broker the test brings and takes away."""

    def __init__(self) -> None:
        self.attached = False
        self.waiting: list[Deferred[None]] = []
        self.calls: list[dict[str, Any]] = []

    def when_attached(self) -> Deferred[None]:
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def call(self, command: Any, **arguments: Any) -> Deferred[Any]:
        self.calls.append(arguments)
        return succeed({"result": "answer"})


class PresentAdministrationTest(TestCase):
    def setUp(self) -> None:
        self.link, self.clock = Link(), Clock()
        self.administration = PresentAdministration(self.link, self.clock)  # type: ignore[arg-type]

    def ask(self) -> Deferred[Any]:
        return self.administration.call(Secret("t"), "whoami", {})

    def test_a_broker_that_is_there_is_asked(self) -> None:
        self.link.attached = True
        self.assertEqual(self.successResultOf(self.ask()), "answer")

    def test_a_question_waits_for_a_broker_that_is_being_restarted(self) -> None:
        asked = self.ask()
        self.clock.advance(PATIENCE - 1)
        self.assertNoResult(asked)
        self.link.waiting[0].callback(None)
        self.assertEqual(self.successResultOf(asked), "answer")

    def test_without_a_broker_nothing_is_done_and_that_is_said(self) -> None:
        asked = self.ask()
        self.clock.advance(PATIENCE)
        self.assertIn("nothing was done", str(self.failureResultOf(asked, Unavailable).value))
        self.assertEqual(self.link.calls, [])


class ControlTest(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.run = Path(tempfile.mkdtemp(prefix="hoopd-run-"))
        self.path = self.run / "control.sock"

    def control(self, name: str) -> Control:
        """A control process of its own, as far as its files tell."""
        config = SimpleNamespace(paths=SimpleNamespace(run=str(self.run)))
        control = Control(SimpleNamespace(config=config, reactor=reactor, link=Link()))  # type: ignore[arg-type]
        control._own = self.run / f".control.{name}.sock"
        return control

    def connects(self) -> bool:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self.path))
        return True

    async def test_the_socket_is_for_everybody_and_goes_with_its_process(self) -> None:
        control = self.control("1")
        await control.start()
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o666)
        self.assertTrue(self.connects())
        await control.drain(1.0)
        await control.stop()
        self.assertEqual(list(self.run.iterdir()), [])

    async def test_a_successor_keeps_the_name_when_its_predecessor_ends(self) -> None:
        old, new = self.control(str(os.getpid())), self.control("1")
        await old.start()
        await new.start()
        await old.drain(1.0)
        await old.stop()
        self.assertTrue(self.connects(), "hoopctl reaches the new process")
        await new.drain(1.0)
        self.assertEqual(list(self.run.iterdir()), [])

    async def test_what_a_killed_process_left_is_in_nobodys_way(self) -> None:
        for name in (".control.999999999.sock", "control.sock"):
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(self.run / name))
        control = self.control("1")
        await control.start()
        self.assertTrue(self.connects())
        await control.drain(1.0)
        self.assertEqual(list(self.run.iterdir()), [])
