"""Files that went either way are found by path and hash, once each, whatever dies in between and whatever a record holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopd.audit import events, recording, transfers
from hoopd.audit.index import SessionIndex
from hoopd.audit.observed import KEPT, ObservedIndex
from hoopd.audit.tables import MIGRATIONS
from hoopd.audit.transfers import TransferIndex
from hoopd.store.memory import MemoryStore
from tests.audit.test_observed import PRIYA
from tests.scratch import scratch

NOW = 1_800_000_000.0
FILE = {
    "operation": 2, "direction": "upload", "via": "sftp", "path": "/srv/in/a", "bytes": 5, "sha256": "ab" * 32, "whole": True,
    "tag": "closed", "duration": 0.1,
}  # fmt: skip


class TransferTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.store = MemoryStore(MIGRATIONS)
        self.directory = Path(scratch(self))
        self.sequence: dict[str, int] = {}
        self.index = TransferIndex(self.store)
        self.reading = self.started()
        for summary in (PRIYA, evolve(PRIYA, id="S-2", identity="agent:ci", act="user:ann", recording="S-2.hoopd-rec")):
            self.ok(SessionIndex(self.store).insert(summary))
            (self.directory / summary.recording).write_bytes(recording.file_header(summary.id))
            self.sequence[summary.id] = 0

    def started(self) -> ObservedIndex:
        reading = ObservedIndex(self.store, self.directory, self.clock, execute)
        self.ok(Deferred.fromCoroutine(reading.start(lambda session: False)))
        return reading

    def ok(self, deferred: Any) -> Any:
        return self.successResultOf(deferred)

    def write(self, session: str, *records: Any, at: float = NOW) -> None:
        path = self.directory / f"{session}.hoopd-rec"
        with path.open("ab") as file:
            for fields in records:
                octets, frames = recording.encode(self.sequence[session], int(at * 1e6), 0, "transfer", fields)
                self.sequence[session] += frames
                file.write(octets)
        self.reading.sealed(session, path.stat().st_size, False)
        self.ok(self.reading.idle())

    def paths(self, **wanted: Any) -> list[str]:
        return [each["path"] for each in self.ok(self.index.find(**wanted))]

    def test_the_code_is_the_catalogues(self) -> None:
        assert events.frame_code("transfer") == transfers.CODE

    def test_they_are_found(self) -> None:
        self.write("S-1", FILE, {**FILE, "path": "/srv/in/b[1]", "sha256": None, "whole": False})
        self.write("S-2", {**FILE, "path": "/etc/x", "name": "y", "direction": "download"}, at=NOW + 10)
        assert self.paths() == ["/etc/x", "/srv/in/b[1]", "/srv/in/a"]
        assert self.paths(path="/srv/*") == ["/srv/in/b[1]", "/srv/in/a"]
        assert self.paths(path="/srv/in/b[1]") == ["/srv/in/b[1]"]
        assert self.paths(path="/srv/in/?") == ["/srv/in/a"]
        assert self.paths(sha256="AB" * 32) == ["/etc/x", "/srv/in/a"]
        assert (
            self.paths(identity="user:ann")
            == self.paths(identity="agent:ci")
            == self.paths(since=NOW + 1)
            == ["/etc/x"]
        )
        assert self.paths(until=NOW + 1, target=PRIYA.target) == ["/srv/in/b[1]", "/srv/in/a"]
        assert self.paths(target="nowhere") == self.paths(path="/SRV/*") == []
        (found,) = self.ok(self.index.find(path="/etc/*"))
        assert found == {
            "session": "S-2", "operation": 2, "at": NOW + 10, "target": PRIYA.target, "identity": "agent:ci", "act": "user:ann",
            "direction": "download", "via": "sftp", "path": "/etc/x", "name": "y", "bytes": 5, "sha256": "ab" * 32,
            "whole": True, "tag": "closed",
        }  # fmt: skip

    def test_each_once_also_after_a_broker_that_died(self) -> None:
        self.write("S-1", FILE)
        self.reading = self.started()
        self.ok(self.reading.idle())
        assert self.paths() == ["/srv/in/a"]

    def test_whatever_a_record_holds(self) -> None:
        self.write("S-1", {}, {"path": 5, "bytes": "x", "sha256": ["a"], "whole": "yes", "operation": -1, "tag": None},
                   {**FILE, "bytes": 1 << 80, "path": "x" * 100_000})  # fmt: skip
        found = self.ok(self.index.find())
        assert [each["bytes"] for each in found] == [0, 0, 0]
        assert [each["whole"] for each in found] == [True, False, False]
        assert len(found[0]["path"]) == transfers.TEXT_MAX

    def test_they_are_bounded_and_forgotten(self) -> None:
        self.patch(transfers, "SESSION_MAX", 5)
        for _ in range(3):
            self.write("S-1", FILE, FILE)
        assert len(self.paths()) == 5
        self.clock.advance(KEPT + 7200)
        self.write("S-2", FILE, at=NOW + KEPT + 7200)
        assert len(self.paths()) == 1
