"""The contracts of services, run against the remote ones over a real socketpair."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from hoopd.flow.login_links import WorkerLinks
from hoopd.interfaces import ICredentialVault
from hoopd.ipc.link import Link
from hoopd.ipc.stubs import RemoteLoginLinks, RemoteVault
from hoopd.values import Grant, ScramServerFirst, Target
from hoopd.vault.memory import MemoryVault
from tests.contracts import test_login_links, test_vault
from tests.ipc.family import Broker, WorkerRole
from tests.turns import turns


@implementer(ICredentialVault)
class VaultAcross:
    """Challenges are answered across the socketpair; the keeping of secrets, which never crosses, is done at home.

    Targets cross by name: what a test passes is put into the broker's own list first.
    """

    def __init__(self, home: Any, remote: RemoteVault, targets: dict[str, Target]) -> None:
        self._home = home
        self._remote = remote
        self._targets = targets

    def __getattr__(self, name: str) -> Any:
        return getattr(self._home, name)

    def start_challenge(self, grant: Grant, target: Target, offer: ScramServerFirst) -> Deferred[tuple[str, bytes]]:
        self._targets[target.name] = target
        return self._remote.start_challenge(grant, target, offer)

    def continue_challenge(self, grant: Grant, server_first: bytes) -> Deferred[bytes]:
        return self._remote.continue_challenge(grant, server_first)

    def finish_challenge(self, grant: Grant, server_final: bytes) -> Deferred[None]:
        return self._remote.finish_challenge(grant, server_final)

    def weak_answer(self, grant: Grant, target: Target, method: str, salt: bytes) -> Deferred[bytes]:
        self._targets[target.name] = target
        return self._remote.weak_answer(grant, target, method, salt)


class RemoteVaultTests(test_vault.Contract, TestCase):
    timeout = 60

    def make(self, clock: Clock) -> Any:
        home = MemoryVault(clock)
        link = Link(reactor, "worker/postgres/1", 42, WorkerRole())
        broker = Broker()
        broker.script.vault = home  # type: ignore[assignment]
        broker.attach(link)

        def end() -> Deferred[None]:
            link.close()
            broker.die()
            return turns()

        self.addCleanup(end)
        return VaultAcross(home, RemoteVault(link), broker.script.targets)


class RemoteLoginLinksTests(test_login_links.Contract, TestCase):
    timeout = 60

    def make(self) -> Any:
        link = Link(reactor, "worker/ssh/1", 42, WorkerRole())
        broker = Broker()
        broker.script.login_links = WorkerLinks("w1", self.home)  # type: ignore[attr-defined]
        broker.attach(link)

        def end() -> Deferred[None]:
            link.close()
            broker.die()
            return turns()

        self.addCleanup(end)
        return RemoteLoginLinks(link)

    def turn(self) -> Deferred[None]:
        return turns()
