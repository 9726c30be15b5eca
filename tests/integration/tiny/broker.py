"""A broker whose store is a directory: a session is a file, and a decision is a file that a test writes."""

from __future__ import annotations

import os
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

from hoopd.ipc import wire
from hoopd.values import Approval
from tests.ipc.family import APPROVAL, TARGET, admission


class Services:
    def __init__(self, reactor: Any, state: str) -> None:
        self.reactor = reactor
        self.state = state
        self.targets = {"orders": TARGET}
        self.sessions = self.approvals = self.vault = self

    def _path(self, name: str) -> str:
        return os.path.join(self.state, name)

    def admit(self, proof: Any, target: str, protocol: str) -> Deferred[Any]:
        session = os.urandom(8).hex()
        recording = os.open(self._path(f"session-{session}"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        return succeed(evolve(admission(recording), session=session))

    def ended(self, session: str, *rest: Any) -> Deferred[None]:
        os.rename(self._path(f"session-{session}"), self._path(f"ended-{session}"))
        return succeed(None)

    def resume(self, sessions: list[Any]) -> Deferred[list[str]]:
        return succeed([one for one, _ in sessions if not os.path.exists(self._path(f"session-{one}"))])

    def _is_decided(self, approval: str) -> bool:
        return os.path.exists(self._path(f"decided-{approval}"))

    def decided(self, approval: str) -> Deferred[Approval]:
        async def wait() -> Approval:
            while not self._is_decided(approval):
                await deferLater(self.reactor, 0.02)
            return evolve(APPROVAL, id=approval, state="approved")

        return Deferred.fromCoroutine(wait())

    def show(self, approval: str) -> Deferred[Approval]:
        return succeed(evolve(APPROVAL, id=approval, outcome=str(os.getpid())))


class Broker:
    def __init__(self, context: Any) -> None:
        self.context = context
        self.services = Services(context.reactor, context.config.paths.state)
        self.verifiers = 0

    def start(self) -> Deferred[None]:
        return succeed(None)

    def drain(self, limit: float | None) -> Deferred[None]:
        return succeed(None)

    def stop(self) -> Deferred[None]:
        return succeed(None)

    def worker_services(self, worker: str) -> Services:
        return self.services

    def worker_gone(self, worker: str) -> None:
        with open(os.path.join(self.services.state, "gone"), "a", encoding="utf-8") as file:
            file.write(worker + "\n")

    def control_services(self) -> Any:
        return self

    def call(self, token: Any, verb: str, arguments: Any) -> Deferred[Any]:
        if verb == "reload":
            return self.context.reload("user:ann", "user:ann").addCallback(lambda _: "reloading")
        return succeed({"verb": verb, "broker": os.getpid()})

    def verifier_attached(self, verifier: Any) -> None:
        self.verifiers += 1

    def openings(self) -> list[Any]:
        return []

    def notifier_attached(self, notifier: Any) -> None:
        raise AssertionError("this family has no notifier")

    def policy_document(self) -> bytes:
        return wire.encode(self.context.rules.policies)


def start(context: Any) -> Broker:
    return Broker(context)
