"""The broker's side of recordings: followed, sealed, compared, closed; over crashes, tampering and full disks."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from hoopd.audit import recording, seals
from hoopd.audit.ledger import Ledger
from hoopd.audit.recorder import Clocks, FileRecorder
from hoopd.audit.recording import FrameReader, entries
from hoopd.audit.sealing import READ_MAX, Recordings
from hoopd.audit.segments import Followed
from hoopd.audit.verify import verify
from hoopd.config.schema import AuditConfig
from hoopd.errors import RecordError, Unavailable
from tests.audit.parts import START, System, at_once, clock, ledger, now

HEADER = {"identity": "user:priya", "kind": "human", "target": "orders", "protocol": "postgres", "peer": "::1:5"}
CONFIG = AuditConfig(checkpoint_every=0, segment_bytes=5000, segment_every=10.0)


class Broker:
    """Ledger and recordings of one state directory; can die and be started again."""

    def __init__(self, state: Path, system: Any = os, witness: Sequence[str] = ()) -> None:
        self.state = state
        self.clock = clock()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.ended: list[tuple[str, str]] = []
        self.ledger: Ledger = ledger(state / "ledger", self.clock, witness=witness)
        self.recordings = Recordings(
            state / "recordings",
            self.ledger,
            CONFIG,
            self.clock,
            event=lambda name, fields: self.events.append((name, fields)),
            tampered=lambda session, why: self.ended.append((session, why)),
            in_thread=at_once,
            system=system,
        )
        self.recordings.start()

    def open(self, session: str = "S-1") -> FileRecorder:
        fd = now(self.recordings.open(session, HEADER))
        return FileRecorder(fd, session, Clocks(self.clock.seconds, self.clock.seconds), in_thread=at_once)

    def path(self, session: str = "S-1") -> Path:
        return next((self.state / "recordings").rglob(f"{session}.hoopd-rec"))

    def sealed(self, session: str = "S-1") -> seals.Sealed:
        known, problems = seals.fold(self.ledger.read())
        assert problems == []
        return known[session]

    def die(self) -> Broker:
        """kill -9: what is with the kernel stays, what is in memory is gone. @return: the next one"""
        for call in self.clock.getDelayedCalls():
            call.cancel()
        os.close(self.ledger._fd)
        os.close(self.ledger._notes_fd)
        # a broker that starts later starts at a later time
        return Broker(self.state)

    def verified(self) -> Any:
        now(self.ledger.checkpoint())
        return verify(self.state, self.ledger.verifier_key)


def kinds(path: Path) -> list[str]:
    reader = FrameReader()
    found = [each.kind for each in entries(reader.feed(path.read_bytes()))]
    assert reader.finish() is None
    return found


def test_a_session_from_open_to_close(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    made = broker.open()
    assert broker.recordings.name("S-1") == "2026/09/21/S-1.hoopd-rec"
    assert broker.path().stat().st_mode & 0o777 == 0o600
    assert broker.path().parent.stat().st_mode & 0o777 == 0o700
    made.write("operation", {"operation": 1, "text": "select 1"})
    made.write("close", {"why": "bye"})
    made.close()
    now(broker.recordings.close("S-1", "bye"))
    assert kinds(broker.path()) == ["open", "operation", "close"]
    sealed = broker.sealed()
    assert sealed.closed is not None
    assert (sealed.end, sealed.closed["size"], sealed.closed["frames"]) == (*[broker.path().stat().st_size] * 2, 3)
    assert (sealed.segments[0].first, sealed.segments[0].last) == (0, 2)
    report = broker.verified()
    assert report.ok, report
    assert (report.recordings, report.open_recordings, report.frames) == (1, 0, 3)


def test_segments_by_size_and_by_time(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    made = broker.open()
    made.write("operation", {"text": "small"})
    broker.clock.advance(0.25)
    assert broker.sealed().segments == []
    broker.clock.pump([1.0] * 10)
    assert len(broker.sealed().segments) == 1
    broker.clock.pump([1.0] * 20)
    assert len(broker.sealed().segments) == 1, "nothing came: nothing is sealed"
    made.write("operation", {"text": "x" * 6000})
    broker.clock.advance(0.25)
    assert len(broker.sealed().segments) == 2
    report = broker.verified()
    assert report.ok, report
    assert report.open_recordings == 1


def test_what_is_not_sealed_yet_is_exposed_and_not_failed(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    made = broker.open()
    made.write("operation", {"text": "x" * 6000})
    broker.clock.advance(0.25)
    made.write("operation", {"text": "y"})
    with broker.path().open("ab") as file:
        file.write(b"\0\0")
    report = broker.verified()
    assert report.ok, report
    exposed = [finding.what for finding in report.findings if finding.severity == "exposure"]
    assert any("not sealed" in what for what in exposed)
    assert any("part of a frame" in what for what in exposed)


def test_a_torn_tail_is_marked_when_the_session_is_closed(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    made = broker.open()
    made.write("operation", {"text": "select 1"})
    frame, _ = recording.encode(2, 0, 0, "operation", {"text": "never forwarded"})
    os.write(made._fd, frame[:30])
    broker.clock.pump([1.0] * 30)
    assert broker.ended == []
    now(broker.recordings.close("S-1", "its worker process ended"))
    assert kinds(broker.path()) == ["open", "operation", "torn", "close"]
    report = broker.verified()
    assert report.ok, report
    assert any("torn" in finding.what for finding in report.findings)


def test_the_broker_writes_the_end_that_the_worker_could_not(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.open().write("operation", {"text": "select 1"})
    now(broker.recordings.close("S-1", "its worker process ended"))
    reader = FrameReader()
    last = list(entries(reader.feed(broker.path().read_bytes())))[-1]
    assert (last.kind, last.fields) == ("close", {"why": "its worker process ended", "by": "broker"})
    now(broker.recordings.close("S-1", "again"))
    assert broker.verified().ok


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 10)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(300)
        file.write(b"\x01")


def overwrite_well(path: Path) -> None:
    """A frame replaced by another good one of the same size."""
    content = path.read_bytes()
    old, _ = recording.encode(1, int(START * 1e6), 0, "operation", {"text": "x" * 6000})
    new, _ = recording.encode(1, int(START * 1e6), 0, "operation", {"text": "z" * 6000})
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize("act", [shrink, empty, overwrite, overwrite_well])
def test_changing_what_is_sealed_is_noticed_while_the_session_lives(tmp_path: Path, act: Any) -> None:
    broker = Broker(tmp_path)
    made = broker.open()
    made.write("operation", {"text": "x" * 6000})
    broker.clock.advance(0.25)
    assert len(broker.sealed().segments) == 1
    act(broker.path())
    broker.clock.pump([0.25] * 20)
    assert [session for session, _ in broker.ended] == ["S-1"]
    assert [name for name, _ in broker.events].count("audit.tamper") == 1
    assert broker.sealed().tampered
    made.close()
    now(broker.recordings.close("S-1", "tampered"))
    report = broker.verified()
    assert not report.ok
    assert any("gateway itself noticed" in finding.what for finding in report.findings)


@pytest.mark.parametrize("act", [shrink, overwrite, overwrite_well, Path.unlink])
def test_changing_it_just_before_the_end_is_noticed_at_the_end(tmp_path: Path, act: Any) -> None:
    broker = Broker(tmp_path)
    made = broker.open()
    made.write("operation", {"text": "x" * 6000})
    broker.clock.advance(0.25)
    act(broker.path())
    now(broker.recordings.close("S-1", "bye"))
    assert broker.sealed().tampered
    assert not broker.verified().ok


def test_bytes_that_are_no_frames_are_noticed(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    made = broker.open()
    doubled, _ = recording.encode(0, 0, 0, "operation", {"text": "a frame that has been"})
    os.write(made._fd, doubled)
    broker.clock.advance(0.25)
    assert [session for session, _ in broker.ended] == ["S-1"]
    now(broker.recordings.close("S-1", "tampered"))
    assert not broker.verified().ok


def test_what_comes_after_the_last_seal_fails_the_proof(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    made = broker.open()
    now(broker.recordings.close("S-1", "bye"))
    made.write("operation", {"text": "too late"})
    report = broker.verified()
    assert not report.ok
    assert any("after the session ended" in finding.what for finding in report.findings)


def test_a_flooding_worker_delays_only_its_own_seals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(tmp_path)
    flood, calm = broker.open("S-1"), broker.open("S-2")
    for _ in range(40):
        flood.write("rows", {"rows": ["x" * 200_000]})
    calm.write("operation", {"text": "x" * 6000})
    reads: list[int] = []
    advance = Followed.advance

    def counted(one: Followed, limit: int) -> int:
        reads.append(advance(one, limit))
        return reads[-1]

    monkeypatch.setattr(Followed, "advance", counted)
    broker.clock.advance(0.25)
    # a share of each in turn: what is calm waits for one read of what floods, not for all of it
    assert reads[0] == READ_MAX
    assert 6000 < reads[1] < READ_MAX
    assert max(reads) == READ_MAX
    assert len(broker.sealed("S-2").segments) == 1
    broker.clock.pump([0.0] * 40)
    assert broker.recordings._open["S-1"].tail.rest == 0
    assert broker.verified().ok


def test_a_new_broker_finishes_what_nobody_resumes_and_follows_the_rest(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    lost, live = broker.open("S-1"), broker.open("S-2")
    for made in (lost, live):
        made.write("operation", {"text": "x" * 6000})
        broker.clock.advance(0.25)
        made.write("operation", {"text": "y"})
    after = broker.die()
    live.write("operation", {"text": "written while no broker was there"})
    assert now(after.recordings.recover({"S-2"})) == ["S-1"]
    assert after.sealed("S-1").closed is not None
    assert after.sealed("S-2").closed is None
    assert after.recordings.name("S-2") == after.sealed("S-2").path
    now(after.recordings.adopt("S-2"))
    now(after.recordings.adopt("S-2"))
    live.write("close", {"why": "bye"})
    after.clock.pump([1.0] * 12)
    assert len(after.sealed("S-2").segments) == 2
    live.close()
    now(after.recordings.close("S-2", "bye"))
    assert kinds(after.path("S-2")) == ["open", "operation", "operation", "operation", "close"]
    report = after.verified()
    assert report.ok, report
    with pytest.raises(Unavailable):
        now(after.recordings.adopt("S-7"))


def test_one_that_nobody_resumes_after_all_is_closed(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.open().write("operation", {"text": "y"})
    after = broker.die()
    assert now(after.recordings.recover({"S-1"})) == []
    now(after.recordings.close("S-1", "lost"))
    assert kinds(after.path()) == ["open", "operation", "close"]
    assert after.verified().ok


def test_what_was_changed_while_no_broker_was_there_is_noticed(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    made = broker.open()
    made.write("operation", {"text": "x" * 6000})
    broker.clock.advance(0.25)
    after = broker.die()
    overwrite_well(after.path())
    now(after.recordings.recover({"S-1"}))
    now(after.recordings.adopt("S-1"))
    assert [session for session, _ in after.ended] == ["S-1"]
    assert not after.verified().ok


def test_stopping_seals_and_the_next_broker_goes_on(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    made = broker.open()
    made.write("operation", {"text": "y"})
    now(broker.recordings.stop())
    assert broker.sealed().end == broker.path().stat().st_size
    now(broker.ledger.stop())
    after = Broker(tmp_path)
    now(after.recordings.recover({"S-1"}))
    now(after.recordings.adopt("S-1"))
    made.write("close", {"why": "bye"})
    now(after.recordings.close("S-1", "bye"))
    assert after.verified().ok


def test_a_recording_whose_leaf_never_came_is_taken_up(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.ledger.append = lambda kind, fields: Deferred()  # type: ignore[method-assign]
    waiting = broker.recordings.open("S-1", HEADER)
    assert not waiting.called
    after = broker.die()
    assert now(after.recordings.recover()) == ["S-1"]
    assert kinds(after.path()) == ["open", "close"]
    assert after.verified().ok


@pytest.mark.parametrize("name", ["open", "write", "fdatasync", "fsync"])
def test_a_recording_that_cannot_be_made_is_an_error_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    system = System()
    broker = Broker(tmp_path, system)
    system.fail[name] = 0
    with pytest.raises(RecordError, match="no recording can be made"):
        now(broker.recordings.open("S-1", HEADER))
    assert list((tmp_path / "recordings").rglob("*.hoopd-rec")) == []
    system.fail.clear()
    broker.open()
    assert broker.verified().ok


def test_one_whose_leaf_is_refused_is_taken_back(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.ledger._system = System({"write": 0})
    with pytest.raises(RecordError):
        now(broker.recordings.open("S-1", HEADER))
    broker.ledger._system = os
    assert list((tmp_path / "recordings").rglob("*.hoopd-rec")) == []
    assert broker.verified().ok


def test_a_ledger_that_is_full_gets_the_seals_later(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    made = broker.open()
    made.write("operation", {"text": "x" * 6000})
    broker.ledger._system = System({"write": 0})
    broker.clock.advance(0.25)
    made.write("operation", {"text": "z" * 6000})
    broker.clock.pump([1.0] * 5)
    assert broker.sealed().segments == []
    assert "audit.unwritable" in [name for name, _ in broker.events]
    with pytest.raises(RecordError):
        now(broker.recordings.close("S-1", "bye"))
    broker.ledger._system = os
    broker.clock.pump([1.0] * 11)
    assert broker.sealed().closed is not None
    report = broker.verified()
    assert report.ok, report


def test_a_disk_that_cannot_flush_ends_the_session(tmp_path: Path) -> None:
    system = System()
    broker = Broker(tmp_path, system)
    made = broker.open()
    system.fail["fdatasync"] = 0
    system.error = errno.EIO
    made.write("operation", {"text": "x" * 6000})
    broker.clock.advance(0.25)
    assert [session for session, _ in broker.ended] == ["S-1"]


def test_a_full_disk_at_the_end_is_said_in_the_ledger(tmp_path: Path) -> None:
    system = System()
    broker = Broker(tmp_path, system)
    made = broker.open()
    frame, _ = recording.encode(1, 0, 0, "operation", {"text": "torn"})
    os.write(made._fd, frame[:20])
    system.fail["write"] = 0
    now(broker.recordings.close("S-1", "disk full"))
    closed = broker.sealed().closed
    assert closed is not None
    assert closed["torn"] == 20
    report = broker.verified()
    assert report.ok, report
    assert any("as the ledger says" in finding.what for finding in report.findings)


@pytest.mark.parametrize("session", ["", "../S-1", "a/b", "S 1", ".hidden", "S-1\n"])
def test_ids_that_would_be_paths_are_refused(tmp_path: Path, session: str) -> None:
    broker = Broker(tmp_path)
    with pytest.raises(ValueError, match="session id"):
        now(broker.recordings.open(session, HEADER))


def test_an_id_twice_is_refused_and_the_first_stays(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    made = broker.open()
    with pytest.raises(RecordError):
        now(broker.recordings.open("S-1", HEADER))
    made.write("close", {})
    now(broker.recordings.close("S-1", "bye"))
    assert broker.verified().ok
