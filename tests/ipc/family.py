"""A broker's role, a worker's role and the socketpair between them, for the tests of this package."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from hoopd.ipc.broker import Peers
from hoopd.ipc.link import Link
from hoopd.ipc.transport import pair
from hoopd.secret import Secret
from hoopd.values import Admission, Approval, Grant, HeldOperation, Identity, Opening, Peer, Proof, Target

TARGET = Target(name="orders", protocol="postgres", host="db", port=5432, databases=("orders",))
PROOF = Proof("priya", Secret(b"\x00token\xff"), Peer("127.0.0.1", 4711, True))
TOKEN = Secret("session token")
GRANT = Grant("s1", "orders", "user:priya", 1.0, 2.0, Secret("grant"))
HELD = HeldOperation(
    "s1",
    "postgres",
    b"DELETE\x00",
    b"\xff",
    "db=orders",
    "DELETE …",
    ("delete", "write"),
    ("public.t",),
    None,
    (),
    "v1",
)
APPROVAL = Approval(
    "a1", "pending", "user:priya", None, "orders", "s1", "DELETE …", ("delete",), (), "why", (), "v1", 1.0, 2.0
)


def admission(recording: int) -> Admission:
    identity = Identity("priya", "human", frozenset({"eng"}), ("do:read",), claims={"a": [1, None]})
    return Admission("s1", TOKEN, identity, TARGET, GRANT, recording, 3.5)


class Script:
    """Services whose answers are scripted: C{script.answers["admit"] = value, exception, Deferred or callable}."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.targets = {"orders": TARGET}
        self.sessions = self.approvals = self.vault = self.break_glass = self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*arguments: Any) -> Deferred[Any]:
            self.calls.append((name, *arguments))
            answer = self.answers.get(name)
            if callable(answer):
                answer = answer(*arguments)
            if isinstance(answer, Exception):
                return fail(Failure(answer))
            return answer if isinstance(answer, Deferred) else succeed(answer)

        return call

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]


class BrokerRole:
    """IBrokerRole around a script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.gone: list[str] = []
        self.verifiers: list[Any] = []
        self.notifiers: list[Any] = []
        self.document = b"policy 1"
        self.in_use: list[Opening] = []

    def worker_services(self, worker: str) -> Script:
        self.worker = worker
        return self.script

    def worker_gone(self, worker: str) -> None:
        self.gone.append(worker)

    def control_services(self) -> Script:
        return self.script

    def verifier_attached(self, verifier: Any) -> None:
        self.verifiers.append(verifier)

    def notifier_attached(self, notifier: Any) -> None:
        self.notifiers.append(notifier)

    def policy_document(self) -> bytes:
        return self.document

    def openings(self) -> list[Opening]:
        return self.in_use


class WorkerRole:
    """IWorkerRole that remembers."""

    def __init__(self) -> None:
        self.policies: list[bytes] = []
        self.openings: list[list[Opening]] = []
        self.sessions: list[tuple[str, Secret]] = []
        self.cancelled: list[str] = []
        self.ended: list[tuple[str, str]] = []

    def take_policy(self, document: bytes) -> None:
        self.policies.append(document)

    def take_openings(self, openings: list[Opening]) -> None:
        self.openings.append(openings)

    def live_sessions(self) -> list[tuple[str, Secret]]:
        return self.sessions

    def cancel(self, session: str) -> None:
        self.cancelled.append(session)

    def end(self, session: str, why: str) -> None:
        self.ended.append((session, why))


class Broker:
    """One broker process's worth of objects; C{die()} is kill -9."""

    def __init__(self, clock: Any = reactor) -> None:
        self.script = Script()
        self.script.answers["resume"] = lambda sessions: []
        self.role = BrokerRole(self.script)
        self.peers = Peers(clock)
        self.peers.role = self.role

    def attach(self, link: Link, role: str = "worker") -> None:
        ours, theirs = pair()
        link.attach(theirs.detach())
        self.peers.attach(ours.detach(), role, link.name, link.pid)

    def die(self) -> None:
        for peer in list(self.peers._all):
            peer.transport.abortConnection()


def descriptors() -> set[str]:
    """The sockets and memory files that this process has open, as /proc names them."""
    names = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # the directory's own
        if name.startswith(("socket:", "/memfd:")):
            names.add(f"{fd} {name}")
    return names
