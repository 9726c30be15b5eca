"""The broker's side of sessions, on the real parts over a store in memory and recordings in a folder."""

from __future__ import annotations

import itertools
import os
import tempfile
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from hoopd.approvals.service import Approvals
from hoopd.audit.index import SessionIndex
from hoopd.audit.memory import MemoryLedger
from hoopd.audit.sealing import Recordings
from hoopd.config.schema import ApprovalsConfig, AuditConfig, IdentityConfig
from hoopd.errors import AuthenticationFailed, Denied
from hoopd.flow.admission import Admissions
from hoopd.flow.cancellation import CANCELS_PER_SECOND
from hoopd.flow.worker_views import WorkerSessions
from hoopd.identity.provider import Identities
from hoopd.interfaces import ISessions
from hoopd.policy.snapshot import PolicySnapshot
from hoopd.roles.broker import TABLES
from hoopd.secret import Secret
from hoopd.store.memory import MemoryStore
from hoopd.values import Admission, Peer, Proof, Target
from hoopd.vault.memory import MemoryVault

PEER = Peer("192.0.2.7", 4000, encrypted=True)
ORDERS = Target("orders", "postgres", "127.0.0.1", 5432, databases=("orders",), credential="orders")
POLICY = 'targets = ["orders"]\nallow.read = { who = ["group:eng"], do = ["read"] }\n'
WORKER = "worker/postgres/1:7"


class AdmissionTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.store = MemoryStore(TABLES)
        self.events: list[str] = []
        self.cancelled: list[str] = []
        self.ended: list[tuple[str, str]] = []
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.ledger = MemoryLedger()
        self.identities = Identities(self.store, None, IdentityConfig(), self.clock, b"p" * 32, execute)
        self.admissions = self.make()
        self.sessions = WorkerSessions(WORKER, self.admissions)
        self.successResultOf(self.identities.add("user:priya", "test", ["eng"]))
        self.successResultOf(self.identities.add("user:zoe", "test"))
        for name in ("user:priya", "user:zoe"):
            self.successResultOf(self.identities.set_password(name, Secret("a long password"), "test"))

    def make(self) -> Admissions:
        numbers = itertools.count(1)
        vault = MemoryVault(self.clock)
        recordings = Recordings(self.folder, self.ledger, AuditConfig(), self.clock, in_thread=execute)
        policy = PolicySnapshot.load({"p.toml": POLICY}, {"orders": ORDERS}, b"k" * 32)
        approvals = Approvals(
            self.store,
            b"d" * 32,
            self.ledger,
            self.clock,
            ApprovalsConfig(),
            policy_version=lambda: policy.version,
            identity_of=lambda session: self.admissions.identity_of(session),
            target_of=lambda session: self.admissions.target_of(session),
            new_id=lambda: "A-1",
        )
        return Admissions(
            store=self.store,
            identities=self.identities,
            policy=lambda: policy,
            vault=vault,
            recordings=recordings,
            index=SessionIndex(self.store),
            approvals=approvals,
            clock=self.clock,
            event=lambda name, fields: self.events.append(name),
            randomness=os.urandom,
            new_id=lambda: f"S-{os.getpid()}-{next(numbers)}-{len(self.events)}",
            reach_cancel=self.cancelled.append,
            reach_end=lambda session, why: self.ended.append((session, why)),
        )

    def admit(self, name: str = "priya", target: str = "orders", password: str = "a long password") -> Deferred[Any]:
        return self.sessions.admit(Proof(name, Secret(password), PEER), target, "postgres")

    def admitted(self) -> Admission:
        admission: Admission = self.successResultOf(self.admit())
        self.addCleanup(os.close, admission.recording)
        return admission

    def test_a_session_is_stored_and_recorded_before_it_is_answered(self) -> None:
        self.assertTrue(verifyObject(ISessions, self.sessions))
        admission = self.admitted()
        self.assertEqual((admission.identity.name, admission.target), ("user:priya", ORDERS))
        rows = self.successResultOf(self.store.transact(lambda tx: tx.execute("SELECT id, worker FROM live_sessions")))
        self.assertEqual(rows, [(admission.session, WORKER)])
        self.assertIn("session-opened", [kind for kind, _ in self.ledger.leaves])
        self.assertNotIn(admission.token.reveal().decode(), str(rows))

    def test_who_is_not_let_in(self) -> None:
        self.failureResultOf(self.admit(password="wrong password"), AuthenticationFailed)
        unknown = self.failureResultOf(self.admit(target="nowhere"), Denied)
        forbidden = self.failureResultOf(self.admit("zoe"), Denied)
        self.assertEqual(unknown.value.hint, forbidden.value.hint)
        self.assertEqual(self.events.count("session.refused"), 3)

    def test_a_session_answers_to_its_token_and_worker_only(self) -> None:
        admission = self.admitted()
        other = WorkerSessions("worker/postgres/2:8", self.admissions)
        self.failureResultOf(other.catalogue_grant(admission.session, admission.token), Denied)
        self.failureResultOf(self.sessions.catalogue_grant(admission.session, Secret("x")), Denied)
        grant = self.successResultOf(self.sessions.catalogue_grant(admission.session, admission.token))
        self.assertEqual(grant.target, "orders")
        self.assertNotEqual(grant.token, admission.grant.token)

    def test_an_end_is_an_end(self) -> None:
        admission = self.admitted()
        ended = (admission.session, admission.token, "done", 3, 1, 0)
        self.successResultOf(self.sessions.ended(*ended))
        self.successResultOf(self.sessions.ended(*ended))
        found = self.successResultOf(self.admissions.index.get(admission.session))
        self.assertEqual((found.ended_why, found.operations, found.denied), ("done", 3, 1))
        self.failureResultOf(self.sessions.catalogue_grant(admission.session, admission.token), Denied)

    def test_cancellation_is_routed_by_key_and_limited(self) -> None:
        admission = self.admitted()
        key = b"\0\0\0\7secret"
        self.successResultOf(self.sessions.register_cancel(admission.session, admission.token, key))
        for _ in range(CANCELS_PER_SECOND * 3):
            self.successResultOf(self.sessions.cancel(b"\0\0\0\7wrong!", PEER))
        self.successResultOf(self.sessions.cancel(key, PEER))
        self.assertEqual(self.cancelled, [])
        self.successResultOf(self.sessions.cancel(key, "198.51.100.1"))
        self.assertEqual(self.cancelled, [admission.session])
        self.clock.advance(1)
        self.successResultOf(self.sessions.cancel(key, PEER))
        self.assertEqual(len(self.cancelled), 2)

    def test_a_new_broker_takes_sessions_over_or_ends_them(self) -> None:
        kept, lost = self.admitted(), self.admitted()
        self.successResultOf(self.admissions.recordings.stop())
        self.admissions = self.make()
        self.sessions = WorkerSessions(WORKER, self.admissions)
        self.successResultOf(Deferred.fromCoroutine(self.admissions.recover()))
        self.assertEqual(self.admissions.recovered(), {kept.session, lost.session})
        self.successResultOf(self.admissions.recordings.recover(self.admissions.recovered()))
        told = [(kept.session, kept.token), ("S-never", Secret("x")), (lost.session, Secret("not its token"))]
        unknown = self.successResultOf(self.sessions.resume(told))
        self.assertEqual(unknown, ["S-never", lost.session])
        self.clock.advance(31)
        found = self.successResultOf(self.admissions.index.get(lost.session))
        self.assertIn("lost", found.ended_why)
        self.assertEqual(set(self.admissions.live), {kept.session})

    def test_a_dead_worker_and_a_revoked_identity(self) -> None:
        admission = self.admitted()
        self.assertEqual(self.admissions.revoke("user:priya", "some-other-token", "why"), 0)
        self.assertEqual(self.admissions.revoke("user:priya", "", "stolen"), 1)
        self.assertEqual(self.ended, [(admission.session, "stolen")])
        self.successResultOf(Deferred.fromCoroutine(self.admissions.worker_gone(WORKER)))
        self.assertEqual(self.admissions.live, {})
