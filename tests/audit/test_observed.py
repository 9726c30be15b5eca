"""What observe mode let pass, counted from recordings: once each, whatever dies, in bounded rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopd.audit import observed, recording
from hoopd.audit.index import SessionIndex
from hoopd.audit.observed import HOUR, KEPT, ObservedIndex, shape
from hoopd.audit.tables import MIGRATIONS
from hoopd.store.memory import MemoryStore
from hoopd.values import SessionSummary
from tests.scratch import scratch

NOW = 500_000 * HOUR
PRIYA = SessionSummary("S-1", "user:priya", "human", None, "orders", "postgres", "peer", NOW, recording="S-1.hoopd-rec")
DENIED = {"operation": 1, "text": "DROP TABLE t", "observed": "deny", "rules": ["f.deny.drop"], "why": "no"}
HELD = {"operation": 2, "text": "UPDATE t SET a = 1", "observed": "hold", "rules": ["f.hold.a", "f.hold.b"], "why": ""}
MASKED = {"operation": 3, "text": "SELECT a FROM t", "observed": None, "observed_masks": ["f.mask.a"], "rules": ["x"]}
PASSED = {"operation": 4, "text": "SELECT 1", "observed": None, "observed_masks": [], "rules": ["f.allow.read"]}


class ObservedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.store = MemoryStore(MIGRATIONS)
        self.directory = Path(scratch(self))
        self.sequence: dict[str, int] = {}
        self.index = self.started()
        self.session(PRIYA)

    def started(self, *live: str) -> ObservedIndex:
        index = ObservedIndex(self.store, self.directory, self.clock, execute)
        self.ok(Deferred.fromCoroutine(index.start(lambda session: session in live)))
        return index

    def ok(self, deferred: Any) -> Any:
        return self.successResultOf(deferred)

    def session(self, summary: SessionSummary) -> None:
        self.ok(SessionIndex(self.store).insert(summary))
        (self.directory / summary.recording).write_bytes(recording.file_header(summary.id))
        self.sequence[summary.id] = 0

    def write(self, session: str, *records: Any, kind: str = "operation", at: float = NOW) -> int:
        """@return: the recording's size"""
        path = self.directory / f"{session}.hoopd-rec"
        with path.open("ab") as file:
            for fields in records:
                octets, frames = recording.encode(self.sequence[session], int(at * 1e6), 0, kind, fields)
                self.sequence[session] += frames
                file.write(octets)
        return path.stat().st_size

    def counts(self, index: ObservedIndex | None = None, **words: Any) -> dict[tuple[str, str], int]:
        self.ok((index or self.index).idle())
        return {(each["outcome"], each["rule"]): each["count"] for each in self.ok((index or self.index).find(**words))}

    def test_by_rule_and_identity(self) -> None:
        act = evolve(PRIYA, id="S-2", identity="agent:ci", act="user:ann", target="other", recording="S-2.hoopd-rec")
        self.session(act)
        self.index.sealed("S-1", self.write("S-1", DENIED, HELD, PASSED, MASKED, HELD), False)
        self.index.sealed("S-2", self.write("S-2", {**DENIED, "rules": []}, at=NOW + 2 * HOUR), True)
        assert self.counts(identity="user:priya") == {
            ("deny", "f.deny.drop"): 1,
            ("hold", "f.hold.a"): 2,
            ("hold", "f.hold.b"): 2,
            ("mask", "f.mask.a"): 1,
        }
        (agent,) = self.ok(self.index.find(target="other"))
        assert (agent["identity"], agent["act"], agent["rule"]) == ("agent:ci", "user:ann", "")
        assert (agent["first"], agent["last"], agent["why"]) == (NOW + 2 * HOUR, NOW + 2 * HOUR, "no")
        assert agent["example"] == {"session": "S-2", "operation": 1, "text": "DROP TABLE t", "at": NOW + 2 * HOUR}
        assert self.counts(since=NOW + HOUR) == {("deny", ""): 1}

    def test_each_is_counted_once_whatever_is_told_and_however_often(self) -> None:
        first = self.write("S-1", DENIED)
        second = self.write("S-1", DENIED, HELD)
        for end in (first, first, second, first, second):
            self.index.sealed("S-1", end, False)
            self.counts()
        assert self.counts()[("deny", "f.deny.drop")] == 2

    def test_a_broker_that_died_is_caught_up_with(self) -> None:
        self.index.sealed("S-1", self.write("S-1", DENIED), False)
        self.counts()
        self.write("S-1", DENIED)
        assert self.counts(self.started("S-1")) == {("deny", "f.deny.drop"): 1}, "it goes on: its seals will tell"
        assert self.counts(self.started())[("deny", "f.deny.drop")] == 2
        assert self.counts(self.started())[("deny", "f.deny.drop")] == 2
        assert self.ok(self.store.transact(lambda tx: tx.execute("SELECT * FROM observed_progress"))) == []

    def test_a_statement_over_many_frames_and_two_seals(self) -> None:
        large = {**DENIED, "text": "DROP " + "x" * 1_500_000}
        before = self.write("S-1", PASSED)
        end = self.write("S-1", large, HELD)
        self.index.sealed("S-1", before + 400_000, False)
        assert self.counts() == {}
        self.index.sealed("S-1", end, True)
        assert self.counts()[("deny", "f.deny.drop")] == 1
        example = next(each for each in self.ok(self.index.find()) if each["outcome"] == "deny")["example"]["text"]
        assert example.endswith("(1500005 characters)")
        assert len(example) < 1100

    def test_rows_are_bounded(self) -> None:
        many = [{**DENIED, "text": f"DROP TABLE t{chr(97 + n // 26)}{chr(97 + n % 26)}"} for n in range(80)]
        self.index.sealed("S-1", self.write("S-1", *many), False)
        (found,) = (self.counts(), self.ok(self.index.find()))[1]
        assert found["count"] == 80
        assert len(found["statements"]) == observed.NAMED
        ((rows,),) = self.ok(self.store.transact(lambda tx: tx.execute("SELECT COUNT(*) FROM observed")))
        assert rows == observed.STATEMENTS + 1
        self.clock.advance(KEPT + 2 * HOUR)
        self.index.sealed("S-1", self.write("S-1", PASSED), True)
        assert self.counts() == {}

    def test_a_recording_that_is_gone_or_damaged_holds_up_nobody(self) -> None:
        self.session(evolve(PRIYA, id="S-2", recording="S-2.hoopd-rec"))
        self.session(evolve(PRIYA, id="S-3", recording="S-3.hoopd-rec"))
        (self.directory / "S-1.hoopd-rec").unlink()
        damaged = self.directory / "S-2.hoopd-rec"
        size = self.write("S-2", DENIED, DENIED)
        damaged.write_bytes(damaged.read_bytes()[: size - 3] + b"\0\0\0")
        self.index.sealed("S-1", 1000, True)
        self.index.sealed("S-2", size, True)
        self.index.sealed("S-3", self.write("S-3", HELD), True)
        self.index.sealed("S-unknown", 1000, True)
        assert self.counts()[("hold", "f.hold.a")] == 1
        assert self.ok(self.store.transact(lambda tx: tx.execute("SELECT * FROM observed_progress"))) == []

    def test_hostile_records(self) -> None:
        records = [
            {"operation": "x", "text": None, "observed": "deny", "rules": "not a list", "why": 7},
            {"observed": "deny", "rules": [["a"], 5, None]},
            {"observed": "everything", "rules": ["a"]},
            {"observed_masks": ["m" * 5000]},
        ]
        self.index.sealed("S-1", self.write("S-1", *records), True)
        assert {outcome for outcome, _ in self.counts()} == {"deny", "mask"}


def test_alike_statements_have_one_shape() -> None:
    assert shape("SELECT  *\nFROM t WHERE a = 17 AND b = 'it''s'") == "SELECT * FROM t WHERE a = ? AND b = ?"
    assert shape("SELECT 1 WHERE a IN (1, 2,3)") == shape("SELECT 4 WHERE a IN (5, 6)")
    assert shape("DO $x$ BEGIN 1; END $x$") == "DO ?"
    assert shape("SELECT t1.a FROM t1") == "SELECT t1.a FROM t1"


@given(st.text())
def test_shapes_are_short_and_of_one_line(text: str) -> None:
    made = shape(text)
    assert len(made) <= observed.SHAPE_MAX + 1
    assert "\n" not in made
