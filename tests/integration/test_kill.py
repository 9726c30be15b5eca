"""kill -9 of each process under load: no statement that the target executed is without a record, and only the sessions of
a killed worker are lost."""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
import unittest
from pathlib import Path

import psycopg

from hoopd.audit.replay import load
from hoopd.audit.verify import render, verify
from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer
from tests.integration.tiny.running import PATIENCE, until

POLICY = """
targets = ["orders"]
allow.all = { who = ["group:eng"], do = ["read", "write"] }
"""
CLIENTS = 6


class Client(threading.Thread):
    """One session after another, each running numbered statements until told to stop."""

    def __init__(self, number: int, dsn: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.dsn = dsn
        self.stopping = stop
        self.done = 0
        #: when a session was lost, and what was said
        self.lost: list[tuple[float, str]] = []
        self.refused = 0

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                with psycopg.connect(self.dsn, autocommit=True) as connection:
                    self.work(connection)
            except psycopg.OperationalError as problem:
                if "connection failed" in str(problem):
                    self.refused += 1  # nothing new is authorised while there is no broker
                else:
                    self.lost.append((time.monotonic(), str(problem)))
                time.sleep(0.05)

    def work(self, connection: psycopg.Connection) -> None:
        while not self.stopping.is_set():
            mark = f"mark-{self.number}-{self.done}"
            if self.done % 2:
                connection.execute(f"SELECT total, '{mark}' FROM orders LIMIT 1").fetchall()
            else:
                connection.execute(f"INSERT INTO orders (customer_id, total, note) VALUES (1, 1, '{mark}')")
            self.done += 1


class KillTests(unittest.TestCase):
    def test_every_executed_statement_has_a_record(self) -> None:
        dice = random.Random(2026)
        with PostgresServer() as server, Gateway(server, POLICY, workers=3) as gateway:
            token = gateway.identity("user:load", groups=["eng"])
            dsn = gateway.dsn(user="load", password=token)
            stop = threading.Event()
            clients = [Client(number, dsn, stop) for number in range(CLIENTS)]
            for client in clients:
                client.start()
            self.progress(clients, 200)
            for role in ("broker", "verifier", "control", "broker"):
                time.sleep(dice.uniform(0, 0.5))
                self.kill(gateway, role)
                self.progress(clients, 100)
            before = time.monotonic()
            lost = [(client.number, said) for client in clients for _, said in client.lost]
            self.assertEqual(lost, [], "killing broker, verifier and control loses no session")
            self.kill(gateway, "worker")
            counts = [client.done for client in clients]
            until(
                lambda: all(client.done > count + 5 for client, count in zip(clients, counts, strict=True)),
                "everybody goes on, those of the killed worker with another",
            )
            stop.set()
            for client in clients:
                client.join(PATIENCE)
                self.assertFalse(client.is_alive())
            self.assertTrue(all(at >= before for client in clients for at, _ in client.lost))
            kept = [client for client in clients if not client.lost]
            self.assertTrue(kept, "sessions of the other workers go on")
            self.compare(server, gateway)
            key = gateway.hoopctl("audit", "key").stdout.strip()
            gateway.terminate()
            report = verify(gateway.state, key)
            self.assertTrue(report.ok, render(report))

    def kill(self, gateway: Gateway, role: str) -> None:
        pid = sorted(until(lambda: gateway.pids(role), f"there is a {role}"))[0]
        os.kill(pid, signal.SIGKILL)

    def progress(self, clients: list[Client], statements: int) -> None:
        """Wait until so many more statements were run by all together."""
        before = sum(client.done for client in clients)
        until(lambda: sum(client.done for client in clients) >= before + statements, f"{statements} statements more")

    def compare(self, server: PostgresServer, gateway: Gateway) -> None:
        executed = set()
        for line in server.statements().splitlines():
            if "hoopd user:load" in line:
                executed |= set(re.findall(r"mark-\d+-\d+", line))
        self.assertGreater(len(executed), 300, "there was load")
        recorded: set[str] = set()
        for path in Path(gateway.state, "recordings").rglob("*.hoopd-rec"):
            entries, _ = load(path.read_bytes())
            for entry in entries:
                if entry.kind == "operation":
                    recorded |= set(re.findall(r"mark-\d+-\d+", str(entry.fields.get("text"))))
        self.assertEqual(executed - recorded, set())
