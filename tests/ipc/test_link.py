"""Brokers come and go under a link: what waits, what is repeated, what is given back. Time is a Clock's."""

from __future__ import annotations

import os
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from hoopd.errors import Unavailable
from hoopd.ipc import commands as c
from hoopd.ipc.link import Link
from hoopd.ipc.stubs import RemoteApprovals, RemoteSessions
from hoopd.secret import Secret
from tests.ipc.family import APPROVAL, HELD, PROOF, TOKEN, Broker, WorkerRole, admission, descriptors
from tests.turns import turns


class SocketsAndClock(Clock):
    """Real sockets, injected time."""

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class Brokers(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.clock = SocketsAndClock()
        self.worker = WorkerRole()
        self.link = Link(self.clock, "worker/postgres/1", 42, self.worker)
        self.sessions = RemoteSessions(self.link)
        self.approvals = RemoteApprovals(self.link)
        self.brokers: list[Broker] = []

    async def turn(self) -> None:
        for _ in range(4):
            await turns(5)
            self.clock.advance(0)

    def broker(self) -> Broker:
        broker = Broker(self.clock)
        self.brokers.append(broker)
        broker.attach(self.link)
        return broker

    async def tearDown(self) -> None:
        self.link.close()
        for broker in self.brokers:
            broker.die()
        await self.turn()

    async def test_a_call_waits_for_a_broker(self) -> None:
        answer = self.approvals.show("a1")
        self.clock.advance(20)
        self.assertNoResult(answer)
        broker = self.broker()
        broker.script.answers["show"] = APPROVAL
        await self.turn()
        assert self.successResultOf(answer) == APPROVAL
        assert self.link.away_since is None

    async def test_a_call_does_not_wait_for_ever(self) -> None:
        answer = self.approvals.show("a1")
        self.clock.advance(c.ShowApproval.deadline)
        assert "away" in str(self.failureResultOf(answer, Unavailable).value)

    async def test_a_broker_that_does_not_answer_is_given_up(self) -> None:
        broker = self.broker()
        broker.script.answers["show"] = lambda *a: Deferred()
        await self.turn()
        answer = self.approvals.show("a1")
        await self.turn()
        self.clock.advance(c.ShowApproval.deadline)
        assert "in time" in str(self.failureResultOf(answer, Unavailable).value)

    async def test_being_away_is_timed(self) -> None:
        assert self.link.away_since == 0
        broker = self.broker()
        await self.turn()
        assert self.link.attached
        self.clock.advance(5)
        broker.die()
        await self.turn()
        assert self.link.away_since == 5

    async def test_what_may_arrive_twice_is_repeated_on_the_next_broker(self) -> None:
        first = self.broker()
        first.script.answers["settle"] = lambda *a: Deferred()
        await self.turn()
        answer = self.approvals.settle("s1", TOKEN, "a1", "executed", "")
        await self.turn()
        assert first.script.named("settle")
        first.die()
        await self.turn()
        self.assertNoResult(answer)
        second = self.broker()
        second.script.answers["settle"] = APPROVAL
        await self.turn()
        assert self.successResultOf(answer) == APPROVAL

    async def test_a_claim_is_never_repeated(self) -> None:
        first = self.broker()
        first.script.answers["claim"] = lambda *a: Deferred()
        await self.turn()
        answer = self.approvals.claim("s1", TOKEN, "a1", HELD)
        await self.turn()
        first.die()
        await self.turn()
        self.failureResultOf(answer, Unavailable)
        second = self.broker()
        await self.turn()
        assert second.script.named("claim") == []

    async def test_a_watch_survives_brokers(self) -> None:
        first = self.broker()
        first.script.answers["decided"] = lambda *a: Deferred()
        await self.turn()
        one, two = self.approvals.decided("a1"), self.approvals.decided("a1")
        await self.turn()
        assert first.script.named("decided") == [("a1",)], "watched once"
        first.die()
        await self.turn()
        self.clock.advance(300)
        self.assertNoResult(one)
        second = Broker(self.clock)
        decided: Deferred[Any] = Deferred()
        second.script.answers["decided"] = decided
        self.brokers.append(second)
        second.attach(self.link)
        await self.turn()
        decided.callback(evolve(APPROVAL, state="approved"))
        await self.turn()
        assert self.successResultOf(one).state == "approved"
        assert self.successResultOf(two).state == "approved"

    async def test_a_watch_of_nothing_fails(self) -> None:
        broker = self.broker()
        broker.script.answers["decided"] = KeyError("a9")
        watch = self.approvals.decided("a9")
        await self.turn()
        self.failureResultOf(watch, KeyError)

    async def test_a_cancelled_watch_is_let_go(self) -> None:
        broker = self.broker()
        ended: list[str] = []
        broker.script.answers["decided"] = lambda *a: Deferred(lambda d: ended.append("cancelled"))
        await self.turn()
        watch = self.approvals.decided("a1")
        await self.turn()
        watch.cancel()
        self.failureResultOf(watch, CancelledError)
        await self.turn()
        assert ended == ["cancelled"]

    async def test_a_new_broker_hears_of_live_sessions_and_unknown_ones_end(self) -> None:
        self.worker.sessions = [("s1", Secret("t1")), ("s2", Secret("t2"))]
        broker = Broker(self.clock)
        self.brokers.append(broker)
        broker.script.answers["resume"] = lambda sessions: ["s2"]
        broker.attach(self.link)
        await self.turn()
        assert broker.script.named("resume") == [(self.worker.sessions,)]
        assert [session for session, _ in self.worker.ended] == ["s2"]
        cancelled = broker.peers.cancel("s1")
        await self.turn()
        assert self.successResultOf(cancelled) is True
        assert self.worker.cancelled == ["s1"]

    async def test_a_store_that_is_locked_at_resume_is_asked_again(self) -> None:
        answers: list[Any] = [Unavailable("locked"), []]
        broker = Broker(self.clock)
        self.brokers.append(broker)
        broker.script.answers["resume"] = lambda sessions: answers.pop(0)
        broker.attach(self.link)
        await self.turn()
        assert not self.link.attached
        self.clock.advance(1)
        await self.turn()
        assert self.link.attached
        assert answers == []

    async def test_a_broker_that_stops_in_order_loses_no_call(self) -> None:
        first = self.broker()
        slow: Deferred[Any] = Deferred()
        first.script.answers["claim"] = slow
        await self.turn()
        claim = self.approvals.claim("s1", TOKEN, "a1", HELD)
        await self.turn()
        leaving = Deferred.fromCoroutine(first.peers.leave())
        await self.turn()
        later = self.approvals.show("a1")  # asked while nobody is there: waits for the next
        await self.turn()
        assert first.script.named("show") == []
        slow.callback(APPROVAL)
        await self.turn()
        assert self.successResultOf(claim) == APPROVAL
        self.successResultOf(leaving)
        assert first.role.gone == [], "the worker lives"
        second = self.broker()
        second.script.answers["show"] = APPROVAL
        await self.turn()
        assert self.successResultOf(later) == APPROVAL

    async def test_a_new_end_takes_new_calls_and_the_old_one_answers_its_own(self) -> None:
        first = self.broker()
        slow: Deferred[Any] = Deferred()
        first.script.answers["claim"] = slow
        await self.turn()
        claim = self.approvals.claim("s1", TOKEN, "a1", HELD)
        await self.turn()
        second = self.broker()
        second.script.answers["show"] = APPROVAL
        show = self.approvals.show("a1")
        await self.turn()
        # the old one has an answer to give yet: the new one is not told of our sessions before that
        self.assertNoResult(show)
        slow.callback(APPROVAL)
        await self.turn()
        assert self.successResultOf(claim) == APPROVAL
        assert self.successResultOf(show) == APPROVAL
        assert first.role.gone == []

    async def test_a_worker_that_dies_is_gone(self) -> None:
        broker = self.broker()
        await self.turn()
        assert self.link._newest is not None
        self.link._newest.transport.abortConnection()
        await self.turn()
        assert broker.role.gone == ["worker/postgres/1:42"]
        assert broker.peers.workers == []

    async def test_an_admission_nobody_waits_for_is_given_back(self) -> None:
        broker = self.broker()
        await self.turn()
        before = len(descriptors())
        slow: Deferred[Any] = Deferred()
        broker.script.answers["admit"] = slow
        admit = self.sessions.admit(PROOF, "orders", "postgres")
        await self.turn()
        admit.cancel()
        self.failureResultOf(admit, CancelledError)
        slow.callback(admission(os.memfd_create("recording")))
        await self.turn()
        assert [call[0] for call in broker.script.named("ended")] == ["s1"]
        assert len(descriptors()) == before

    async def test_another_version_is_refused(self) -> None:
        whys: list[str] = []
        self.link.incompatible = whys.append
        self.patch(c, "VERSION", 1)
        broker = Broker(self.clock)
        self.brokers.append(broker)
        broker.script.answers["show"] = lambda *a: succeed(APPROVAL)
        self.patch(c, "VERSION", 2)
        from hoopd.ipc.broker import Conversation

        self.patch(Conversation, "hello", Conversation.hello)
        original = c.Hello.makeResponse
        self.patch(c.Hello, "makeResponse", classmethod(lambda cls, o, proto: original({**o, "version": 3}, proto)))
        broker.attach(self.link)
        await self.turn()
        assert whys == ["the broker speaks version 3, this process 2"]
        assert not self.link.attached
