"""L{IApprovals}: the same conversations over every store."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from hoopd.approvals.tables import MIGRATIONS as TABLES
from hoopd.config.schema import ApprovalsConfig
from hoopd.errors import Denied, RecordError, Unavailable
from hoopd.interfaces import IApprovals
from hoopd.store.memory import MemoryStore
from hoopd.store.sqlite import SqliteStore
from hoopd.values import Identity
from tests.approvals.parts import BULK, DAN, DORA, LARS, LEA, START, TERMS, TOKEN, World, held, person


class ApprovalsContract:
    """Each test is a conversation with a broker; subclasses say over which store."""

    async def store(self) -> Any:
        raise NotImplementedError

    async def world(self, **options: Any) -> World:
        world = World(await self.store(), **options)
        self.addCleanup(lambda: Deferred.fromCoroutine(world.approvals.stop()))  # type: ignore[attr-defined]
        await world.session("S-1")
        return world

    async def denied(self, deferred: Deferred[Any], *words: str) -> None:
        denied = await self.assertFailure(deferred, Denied)  # type: ignore[attr-defined]
        for word in words:
            assert word in denied.why, denied.why

    async def test_interface(self) -> None:
        world = await self.world()
        verifyObject(IApprovals, world.approvals)

    async def test_requested_approved_claimed_executed(self) -> None:
        world = await self.world()
        seen: list[str] = []
        world.approvals.observe(lambda approval: seen.append(approval.state))
        asked = await world.approvals.request("S-1", TOKEN, held())
        assert (asked.state, asked.requester, asked.target, asked.deadline) == (
            "pending",
            "user:priya",
            "orders",
            START + 900,
        )
        waiting = world.approvals.decided(asked.id)
        approved = await world.approvals.decide(asked.id, LEA, True, "looks right")
        assert (await waiting).state == "approved"
        assert approved.claim_by == START + 900
        assert [(vote.identity, vote.reason) for vote in approved.votes] == [("user:lea", "looks right")]
        claimed = await world.approvals.claim("S-1", TOKEN, asked.id, held())
        assert claimed.state == "claimed"
        done = await world.approvals.settle("S-1", TOKEN, asked.id, "executed", "UPDATE 3")
        assert (done.state, done.outcome, done.settled_at) == ("executed", "UPDATE 3", START)
        assert await world.approvals.show(asked.id) == done
        assert seen == ["pending", "approved", "claimed", "executed"]
        leaves = world.ledger.of("approval")
        assert [(leaf["event"], leaf["state"], leaf["by"]) for leaf in leaves] == [
            ("request", "pending", "user:priya"),
            ("approve", "approved", "user:lea"),
            ("claim", "claimed", "user:priya"),
            ("executed", "executed", "user:priya"),
        ]
        assert [name for name, _ in world.events] == [
            "approval.requested",
            "approval.approved",
            "approval.claimed",
            "approval.executed",
        ]

    async def test_only_digest_and_redacted_text_are_kept(self) -> None:
        world = await self.world()
        secret = held(text="ALTER USER x PASSWORD 'hunter2'", redacted="ALTER USER x PASSWORD '…'", parameters=b"4111")
        await world.approvals.request("S-1", TOKEN, secret)
        for table in ("approvals", "approval_outbox"):
            kept = await world.store.transact(lambda tx, table=table: tx.execute(f"SELECT * FROM {table}"))
            assert "hunter2" not in repr(kept)
            assert "4111" not in repr(kept)
        assert "hunter2" not in repr((world.ledger.leaves, world.events))

    async def test_denied_once_is_denied(self) -> None:
        world = await self.world()
        asked = await world.approvals.request("S-1", TOKEN, held(holds=(TERMS, BULK)))
        waiting = world.approvals.decided(asked.id)
        await world.approvals.decide(asked.id, LEA, True, "ok")
        await world.approvals.decide(asked.id, DORA, True, "ok")
        await world.approvals.decide(asked.id, DAN, False, "not today")
        assert (await waiting).state == "denied"
        await self.denied(world.approvals.claim("S-1", TOKEN, asked.id, held(holds=(TERMS, BULK))), "denied")
        await self.denied(world.approvals.decide(asked.id, LARS, True, "ok"), "denied")
        # and asking again asks anew
        assert (await world.approvals.request("S-1", TOKEN, held(holds=(TERMS, BULK)))).id != asked.id

    async def test_quorum_over_two_rules(self) -> None:
        world = await self.world()
        both = held(holds=(TERMS, BULK))
        asked = await world.approvals.request("S-1", TOKEN, both)
        assert asked.deadline == START + 600, "the shortest of all terms"
        for who in (DORA, LEA):
            assert (await world.approvals.decide(asked.id, who, True, "ok")).state == "pending"
        await self.denied(world.approvals.decide(asked.id, DORA, True, "ok"), "voted already")
        await self.denied(world.approvals.claim("S-1", TOKEN, asked.id, both), "pending")
        assert (await world.approvals.decide(asked.id, DAN, True, "ok")).state == "approved"

    async def test_who_may_not_decide(self) -> None:
        world = await self.world()
        asked = await world.approvals.request("S-1", TOKEN, held())
        agent = Identity("bot", "agent", frozenset({"leads"}), duties=frozenset({"approver"}))
        for who, word in ((person("priya", "leads"), "themselves"), (agent, "agents"), (DORA, "none of the groups")):
            await self.denied(world.approvals.decide(asked.id, who, True, "ok"), word)
        assert (await world.approvals.show(asked.id)).votes == ()
        assert next(fields["by"] for name, fields in world.events if name == "approval.refused") == "user:priya"

    async def test_an_agent_asks_and_its_person_may_not_say_yes(self) -> None:
        world = await self.world()
        agent = Identity("helper", "agent", act="user:lea")
        await world.session("S-2", agent)
        asked = await world.approvals.request("S-2", TOKEN, held("S-2"))
        assert asked.act == "user:lea"
        await self.denied(world.approvals.decide(asked.id, LEA, True, "ok"), "behalf")
        assert (await world.approvals.decide(asked.id, LARS, True, "ok")).state == "approved"

    async def test_claimed_once(self) -> None:
        world = await self.world()
        await world.session("S-2")
        asked = await world.approvals.request("S-1", TOKEN, held())
        await world.approvals.decide(asked.id, LEA, True, "ok")
        await world.approvals.claim("S-2", TOKEN, asked.id, held("S-2"))
        claim = world.ledger.of("approval")[-1]
        assert (claim["event"], claim["session"], claim["runs_in"]) == ("claim", "S-1", "S-2")
        for session in ("S-1", "S-2"):
            await self.denied(world.approvals.claim(session, TOKEN, asked.id, held(session)), "claimed")
        await self.denied(world.approvals.settle("S-1", TOKEN, asked.id, "executed", ""), "not claimed by")
        await self.denied(world.approvals.withdraw("S-1", TOKEN, asked.id, "too late"), "being run")

    async def test_exactly_what_was_approved(self) -> None:
        world = await self.world()
        await world.session("S-2", target="billing")
        await world.session("S-3", LARS)
        asked = await world.approvals.request("S-1", TOKEN, held())
        await world.approvals.decide(asked.id, LEA, True, "ok")
        others = [
            held(text="UPDATE orders SET paid = false"),
            held(text="UPDATE  orders SET paid = true"),
            held(parameters=b"x"),
            held(context="database=other"),
            held(holds=(TERMS, BULK)),
        ]
        for other in others:
            await self.denied(world.approvals.claim("S-1", TOKEN, asked.id, other), "another operation")
        await self.denied(world.approvals.claim("S-2", TOKEN, asked.id, held("S-2")), "another operation")
        await self.denied(world.approvals.claim("S-3", TOKEN, asked.id, held("S-3")), "not a request of")
        assert (await world.approvals.claim("S-1", TOKEN, asked.id, held())).state == "claimed"

    async def test_repeating_it_joins_what_waits_or_is_approved_and_no_more(self) -> None:
        world = await self.world()
        asked = await world.approvals.request("S-1", TOKEN, held())
        world.sessions.pop("S-1")
        await world.approvals.session_gone("S-1")
        await world.session("S-2")
        joined = await world.approvals.request("S-2", TOKEN, held("S-2"))
        assert (joined.id, joined.state) == (asked.id, "pending")
        await world.approvals.decide(asked.id, LEA, True, "ok")
        joined = await world.approvals.request("S-2", TOKEN, held("S-2"))
        assert (joined.id, joined.state) == (asked.id, "approved")
        await world.approvals.claim("S-2", TOKEN, asked.id, held("S-2"))
        anew = await world.approvals.request("S-2", TOKEN, held("S-2"))
        assert (anew.id != asked.id, anew.state) == (True, "pending")
        await world.session("S-3", LARS)
        assert (await world.approvals.request("S-3", TOKEN, held("S-3"))).id not in (asked.id, anew.id)

    async def test_what_others_of_the_session_wait_for_is_not_joined(self) -> None:
        world = await self.world()
        first = await world.approvals.request("S-1", TOKEN, held())
        second = await world.approvals.request("S-1", TOKEN, held(apart=(first.id,)))
        assert first.id != second.id
        # in any order, each for one of them
        await world.approvals.decide(second.id, LEA, True, "one of the two")
        third = await world.approvals.request("S-1", TOKEN, held(apart=(first.id, second.id)))
        assert third.state == "pending"
        assert (await world.approvals.claim("S-1", TOKEN, second.id, held())).state == "claimed"
        await self.denied(world.approvals.claim("S-1", TOKEN, first.id, held()))
        await world.approvals.withdraw("S-1", TOKEN, third.id, "Ctrl-C")
        assert (await world.approvals.show(first.id)).state == "pending"
        # whoever waits for none of them joins, as after a broken connection
        assert (await world.approvals.request("S-1", TOKEN, held())).id == first.id

    async def test_undecided_it_lapses(self) -> None:
        world = await self.world()
        asked = await world.approvals.request("S-1", TOKEN, held())
        waiting = world.approvals.decided(asked.id)
        world.clock.advance(899)
        assert not waiting.called
        world.clock.advance(2)
        assert (await waiting).state == "expired"
        await self.denied(world.approvals.decide(asked.id, LEA, True, "ok"), "expired")
        assert (await world.approvals.request("S-1", TOKEN, held())).id != asked.id

    async def test_approved_and_not_run_it_lapses_by_time_of_approval(self) -> None:
        world = await self.world(config=ApprovalsConfig(claim_within=100.0, open_for=0.0))
        asked = await world.approvals.request("S-1", TOKEN, held())
        world.clock.advance(850)
        approved = await world.approvals.decide(asked.id, LEA, True, "ok")
        assert approved.claim_by == START + 950
        world.clock.advance(99)
        assert (await world.approvals.show(asked.id)).state == "approved", (
            "the first deadline is over and means nothing"
        )
        world.clock.advance(2)
        await self.denied(world.approvals.claim("S-1", TOKEN, asked.id, held()))
        assert (await world.approvals.show(asked.id)).state == "expired"

    async def test_the_clock_counts_even_where_no_timer_rang(self) -> None:
        world = await self.world()
        asked = await world.approvals.request("S-1", TOKEN, held())
        await world.approvals.decide(asked.id, LEA, True, "ok")
        other = await world.approvals.request("S-1", TOKEN, held(text="DELETE FROM orders"))
        world.clock.rightNow += 1000
        await self.denied(world.approvals.claim("S-1", TOKEN, asked.id, held()), "lapsed")
        await self.denied(world.approvals.decide(other.id, LEA, True, "ok"), "expired")
        for id in (asked.id, other.id):
            assert (await world.approvals.show(id)).state == "expired"

    async def test_withdrawn(self) -> None:
        world = await self.world()
        await world.session("S-2", LARS)
        asked = await world.approvals.request("S-1", TOKEN, held())
        await self.denied(world.approvals.withdraw("S-2", TOKEN, asked.id, ""), "not a request of")
        waiting = world.approvals.decided(asked.id)
        assert (await world.approvals.withdraw("S-1", TOKEN, asked.id, "Ctrl-C")).state == "cancelled"
        assert (await waiting).state == "cancelled"
        assert (await world.approvals.withdraw("S-1", TOKEN, asked.id, "again")).outcome == "Ctrl-C"
        await self.denied(world.approvals.decide(asked.id, LEA, True, "ok"), "cancelled")

    async def test_a_session_that_dies_over_it_leaves_an_unknown_outcome(self) -> None:
        world = await self.world()
        parked = await world.approvals.request("S-1", TOKEN, held(text="DELETE FROM orders"))
        asked = await world.approvals.request("S-1", TOKEN, held())
        await world.approvals.decide(asked.id, LEA, True, "ok")
        await world.approvals.claim("S-1", TOKEN, asked.id, held())
        world.sessions.pop("S-1")
        await world.approvals.session_gone("S-1")
        gone = await world.approvals.show(asked.id)
        assert gone.state == "unknown"
        assert "before its outcome was known" in gone.outcome
        assert (await world.approvals.show(parked.id)).state == "pending"
        await world.session("S-2")
        await self.denied(world.approvals.claim("S-2", TOKEN, asked.id, held("S-2")), "unknown")
        await self.denied(world.approvals.settle("S-1", TOKEN, asked.id, "executed", ""), "unknown")

    async def test_settling_twice(self) -> None:
        world = await self.world()
        asked = await world.approvals.request("S-1", TOKEN, held())
        await world.approvals.decide(asked.id, LEA, True, "ok")
        await world.approvals.claim("S-1", TOKEN, asked.id, held())
        first = await world.approvals.settle("S-1", TOKEN, asked.id, "failed", "23505")
        assert await world.approvals.settle("S-1", TOKEN, asked.id, "failed", "23505") == first
        await self.denied(world.approvals.settle("S-1", TOKEN, asked.id, "executed", ""), "failed")
        try:
            await world.approvals.settle("S-1", TOKEN, asked.id, "done", "")
        except ValueError:
            return
        raise AssertionError("an outcome that is none was taken")

    async def test_policy_changed_or_session_over_or_approver_gone(self) -> None:
        world = await self.world()
        asked = await world.approvals.request("S-1", TOKEN, held())
        await world.approvals.decide(asked.id, LEA, True, "ok")
        world.policy = "p2"
        await self.denied(world.approvals.claim("S-1", TOKEN, asked.id, held()), "policy has changed")
        # decided anew under the new policy, with the same terms: it stands
        again = held(policy="p2")
        assert (await world.approvals.request("S-1", TOKEN, again)).state == "approved"
        await self.denied(world.approvals.claim("S-9", TOKEN, asked.id, again), "over")
        world.still = lambda vote: vote.identity != "user:lea"
        await self.denied(world.approvals.claim("S-1", TOKEN, asked.id, again), "user:lea")
        assert (await world.approvals.show(asked.id)).state == "cancelled"

    async def test_too_many_open_requests(self) -> None:
        world = await self.world(config=ApprovalsConfig(pending_per_identity=2))
        await world.session("S-2", LARS)
        first = await world.approvals.request("S-1", TOKEN, held(text="1"))
        await world.approvals.request("S-1", TOKEN, held(text="2"))
        await self.denied(world.approvals.request("S-1", TOKEN, held(text="3")), "2 requests open")
        assert (await world.approvals.request("S-1", TOKEN, held(text="2"))).state == "pending"
        await world.approvals.request("S-2", TOKEN, held("S-2", text="3"))
        await world.approvals.withdraw("S-1", TOKEN, first.id, "")
        await world.approvals.request("S-1", TOKEN, held(text="3"))

    async def test_waiting_can_be_given_up(self) -> None:
        world = await self.world()
        asked = await world.approvals.request("S-1", TOKEN, held())
        stays, goes = world.approvals.decided(asked.id), world.approvals.decided(asked.id)
        goes.cancel()
        try:
            await goes
        except CancelledError:
            pass
        await world.approvals.decide(asked.id, LEA, True, "ok")
        assert (await stays).state == "approved"
        assert (await world.approvals.decided(asked.id)).state == "approved"

    async def test_ids_that_do_not_exist(self) -> None:
        world = await self.world()
        calls = (
            world.approvals.show("A-0"),
            world.approvals.decided("A-0"),
            world.approvals.decide("A-0", LEA, True, "ok"),
            world.approvals.claim("S-1", TOKEN, "A-0", held()),
            world.approvals.withdraw("S-1", TOKEN, "A-0", ""),
            world.approvals.settle("S-1", TOKEN, "A-0", "failed", ""),
        )
        for call in calls:
            try:
                await call
            except KeyError:
                continue
            raise AssertionError("no KeyError")

    async def test_found(self) -> None:
        world = await self.world()
        await world.session("S-2", LARS, target="billing")
        one = await world.approvals.request("S-1", TOKEN, held(text="1"))
        world.clock.advance(1)
        two = await world.approvals.request("S-2", TOKEN, held("S-2", text="2"))
        await world.approvals.decide(two.id, LEA, False, "no")
        assert [found.id for found in await world.approvals.find()] == [two.id, one.id]
        assert [found.id for found in await world.approvals.find(states=["pending"])] == [one.id]
        assert [found.id for found in await world.approvals.find(requester="user:lars")] == [two.id]
        assert [found.id for found in await world.approvals.find(target="orders")] == [one.id]
        assert await world.approvals.find(states=["denied"], target="orders") == []

    async def test_an_id_that_is_taken_is_not_used(self) -> None:
        world = await self.world()
        ids = iter(["A-X", "A-X", "A-Y"])
        world.approvals._filing.new_id = lambda: next(ids)
        assert (await world.approvals.request("S-1", TOKEN, held(text="1"))).id == "A-X"
        assert (await world.approvals.request("S-1", TOKEN, held(text="2"))).id == "A-Y"

    async def test_a_restart_between_any_two_steps_changes_nothing(self) -> None:
        world = await self.world()
        await world.restart()
        asked = await world.approvals.request("S-1", TOKEN, held(holds=(TERMS, BULK)))
        again = held(holds=(TERMS, BULK))
        for who in (LEA, DORA, DAN):
            await world.restart()
            assert (await world.approvals.request("S-1", TOKEN, again)).id == asked.id
            await world.approvals.decide(asked.id, who, True, who.name)
        await world.restart()
        assert (await world.approvals.decided(asked.id)).state == "approved"
        await world.approvals.claim("S-1", TOKEN, asked.id, again)
        await world.restart()
        assert (await world.approvals.show(asked.id)).state == "claimed", "its session lives and will tell"
        await self.denied(world.approvals.claim("S-1", TOKEN, asked.id, again), "claimed")
        await world.approvals.settle("S-1", TOKEN, asked.id, "executed", "")
        await world.restart()
        assert (await world.approvals.show(asked.id)).state == "executed"
        assert [leaf["revision"] for leaf in world.ledger.of("approval")] == [0, 1, 2, 3, 4, 5]

    async def test_a_restart_after_the_session_died_says_unknown(self) -> None:
        world = await self.world()
        asked = await world.approvals.request("S-1", TOKEN, held())
        await world.approvals.decide(asked.id, LEA, True, "ok")
        await world.approvals.claim("S-1", TOKEN, asked.id, held())
        world.sessions.clear()
        await world.restart()
        assert (await world.approvals.show(asked.id)).state == "unknown"

    async def test_what_lapsed_while_the_broker_was_away_lapses_at_its_start(self) -> None:
        world = await self.world()
        asked = await world.approvals.request("S-1", TOKEN, held())
        await world.approvals.stop()
        world.clock.advance(10_000)
        await world.restart()
        world.clock.advance(1)
        assert (await world.approvals.decided(asked.id)).state == "expired"

    async def test_what_the_ledger_missed_is_sent_when_it_is_back(self) -> None:
        world = await self.world()
        world.ledger.broken = RecordError("disk full")
        asked = await world.approvals.request("S-1", TOKEN, held())
        await world.approvals.decide(asked.id, LEA, True, "ok")
        assert world.ledger.of("approval") == []
        # what cannot be put on record is not run
        try:
            await world.approvals.claim("S-1", TOKEN, asked.id, held())
        except RecordError:
            pass
        else:
            raise AssertionError("was claimed without a record")
        assert (await world.approvals.show(asked.id)).state == "failed"
        world.ledger.broken = None
        await world.restart()
        events = [leaf["event"] for leaf in world.ledger.of("approval")]
        assert events == ["request", "approve", "claim", "failed"]

    async def test_an_observer_that_fails_disturbs_nobody(self) -> None:
        world = await self.world()

        def broken(change: Any) -> None:
            raise ZeroDivisionError

        world.approvals.observe(broken)
        assert (await world.approvals.request("S-1", TOKEN, held())).state == "pending"
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1  # type: ignore[attr-defined]

    async def test_stopping_lets_those_go_who_wait(self) -> None:
        world = await self.world()
        asked = await world.approvals.request("S-1", TOKEN, held())
        waiting = world.approvals.decided(asked.id)
        await world.approvals.show(asked.id)
        await world.approvals.stop()
        try:
            await waiting
        except Unavailable:
            return
        raise AssertionError("still waits")

    async def test_the_agents_own_terms(self) -> None:
        world = await self.world()
        try:
            await world.approvals.request("S-1", TOKEN, evolve(held(), holds=()))
        except ValueError:
            pass
        else:
            raise AssertionError("held without terms")
        await self.denied(world.approvals.request("S-0", TOKEN, held("S-0")), "over")


class OverMemory(ApprovalsContract, TestCase):
    async def store(self) -> Any:
        return MemoryStore(TABLES)


class OverSqlite(ApprovalsContract, TestCase):
    async def store(self) -> Any:
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        store = SqliteStore(os.path.join(directory, "store.sqlite"), reactor)
        await store.migrate(TABLES)
        self.addCleanup(store.close)
        return store
