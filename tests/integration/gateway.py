"""A worker's services in memory, around the real PostgreSQL adapter, policy, SQL, masks and vault; for tests.

Not the broker: admission is a table of names and passwords, approvals are decided by the test itself.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

from attrs import evolve
from OpenSSL import SSL
from twisted.internet import ssl
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from hoopd.audit.memory import MemoryRecorder
from hoopd.config.schema import Limits, Listener
from hoopd.errors import AuthenticationFailed, Denied
from hoopd.masking.redactors import Redactors
from hoopd.policy.snapshot import PolicySnapshot
from hoopd.protocols.postgres.plugin import PostgresPlugin
from hoopd.secret import Secret
from hoopd.values import (
    Admission,
    Approval,
    Covering,
    Grant,
    HeldOperation,
    Identity,
    Opening,
    Proof,
    Target,
    TargetTls,
    Vote,
)
from hoopd.vault.memory import MemoryVault
from tests.integration.postgres import PostgresServer

KEY = b"k" * 32

POLICY = """
targets = ["orders"]
mask.card = { columns = ["*.card_number", "*.card"], show = "last4", except = ["group:fraud"] }
allow.read = { who = ["group:eng", "group:fraud"], do = ["read"] }
allow.few = { who = ["group:few"], do = ["read"], max_rows = 10 }
allow.write = { who = ["group:eng"], do = ["write", "create", "alter", "lock"] }
hold.update = { who = ["group:eng"], do = ["update"], by = ["group:leads"], wait = "10s", why = "customers notice" }
deny.drop = { do = ["drop", "truncate"], why = "Schema changes go through migrations" }
"""

IDENTITIES = {
    "priya": Identity("priya", "human", frozenset({"eng"})),
    "fay": Identity("fay", "human", frozenset({"fraud"})),
    "finn": Identity("finn", "human", frozenset({"few"})),
}


class Approvals:
    """Held operations; the test decides with L{approve} and L{deny}."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.requests: dict[str, Approval] = {}
        self.held: dict[str, HeldOperation] = {}
        self.settled: list[tuple[str, str, str]] = []
        self._waiting: dict[str, list[Deferred[Approval]]] = {}
        self._asked: list[Deferred[Approval]] = []
        self._numbers = itertools.count(1)

    def next_request(self) -> Deferred[Approval]:
        """@return: Deferred of the next request that is made."""
        asked: Deferred[Approval] = Deferred()
        self._asked.append(asked)
        return asked

    def covering(self, session: str, token: Secret, held: HeldOperation) -> Deferred[Covering]:
        return succeed(Covering(self._open(held, "approved")))

    def _open(self, held: HeldOperation, *states: str) -> Approval | None:
        for known in self.requests.values():
            same = evolve(self.held[known.id], session="", redacted="") == evolve(held, session="", redacted="")
            if same and known.state in states:
                return known
        return None

    def request(self, session: str, token: Secret, held: HeldOperation) -> Deferred[Approval]:
        known = self._open(held, "pending", "approved")
        if known is not None:
            return succeed(known)
        now = self.clock.seconds()
        approval = Approval(
            f"A-{next(self._numbers)}", "pending", "user:priya", None, "orders", session, held.redacted, held.classes,
            held.objects, held.reason, held.holds, held.policy, now, now + 900,
        )  # fmt: skip
        self.requests[approval.id], self.held[approval.id] = approval, held
        asked, self._asked = self._asked, []
        for each in asked:
            self.clock.callLater(0, each.callback, approval)
        return succeed(approval)

    def decided(self, approval: str) -> Deferred[Approval]:
        if self.requests[approval].state != "pending":
            return succeed(self.requests[approval])
        done: Deferred[Approval] = Deferred(lambda _: self._waiting[approval].remove(done))
        self._waiting.setdefault(approval, []).append(done)
        return done

    def _move(self, approval: str, state: Any, **more: Any) -> Approval:
        moved = self.requests[approval] = evolve(self.requests[approval], state=state, **more)
        if state != "pending":
            for each in self._waiting.pop(approval, []):
                each.callback(moved)
        return moved

    def approve(self, approval: str) -> None:
        self._move(approval, "approved", votes=(Vote("user:lea", True, "fine", 0.0),))

    def deny(self, approval: str) -> None:
        self._move(approval, "denied", votes=(Vote("user:lea", False, "not on a Friday", 0.0),))

    def claim(self, session: str, token: Secret, approval: str, held: HeldOperation) -> Deferred[Approval]:
        if self.requests[approval].state != "approved":
            return fail(Failure(Denied("not approved")))
        return succeed(self._move(approval, "claimed"))

    def settle(self, session: str, token: Secret, approval: str, outcome: Any, detail: str) -> Deferred[Approval]:
        self.settled.append((approval, outcome, detail))
        return succeed(self._move(approval, outcome))

    def withdraw(self, session: str, token: Secret, approval: str, why: str) -> Deferred[Approval]:
        return succeed(self._move(approval, "cancelled"))


class Gateway:
    """One worker in this process.

    @ivar recorders: recording of each session, in order of opening.
    @ivar events: every event.
    """

    def __init__(self, reactor: Any, server: PostgresServer, directory: Path, policy: str = POLICY, **config: Any):
        self.reactor = reactor
        self.server = server
        certificate, key = server.directory / "server.crt", server.directory / "server.key"
        settings = {"port": 0, "certificate": str(certificate), "key": str(key), **config}
        self.config = Listener(**settings)
        self.limits = Limits()
        self.target = Target(
            "orders", "postgres", "127.0.0.1", server.port, {}, "orders-app", "app", ("orders", "postgres"),
            TargetTls("verify-full", server.authorities),
        )  # fmt: skip
        self.policy: Any = PolicySnapshot.load({"p.toml": policy}, {"orders": self.target}, KEY)
        self.masker: Any = Redactors(KEY)
        self.vault = MemoryVault(reactor)
        self.vault.put("orders-app", Secret(server.app_password), "user:root")
        self.approvals = Approvals(reactor)
        self.sessions = self.break_glass = self
        self.in_use: Opening | None = None
        self.skipped: list[HeldOperation] = []
        self.recorders: list[MemoryRecorder] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.live: set[Any] = set()
        self.away = ""
        self.keys: dict[bytes, str] = {}
        self.ends: list[tuple[Any, ...]] = []
        self._numbers = itertools.count(1)
        pem = certificate.read_bytes()
        self.asks_certificates = False
        self.discovery: Any = None
        self.tls: Any = ssl.CertificateOptions(
            privateKey=ssl.KeyPair.load(key.read_bytes(), SSL.FILETYPE_PEM).original,
            certificate=ssl.Certificate.loadPEM(pem).original,
            acceptableProtocols=[b"postgresql"],
        )
        self.plugin = PostgresPlugin()
        self.factory = self.plugin.factory(self)
        self._listening: Any = None

    def start(self) -> int:
        """@return: the port"""
        self._listening = self.reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        return int(self._listening.getHost().port)

    async def stop(self) -> None:
        await self._listening.stopListening()
        for each in list(self.live):
            each.end("test over")
        for _ in range(200):
            if not self.live and not self.factory.catalogues._shared:
                break
            await _pause(self.reactor, 0.02)
        await self.plugin.stop()
        await _pause(self.reactor, 0.05)

    # -- ISessions ---------------------------------------------------------------------------------------------

    def admit(self, proof: Proof, target: str, protocol: str) -> Deferred[Admission]:
        identity = IDENTITIES.get(proof.claimed)
        if identity is None or proof.secret != Secret(f"{proof.claimed}-token"):
            return fail(Failure(AuthenticationFailed("no")))
        if target != "orders":
            return fail(Failure(Denied(f"no target {target}")))
        session, token = f"S-{next(self._numbers)}", Secret(os.urandom(16))
        grant = self._grant(session, identity)
        return succeed(Admission(session, token, identity, self.target, grant, -1, self.reactor.seconds()))

    def _grant(self, session: str, identity: Identity) -> Grant:
        now = self.reactor.seconds()
        grant = Grant(session, "orders", identity.name, now, now + 60, Secret(os.urandom(16)))
        self.vault.register_grant(grant)
        return grant

    def catalogue_grant(self, session: str, token: Secret) -> Deferred[Grant]:
        return succeed(self._grant(session, IDENTITIES["priya"]))

    def ended(self, *arguments: Any) -> Deferred[None]:
        self.ends.append(arguments)
        return succeed(None)

    def register_cancel(self, session: str, token: Secret, key: bytes) -> Deferred[None]:
        self.keys[key] = session
        return succeed(None)

    def cancel(self, key: bytes, peer: Any) -> Deferred[None]:
        for each in list(self.live):
            if each.session is not None and each.session == self.keys.get(key):
                each.cancel()
        return succeed(None)

    # -- IBreakGlass -------------------------------------------------------------------------------------------

    def opening(self, identity: Identity, target: str, now: float) -> Opening | None:
        return self.in_use

    def open(self, session: str, token: Secret, reason: str) -> Deferred[Opening]:
        return fail(Failure(Denied("no break_glass rule gives a right")))

    def close(self, session: str, token: Secret) -> Deferred[list[str]]:
        return succeed([])

    def skip(self, session: str, token: Secret, held: HeldOperation) -> Deferred[None]:
        self.skipped.append(held)
        return succeed(None)

    # -- IWorker -----------------------------------------------------------------------------------------------

    def recorder(self, admission: Admission) -> MemoryRecorder:
        self.recorders.append(MemoryRecorder(admission.session))
        return self.recorders[-1]

    def event(self, name: str, fields: Any) -> None:
        self.events.append((name, dict(fields)))

    def available(self) -> str:
        return self.away

    def opened(self, session: Any) -> None:
        self.live.add(session)

    def closed(self, session: Any) -> None:
        self.live.discard(session)


def _pause(reactor: Any, seconds: float) -> Deferred[None]:
    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done
