"""The messages that libpq sees are those that it would see without a gateway: PQtrace straight and through, compared.

libpq documentation, "PQtrace", "PQsetTraceFlags": with PQTRACE_REGRESS_MODE what differs between two servers (object
ids, process ids, source lines) is left out of the trace.
"""

from __future__ import annotations

import difflib
import tempfile
import unittest
from collections.abc import Callable

import psycopg
import pytest
from psycopg import pq

from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer

pytestmark = pytest.mark.integration

POLICY = """
targets = ["orders"]
allow.eng = { who = ["group:eng"], do = ["read", "write", "create", "drop", "listen", "notify", "lock"] }
"""

Connection = psycopg.Connection[tuple[object, ...]]


def simple(connection: Connection) -> None:
    connection.pgconn.exec_(b"SELECT id, name FROM customers ORDER BY id; SELECT 1; ; UPDATE orders SET note = 'x'")
    connection.pgconn.exec_(b"")
    connection.pgconn.exec_(b"SELECT 1/0; SELECT 2")
    connection.pgconn.exec_(b"SELEC 1")
    connection.pgconn.exec_(b"SELECT 'unfinished")


def extended(connection: Connection) -> None:
    pgconn = connection.pgconn
    pgconn.exec_params(b"SELECT id, name FROM customers WHERE id = $1", [b"2"], [23])
    pgconn.exec_params(b"SELECT id, total, note FROM orders ORDER BY id", [], result_format=1)
    pgconn.prepare(b"one", b"SELECT name FROM customers WHERE id = $1", [23])
    pgconn.describe_prepared(b"one")
    for number in (b"1", b"2", None, b"not a number"):
        pgconn.exec_prepared(b"one", [number])
    pgconn.prepare(b"one", b"SELECT 1")
    pgconn.exec_(b"DEALLOCATE one")
    pgconn.exec_params(b"SELECT $1::int + $2::int", [b"1", b"\x00\x00\x00\x02"], [23, 23], [0, 1])


def transactions(connection: Connection) -> None:
    for text in (
        "BEGIN", "INSERT INTO orders (customer_id, total) VALUES (1, 5)", "SAVEPOINT s", "SELECT * FROM absent",
        "ROLLBACK TO s", "SELECT count(*) FROM orders", "SELEC", "SELECT 1", "COMMIT", "ROLLBACK",
    ):  # fmt: skip
        connection.pgconn.exec_(text.encode())


def pipeline(connection: Connection) -> None:
    # libpq by itself: psycopg's pipelines read when something comes, so that what they send next depends on the moment
    pgconn = connection.pgconn
    pgconn.enter_pipeline_mode()
    by_id = b"SELECT name FROM customers WHERE id = $1"
    good, bad, skipped = pq.ExecStatus.TUPLES_OK, pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED
    for statements in (
        [(by_id, [b"1"], good), (by_id, [b"2"], good), (by_id, [b"3"], good)],
        [(b"SELECT 1", [], good), (b"SELECT 1/0", [], bad), (b"SELECT 3", [], skipped)],
        [(b"SELECT 4", [], good)],
    ):
        for text, values, _ in statements:
            pgconn.send_query_params(text, values)
        pgconn.pipeline_sync()
        found: list[pq.ExecStatus] = []
        while not found or found[-1] != pq.ExecStatus.PIPELINE_SYNC:
            result = pgconn.get_result()
            if result is not None:
                found.append(pq.ExecStatus(result.status))
        assert found == [*(expected for _, _, expected in statements), pq.ExecStatus.PIPELINE_SYNC]
    pgconn.exit_pipeline_mode()
    pgconn.exec_(b"SELECT 5")


def cursors(connection: Connection) -> None:
    with connection.transaction(), connection.cursor("own") as cursor:
        cursor.execute("SELECT id, name FROM customers ORDER BY id")
        cursor.fetchmany(2)
        cursor.fetchall()
    connection.autocommit = True
    connection.execute("BEGIN")
    connection.execute("DECLARE c CURSOR FOR SELECT id FROM orders ORDER BY id")
    connection.execute("FETCH 2 FROM c")
    connection.execute("MOVE 1 FROM c")
    connection.execute("CLOSE c")
    connection.execute("COMMIT")


def copies(connection: Connection) -> None:
    connection.autocommit = True
    with connection.cursor() as cursor:
        with cursor.copy("COPY orders (customer_id, total, note) FROM STDIN") as copy:
            for number in range(100):
                copy.write_row((1, number, "copied"))
        with cursor.copy("COPY (SELECT customer_id, total FROM orders ORDER BY id) TO STDOUT") as copy:
            assert b"".join(map(bytes, copy))
        with cursor.copy("COPY orders TO STDOUT (FORMAT csv, HEADER)") as copy:
            assert b"".join(map(bytes, copy))
        try:
            with cursor.copy("COPY orders (customer_id) FROM STDIN") as copy:
                copy.write("no number\n")
        except psycopg.errors.InvalidTextRepresentation:
            return
        raise AssertionError("what is no number was taken")


def notifications(connection: Connection) -> None:
    connection.autocommit = True
    connection.execute("LISTEN news")
    connection.execute("NOTIFY news, 'fresh'")
    assert [each.payload for each in connection.notifies(timeout=5, stop_after=1)] == ["fresh"]
    connection.execute("UNLISTEN *")


def settings(connection: Connection) -> None:
    connection.autocommit = True
    connection.execute("SET TimeZone = 'Asia/Tokyo'")
    connection.execute("SET client_min_messages = debug1")
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS scratch (a int)")
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS scratch (a int)")
    connection.execute("DROP TABLE IF EXISTS absent, scratch")
    connection.execute("RESET TimeZone")


class TraceTests(unittest.TestCase):
    maxDiff = None
    server: PostgresServer
    gateway: Gateway

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = cls.enterClassContext(PostgresServer())
        cls.gateway = cls.enterClassContext(Gateway(cls.server, POLICY))
        cls.gateway.identity("user:priya", groups=["eng"])

    def setUp(self) -> None:
        self.server.query("TRUNCATE orders RESTART IDENTITY", user="app", password=self.server.app_password)

    def trace(self, dsn: str, conversation: Callable[[Connection], None]) -> list[str]:
        with tempfile.TemporaryFile("w+") as file, psycopg.connect(dsn) as connection:
            connection.pgconn.trace(file.fileno())
            connection.pgconn.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS | pq.Trace.REGRESS_MODE)
            conversation(connection)
            connection.pgconn.untrace()
            file.seek(0)
            # the gateway's own syntax errors have no place in the server's source
            return file.read().replace(' F "SSSS" L "SSSS" R "SSSS"', "").splitlines()

    def same(self, conversation: Callable[[Connection], None]) -> None:
        straight = self.trace(
            f"host=127.0.0.1 port={self.server.port} dbname=orders user=app password={self.server.app_password}",
            conversation,
        )
        self.setUp()
        through = self.trace(self.gateway.dsn(user="priya", password=self.gateway.tokens["user:priya"]), conversation)
        self.assertGreater(len(straight), 5)
        self.assertEqual("\n".join(difflib.unified_diff(straight, through, "straight", "through", lineterm="")), "")

    def test_simple(self) -> None:
        self.same(simple)

    def test_extended(self) -> None:
        self.same(extended)

    def test_transactions(self) -> None:
        self.same(transactions)

    def test_pipeline(self) -> None:
        self.same(pipeline)

    def test_cursors(self) -> None:
        self.same(cursors)

    def test_copies(self) -> None:
        self.same(copies)

    def test_notifications(self) -> None:
        self.same(notifications)

    def test_settings(self) -> None:
        self.same(settings)
