"""Recovery codes in the broker: once, for one person, slowly, and over within the hour."""

from __future__ import annotations

import itertools
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopd.audit.memory import MemoryLedger
from hoopd.audit.pending import Pending
from hoopd.audit.tables import MIGRATIONS as AUDIT
from hoopd.config.schema import IdentityConfig
from hoopd.errors import AuthenticationFailed, Denied, RecordError
from hoopd.identity.provider import Identities
from hoopd.identity.recovery import SESSION, Recovery
from hoopd.identity.tables import MIGRATIONS
from hoopd.identity.values import Revocation
from hoopd.notices.memory import MemoryNotices
from hoopd.secret import Secret
from hoopd.store.memory import MemoryStore
from hoopd.values import Identity, Peer, Proof

PEER = Peer("10.0.0.7", 4711, True)
LAPSE = 86400.0
ANN = Identity("ann", "human", frozenset({"oncall"}), duties=frozenset({"user", "approver"}))
LEA = Identity("lea", "human", frozenset({"oncall"}))
ROOT = Identity("root", "human", duties=frozenset({"user", "administrator"}))


def threads(call: Any, *arguments: Any) -> Deferred[Any]:
    return maybeDeferred(call, *arguments)


class RecoveryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.store = MemoryStore((*AUDIT, *MIGRATIONS))
        self.ledger, self.notices = MemoryLedger(), MemoryNotices()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.over: list[Revocation] = []
        self.numbers = itertools.count()
        self.identities = Identities(self.store, None, IdentityConfig(), self.clock, b"p" * 32, threads)
        self.recovery = self.begin()
        self.codes = self.sheet(ANN, 3)

    def begin(self) -> Recovery:
        pending = Pending(self.store, self.ledger, self.clock, self.event)
        made = Recovery(
            self.store,
            pending,
            self.notices,
            self.clock,
            b"p" * 32,
            self.random,
            self.event,
            self.over.append,
            whose=["group:on*"],
            lapse=LAPSE,
            new_id=lambda: f"R-{next(self.numbers)}",
        )
        self.identities.recovery = made
        self.successResultOf(Deferred.fromCoroutine(made.start()))
        return made

    def random(self, count: int) -> bytes:
        return bytes((next(self.numbers) * 37 + at * 11) % 256 for at in range(count))

    def sheet(self, identity: Identity, count: int) -> list[str]:
        """A sheet that counts."""
        id, made = self.successResultOf(self.recovery.create(identity, count))
        self.assertEqual(self.successResultOf(self.recovery.confirm(id, ROOT)), identity.name)
        codes: list[str] = made
        return codes

    def event(self, name: str, fields: dict[str, Any]) -> None:
        self.events.append((name, fields))

    def prove(self, name: str, secret: str | Secret) -> Any:
        whole = secret if isinstance(secret, Secret) else Secret(secret)
        return self.identities.authenticate(Proof(name, whole, PEER))

    def refused(self, name: str, secret: str | Secret) -> None:
        answer = self.prove(name, secret)
        self.clock.advance(10)
        self.assertEqual(str(self.failureResultOf(answer, AuthenticationFailed).value), "authentication failed")

    def test_a_code_proves_its_person_once(self) -> None:
        proven: Identity = self.successResultOf(self.prove("ann", self.codes[0].lower()))
        self.assertEqual((proven.name, proven.groups, proven.kind), ("user:ann", {"oncall"}, "human"))
        self.assertEqual(proven.duties, {"user", "approver"})
        self.assertEqual((proven.expires_at, proven.claims["recovery_remaining"]), (1000.0 + SESSION, 2))
        self.refused("ann", self.codes[0])
        leaves = [leaf["event"] for leaf in self.ledger.of("recovery-code")]
        self.assertEqual(leaves, ["created", "confirmed", "used"])
        self.assertNotIn(self.codes[0], str(self.ledger.leaves) + str(self.events) + str(self.notices.posted))
        titles = [notice.title for notice, *_ in self.notices.posted]
        self.assertIn("somebody else must confirm", titles[0])
        self.assertIn("user:root confirmed recovery codes of user:ann", titles[1])
        self.assertIn("used a recovery code from 10.0.0.7; 2 remain", titles[2])
        self.assertEqual([name for name, _ in self.events], ["recovery.created", "recovery.confirmed", "recovery.used"])

    def test_for_nobody_else_and_not_mistyped(self) -> None:
        self.refused("bob", self.codes[0])
        self.refused("", self.codes[0])
        self.refused("agent:ann", self.codes[0])
        wrong = self.codes[0][:-1] + ("0" if self.codes[0][-1] != "0" else "1")
        self.refused("ann", wrong)
        self.successResultOf(self.prove("user:ann", self.codes[0]))

    def test_guessing_is_slowed(self) -> None:
        for _ in range(6):
            self.refused("ann", "HRC-00000-00000-00000-00000-00000")
        waiting = self.prove("ann", self.codes[0])
        self.assertNoResult(waiting)
        self.clock.advance(10)
        self.successResultOf(waiting)

    def test_the_session_and_its_end(self) -> None:
        proven = self.successResultOf(self.prove("ann", self.codes[0]))
        token, until = self.successResultOf(self.recovery.session(proven))
        self.assertEqual(until, 1000.0 + SESSION)
        again = self.successResultOf(self.prove("whoever", token))
        self.assertEqual((again.name, again.proof), ("user:ann", proven.proof))
        self.refused("ann", Secret(token.reveal()[:-1] + b"x"))
        # a new broker goes on
        self.recovery.stop()
        self.recovery = self.begin()
        self.clock.advance(SESSION - 30)
        self.assertEqual(self.over, [])
        self.clock.advance(30)
        self.assertEqual(self.over, [Revocation("user:ann", proven.proof[9:], "the recovery session is over")])
        self.refused("ann", token)
        self.recovery.stop()
        self.recovery = self.begin()
        self.clock.advance(1)
        self.assertEqual(len(self.over), 1)

    def test_who_is_disabled_stays_out(self) -> None:
        token, _ = self.successResultOf(self.recovery.session(self.successResultOf(self.prove("ann", self.codes[0]))))
        self.successResultOf(self.identities.disable("user:ann", "user:root"))
        self.refused("ann", self.codes[1])
        self.refused("ann", token)
        # the code is not spent
        self.successResultOf(self.identities.enable("user:ann", "user:root"))
        self.successResultOf(self.prove("ann", self.codes[1]))

    def test_a_local_identity_has_its_own_groups(self) -> None:
        self.successResultOf(self.identities.add("user:lea", "user:root", ["leads"], ["approver"]))
        (code,) = self.sheet(LEA, 1)
        self.successResultOf(self.identities.set_groups("user:lea", ["others"], "user:root"))
        self.assertEqual(self.successResultOf(self.prove("lea", code)).groups, {"others"})

    def test_a_sheet_counts_once_somebody_else_confirmed_it(self) -> None:
        id, fresh = self.successResultOf(self.recovery.create(ANN, 2))
        self.refused("ann", fresh[0])
        for wrong in (
            ANN,
            evolve(ANN, subject="ANN", duties=ROOT.duties),
            evolve(ROOT, kind="agent"),
            evolve(ROOT, act="user:bob"),
            evolve(ROOT, proof="recovery:x"),
        ):
            self.failureResultOf(self.recovery.confirm(id, wrong), Denied)
        # until then the older one counts
        self.successResultOf(self.prove("ann", self.codes[0]))
        self.successResultOf(self.recovery.confirm(id, ROOT))
        self.refused("ann", self.codes[1])
        self.successResultOf(self.prove("ann", fresh[0]))
        old, new = self.successResultOf(self.recovery.sheets())
        self.assertEqual((old.remaining, old.used), (0, 1))
        self.assertEqual((new.id, new.remaining, new.used, new.confirmed_by), (id, 1, 1, "user:root"))
        for gone in (id, "R-none"):
            self.failureResultOf(self.recovery.confirm(gone, ROOT), KeyError)

    def test_who_sees_a_sheet_confirms_that_one(self) -> None:
        id, _ = self.successResultOf(self.recovery.create(ANN, 2))
        self.successResultOf(self.recovery.create(ANN, 2))
        self.failureResultOf(self.recovery.confirm(id, ROOT), KeyError)

    def test_a_sheet_lapses(self) -> None:
        id, fresh = self.successResultOf(self.recovery.create(LEA, 1))
        self.clock.advance(LAPSE)
        self.refused("ann", self.codes[0])
        self.failureResultOf(self.recovery.confirm(id, ROOT), KeyError)
        self.refused("lea", fresh[0])

    def test_void(self) -> None:
        self.failureResultOf(self.recovery.void("user:ann", LEA), Denied)
        self.assertEqual(self.successResultOf(self.recovery.void("user:ann", ROOT)), 3)
        self.assertEqual(self.notices.posted[-1][0].title, "user:root made 3 recovery codes of user:ann void")
        self.refused("ann", self.codes[0])
        self.sheet(LEA, 2)
        self.assertEqual(self.successResultOf(self.recovery.void("user:lea", LEA)), 2)

    def test_who_may_have_codes(self) -> None:
        for wrong in (
            Identity("bob", "human", frozenset({"eng"})),
            Identity("ci", "agent", frozenset({"oncall"})),
            evolve(ANN, act="user:bob"),
            evolve(ANN, scopes=frozenset({"duty:approver"})),
            evolve(ANN, proof="recovery:x"),
        ):
            self.failureResultOf(self.recovery.create(wrong, 1), Denied)
        for count in (0, -1, 21):
            self.failureResultOf(self.recovery.create(ANN, count), ValueError)

    def test_a_ledger_that_is_away_gets_the_leaf_later(self) -> None:
        self.ledger.broken = RecordError("disk full")
        self.successResultOf(self.prove("ann", self.codes[0]))
        self.assertIn("audit.unwritable", [name for name, _ in self.events])
        self.ledger.broken = None
        self.clock.advance(6)
        self.assertEqual([leaf["event"] for leaf in self.ledger.of("recovery-code")][-1:], ["used"])
