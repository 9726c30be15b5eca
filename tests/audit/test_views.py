"""Who looked: in the ledger before the look, and found there again."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, execute, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopd.audit import views
from hoopd.audit.leaves import ENTRIES, LedgerError
from hoopd.audit.ledger import Ledger
from hoopd.audit.views import Views, scan
from hoopd.config.schema import AuditConfig
from hoopd.errors import RecordError
from tests.scratch import scratch


class ViewsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.ledger = Ledger(scratch(self), b"s" * 32, AuditConfig(checkpoint_every=0), self.clock, in_thread=execute)
        self.successResultOf(self.ledger.start())
        self.addCleanup(self.ledger.stop)
        self.events: list[tuple[str, Any]] = []
        self.views = Views(self.ledger, self.clock, lambda name, fields: self.events.append((name, fields)), execute)

    def look(self, by: str, verb: str, subject: str, quiet: float = 0.0, **detail: Any) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.views.record(by, verb, subject, detail, quiet)))

    def found(self, **words: Any) -> list[tuple[str, str]]:
        return [(each["by"], each["subject"]) for each in self.successResultOf(self.views.find(**words))]

    def test_what_was_looked_at_is_found(self) -> None:
        self.look("user:ann", "sessions.show", "S-1", id="S-1")
        self.clock.advance(10)
        self.successResultOf(self.ledger.append("vault", {"secret": '"kind":"viewed"'}))
        self.look("user:lee", "sessions.show", "S-1", id="S-1", until=None)
        assert self.found() == [("user:lee", "S-1"), ("user:ann", "S-1")]
        assert self.found(by="user:ann") == [("user:ann", "S-1")]
        assert self.found(subject="S-2") == []
        assert self.found(since=1_800_000_005.0) == [("user:lee", "S-1")]
        assert self.found(until=1_800_000_005.0) == [("user:ann", "S-1")]
        assert [name for name, _ in self.events] == ["audit.viewed"] * 2
        assert self.events[1][1]["detail"] == {"id": "S-1"}

    def test_pages_and_polls_are_one_look(self) -> None:
        for offset in (0, 1, 2):
            self.look("user:ann", "sessions.recording", "S-1", quiet=60.0 if offset else 0.0, offset=offset)
        assert len(self.found()) == 1
        self.look("user:ann", "sessions.recording", "S-1", quiet=0.0, offset=0)
        assert len(self.found()) == 2, "from the beginning is another look"
        # whoever begins in the middle looks as well
        self.look("user:ann", "sessions.recording", "S-2", quiet=60.0, offset=1)
        self.look("user:lee", "sessions.recording", "S-1", quiet=60.0, offset=1)
        assert len(self.found()) == 4
        self.clock.advance(60)
        self.look("user:lee", "sessions.recording", "S-1", quiet=60.0, offset=2)
        assert len(self.found()) == 5

    def test_another_question_is_another_look(self) -> None:
        self.look("user:ann", "approvals.list", "", quiet=60.0, state="pending", found=1)
        self.look("user:ann", "approvals.list", "", quiet=60.0, state="pending", found=2)
        self.look("user:ann", "approvals.list", "", quiet=60.0)
        assert len(self.found()) == 2

    def test_nothing_is_shown_when_it_cannot_be_recorded(self) -> None:
        self.patch(self.ledger, "append", lambda kind, fields: fail(RecordError("full")))
        for _ in range(2):
            looked = Deferred.fromCoroutine(self.views.record("user:ann", "x", "S-1", {}, 60.0))
            self.failureResultOf(looked, RecordError)
        assert self.events == []

    def test_memory_is_bounded(self) -> None:
        self.patch(views, "REMEMBERED", 3)
        self.patch(views, "FOUND_MAX", 5)
        for number in range(8):
            self.look("user:ann", "sessions.show", f"S-{number}", text="x" * 10_000)
        assert self.found() == [("user:ann", f"S-{number}") for number in (7, 6, 5, 4, 3)]
        assert len(self.views._lately) == 3
        assert len(self.events[0][1]["detail"]["text"]) == views.TEXT_MAX + 1

    def test_damage_is_told(self) -> None:
        self.look("user:ann", "sessions.show", "S-1")
        path = self.ledger.directory / ENTRIES
        content = bytearray(path.read_bytes())
        content[-10] ^= 1
        path.write_bytes(content)
        self.assertRaises(LedgerError, lambda: list(scan(path, ("viewed",))))
