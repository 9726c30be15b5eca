import random
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from hoopd.approvals.service import Approvals
from hoopd.approvals.tables import MIGRATIONS
from hoopd.config.schema import ApprovalsConfig
from hoopd.errors import Denied
from hoopd.interfaces import IApprovals
from hoopd.secret import Secret
from hoopd.store.memory import MemoryStore
from hoopd.store.sqlite import SqliteStore
from hoopd.values import Approval, HeldOperation, HoldTerms, Identity

TOKEN = Secret("checked elsewhere")
LEADS = HoldTerms("p.hold.write", ("group:leads",), wait=60.0)
DBA = HoldTerms("p.hold.bulk", ("group:dba",), quorum=2, wait=90.0)
LEE = Identity("lee", "human", frozenset({"leads"}), duties=frozenset({"approver"}))


def person(name: str, *groups: str, duties: tuple[str, ...] = ("approver",), **more: Any) -> Identity:
    return Identity(name, more.pop("kind", "human"), frozenset(groups), duties=frozenset(duties), **more)


def held(statement: bytes = b"UPDATE t", holds: tuple[HoldTerms, ...] = (LEADS,), **more: Any) -> HeldOperation:
    fields: dict[str, Any] = {
        "session": "S-1",
        "protocol": "postgres",
        "statement": statement,
        "parameters": b"",
        "context": "orders",
        "redacted": "UPDATE t",
        "classes": ("update", "write"),
        "objects": ("public.t",),
        "reason": "OPS-1",
        "holds": holds,
        "policy": "v1",
    }
    return HeldOperation(**{**fields, **more})


class Leaves:
    """What reached the ledger."""

    def __init__(self) -> None:
        self.leaves: list[dict[str, Any]] = []

    def append(self, kind: str, fields: dict[str, Any]) -> Deferred[int]:
        assert kind == "approval"
        self.leaves.append(fields)
        return succeed(len(self.leaves))


class Base(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.ledger = Leaves()
        self.sessions = {"S-1": person("priya", "eng", duties=("user",)), "S-2": person("priya", "eng"), "S-3": LEE}
        self.number = 0
        self.store: Any = MemoryStore(MIGRATIONS)
        self.approvals = self.make()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.approvals.stop()))

    def make(self) -> Approvals:
        def new_id() -> str:
            self.number += 1
            return f"A-{self.number}"

        return Approvals(
            self.store,
            b"k" * 32,
            self.ledger,
            self.clock,
            ApprovalsConfig(claim_within=30.0, pending_per_identity=3, open_for=0.0),
            policy_version=lambda: "v1",
            identity_of=self.sessions.get,
            target_of=lambda session: "orders",
            new_id=new_id,
        )

    async def requested(self, operation: HeldOperation | None = None, session: str = "S-1") -> Approval:
        return await self.approvals.request(session, TOKEN, operation or held())

    async def refused(self, work: Any) -> Denied:
        return await self.assertFailure(work, Denied)


class ApprovalsTests(Base):
    async def test_the_whole_way(self) -> None:
        self.assertTrue(verifyObject(IApprovals, self.approvals))
        seen: list[str] = []
        self.approvals.observe(lambda approval: seen.append(approval.state))
        request = await self.requested()
        self.assertEqual((request.state, request.deadline), ("pending", 1060.0))
        waiting = self.approvals.decided(request.id)
        self.assertNoResult(waiting)
        approved = await self.approvals.decide(request.id, LEE, True, "looks right")
        self.assertEqual(self.successResultOf(waiting), approved)
        self.assertEqual((approved.state, approved.claim_by), ("approved", 1030.0))
        self.assertEqual((await self.approvals.claim("S-1", TOKEN, request.id, held())).state, "claimed")
        done = await self.approvals.settle("S-1", TOKEN, request.id, "executed", "UPDATE 1")
        self.assertEqual((done.state, done.outcome), ("executed", "UPDATE 1"))
        self.assertEqual(await self.approvals.settle("S-1", TOKEN, request.id, "executed", "again"), done)
        self.assertEqual(seen, ["pending", "approved", "claimed", "executed"])
        events = [(leaf["event"], leaf["was"], leaf["state"], leaf["by"]) for leaf in self.ledger.leaves]
        self.assertEqual(
            events,
            [
                ("request", "", "pending", "user:priya"),
                ("approve", "pending", "approved", "user:lee"),
                ("claim", "approved", "claimed", "user:priya"),
                ("executed", "claimed", "executed", "user:priya"),
            ],
        )

    async def test_who_may_not_decide(self) -> None:
        request = await self.requested()
        for voter, said in (
            (person("priya", "leads"), "themselves"),
            (person("ci", "leads", kind="agent"), "agents do not approve"),
            (person("zoe", "leads", act="user:x"), "through one"),
            (person("zoe", "leads", duties=("user",)), "duty approver"),
            (person("zoe", "eng"), "none of the groups"),
        ):
            denied = await self.refused(self.approvals.decide(request.id, voter, True, "r"))
            self.assertIn(said, denied.why)
        self.sessions["S-1"] = person("bot", kind="agent", act="user:lee")
        for_lee = await self.requested()
        denied = await self.refused(self.approvals.decide(for_lee.id, LEE, True, "r"))
        self.assertIn("on their behalf", denied.why)
        await self.assertFailure(self.approvals.decide(request.id, LEE, True, "  "), ValueError)
        await self.assertFailure(self.approvals.decide("A-99", LEE, True, "r"), KeyError)

    async def test_quorum_of_distinct_people_in_every_group(self) -> None:
        request = await self.requested(held(holds=(LEADS, DBA)))
        self.assertEqual(request.deadline, 1060.0)
        ann, bob = person("ann", "dba"), person("bob", "dba", "leads")
        self.assertEqual((await self.approvals.decide(request.id, ann, True, "ok")).state, "pending")
        await self.refused(self.approvals.decide(request.id, ann, True, "again"))
        self.assertEqual((await self.approvals.decide(request.id, bob, True, "ok")).state, "approved")
        other = await self.requested(held(b"DELETE", holds=(LEADS, DBA)))
        self.assertEqual((await self.approvals.decide(other.id, ann, False, "no")).state, "denied")
        await self.refused(self.approvals.decide(other.id, bob, True, "too late"))

    async def test_only_exactly_what_was_approved_is_claimed_and_once(self) -> None:
        request = await self.requested()
        await self.refused(self.approvals.claim("S-1", TOKEN, request.id, held()))
        await self.approvals.decide(request.id, LEE, True, "ok")
        for other in (held(b"UPDATE u"), held(parameters=b"x"), held(context="other")):
            denied = await self.refused(self.approvals.claim("S-1", TOKEN, request.id, other))
            self.assertIn("another operation", denied.why)
        await self.refused(self.approvals.claim("S-3", TOKEN, request.id, held()))
        await self.refused(self.approvals.claim("S-9", TOKEN, request.id, held()))
        await self.approvals.claim("S-1", TOKEN, request.id, held())
        await self.refused(self.approvals.claim("S-1", TOKEN, request.id, held()))

    async def test_coming_back_joins(self) -> None:
        request = await self.requested()
        self.assertEqual((await self.requested(session="S-2")).id, request.id)
        self.assertNotEqual((await self.requested(session="S-3")).id, request.id)
        await self.approvals.session_gone("S-1")
        await self.approvals.decide(request.id, LEE, True, "ok")
        again = await self.requested(session="S-2")
        self.assertEqual((again.id, again.state), (request.id, "approved"))
        await self.approvals.claim("S-2", TOKEN, request.id, held())
        self.assertNotEqual((await self.requested(session="S-2")).id, request.id)

    async def test_times(self) -> None:
        request = await self.requested()
        waiting = self.approvals.decided(request.id)
        self.clock.advance(60)
        self.assertEqual(self.successResultOf(waiting).state, "expired")
        await self.refused(self.approvals.decide(request.id, LEE, True, "late"))
        second = await self.requested()
        self.clock.advance(50)
        await self.approvals.decide(second.id, LEE, True, "ok")
        self.clock.advance(29)
        self.assertEqual((await self.approvals.show(second.id)).state, "approved")
        self.clock.advance(1)
        self.assertEqual((await self.approvals.show(second.id)).state, "expired")

    async def test_a_new_broker_goes_on(self) -> None:
        request = await self.requested()
        await self.approvals.stop()
        self.clock.advance(59)
        self.approvals = self.make()
        await self.approvals.start()
        waiting = self.approvals.decided(request.id)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(waiting).state, "expired")

    async def test_a_claimed_one_without_an_end_is_unknown(self) -> None:
        request = await self.requested()
        await self.approvals.decide(request.id, LEE, True, "ok")
        await self.approvals.claim("S-1", TOKEN, request.id, held())
        await self.approvals.session_gone("S-1")
        self.assertEqual((await self.approvals.show(request.id)).state, "unknown")
        await self.refused(self.approvals.claim("S-1", TOKEN, request.id, held()))

    async def test_withdrawing(self) -> None:
        request = await self.requested()
        await self.refused(self.approvals.withdraw("S-3", TOKEN, request.id, "not mine"))
        waiting = self.approvals.decided(request.id)
        await self.approvals.withdraw("S-1", TOKEN, request.id, "Ctrl-C")
        self.assertEqual(self.successResultOf(waiting).state, "cancelled")

    async def test_limits_and_lists(self) -> None:
        for number in range(3):
            await self.requested(held(b"%d" % number))
        denied = await self.refused(self.requested_later(b"4"))
        self.assertIn("3 requests open", denied.why)
        self.assertEqual(len(await self.approvals.find(states=["pending"])), 3)
        self.assertEqual(await self.approvals.find(requester="user:lee"), [])
        gone = self.approvals.decided("A-99")
        await self.assertFailure(gone, KeyError)

    def requested_later(self, statement: bytes) -> Deferred[Approval]:
        return self.approvals.request("S-1", TOKEN, held(statement))

    async def test_nothing_of_the_statement_is_stored(self) -> None:
        await self.requested(held(b"UPDATE t SET card = '4111111111111111'", parameters=b"s3cret"))
        rows = await self.store.transact(lambda tx: tx.execute("SELECT * FROM approvals"))
        self.assertNotIn("4111", str(rows))
        self.assertNotIn("s3cret", str(rows))


class RaceTests(Base):
    """Many events on one request at the same time, on the real store: one wins each step."""

    def setUp(self) -> None:
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.store = SqliteStore(str(Path(directory.name) / "store.sqlite"), reactor)
        self.addCleanup(self.store.close)
        self.approvals = self.make()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.approvals.stop()))

    async def test_racing_events(self) -> None:
        await self.store.migrate(MIGRATIONS)
        self.approvals._config = ApprovalsConfig(claim_within=1e9, pending_per_identity=10**6)
        dice = random.Random(7)
        for round in range(150):
            await self.race(held(b"%d" % round, holds=(HoldTerms("r", ("group:leads",), wait=1e9),)), dice)
        events = [(leaf["approval"], leaf["event"]) for leaf in self.ledger.leaves]
        self.assertEqual(len(set(events)), len(events))

    async def race(self, operation: HeldOperation, dice: random.Random) -> None:
        request = await self.approvals.request("S-1", TOKEN, operation)
        acts = [
            lambda: self.approvals.decide(request.id, LEE, True, "yes"),
            lambda: self.approvals.decide(request.id, person("ann", "leads"), dice.random() < 0.5, "a word"),
            lambda: self.approvals.claim("S-1", TOKEN, request.id, operation),
            lambda: self.approvals.claim("S-2", TOKEN, request.id, operation),
            lambda: self.approvals.withdraw("S-2", TOKEN, request.id, "enough"),
        ]
        dice.shuffle(acts)
        done = await gatherResults([act().addErrback(lambda failure: failure.trap(Denied)) for act in acts])
        claims = [each for each in done if isinstance(each, Approval) and each.state == "claimed"]
        self.assertLessEqual(len(claims), 1)
        present = await self.approvals.show(request.id)
        self.assertIn(present.state, ("approved", "claimed", "denied", "cancelled"))
        self.assertEqual(len(claims) == 1, present.state == "claimed")
