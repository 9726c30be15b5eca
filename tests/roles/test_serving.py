"""An inherited listener: non-blocking, paused above the share or at the limit, and resumed."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from hoopd.config.schema import Listener
from hoopd.roles import serving as module
from hoopd.roles.listeners import Bound, bind, unavailable
from hoopd.roles.serving import Serving
from tests.turns import turns


class Greeter(Protocol):
    def connectionMade(self) -> None:
        self.transport.write(b"hi")


class Shared:
    """A share that says what it is told to."""

    def __init__(self) -> None:
        self.too_much = False
        self.open = 0
        self.accepts = 0
        self.there = False

    def above(self) -> bool:
        return self.too_much

    def accepted(self) -> None:
        self.accepts += 1

    def sign(self) -> None:
        self.there = True

    def leave(self) -> None:
        self.there = False


class Servings(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.bound = bind("echo", Listener(port=0))
        self.port = int(self.bound.where.rpartition(":")[2])
        self.share = Shared()
        self.clients: list[socket.socket] = []
        factory = Factory.forProtocol(Greeter)
        factory.noisy = False
        share: Any = self.share
        self.serving = Serving(reactor, os.dup(self.bound.fd), factory, share, 2)

    def tearDown(self) -> Deferred[None]:
        for client in self.clients:
            client.close()
        os.close(self.bound.fd)
        return self.serving.stop().addCallback(lambda _: turns())

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        client.setblocking(False)
        self.clients.append(client)
        return client

    async def greeted(self, client: socket.socket, within: float = 30) -> bool:
        for _ in range(int(within / 0.01)):
            try:
                return client.recv(2) == b"hi"
            except BlockingIOError:
                await deferLater(reactor, 0.01)
        return False

    def test_listeners_are_bound_non_blocking(self) -> None:
        assert not os.get_blocking(self.bound.fd)
        assert not os.get_inheritable(self.bound.fd)

    async def test_it_accepts_and_counts(self) -> None:
        self.serving.start()
        assert await self.greeted(self.connect())
        assert (self.share.accepts, self.share.there) == (1, True)
        await self.serving.stop()
        assert not self.share.there

    async def test_above_its_share_it_pauses_and_resumes(self) -> None:
        self.patch(module, "PAUSE_MAX", 60.0)
        self.serving.start()
        self.share.too_much = True
        client = self.connect()
        assert not await self.greeted(client, 0.3)
        self.share.too_much = False
        assert await self.greeted(client)

    async def test_no_pause_lasts(self) -> None:
        self.patch(module, "PAUSE_MAX", 0.2)
        self.serving.start()
        self.share.too_much = True
        assert await self.greeted(self.connect())

    async def test_at_its_limit_it_waits_for_one_to_end(self) -> None:
        self.patch(module, "PAUSE_MAX", 0.1)
        self.serving.start()
        self.serving.opened()
        self.serving.opened()
        assert not self.share.there, "the others do not count on it"
        client = self.connect()
        assert not await self.greeted(client, 0.4)
        self.serving.closed()
        assert await self.greeted(client)

    async def test_a_worker_that_loses_the_race_does_not_hang(self) -> None:
        # two readers of one listener, one connection: the second accept finds nothing, and must return
        other = Serving(reactor, os.dup(self.bound.fd), Factory.forProtocol(Greeter), None, None)
        self.serving.start()
        other.start()
        for _ in range(20):
            assert await self.greeted(self.connect())
        await other.stop()

    def test_addresses_that_are_taken_are_named(self) -> None:
        wanted = {"a": Listener(port=self.port), "b": Listener(port=0)}
        (problem,) = unavailable(wanted, [])
        assert problem.startswith(f"listen.a: 127.0.0.1:{self.port}: ")
        assert unavailable(wanted, [("127.0.0.1", self.port)]) == []

    def test_a_listener_is_kept_by_what_was_asked_for(self) -> None:
        assert self.bound.matches(Listener(port=0))
        assert not Bound("echo", "127.0.0.1", 5432, 0).matches(Listener(port=5433))
