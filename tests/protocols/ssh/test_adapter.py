"""A client's connection on a clock: how long it may take to log in, and what is left when it goes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from hoopd.config.schema import Limits
from hoopd.protocols.ssh.plugin import SshFactory
from tests.protocols.ssh.test_authentication import Links
from tests.protocols.ssh.test_interactive import LINK


class Config:
    login_timeout = 30.0
    login_link_timeout = 180.0
    max_unauthenticated = 2

    def __init__(self, key: Path) -> None:
        self.host_keys = (str(key),)


class Policy:
    def targets(self) -> dict[str, Any]:
        return {}


class Worker:
    """IWorker, as far as a client without a session reaches."""

    login_providers = ("corp",)

    def __init__(self, key: Path) -> None:
        self.reactor = Clock()
        self.config = Config(key)
        self.policy = Policy()
        self.login_links = Links()
        self.open: list[Any] = []
        self.events: list[tuple[str, Any]] = []

    def opened(self, client: Any) -> None:
        self.open.append(client)

    def closed(self, client: Any) -> None:
        self.open.remove(client)

    def event(self, name: str, fields: Any) -> None:
        self.events.append((name, fields))


class Socket(StringTransport):
    """A transport without a socket."""

    def setTcpNoDelay(self, on: bool) -> None:
        """Nothing waits here."""

    def unregisterProducer(self) -> None:
        """As sockets have it: whether there is one or not."""
        self.producer = None


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "host"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture
def worker(key: Path) -> Worker:
    return Worker(key)


@pytest.fixture
def factory(worker: Worker) -> SshFactory:
    return SshFactory(worker, Limits())


def connected(factory: SshFactory) -> tuple[Any, Socket]:
    client = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 5000))
    socket = Socket()
    client.makeConnection(socket)
    # the key exchange has a clock of its own, and is over where anybody logs in
    client._stop(client._exchange_call)
    return client, socket


def test_without_a_link_a_client_has_as_long_as_ever(worker: Worker, factory: SshFactory) -> None:
    _, socket = connected(factory)
    worker.reactor.advance(29)
    assert not socket.disconnecting
    worker.reactor.advance(1)
    assert b"no proof of identity in time" in socket.value()


def test_with_a_link_there_is_time_to_log_in_and_no_more(worker: Worker, factory: SshFactory) -> None:
    client, socket = connected(factory)
    worker.reactor.advance(20)
    client._login.begin("corp")
    worker.reactor.advance(179)
    assert b"hoopd: " not in socket.value()
    worker.reactor.advance(1)
    assert b"nobody has logged in within 3 min" in socket.value()
    assert worker.login_links.calls == [("begin", "corp", "192.0.2.1"), "leave"]
    assert [name for name, _ in worker.events] == []


def test_whoever_has_logged_in_has_a_sessions_time(worker: Worker, factory: SshFactory) -> None:
    client, socket = connected(factory)
    client._login.begin("corp")
    worker.reactor.advance(175)
    client._login.settled()
    worker.reactor.advance(29)
    assert b"in time" not in socket.value()
    worker.reactor.advance(1)
    assert b"no proof of identity in time" in socket.value()


def test_whoever_logs_in_is_not_pushed_out_by_those_who_come(worker: Worker, factory: SshFactory) -> None:
    client, socket = connected(factory)
    client._login.begin("corp")
    others = [connected(factory)[1] for _ in range(3)]
    assert b"too many" not in socket.value()
    assert [b"too many connections" in each.value() for each in others] == [True, False, False]


def test_a_client_that_goes_leaves_link_and_clock(worker: Worker, factory: SshFactory) -> None:
    client, _ = connected(factory)
    client._login.begin("corp")
    client.connectionLost(Failure(ConnectionError()))
    assert worker.login_links.calls[1:] == ["leave"]
    assert worker.reactor.getDelayedCalls() == []
    assert worker.open == []


def test_a_link_that_is_made_after_the_client_went(worker: Worker, factory: SshFactory) -> None:
    client, socket = connected(factory)
    made: Deferred[Any] = Deferred()
    worker.login_links.begun = made
    begun = client._login.begin("corp")
    client.connectionLost(Failure(ConnectionError()))
    sent = socket.value()
    made.callback(LINK)
    begun.addErrback(lambda _: None)
    assert worker.login_links.calls[1:] == ["leave"]
    assert worker.reactor.getDelayedCalls() == []
    assert socket.value() == sent
