"""The vault answers a real PostgreSQL over TLS, bound to its certificate; wrong passwords and certificates get nowhere.

The wire is spoken here in the few messages that log in (PostgreSQL manual, "Message Flow"), with blocking sockets.
"""

from __future__ import annotations

import socket
import ssl
import struct
from typing import Any

import pytest
from attrs import evolve, frozen
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from hoopd.errors import TargetError
from hoopd.secret import Secret
from hoopd.store.memory import MemoryStore
from hoopd.values import Grant, ScramServerFirst, Target, TargetTls
from hoopd.vault.master import FileSource
from hoopd.vault.tables import MIGRATIONS
from hoopd.vault.vault import Vault
from tests.integration.postgres import PostgresServer, certificate
from tests.scratch import scratch

pytestmark = pytest.mark.integration


@frozen
class Refused(Exception):
    """The server's ErrorResponse."""

    code: str


class Wire:
    """One connection as a worker would have it: it holds no password."""

    def __init__(self, port: int, tls: bool) -> None:
        self.socket: Any = socket.create_connection(("127.0.0.1", port), 20)
        self.certificates: tuple[bytes, ...] = ()
        if tls:
            self.socket.sendall(struct.pack("!II", 8, 80877103))
            assert self.socket.recv(1) == b"S"
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the vault is who judges it here
            self.socket = context.wrap_socket(self.socket)
            self.certificates = (self.socket.getpeercert(binary_form=True),)
        body = struct.pack("!I", 196608) + b"user\0app\0database\0orders\0\0"
        self.socket.sendall(struct.pack("!I", len(body) + 4) + body)

    def send(self, body: bytes) -> None:
        self.socket.sendall(b"p" + struct.pack("!I", len(body) + 4) + body)

    def authentication(self) -> tuple[int, bytes]:
        """@return: kind and rest of the next authentication message. @raise Refused"""
        head = self._exactly(5)
        body = self._exactly(struct.unpack("!I", head[1:])[0] - 4)
        if head[:1] == b"E":
            raise Refused(next(part[1:].decode() for part in body.split(b"\0") if part[:1] == b"C"))
        assert head[:1] == b"R", head
        return struct.unpack("!I", body[:4])[0], body[4:]

    def _exactly(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            part = self.socket.recv(count - len(parts))
            assert part, "the server closed the connection"
            parts += part
        return parts


class ScramLiveTests(TestCase):
    timeout = 90
    version = ""
    server: PostgresServer

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = PostgresServer(sample="", version=cls.version)
        cls.server.start()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.stop()

    def setUp(self) -> None:
        self.directory = scratch(self)
        self.vault = Vault(MemoryStore(MIGRATIONS), FileSource(self.directory / "master"), "here", reactor)
        self.target = Target(
            "orders",
            "postgres",
            "localhost",
            self.server.port,
            credential="app",
            username="app",
            tls=TargetTls("verify-full", self.server.authorities),
        )
        self.grants = 0

    async def login(self, target: Target, password: str, offered: tuple[str, ...] | None = None) -> str:
        """Log in as a worker does. @return: the mechanism that was used."""
        await self.vault.put("app", Secret(password), "user:root")
        self.grants += 1
        now = reactor.seconds()  # type: ignore[attr-defined]
        grant = Grant(f"s{self.grants}", "orders", "user:ann", now, now + 60, Secret(f"token {self.grants}"))
        self.vault.register_grant(grant)
        wire = await deferToThread(Wire, target.port, target.tls.mode != "off")
        try:
            return await self.exchange(wire, grant, target, offered)
        finally:
            wire.socket.close()

    async def exchange(self, wire: Wire, grant: Grant, target: Target, offered: tuple[str, ...] | None) -> str:
        kind, body = await self.answer(wire)
        self.assertEqual(kind, 10)
        mechanisms = tuple(word.decode() for word in body.split(b"\0") if word)
        offer = ScramServerFirst(offered or mechanisms, wire.certificates, "localhost")
        mechanism, first = await self.vault.start_challenge(grant, target, offer)
        wire.send(mechanism.encode() + b"\0" + struct.pack("!I", len(first)) + first)
        kind, body = await self.answer(wire)
        self.assertEqual(kind, 11)
        wire.send(await self.vault.continue_challenge(grant, body))
        kind, body = await self.answer(wire)
        self.assertEqual(kind, 12)
        await self.vault.finish_challenge(grant, body)
        self.assertEqual((await self.answer(wire))[0], 0)
        return str(mechanism)

    @staticmethod
    def answer(wire: Wire) -> Deferred[tuple[int, bytes]]:
        return deferToThread(wire.authentication)

    async def test_bound_to_the_certificate_over_tls(self) -> None:
        self.assertEqual(await self.login(self.target, self.server.app_password), "SCRAM-SHA-256-PLUS")

    async def test_by_address_and_by_authority_only(self) -> None:
        for target in (
            evolve(self.target, host="127.0.0.1"),
            evolve(self.target, host="elsewhere.example", tls=TargetTls("verify-ca", self.server.authorities)),
            evolve(self.target, host="10.0.0.9", tls=TargetTls("verify-full", self.server.authorities, "localhost")),
        ):
            self.assertEqual(await self.login(target, self.server.app_password), "SCRAM-SHA-256-PLUS")

    async def test_without_tls(self) -> None:
        plain = evolve(self.target, tls=TargetTls("off"))
        self.assertEqual(await self.login(plain, self.server.app_password), "SCRAM-SHA-256")

    async def test_a_cut_offer_is_noticed_by_the_server(self) -> None:
        """Somebody between removed -PLUS from the list: the flag in client-first tells the server."""
        with self.assertRaises(Refused) as caught:
            await self.login(self.target, self.server.app_password, ("SCRAM-SHA-256",))
        self.assertEqual(caught.exception.code, "28000")

    async def test_a_wrong_password(self) -> None:
        with self.assertRaises(Refused) as caught:
            await self.login(self.target, "another password")
        self.assertEqual(caught.exception.code, "28P01")

    async def test_a_password_that_saslprep_changes(self) -> None:
        # PostgreSQL prepares what it stores; what differs only by preparation is the same password
        await deferToThread(self.server.query, "ALTER ROLE app PASSWORD 'x\u00a0\u2168 \u00e4'", "postgres")
        try:
            await self.login(self.target, "x IX \u00e4")
            await self.login(self.target, "x\u00a0\u2168 \u00e4")
        finally:
            restore = f"ALTER ROLE app PASSWORD '{self.server.app_password}'"
            await deferToThread(self.server.query, restore, "postgres")

    async def test_a_wrong_certificate(self) -> None:
        other, _ = certificate(self.directory, "other")
        for target in (
            evolve(self.target, tls=TargetTls("verify-full", other.read_text())),
            evolve(self.target, tls=TargetTls("verify-ca", other.read_text())),
            evolve(self.target, host="elsewhere.example"),
            evolve(self.target, tls=TargetTls("verify-full")),
        ):
            with self.assertRaisesRegex(TargetError, "certificate of target orders"):
                await self.login(target, self.server.app_password)
