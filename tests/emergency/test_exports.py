"""Officers' keys and exports in the broker: two people, keys that count, and on record until rotated."""

from __future__ import annotations

import itertools
from typing import Any

import pyrage
from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopd.audit.memory import MemoryLedger
from hoopd.audit.pending import Pending
from hoopd.audit.tables import MIGRATIONS as AUDIT
from hoopd.config.schema import EmergencyConfig, IdentityConfig
from hoopd.emergency.exports import Export, Exports
from hoopd.emergency.officers import Officers
from hoopd.emergency.tables import MIGRATIONS
from hoopd.errors import Denied, RecordError
from hoopd.identity.provider import Identities
from hoopd.identity.tables import MIGRATIONS as IDENTITY
from hoopd.notices.memory import MemoryNotices
from hoopd.secret import Secret
from hoopd.store.memory import MemoryStore
from hoopd.values import Identity, Target, TargetTls
from hoopd.vault.memory import MemoryVault

WAIT, LAPSE, ROTATE = 86400.0, 30 * 86400.0, 10 * 86400.0
OFFICER = frozenset({"user", "vault"})
ANN, BOB, EVE = (Identity(name, "human", duties=OFFICER) for name in ("ann", "bob", "eve"))
ROOT = Identity("root", "human", duties=frozenset({"user", "administrator"}))
TARGET = Target("orders", "postgres", "db", 5432, credential="orders-app", username="app", tls=TargetTls("off"))
PAIR = ("user:ann", "user:bob")


def threads(call: Any, *arguments: Any) -> Deferred[Any]:
    return maybeDeferred(call, *arguments)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000.0)
        self.store = MemoryStore((*AUDIT, *IDENTITY, *MIGRATIONS))
        self.ledger, self.notices = MemoryLedger(), MemoryNotices()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.numbers = itertools.count(1)
        self.identities = Identities(self.store, None, IdentityConfig(), self.clock, b"p" * 32, threads)
        self.vault = MemoryVault(self.clock)
        self.put("s3cret")
        self.pending = Pending(self.store, self.ledger, self.clock, self.event)
        settings = EmergencyConfig(("security",), WAIT, LAPSE, ROTATE)
        self.officers = Officers(
            self.store, self.pending, self.notices, self.clock, settings, [("vault", "auditor")], self.event
        )
        self.exports = Exports(
            self.store,
            self.vault,
            self.officers,
            self.notices,
            self.clock,
            settings,
            b"d" * 32,
            targets=lambda: {"orders": TARGET},
            new_id=lambda: f"E-{next(self.numbers)}",
            event=self.event,
            record=self.pending.send,
        )
        self.keys = {one.name: pyrage.x25519.Identity.generate() for one in (ANN, BOB, EVE)}

    def put(self, value: str) -> None:
        self.successResultOf(self.vault.put("orders-app", Secret(value), "user:root"))

    def event(self, name: str, fields: dict[str, Any]) -> None:
        self.events.append((name, fields))

    def register(self, identity: Identity) -> Any:
        return self.officers.register(identity, str(self.keys[identity.name].to_public()))

    def both(self) -> None:
        """Ann and Bob have keys that count."""
        for one in (ANN, BOB):
            self.successResultOf(self.register(one))
        self.clock.advance(WAIT)

    def export(self, by: Identity = ANN, officers: tuple[str, ...] = PAIR, reason: str = "INC-1") -> Any:
        return self.exports.export(by, "orders", officers, reason)

    def exported(self) -> Export:
        made, _ = self.successResultOf(self.export())
        assert isinstance(made, Export)
        return made

    def leaves(self) -> list[str]:
        return [leaf["event"] for leaf in self.ledger.of("emergency-export")]

    def problems(self) -> list[str]:
        return list(self.successResultOf(Deferred.fromCoroutine(self.exports.problems())))


class OfficerTests(Case):
    def test_a_new_key_waits(self) -> None:
        key = self.successResultOf(self.register(ANN))
        self.successResultOf(self.register(BOB))
        self.assertEqual((key.counts_at, key.lapses_at), (1_000_000.0 + WAIT, 1_000_000.0 + LAPSE))
        self.assertIn("is new", self.failureResultOf(self.export(), Denied).value.why)
        self.clock.advance(WAIT - 1)
        # registered once more it waits no longer
        self.successResultOf(self.register(BOB))
        self.clock.advance(1)
        self.exported()
        told = [(notice.kind, to) for notice, to in self.notices.posted]
        self.assertEqual(told[:3], [("emergency.key", ("security",))] * 3)

    def test_another_key_waits_again(self) -> None:
        self.both()
        self.keys["user:bob"] = pyrage.x25519.Identity.generate()
        self.successResultOf(self.register(BOB))
        self.assertIn("user:bob is new", self.failureResultOf(self.export(), Denied).value.why)

    def test_a_key_lapses_and_is_registered_again(self) -> None:
        self.both()
        self.clock.advance(LAPSE - WAIT)
        self.assertIn("lapsed", self.failureResultOf(self.export(), Denied).value.why)
        for one in (ANN, BOB):
            self.successResultOf(self.register(one))
        self.exported()

    def test_clocks_that_jump(self) -> None:
        self.both()
        # back to before the keys were made: they are new again
        self.clock.rightNow = 500.0
        self.assertIn("is new", self.failureResultOf(self.export(), Denied).value.why)
        self.clock.rightNow = 1e12
        self.assertIn("lapsed", self.failureResultOf(self.export(), Denied).value.why)

    def test_one_key_is_one_officer(self) -> None:
        self.successResultOf(self.register(ANN))
        self.keys["user:bob"] = self.keys["user:ann"]
        self.failureResultOf(self.register(BOB), ValueError)
        shouting = evolve(BOB, subject="ANN")
        self.keys[shouting.name] = self.keys["user:eve"]
        self.failureResultOf(self.register(shouting), ValueError)

    def test_who_is_no_officer(self) -> None:
        for wrong in (
            evolve(ANN, kind="agent"),
            evolve(ANN, act="user:eve"),
            evolve(ANN, scopes=frozenset({"duty:vault"})),
            evolve(ANN, proof="recovery:x"),
        ):
            self.keys[wrong.name] = self.keys["user:ann"]
            self.failureResultOf(self.register(wrong), Denied)
        self.assertEqual(self.successResultOf(self.officers.keys()), [])

    def test_removed(self) -> None:
        self.both()
        self.failureResultOf(self.officers.remove("user:bob", EVE), Denied)
        self.successResultOf(self.officers.remove("user:bob", ROOT))
        self.failureResultOf(self.officers.remove("user:bob", BOB), KeyError)
        self.assertIn("has no key", self.failureResultOf(self.export(), Denied).value.why)
        events = [leaf["event"] for leaf in self.ledger.of("officer-key")]
        self.assertEqual(events, ["registered", "registered", "removed"])


class ExportTests(Case):
    def test_sealed_told_and_on_record(self) -> None:
        self.both()
        made, file = self.successResultOf(self.export())
        inner = pyrage.decrypt(file.encode(), [self.keys["user:ann"]])
        self.assertIn(b"password=s3cret\n", pyrage.decrypt(inner, [self.keys["user:bob"]]))
        with self.assertRaises(pyrage.DecryptError):
            pyrage.decrypt(file.encode(), [self.keys["user:bob"]])
        self.assertEqual((made.officers, made.version, made.settled_at), (PAIR, 1, None))
        (leaf,) = self.ledger.of("emergency-export")
        self.assertEqual((leaf["by"], tuple(leaf["officers"]), leaf["reason"]), ("user:ann", PAIR, "INC-1"))
        notice, channels = self.notices.posted[-1]
        self.assertEqual((notice.kind, channels), ("emergency.export", ("security",)))
        self.assertIn("user:ann exported the credential of orders to user:ann and user:bob", notice.title)
        told = str(self.ledger.leaves) + str(self.events) + str(self.notices.posted)
        self.assertNotIn("s3cret", told)
        self.assertNotIn(file[100:150], told)
        self.assertEqual(self.problems(), [])

    def test_never_to_fewer_than_two_people(self) -> None:
        self.both()
        for officers in ((), ("user:ann",), ("user:ann", "user:ann"), ("user:ann", "user:ANN"), (*PAIR, "user:eve")):
            self.failureResultOf(self.export(officers=officers), Denied)
        self.assertIn(
            "user:eve has no key",
            self.failureResultOf(self.export(officers=("user:ann", "user:eve")), Denied).value.why,
        )
        self.assertEqual(self.ledger.of("emergency-export"), [])

    def test_not_by_agents_nor_without_a_reason(self) -> None:
        self.both()
        for wrong in (evolve(ANN, kind="agent"), evolve(ANN, act="user:eve")):
            self.failureResultOf(self.export(wrong), Denied)
        for reason in ("", "  \n", "a\x1b[2J"):
            self.failureResultOf(self.export(reason=reason), ValueError)
        self.failureResultOf(self.exports.export(ANN, "elsewhere", PAIR, "x"), KeyError)

    def test_to_nobody_who_is_gone(self) -> None:
        self.successResultOf(self.identities.add("user:bob", "user:root", [], ["vault"]))
        self.both()
        self.successResultOf(self.identities.disable("user:ann", "user:root"))
        self.assertIn("user:ann is disabled", self.failureResultOf(self.export(), Denied).value.why)
        self.successResultOf(self.identities.enable("user:ann", "user:root"))
        for duties in ([], ["vault", "auditor"]):
            # the second way round the two exclude each other here
            self.successResultOf(self.identities.set_duties("user:bob", duties, "user:root"))
            self.assertIn("has not the duty vault", self.failureResultOf(self.export(), Denied).value.why)
        self.successResultOf(self.identities.set_duties("user:bob", ["vault"], "user:root"))
        self.exported()

    def test_an_officer_who_goes_meanwhile(self) -> None:
        self.both()
        use = self.vault.use

        def slowly(name: str, work: Any) -> Any:
            self.successResultOf(self.identities.disable("user:bob", "user:root"))
            return use(name, work)

        self.vault.use = slowly  # type: ignore[method-assign]
        self.failureResultOf(self.export(), Denied)
        self.assertEqual(self.successResultOf(self.exports.find()), [])

    def test_a_ledger_that_takes_nothing(self) -> None:
        self.both()
        self.ledger.broken = RecordError("disk full")
        self.failureResultOf(self.export(), RecordError)
        (export,) = self.successResultOf(self.exports.find())
        self.assertIn("never handed out", export.settled)
        self.ledger.broken = None
        self.clock.advance(6)
        self.assertEqual(self.leaves(), ["made", "closed"])


class RotationTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.both()
        self.made = self.exported()

    def compare(self) -> list[str]:
        return [one.id for one in self.successResultOf(self.exports.compare("user:root"))]

    def test_another_value_settles_it_and_the_same_does_not(self) -> None:
        self.assertEqual(self.compare(), [self.made.id])
        self.put("s3cret")
        self.assertEqual(self.compare(), [self.made.id])
        self.put("another")
        self.assertEqual(self.compare(), [])
        self.assertEqual(self.leaves(), ["made", "rotated"])
        self.assertEqual(self.compare(), [])
        # and the exported one again is what officers still have
        self.put("s3cret")
        self.assertEqual(self.compare(), [self.made.id])
        self.assertEqual(self.leaves(), ["made", "rotated", "again"])

    def test_removed_is_not_rotated(self) -> None:
        self.successResultOf(self.vault.remove("orders-app", "user:root"))
        self.assertEqual(self.compare(), [self.made.id])
        closed = self.successResultOf(self.exports.close(self.made.id, ANN, "the server is gone"))
        self.assertEqual(closed.settled, "the server is gone")
        self.assertEqual(self.compare(), [])
        self.failureResultOf(self.exports.close(self.made.id, ANN, "again"), KeyError)

    def test_not_closed_while_it_is_in_use(self) -> None:
        self.failureResultOf(self.exports.close(self.made.id, ANN, "never mind"), Denied)
        self.failureResultOf(self.exports.close("E-none", ANN, "never mind"), KeyError)

    def test_used(self) -> None:
        self.failureResultOf(self.exports.opened(self.made.id, ROOT, "x"), KeyError)
        officer = evolve(BOB, duties=frozenset({"user"}))
        self.assertEqual(
            self.successResultOf(self.exports.opened(self.made.id, officer, "INC-1")).opened_at, self.clock.seconds()
        )
        self.assertIn(f"was used outside hoopd ({self.made.id})", self.problems()[0])
        self.assertEqual(self.leaves(), ["made", "opened"])
        self.put("another")
        self.compare()
        self.assertEqual(self.problems(), [])

    def test_left_lying(self) -> None:
        self.clock.advance(ROTATE)
        (problem,) = self.problems()
        self.assertIn("10 days ago", problem)
        self.assertIn("hoopctl vault put orders-app", problem)
