"""Peers that vanish without a word: found in bounded time on both legs, and nothing approved runs for one.

How one vanishes: its socket is told to sign every segment with a key that its peer has not (RFC 2385, TCP_MD5SIG). Then
each side's kernel drops what comes from the other before it is looked at, as if the cable were cut. No privilege needed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
import unittest
from typing import Any

import psycopg

from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer
from tests.integration.tiny.running import PATIENCE, until

TCP_MD5SIG = 14
#: struct tcp_md5sig (linux/tcp.h) behind the address: flags, prefix length, key length, interface, key
KEY = struct.pack("=BBHi80s", 0, 0, 8, 0, b"unshared")

DEAD_AFTER = 8
POLICY = """
targets = ["orders"]
allow.all = { who = ["group:eng"], do = ["read", "write", "call"] }
hold.update = { do = ["update"], by = ["group:leads"], wait = "60s" }
"""


def vanish(connection: socket.socket) -> None:
    """From now on C{connection} receives nothing (bytes, acknowledgements, probes), and its peer nothing from it."""
    host, port = connection.getpeername()
    address = struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(host)
    connection.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, address.ljust(128, b"\0") + KEY)


def client_vanishes(connection: psycopg.Connection[Any]) -> None:
    with socket.socket(fileno=os.dup(connection.fileno())) as handle:
        vanish(handle)


class Between:
    """Carries bytes between whoever connects and C{port}, until L{vanish}."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._near: list[socket.socket] = []
        self._far: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            self._near.append(near)
            self._far.append(far)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                sink.sendall(chunk)
        # both directions end together
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def vanish(self) -> None:
        for each in self._live():
            vanish(each)

    def _live(self) -> list[socket.socket]:
        """Those that have a peer still."""
        found = []
        for each in self._near:
            with contextlib.suppress(OSError):
                each.getpeername()
                found.append(each)
        return found

    def close(self) -> None:
        for each in (self._listening, *self._near, *self._far):
            each.close()


class HalfOpenTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = PostgresServer()
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)
        cls.between = Between(cls.server.port)
        cls.addClassCleanup(cls.between.close)
        limits = {"limits": {"probe_after": "2s", "dead_after": f"{DEAD_AFTER}s"}}
        real, cls.server.port = cls.server.port, cls.between.port
        cls.gateway = Gateway(cls.server, POLICY, settings=limits)
        cls.gateway.__enter__()
        cls.addClassCleanup(cls.gateway.stop)
        cls.server.port = real
        cls.token = cls.gateway.identity("user:priya", groups=["eng"])
        cls.gateway.identity("user:lea", groups=["leads"], duties=["approver"])

    def connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(self.gateway.dsn(user="priya", password=self.token), autocommit=True)
        self.addCleanup(connection.close)
        return connection

    @staticmethod
    def release(connection: psycopg.Connection[Any], client: threading.Thread) -> None:
        """Wake the thread that waits on a connection that will never say anything."""
        with socket.socket(fileno=os.dup(connection.fileno())) as handle:
            handle.shutdown(socket.SHUT_RDWR)
        client.join(PATIENCE)

    def live(self) -> int:
        return int(self.gateway.json("status")["sessions"])

    def at_the_target(self) -> int:
        counted = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'hoopd user:priya%'"
        return int(self.server.query(counted))

    def test_1_a_client_that_vanished_is_found(self) -> None:
        connection = self.connect()
        connection.execute("BEGIN")
        connection.execute("SELECT 1")
        self.assertEqual((self.live(), self.at_the_target()), (1, 1))
        client_vanishes(connection)
        began = time.monotonic()
        until(lambda: self.live() == 0, "the session is over")
        self.assertGreater(time.monotonic() - began, 1.0)
        until(lambda: self.at_the_target() == 0, "its connection to the target too: no lock stays")

    def test_2_nothing_approved_runs_for_a_client_that_vanished(self) -> None:
        statement = "UPDATE orders SET note = 'vanished' WHERE id = 1"
        connection = self.connect()

        def work() -> None:
            with contextlib.suppress(psycopg.Error):
                connection.execute(statement)

        client = threading.Thread(target=work, daemon=True)
        client.start()
        until(lambda: self.gateway.json("approvals", "list", who="user:lea"), "the request is on file")
        (asked,) = self.gateway.json("approvals", "list", who="user:lea")
        client_vanishes(connection)
        self.addCleanup(self.release, connection, client)
        # at once: no probe has found it yet
        self.gateway.hoopctl("approvals", "approve", asked["id"], "--reason", "seen", who="user:lea")
        until(lambda: self.live() == 0, "the session is over")
        self.assertNotIn("'vanished'", self.server.statements())
        self.assertEqual(self.gateway.json("approvals", "show", asked["id"], who="user:lea")["state"], "approved")
        back = self.gateway.psql("user:priya", statement)
        self.assertEqual(back.stdout, "UPDATE 1\n", back.stderr)
        self.assertIn(f"{asked['id']} is approved: running it", back.stderr)
        self.assertEqual(self.server.statements().count("'vanished'"), 1)

    def test_3_a_target_that_vanished_is_found(self) -> None:
        connection = self.connect()
        self.assertEqual(connection.execute("SELECT 1").fetchone(), (1,))
        self.between.vanish()
        began = time.monotonic()
        with self.assertRaises(psycopg.OperationalError) as failed:
            connection.execute("SELECT 2")
        self.assertLess(time.monotonic() - began, PATIENCE)
        self.assertIn("the target closed the connection", str(failed.exception))
