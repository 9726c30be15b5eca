"""Watching sessions that run: on record at both ends, bounded, over as soon as who watches may not any more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopd.audit import watching
from hoopd.audit.watching import LAPSE, LOOK, OF_ONE, PIECE, WAIT, Watches
from hoopd.errors import Denied, RecordError
from hoopd.values import Identity, SessionSummary
from tests.scratch import scratch

LEE = Identity("lee", "human", duties=frozenset({"auditor"}), proof="token:T-1")
MO = Identity("mo", "human", duties=frozenset({"auditor"}), proof="token:T-2")


class WatchesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.directory = Path(scratch(self))
        self.recording = self.directory / "one"
        self.recording.write_bytes(b"0123456789")
        self.session = SessionSummary(
            "S-1", "user:priya", "human", None, "web1", "ssh", "127.0.0.1", 1.0, recording="one"
        )
        self.recorded: list[tuple[str, str, Mapping[str, Any]]] = []
        self.broken: Exception | None = None
        numbers = iter(range(1, 1000))
        self.watches = Watches(
            self,
            lambda id: self.session.ended_at is None,
            lambda id: succeed(self.session),
            str(self.directory),
            self.clock,
            lambda: f"W-{next(numbers)}",
        )

    def record(self, by: str, verb: str, subject: str, detail: Mapping[str, Any]) -> Deferred[None]:
        """Of Views."""
        assert (verb, subject) == ("sessions.watch", "S-1")
        if self.broken is not None:
            return fail(self.broken)
        self.recorded.append((by, detail["watch"], detail))
        return succeed(None)

    def begin(self, who: Identity = LEE) -> str:
        begun = self.successResultOf(Deferred.fromCoroutine(self.watches.begin(who, self.session)))
        assert begun["size"] == 10
        return str(begun["watch"])

    def more(self, id: str, offset: int, who: Identity = LEE) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.watches.more(who, id, offset))

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds / LOOK)):
            self.clock.advance(LOOK)

    def ends(self) -> list[str]:
        return [detail["ended"] for _, _, detail in self.recorded if "ended" in detail]

    def test_what_comes_is_shown_within_a_look(self) -> None:
        id = self.begin()
        assert self.successResultOf(self.more(id, 0)) == {"bytes": b"0123456789", "over": ""}
        waiting = self.more(id, 10)
        self.wait(1)
        self.assertNoResult(waiting)
        with open(self.recording, "ab") as file:
            file.write(b"more")
        self.clock.advance(LOOK)
        assert self.successResultOf(waiting) == {"bytes": b"more", "over": ""}

    def test_nothing_new_is_said_in_time(self) -> None:
        id = self.begin()
        waiting = self.more(id, 10)
        self.wait(WAIT + LOOK)
        assert self.successResultOf(waiting) == {"bytes": b"", "over": ""}

    def test_an_answer_is_bounded(self) -> None:
        self.recording.write_bytes(b"0" * 10)
        id = self.begin()
        self.recording.write_bytes(b"0" * (PIECE + 5))
        assert len(self.successResultOf(self.more(id, 0))["bytes"]) == PIECE
        assert len(self.successResultOf(self.more(id, PIECE))["bytes"]) == 5

    def test_beginning_and_end_are_recorded(self) -> None:
        id = self.begin()
        assert self.recorded == [("user:lee", id, {"watch": id})]
        self.successResultOf(self.more(id, 0))
        self.clock.advance(2)
        self.successResultOf(Deferred.fromCoroutine(self.watches.leave(LEE, id)))
        assert self.recorded[1:] == [("user:lee", id, {"watch": id, "ended": "left", "seconds": 2.0, "bytes": 10})]
        self.failureResultOf(self.more(id, 10), KeyError)

    def test_small_pieces_are_told_together(self) -> None:
        id = self.begin()
        self.successResultOf(self.more(id, 0))
        with open(self.recording, "ab") as file:
            file.write(b"a")
        waiting = self.more(id, 10)
        self.assertNoResult(waiting)
        with open(self.recording, "ab") as file:
            file.write(b"b")
        self.clock.advance(LOOK)
        assert self.successResultOf(waiting)["bytes"] == b"ab"

    def test_two_questions_at_once_leave_one_timer(self) -> None:
        id = self.begin()
        both = [self.more(id, 10), self.more(id, 10)]
        self.wait(WAIT + LOOK)
        for each in both:
            self.successResultOf(each)
        self.successResultOf(Deferred.fromCoroutine(self.watches.leave(LEE, id)))
        assert not self.clock.getDelayedCalls()

    def test_an_end_that_cannot_be_recorded_keeps_nothing_from_stopping(self) -> None:
        self.begin()
        self.begin(MO)
        self.broken = RecordError("full")
        self.successResultOf(Deferred.fromCoroutine(self.watches.stop()))
        assert len(self.flushLoggedErrors(RecordError)) == 2

    def test_what_cannot_be_recorded_is_not_shown(self) -> None:
        self.broken = RecordError("full")
        self.failureResultOf(Deferred.fromCoroutine(self.watches.begin(LEE, self.session)), RecordError)
        self.broken = None
        assert self.begin() == "W-2"
        self.failureResultOf(self.more("W-1", 0), KeyError)

    def test_the_end_of_the_session_comes_behind_all_of_it(self) -> None:
        id = self.begin()
        with open(self.recording, "ab") as file:
            file.write(b"last")
        self.session = evolve(self.session, ended_at=2.0, ended_why="exit")
        assert self.successResultOf(self.more(id, 0)) == {"bytes": b"0123456789last", "over": ""}
        last = self.more(id, 14)
        self.clock.advance(LOOK)
        assert self.successResultOf(last) == {"bytes": b"", "over": "exit"}
        assert self.ends() == ["the session ended: exit"]

    def test_one_that_is_over_is_replayed_instead(self) -> None:
        self.session = evolve(self.session, ended_at=2.0)
        began = Deferred.fromCoroutine(self.watches.begin(LEE, self.session))
        assert "sessions replay S-1" in str(self.failureResultOf(began, ValueError).value)

    def test_who_goes_away_is_noticed(self) -> None:
        id = self.begin()
        self.wait(LAPSE - 1)
        self.successResultOf(self.more(id, 0))
        self.wait(LAPSE - 1)
        assert self.ends() == []
        self.wait(2)
        assert self.ends() == ["went away"]
        assert not self.clock.getDelayedCalls()

    def test_what_is_revoked_shows_nothing_more_even_to_who_waits(self) -> None:
        id = self.begin()
        waiting = self.more(id, 10)
        self.watches.revoke("user:lee", "T-9")
        self.assertNoResult(waiting)
        self.watches.revoke("user:lee", "T-1")
        with open(self.recording, "ab") as file:
            file.write(b"secret")
        self.clock.advance(LOOK)
        self.failureResultOf(waiting, Denied)
        assert len(self.ends()) == 1
        self.recording.write_bytes(b"0123456789")
        other = self.begin()
        self.watches.revoke("user:lee", "")
        self.failureResultOf(self.more(other, 0), KeyError)

    def test_a_proof_that_lapses_shows_nothing_more(self) -> None:
        lee = evolve(LEE, expires_at=self.clock.seconds() + 1)
        id = self.begin(lee)
        waiting = self.more(id, 10, lee)
        self.wait(0.9)
        self.assertNoResult(waiting)
        self.wait(0.2)
        self.failureResultOf(waiting, Denied)
        assert self.ends() == ["the proof has lapsed"]

    def test_nobody_watches_by_the_number_of_another(self) -> None:
        id = self.begin()
        for call in (self.more(id, 0, MO), Deferred.fromCoroutine(self.watches.leave(MO, id))):
            self.failureResultOf(call, KeyError)
        self.successResultOf(Deferred.fromCoroutine(self.watches.barred(MO, id)))
        assert self.ends() == []
        self.successResultOf(Deferred.fromCoroutine(self.watches.barred(LEE, id)))
        assert self.ends() == ["user:lee may not any more"]

    def test_one_person_watches_a_few_and_all_a_bounded_number(self) -> None:
        for _ in range(OF_ONE):
            self.begin()
        self.failureResultOf(Deferred.fromCoroutine(self.watches.begin(LEE, self.session)), Denied)
        self.begin(MO)
        self.patch(watching, "OF_ALL", OF_ONE + 1)
        self.failureResultOf(Deferred.fromCoroutine(self.watches.begin(MO, self.session)), Denied)
        self.successResultOf(Deferred.fromCoroutine(self.watches.stop()))
        assert self.ends() == ["the gateway is stopping"] * (OF_ONE + 1)
        assert not self.clock.getDelayedCalls()
