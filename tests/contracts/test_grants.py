"""L{IApprovals} where a yes reaches further than one run: several statements, a session, a window; over every store."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from hoopd.approvals.tables import MIGRATIONS as TABLES
from hoopd.audit.leaves import Leaf
from hoopd.audit.transitions import check_approvals
from hoopd.config.schema import ApprovalsConfig
from hoopd.errors import Denied, RecordError
from hoopd.store.memory import MemoryStore
from hoopd.store.sqlite import SqliteStore
from hoopd.values import Approval, HeldOperation, HoldTerms, Identity, Unreasoned
from tests.approvals.parts import BULK, LARS, LEA, PRIYA, START, TERMS, TOKEN, World, held, person

WIDE = evolve(TERMS, scopes=("once", "session", "window"), window_max=3600.0)
ONE, TWO, THREE = (f"UPDATE orders SET paid = true WHERE id = {number}" for number in (1, 2, 3))


def wide(session: str = "S-1", text: str = ONE, **fields: Any) -> HeldOperation:
    return held(session, text, **{"holds": (WIDE,), **fields})


class GrantsContract:
    """Each test is a conversation with a broker; subclasses say over which store."""

    async def store(self) -> Any:
        raise NotImplementedError

    async def world(self, **options: Any) -> World:
        world = World(await self.store(), **options)
        self.addCleanup(lambda: Deferred.fromCoroutine(world.approvals.stop()))  # type: ignore[attr-defined]
        await world.session("S-1")
        return world

    async def denied(self, deferred: Deferred[Any], *words: str) -> Denied:
        denied: Denied = await self.assertFailure(deferred, Denied)  # type: ignore[attr-defined]
        for word in words:
            assert word in denied.why, denied.why
        return denied

    async def wrong(self, deferred: Deferred[Any], *words: str) -> None:
        error = await self.assertFailure(deferred, ValueError)  # type: ignore[attr-defined]
        for word in words:
            assert word in str(error), str(error)

    async def runs(self, world: World, operation: HeldOperation, outcome: str = "executed") -> Approval:
        """What a worker does: ask, claim, tell the outcome. @raise AssertionError: it would have waited"""
        asked = await world.approvals.request(operation.session, TOKEN, operation)
        assert asked.state in ("approved", "granted"), f"{operation.redacted} waits as {asked.id}: {asked.beside}"
        claimed = await world.approvals.claim(operation.session, TOKEN, asked.id, operation)
        return await world.approvals.settle(operation.session, TOKEN, claimed.id, outcome, outcome.upper())

    async def waits(self, world: World, operation: HeldOperation) -> Approval:
        asked = await world.approvals.request(operation.session, TOKEN, operation)
        assert asked.state == "pending", f"{asked.id} is {asked.state}"
        return await world.approvals.withdraw(operation.session, TOKEN, asked.id, "not in this test")

    async def several(self, world: World, *texts: str) -> Approval:
        plan = [held(text=text) for text in texts]
        asked = await world.approvals.request_several("S-1", TOKEN, plan, ";\n".join(texts))
        return await world.approvals.decide(asked.id, LEA, True, "all of it")

    async def window(
        self, world: World, *objects: str, do: tuple[str, ...] = ("write",), lasts: float = 1800
    ) -> Approval:
        asked = await world.approvals.request_window(PRIYA, "orders", do, objects, lasts, "moving house", (WIDE,))
        assert asked.state == "pending"
        return await world.approvals.decide(asked.id, LEA, True, "go on")

    def proven(self, world: World) -> None:
        """The ledger tells lives that can be, and all of each."""
        leaves = [Leaf(index, kind, 0.0, fields) for index, (kind, fields) in enumerate(world.ledger.leaves)]
        _, problems = check_approvals(leaves)
        assert problems == []

    # -- several statements ------------------------------------------------------------------------------------

    async def test_several_run_in_order_each_once(self) -> None:
        world = await self.world()
        granted = await self.several(world, ONE, TWO)
        assert (granted.state, granted.kind, granted.claim_by, granted.until) == (
            "granted", "statements", START + 900, START + 900,
        )  # fmt: skip
        first = await self.runs(world, held(text=ONE))
        assert (first.id, first.state, first.grant) == (f"{granted.id}/1", "executed", granted.id)
        now = await world.approvals.show(granted.id)
        assert (now.uses, now.until, now.state) == (1, START + 3600, "granted"), "from the first, run_within counts"
        again = await self.waits(world, held(text=ONE))
        assert again.beside == (
            f"{granted.id} does not cover it: statement 2 of 2 is next, and this is another operation",
        )
        await self.runs(world, held(text=TWO))
        ended = await world.approvals.show(granted.id)
        assert (ended.state, ended.outcome, ended.uses) == ("executed", "statement 2 of 2: EXECUTED", 2)
        await self.waits(world, held(text=TWO))
        self.proven(world)

    async def test_the_same_statement_twice_runs_twice(self) -> None:
        world = await self.world()
        granted = await self.several(world, ONE, ONE)
        for number in (1, 2):
            assert (await self.runs(world, held(text=ONE))).id == f"{granted.id}/{number}"
        await self.waits(world, held(text=ONE))
        self.proven(world)

    async def test_one_after_the_other_not_two_at_a_time(self) -> None:
        world = await self.world()
        granted = await self.several(world, ONE, TWO)
        await world.approvals.claim("S-1", TOKEN, granted.id, held(text=ONE))
        await self.denied(
            world.approvals.claim("S-1", TOKEN, granted.id, held(text=TWO)), "statement 1 was not executed"
        )
        await world.session("S-2")
        await self.denied(
            world.approvals.claim("S-2", TOKEN, granted.id, held("S-2", TWO)), "another session has begun it"
        )
        self.proven(world)

    async def test_one_that_fails_ends_the_rest(self) -> None:
        for outcome in ("failed", "unknown"):
            world = await self.world()
            granted = await self.several(world, ONE, TWO)
            await self.runs(world, held(text=ONE), outcome)
            ended = await world.approvals.show(granted.id)
            assert (ended.state, ended.outcome) == (outcome, f"statement 1 of 2: {outcome.upper()}")
            await self.waits(world, held(text=TWO))
            self.proven(world)

    async def test_its_session_ends_between_two_or_within_one(self) -> None:
        for claimed, state in ((False, "failed"), (True, "unknown")):
            world = await self.world()
            granted = await self.several(world, ONE, TWO)
            await self.runs(world, held(text=ONE))
            if claimed:
                await world.approvals.claim("S-1", TOKEN, granted.id, held(text=TWO))
            world.sessions.pop("S-1")
            await world.approvals.session_gone("S-1")
            assert (await world.approvals.show(granted.id)).state == state
            await world.session("S-2")
            await self.waits(world, held("S-2", TWO))
            self.proven(world)

    async def test_not_begun_or_not_finished_in_time(self) -> None:
        for begun in (False, True):
            world = await self.world(config=ApprovalsConfig(claim_within=100.0, run_within=300.0, open_for=0.0))
            granted = await self.several(world, ONE, TWO)
            world.clock.advance(99)
            if begun:
                await self.runs(world, held(text=ONE))
                world.clock.advance(299)
                assert (await world.approvals.show(granted.id)).state == "granted"
            world.clock.advance(2)
            assert (await world.approvals.decided(granted.id)).state in ("granted", "expired")
            await self.waits(world, held(text=TWO if begun else ONE))
            assert (await world.approvals.show(granted.id)).state == "expired"
            self.proven(world)

    async def test_asked_twice_is_one_request_until_it_has_begun(self) -> None:
        world = await self.world()
        plan = [held(text=ONE), held(text=TWO)]
        first = await world.approvals.request_several("S-1", TOKEN, plan, "both")
        await world.session("S-2")
        again = await world.approvals.request_several("S-2", TOKEN, plan, "both")
        assert again.id == first.id
        other = await world.approvals.request_several("S-1", TOKEN, plan[::-1], "both")
        assert other.id != first.id, "the other way round is something else"
        await world.approvals.decide(first.id, LEA, True, "yes")
        assert (await world.approvals.request_several("S-1", TOKEN, plan, "both")).id == first.id
        await self.runs(world, held(text=ONE))
        assert (await world.approvals.request_several("S-1", TOKEN, plan, "both")).id != first.id

    async def test_the_rules_of_all_of_them_must_agree(self) -> None:
        world = await self.world()
        plan = [held(text=ONE), held(text=TWO, holds=(BULK,))]
        asked = await world.approvals.request_several("S-1", TOKEN, plan, "both")
        assert [terms.rule for terms in asked.holds] == [TERMS.rule, BULK.rule]
        assert (await world.approvals.decide(asked.id, LEA, True, "mine")).state == "pending"
        await self.denied(world.approvals.claim("S-1", TOKEN, asked.id, held(text=ONE)))
        assert (await self.waits(world, held(text=THREE))).state == "cancelled"

    async def test_one_is_an_operation_and_nothing_is_refused(self) -> None:
        world = await self.world()
        asked = await world.approvals.request_several("S-1", TOKEN, [held(text=ONE)], ONE)
        assert (asked.kind, asked.steps) == ("operation", ())
        await self.wrong(world.approvals.request_several("S-1", TOKEN, [], ""), "at least one")
        many = [held(text=str(number)) for number in range(201)]
        await self.wrong(world.approvals.request_several("S-1", TOKEN, many, ""), "more than 200")

    async def test_asked_ahead_it_outlives_the_session_that_asked_whatever_the_rule_grants(self) -> None:
        world = await self.world()
        operation = held(text=ONE, holds=(evolve(WIDE, scope="session"),))
        asked = await world.approvals.request_several("S-1", TOKEN, [operation], ONE)
        world.sessions.pop("S-1")
        await world.approvals.session_gone("S-1")
        assert (await world.approvals.decide(asked.id, LEA, True, "yes")).state == "approved"
        await world.session("S-2")
        assert (await self.runs(world, evolve(operation, session="S-2"))).state == "executed"

    # -- a session, a window -----------------------------------------------------------------------------------

    async def test_a_yes_for_the_session(self) -> None:
        world = await self.world()
        await world.session("S-2")
        asked = await world.approvals.request("S-1", TOKEN, wide())
        granted = await world.approvals.decide(asked.id, LEA, True, "for now", "session")
        assert (granted.state, granted.scope, granted.until) == ("granted", "session", None)
        for number, text in enumerate((ONE, TWO, ONE), 1):
            assert (await self.runs(world, wide(text=text))).id == f"{granted.id}/{number}"
        assert (await self.waits(world, wide("S-2", THREE))).beside == (), "another session's is no news"
        world.clock.advance(100_000)
        await self.runs(world, wide(text=TWO))
        world.sessions.pop("S-1")
        await world.approvals.session_gone("S-1")
        ended = await world.approvals.show(granted.id)
        assert (ended.state, ended.outcome, ended.uses) == ("ended", "its session ended", 4)
        self.proven(world)

    async def test_a_yes_for_a_session_that_is_over(self) -> None:
        world = await self.world()
        asked = await world.approvals.request("S-1", TOKEN, wide())
        world.sessions.pop("S-1")
        await world.approvals.session_gone("S-1")
        denied = await self.denied(world.approvals.decide(asked.id, LEA, True, "late", "session"), "is over")
        assert denied.hint == "Approve it once instead."
        assert (await world.approvals.decide(asked.id, LEA, True, "then so", "once")).state == "approved"

    async def test_time_runs_from_approval(self) -> None:
        world = await self.world()
        asked = await world.approvals.request_window(PRIYA, "orders", ["write"], [], 1800.0, "tonight", (WIDE,))
        world.clock.advance(800)
        granted = await world.approvals.decide(asked.id, LEA, True, "from now")
        assert granted.until == START + 800 + 1800
        world.clock.advance(1799)
        await self.runs(world, wide())
        world.clock.advance(2)
        ended = await world.approvals.show(granted.id)
        assert (ended.state, ended.outcome, ended.uses) == ("ended", "its time is over", 1)
        await self.waits(world, wide())
        self.proven(world)

    async def test_what_begins_late_is_refused_where_no_timer_rang(self) -> None:
        world = await self.world()
        granted = await self.window(world)
        asked = await world.approvals.request("S-1", TOKEN, wide())
        assert asked.id == granted.id
        world.clock.rightNow += 1801
        await self.denied(world.approvals.claim("S-1", TOKEN, granted.id, wide()), "lapsed")
        assert (await world.approvals.show(granted.id)).state == "ended"

    async def test_less_than_was_asked_and_never_more(self) -> None:
        world = await self.world()
        asked = await world.approvals.request_window(PRIYA, "orders", ["write"], [], 1800.0, "tonight", (WIDE,))
        await self.wrong(world.approvals.decide(asked.id, LEA, True, "x", None, 1801.0), "at most 1800 s")
        for lasts in (0.0, -1.0, math.nan):
            await self.wrong(world.approvals.decide(asked.id, LEA, True, "x", None, lasts), "longer than nothing")
        await self.wrong(world.approvals.decide(asked.id, LEA, True, "x", None, math.inf), "at most 1800 s")
        await self.wrong(world.approvals.decide(asked.id, LEA, True, "x", "once"), "asks for a time")
        granted = await world.approvals.decide(asked.id, LEA, True, "a little", None, 60.0)
        assert granted.until == START + 60
        one = await world.approvals.request("S-1", TOKEN, held(text="other"))
        await self.wrong(
            world.approvals.decide(one.id, LEA, True, "x", "session"), "allows no scope session, only once"
        )
        both = await world.approvals.request_several("S-1", TOKEN, [wide(text=ONE), wide(text=TWO)], "both")
        await self.wrong(world.approvals.decide(both.id, LEA, True, "x", "window"), "no other scope")
        for lasts in (0.0, 3601.0, math.nan, math.inf):
            await self.wrong(
                world.approvals.request_window(PRIYA, "orders", ["write"], [], lasts, "x", (WIDE,)), "at most 60 min"
            )
        for objects in (["t"] * 101, ["t" * 201]):
            await self.wrong(
                world.approvals.request_window(PRIYA, "orders", ["write"], objects, 60.0, "x", (WIDE,)), "at most 100"
            )
        await self.wrong(world.approvals.request_window(PRIYA, "orders", ["write"], [], 60.0, " ", (WIDE,)), "reason")

    async def test_of_several_who_agree_the_most_careful_counts(self) -> None:
        world = await self.world()
        two = evolve(WIDE, quorum=2)
        for said, expected in (
            (((None, "window", 900.0), ("window", 600.0)), ("window", 600.0)),
            (((None, "window", 900.0), ("session", None)), ("session", 900.0)),
            (((None, "window", 900.0), ("once", None)), ("once", None)),
        ):
            (_, scope, lasts), (other_scope, other_lasts) = said
            operation = wide(text=f"{scope} {other_scope}", holds=(two,))
            asked = await world.approvals.request("S-1", TOKEN, operation)
            await world.approvals.decide(asked.id, LEA, True, "x", scope, lasts)
            done = await world.approvals.decide(asked.id, LARS, True, "y", other_scope, other_lasts)
            assert (done.scope, done.lasts) == expected
            assert done.state == ("approved" if expected[0] == "once" else "granted")
            await world.approvals.revoke(asked.id, LARS, "next")

    async def test_what_a_window_covers(self) -> None:
        world = await self.world()
        granted = await self.window(world, "public.orders", "public.audit_*")
        for text, fields, why in (
            ("fits", {}, ""),
            ("by pattern", {"objects": ("public.audit_7",)}, ""),
            ("with a system table", {"objects": ("public.orders", "pg_catalog.pg_class")}, ""),
            ("elsewhere", {"objects": ("public.orders", "public.cards")}, "touches public.cards"),
            ("nowhere", {"objects": ()}, "touches no relation"),
            ("reads too", {"classes": ("update", "write", "read")}, "not approved for read"),
            ("drops", {"classes": ("ddl", "drop")}, "not approved for drop"),
            ("other rule", {"holds": (WIDE, BULK)}, f"{BULK.rule} holds it, and was not asked about"),
            ("other terms", {"holds": (evolve(WIDE, quorum=2),)}, "was not asked about"),
            ("no window any more", {"holds": (evolve(WIDE, scopes=("once",)),)}, "allows no scope window"),
            ("other approvers", {"holds": (evolve(WIDE, by=("group:dba",)),)}, "was not asked about"),
        ):
            operation = wide(text=text, **fields)
            if not why:
                assert (await self.runs(world, operation)).grant == granted.id
                continue
            asked = await self.waits(world, operation)
            assert len(asked.beside) == 1, text
            assert why in asked.beside[0], asked.beside
            await self.denied(world.approvals.claim("S-1", TOKEN, granted.id, operation), why)
            covering = await world.approvals.covering("S-1", TOKEN, operation)
            assert (covering.approval, covering.beside) == (None, asked.beside)
        self.proven(world)

    async def test_what_one_statement_approved_for_a_window_covers(self) -> None:
        world = await self.world()
        asked = await world.approvals.request("S-1", TOKEN, wide())
        await world.approvals.decide(asked.id, LEA, True, "like this one", "window", 600.0)
        await self.runs(world, wide(text=TWO))
        await self.waits(world, wide(text="insert", classes=("insert", "write")))
        await self.waits(world, wide(text="cards", objects=("public.cards",)))
        # a name that was seen is a name, whatever is in it
        star = await world.approvals.request("S-1", TOKEN, wide(text="star", objects=("public.o*",)))
        await world.approvals.decide(star.id, LEA, True, "that one", "window", 600.0)
        await self.waits(world, wide(text="other", objects=("public.other",)))

    async def test_only_for_its_requester_there(self) -> None:
        world = await self.world()
        await self.window(world)
        await world.session("S-2", LARS)
        await world.session("S-3", target="billing")
        await world.session("S-4", Identity("priya", "human", frozenset({"eng"}), act="user:else"))
        for session in ("S-2", "S-3", "S-4"):
            assert (await self.waits(world, wide(session))).beside == ()

    async def test_another_policy_ends_it(self) -> None:
        world = await self.world()
        granted = await self.window(world)
        world.policy = "p2"
        assert "the policy has changed" in (await self.waits(world, wide(policy="p2"))).beside[0]
        await self.denied(world.approvals.claim("S-1", TOKEN, granted.id, wide(policy="p2")), "the policy has changed")
        await world.restart()
        assert (await world.approvals.show(granted.id)).state == "ended"
        late = await world.approvals.request("S-1", TOKEN, wide(text=TWO))
        world.policy = "p3"
        denied = await self.denied(
            world.approvals.decide(late.id, LEA, True, "x", "window", 60.0), "policy has changed"
        )
        assert denied.hint == "Deny it, and have it asked for again."
        self.proven(world)

    async def test_an_approver_who_may_not_any_more_ends_it(self) -> None:
        world = await self.world()
        granted = await self.window(world)
        await self.runs(world, wide())
        world.still = lambda vote: vote.identity != "user:lea"
        await self.denied(world.approvals.claim("S-1", TOKEN, granted.id, wide()), "user:lea approved")
        assert (await world.approvals.show(granted.id)).state == "cancelled"
        self.proven(world)

    async def test_sessions_use_one_window_at_a_time_and_none_is_turned_away(self) -> None:
        world = await self.world()
        await self.window(world)
        for number in range(2, 12):
            await world.session(f"S-{number}")
        uses = await gatherResults(
            [Deferred.fromCoroutine(self.runs(world, wide(f"S-{number}", str(number)))) for number in range(1, 12)]
        )
        assert len({use.id for use in uses}) == 11
        self.proven(world)

    async def test_what_is_approved_itself_is_used_up_before_a_window(self) -> None:
        world = await self.world()
        exact = await world.approvals.request("S-1", TOKEN, wide())
        await world.approvals.decide(exact.id, LEA, True, "just this")
        granted = await self.window(world)
        assert (await self.runs(world, wide())).id == exact.id
        assert (await self.runs(world, wide())).grant == granted.id

    # -- taken back --------------------------------------------------------------------------------------------

    async def test_revoked_by_whom_and_when(self) -> None:
        world = await self.world()
        admin = person("ada", duties=("user", "administrator"))
        bot = Identity("bot", "agent", frozenset({"leads"}), duties=frozenset({"approver"}))
        for who in (LARS, admin, PRIYA):
            granted = await self.window(world)
            await self.runs(world, wide())
            for nobody in (person("dora", "dba"), person("lou", "leads", duties=("user",)), bot):
                await self.denied(world.approvals.revoke(granted.id, nobody, "x"))
            assert (await world.approvals.revoke(granted.id, who, "enough")).outcome == f"revoked by {who.name}: enough"
            await self.denied(world.approvals.claim("S-1", TOKEN, granted.id, wide()), "is cancelled")
            await self.waits(world, wide())
        await self.denied(world.approvals.revoke(granted.id, LARS, "again"), "nothing to revoke")
        await self.wrong(world.approvals.revoke(granted.id, LARS, " "))
        asked = await world.approvals.request("S-1", TOKEN, held(text=TWO))
        denied = await self.denied(world.approvals.revoke(asked.id, LARS, "x"), "is pending")
        assert denied.hint == f"hoopctl approvals deny {asked.id}"
        await world.approvals.decide(asked.id, LEA, True, "yes")
        assert (await world.approvals.revoke(asked.id, LEA, "no after all")).state == "cancelled"
        self.proven(world)

    async def test_what_has_begun_goes_on(self) -> None:
        world = await self.world()
        granted = await self.several(world, ONE, TWO)
        claimed = await world.approvals.claim("S-1", TOKEN, granted.id, held(text=ONE))
        await world.approvals.revoke(granted.id, LEA, "stop")
        done = await world.approvals.settle("S-1", TOKEN, claimed.id, "executed", "UPDATE 1")
        assert done.state == "executed"
        assert (await world.approvals.show(granted.id)).state == "cancelled"
        await self.waits(world, held(text=TWO))
        self.proven(world)

    async def test_given_up_by_its_requester(self) -> None:
        world = await self.world()
        granted = await self.window(world)
        await self.denied(world.approvals.withdraw_own(granted.id, LARS, "x"), "not a request of user:lars")
        assert (await world.approvals.withdraw_own(granted.id, PRIYA, "done")).state == "cancelled"
        await self.waits(world, wide())
        self.proven(world)

    # -- reasons -----------------------------------------------------------------------------------------------

    async def test_the_reason_that_it_was_asked_for_with_counts_when_it_runs(self) -> None:
        world = await self.world()
        lack = Unreasoned(("OPS-[0-9]+", "required"), "a ticket number is required", "give one")
        silent = wide(text=ONE, reason=None, unreasoned=lack)
        denied = await self.denied(world.approvals.request("S-1", TOKEN, silent), lack.why)
        assert (denied.rules, denied.hint) == ((WIDE.rule,), "give one")
        assert await world.approvals.find() == [], "nobody is asked"
        other = await world.approvals.request("S-1", TOKEN, wide(text=ONE, reason="because"))
        await world.approvals.decide(other.id, LEA, True, "well")
        await self.denied(world.approvals.request("S-1", TOKEN, silent), lack.why)
        await self.denied(world.approvals.claim("S-1", TOKEN, other.id, silent), "with such a reason")
        await world.approvals.withdraw("S-1", TOKEN, other.id, "")
        asked = await world.approvals.request_several("S-1", TOKEN, [wide(text=ONE, reason="OPS-12")], ONE)
        assert (await world.approvals.request("S-1", TOKEN, silent)).id == asked.id, "it waits for that"
        await world.approvals.decide(asked.id, LEA, True, "yes")
        assert (await world.approvals.covering("S-1", TOKEN, silent)).approval is not None
        assert (await self.runs(world, silent)).id == asked.id
        await self.denied(world.approvals.request("S-1", TOKEN, silent), lack.why)
        window = await world.approvals.request_window(PRIYA, "orders", ["write"], [], 60.0, "OPS-13", (WIDE,))
        await world.approvals.decide(window.id, LEA, True, "yes")
        assert (await self.runs(world, silent)).reason == "OPS-13"
        self.proven(world)

    # -- crashes -----------------------------------------------------------------------------------------------

    async def test_a_restart_between_any_two_steps_changes_nothing(self) -> None:
        world = await self.world()
        granted = await self.several(world, ONE, TWO)
        await world.restart()
        await world.approvals.claim("S-1", TOKEN, granted.id, held(text=ONE))
        await world.restart()
        await world.approvals.settle("S-1", TOKEN, f"{granted.id}/1", "executed", "")
        await world.restart()
        await self.runs(world, held(text=TWO))
        assert (await world.approvals.show(granted.id)).state == "executed"
        window = await self.window(world)
        await world.approvals.stop()
        world.clock.advance(5000)
        await world.restart()
        world.clock.advance(1)
        await self.waits(world, wide())
        assert (await world.approvals.show(window.id)).state == "ended"
        self.proven(world)

    async def test_a_broker_that_comes_back_to_a_dead_session(self) -> None:
        for claimed, state in ((False, "failed"), (True, "unknown")):
            world = await self.world()
            granted = await self.several(world, ONE, TWO)
            await self.runs(world, held(text=ONE))
            if claimed:
                await world.approvals.claim("S-1", TOKEN, granted.id, held(text=TWO))
            world.sessions.clear()
            await world.restart()
            assert (await world.approvals.show(granted.id)).state == state
            self.proven(world)

    async def test_what_the_ledger_does_not_take_is_not_run(self) -> None:
        world = await self.world()
        granted = await self.window(world)
        world.ledger.broken = RecordError("disk full")
        await self.assertFailure(world.approvals.claim("S-1", TOKEN, granted.id, wide()), RecordError)  # type: ignore[attr-defined]
        assert (await world.approvals.show(f"{granted.id}/1")).state == "failed"
        world.ledger.broken = None
        await world.restart()
        assert (await self.runs(world, wide())).id == f"{granted.id}/2"
        self.proven(world)

    async def test_terms_are_needed(self) -> None:
        world = await self.world()
        none: tuple[HoldTerms, ...] = ()
        await self.wrong(world.approvals.request_window(PRIYA, "orders", ["write"], [], 60.0, "x", none), "is held")
        await self.wrong(world.approvals.request_several("S-1", TOKEN, [held(holds=none)], ""), "held")


class OverMemory(GrantsContract, TestCase):
    async def store(self) -> Any:
        return MemoryStore(TABLES)


class OverSqlite(GrantsContract, TestCase):
    async def store(self) -> Any:
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        store = SqliteStore(os.path.join(directory, "store.sqlite"), reactor)
        await store.migrate(TABLES)
        self.addCleanup(store.close)
        return store
