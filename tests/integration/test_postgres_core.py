"""The adapter in this process between real clients and a real server: judged, held, masked, recorded."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from attrs import evolve
from twisted.internet import defer, reactor, threads
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.integration.gateway import Gateway
from tests.integration.postgres import PostgresServer

CARD = "4111111111111111"
_servers: dict[str, PostgresServer] = {}


def server_of(version: str) -> PostgresServer:
    """@return: the module's server of that version, started when it is first asked for."""
    if version not in _servers:
        server = PostgresServer(version=version)
        server.start()
        _servers[version] = server
    return _servers[version]


def tearDownModule() -> None:
    while _servers:
        _servers.popitem()[1].stop()


class GatewayCase(TestCase):
    """@cvar version: of PostgreSQL; empty is Debian's. tests/integration/test_postgres_versions.py has the others."""

    timeout = 60
    version = ""

    def setUp(self) -> None:
        self.server = server_of(self.version)
        self.gateway = Gateway(reactor, self.server, self.server.directory)
        self.port = self.gateway.start()

    def tearDown(self) -> defer.Deferred[None]:
        return defer.Deferred.fromCoroutine(self.gateway.stop())

    def environment(self, user: str = "priya", **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "PGPASSWORD": f"{user}-token",
            "PGSSLMODE": "verify-ca",
            "PGSSLROOTCERT": str(self.server.directory / "server.crt"),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": user,
            "PGDATABASE": "orders",
            **more,
        }

    async def psql(self, *commands: str, user: str = "priya", **more: str) -> tuple[str, str, int]:
        arguments = ["-XAt", "-v", "VERBOSITY=verbose"]
        for command in commands:
            arguments += ["-c", command]
        out, err, code = await getProcessOutputAndValue(
            "psql", arguments, env=self.environment(user, **more), reactor=reactor
        )
        return out.decode(), err.decode(), code

    def conninfo(self, user: str = "priya", **more: Any) -> str:
        return psycopg.conninfo.make_conninfo(
            host="127.0.0.1",
            port=self.port,
            user=user,
            password=f"{user}-token",
            dbname="orders",
            sslmode="verify-ca",
            sslrootcert=str(self.server.directory / "server.crt"),
            **more,
        )

    async def thread(self, work: Any, *arguments: Any) -> Any:
        return await threads.deferToThread(work, *arguments)

    def file(self) -> Path:
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        return Path(directory) / "file"

    def recorded(self) -> str:
        return json.dumps([each.frames for each in self.gateway.recorders])

    def frames(self, kind: str) -> list[dict[str, Any]]:
        return [fields for each in self.gateway.recorders for name, fields in each.frames if name == kind]


class PsqlTests(GatewayCase):
    async def test_masked_select(self) -> None:
        out, err, _ = await self.psql("SELECT id, name, card_number FROM customers ORDER BY id")
        self.assertEqual(err, "")
        self.assertEqual(out, "1|Ann|****1111\n2|Bob|****0004\n3|Cid|\n")
        self.assertNotIn(CARD, self.recorded())
        (rows,) = self.frames("rows")
        self.assertEqual(rows["rows"][0], ["1", "Ann", "****1111"])
        self.assertEqual([each["decision"] for each in self.frames("operation")], ["allow"])
        self.assertEqual(self.frames("result")[0]["rows"], 3)

    async def test_an_excepted_identity_sees_and_the_recording_does_not(self) -> None:
        out, err, _ = await self.psql("SELECT card_number FROM customers WHERE id = 1", user="fay")
        self.assertEqual((out, err), (CARD + "\n", ""))
        self.assertNotIn(CARD, self.recorded())

    async def test_refused_drop(self) -> None:
        _out, err, _ = await self.psql("DROP TABLE orders", "SELECT count(*) FROM orders")
        self.assertIn("42501", err)
        self.assertIn("Schema changes go through migrations", err)
        self.assertIn("deny.drop", err)
        self.assertEqual(self.server.query("SELECT count(*) FROM orders"), "3")
        self.assertNotIn("DROP TABLE", self.server.statements())

    async def test_refusal_in_a_transaction_is_the_servers_failure(self) -> None:
        script = "BEGIN;\nINSERT INTO orders (total) VALUES (99);\nDROP TABLE orders;\nSELECT 1;\nCOMMIT;\n"
        path = self.file()
        path.write_text(script)
        out, err, _ = await getProcessOutputAndValue(
            "psql", ["-XAt", "-f", str(path)], env=self.environment(), reactor=reactor
        )
        self.assertIn(b"current transaction is aborted", err)
        self.assertIn(b"ROLLBACK", out)
        self.assertEqual(self.server.query("SELECT count(*) FROM orders WHERE total = 99"), "0")

    async def test_one_refused_statement_refuses_the_whole_text(self) -> None:
        await self.psql("INSERT INTO orders (total) VALUES (98); DROP TABLE orders")
        self.assertEqual(self.server.query("SELECT count(*) FROM orders WHERE total = 98"), "0")

    #: what psql asks the server's catalogue for
    introspection: tuple[str, ...] = ("\\d", "\\dt+", "\\d customers", "\\l", "\\du", "\\df", "\\dn")

    async def test_introspection(self) -> None:
        out, err, _ = await self.psql(*self.introspection)
        self.assertEqual(err, "")
        self.assertIn("card_number", out)

    async def test_errors_do_not_quote_masked_values(self) -> None:
        for statement in (
            f"INSERT INTO customers (id, name, card_number) VALUES (9, 'x', '{CARD}')",
            "INSERT INTO customers (id, name, card_number) VALUES (1, 'x', '1')",
        ):
            _out, err, _ = await self.psql(statement)
            self.assertIn("23505", err)
            self.assertNotIn(CARD, err)
            self.assertIn("withheld", err)
        self.assertNotIn(CARD, self.recorded())

    async def test_reasons(self) -> None:
        out, err, _ = await self.psql(
            "SHOW hoopd.reason",
            "SET hoopd.reason = 'T-2'",
            "SHOW hoopd.reason",
            "RESET hoopd.reason",
            "SHOW hoopd.reason",
            PGOPTIONS="-c hoopd.reason=T-1",
        )
        self.assertEqual((out, err), ("T-1\nSET\nT-2\nRESET\n\n", ""))
        self.assertNotIn("hoopd.reason", self.server.statements())
        out, err, _ = await self.psql(
            "BEGIN",
            "SET LOCAL hoopd.reason = 'T-2'",
            "SHOW hoopd.reason",
            "COMMIT",
            "SHOW hoopd.reason",
            "SET hoopd.reason = 'T-3'",
            "DISCARD ALL",
            "SHOW hoopd.reason",
            PGOPTIONS="-c hoopd.reason=T-1",
        )
        self.assertEqual((out, err), ("BEGIN\nSET\nT-2\nCOMMIT\nT-1\nSET\nDISCARD ALL\nT-1\n", ""))

    async def test_wrong_token(self) -> None:
        _out, err, code = await self.psql("SELECT 1", PGPASSWORD="wrong")
        self.assertIn("authentication failed", err)
        self.assertEqual(code, 2)

    async def test_without_tls(self) -> None:
        _, err, _ = await self.psql("SELECT 1", PGSSLMODE="disable")
        self.assertIn("TLS is required", err)

    async def test_no_target(self) -> None:
        _, err, _ = await self.psql("SELECT 1", PGDATABASE="nowhere")
        self.assertIn("nowhere", err)
        out, err, _ = await self.psql("SELECT current_database()", PGDATABASE="orders/postgres")
        self.assertEqual((out, err), ("postgres\n", ""))

    async def test_copy(self) -> None:
        out, err, _ = await self.psql("\\copy customers TO STDOUT")
        self.assertEqual(err, "")
        self.assertIn("Ann\tann@example.org\t****1111\t\\N", out)
        self.assertNotIn(CARD, out)
        path = self.file()
        path.write_text("71\t1\t1\tcopied\n72\t1\t2\tcopied\n")
        out, err, _ = await self.psql(f"\\copy orders FROM '{path}'")
        self.assertEqual(err, "")
        self.assertEqual(self.server.query("DELETE FROM orders WHERE note = 'copied' RETURNING id"), "71\n72")
        (given,) = self.frames("input")
        self.assertEqual(given["bytes"], len("71\t1\t1\tcopied\n72\t1\t2\tcopied\n"))

    async def test_row_limit(self) -> None:
        out, err, _ = await self.psql("SELECT * FROM generate_series(1, 100000), orders", "SELECT 7", user="finn")
        self.assertIn("54000", err)
        self.assertEqual(len(out.splitlines()), 1, out)
        self.assertEqual(out.splitlines()[-1], "7")

    async def test_nothing_passes_when_the_record_fails(self) -> None:
        def work() -> str:
            with psycopg.connect(self.conninfo(), autocommit=True) as connection:
                for each in self.gateway.recorders:
                    each.broken = "No space left on device"
                try:
                    connection.execute("INSERT INTO orders (total) VALUES (97)")
                except psycopg.OperationalError as error:
                    return str(error.sqlstate)
            return "went through"

        self.assertEqual(await self.thread(work), "53100")
        self.assertEqual(self.server.query("SELECT count(*) FROM orders WHERE total = 97"), "0")

    async def test_nothing_is_shown_when_its_record_fails(self) -> None:
        def work() -> str:
            with psycopg.connect(self.conninfo(), autocommit=True) as connection:
                for each in self.gateway.recorders:
                    whole = each.write_many

                    def write_many(records: list[Any], each: Any = each, whole: Any = whole) -> int:
                        if any(kind == "rows" for kind, _ in records):
                            each.broken = "No space left on device"
                        return int(whole(records))

                    each.write_many = write_many  # type: ignore[method-assign]
                try:
                    return str(connection.execute("SELECT 'shown'").fetchall())
                except psycopg.OperationalError as error:
                    return str(error.sqlstate)

        self.assertEqual(await self.thread(work), "53100")

    async def test_broker_away(self) -> None:
        self.gateway.away = "the broker is away"
        _out, err, _ = await self.psql("SELECT 1")
        self.assertIn("57P03", err)


#: nearly 1 MiB of each of the kinds that cost most: constants, rows, columns, one literal, statements, no SQL, names
LARGE = (
    "SELECT count(*) FROM orders WHERE id IN (" + ",".join(map(str, range(150_000))) + ")",
    "SELECT count(*) FROM (VALUES ('abcdefghij')" + ",('abcdefghij')" * 65_000 + ") v",
    "SELECT card_number" + ",card_number" * 20_000 + " FROM customers",
    "SELECT '" + "x" * 1_000_000 + "'",
    "SELECT 1" + ";SELECT note FROM orders WHERE id = 1" * 27_000,
    "SELECT 1 " + "nonsense " * 110_000,
    "SELECT " + ",".join(f"f{number}()" for number in range(100_000)),
)


class LargeTests(GatewayCase):
    timeout = 900

    def setUp(self) -> None:
        super().setUp()
        # no busy machine makes these too slow to be judged
        self.gateway.factory.pool.limits = evolve(self.gateway.limits, parse_seconds=600.0)

    async def test_large_statement(self) -> None:
        out, err, _ = await self.psql(
            "SELECT count(*) FROM orders WHERE id IN (" + ",".join(map(str, range(20000))) + ")"
        )
        self.assertEqual((out, err), ("3\n", ""))
        # chained deeper than any parser of ours follows: refused, and nobody else notices
        out, err, _ = await self.psql("SELECT 1" + "+1" * 30000, "SELECT 2")
        self.assertIn("42501", err)
        self.assertEqual(out, "2\n")

    async def test_large_statements_by_name(self) -> None:
        def work() -> list[Any]:
            with psycopg.connect(self.conninfo(), autocommit=True) as connection:
                connection.execute(
                    "PREPARE named (text) AS SELECT card_number FROM customers WHERE name <> $1 AND id = 1"
                )
                text = "EXECUTE named ('" + "x" * 20000 + "')"
                return [*connection.execute(text).fetchall(), *connection.execute(text).fetchall()]

        self.assertEqual(await self.thread(work), [("****1111",), ("****1111",)])
        self.assertNotIn(CARD, self.recorded())

    async def test_large_statements_hold_up_nobody(self) -> None:
        """The longest turn of the reactor, in processor time: what else this machine does is not counted."""
        longest = [0.0, time.thread_time()]

        def turn() -> None:
            now = time.thread_time()
            longest[0], longest[1] = max(longest[0], now - longest[1]), now
            ticking[0] = reactor.callLater(0, turn)

        def work() -> list[str]:
            outcomes = []
            with psycopg.connect(self.conninfo(), autocommit=True) as connection:
                connection.prepare_threshold = None
                for text in LARGE:
                    try:
                        outcomes.append(str(connection.execute(text).statusmessage))
                    except psycopg.Error as error:
                        outcomes.append(f"{error.sqlstate} {error.diag.message_primary}")
            return outcomes

        # what other tests of this process have left is not looked through for rubbish in one of the turns
        gc.collect()
        gc.freeze()
        self.addCleanup(gc.unfreeze)
        ticking = [reactor.callLater(0, turn)]
        try:
            outcomes = await self.thread(work)
        finally:
            ticking[0].cancel()
        wanted = ("SELECT 1", "SELECT 1", "54011", "SELECT 1", "2000 statements", "42601", "5000 names")
        for outcome, part in zip(outcomes, wanted, strict=True):
            self.assertIn(part, outcome)
        # 11 ms on a quiet machine; read in this process the slowest of them took 6 s
        self.assertLess(longest[0], 1.0)


class HoldTests(GatewayCase):
    STATEMENT = "UPDATE orders SET note = 'held' WHERE id = 1"

    def reset(self) -> None:
        self.server.query("UPDATE orders SET note = 'a' WHERE id = 1")

    async def test_approved(self) -> None:
        self.reset()
        asked = self.gateway.approvals.next_request()
        running = defer.ensureDeferred(self.psql(self.STATEMENT))
        approval = await asked
        self.assertEqual(self.server.query("SELECT note FROM orders WHERE id = 1"), "a")
        self.gateway.approvals.approve(approval.id)
        out, err, _code = await running
        self.assertEqual(out, "UPDATE 1\n")
        self.assertIn("A-1", err)
        self.assertIn("hoopctl approvals approve A-1", err)
        self.assertEqual(self.server.query("SELECT note FROM orders WHERE id = 1"), "held")
        self.assertEqual(self.gateway.approvals.settled, [("A-1", "executed", "UPDATE 1")])
        self.assertEqual([each["decision"] for each in self.frames("operation")], ["hold"])

    async def test_denied(self) -> None:
        self.reset()
        asked = self.gateway.approvals.next_request()
        running = defer.ensureDeferred(self.psql(self.STATEMENT))
        self.gateway.approvals.deny((await asked).id)
        _out, err, _ = await running
        self.assertIn("not on a Friday", err)
        self.assertEqual(self.server.query("SELECT note FROM orders WHERE id = 1"), "a")

    async def test_interrupted(self) -> None:
        self.reset()
        asked = self.gateway.approvals.next_request()
        done: defer.Deferred[str] = defer.Deferred()

        class Psql(ProcessProtocol):
            said = b""

            def errReceived(self, data: bytes) -> None:
                self.said += data

            def processEnded(self, reason: Any) -> None:
                done.callback(self.said.decode())

        client = Psql()
        process: Any = reactor
        process.spawnProcess(client, "psql", ["psql", "-XAt", "-c", self.STATEMENT], env=self.environment())
        await asked
        client.transport.signalProcess(signal.SIGINT)
        self.assertIn("withdrawn", await done)
        self.assertEqual(self.gateway.approvals.requests["A-1"].state, "cancelled")
        self.assertEqual(self.server.query("SELECT note FROM orders WHERE id = 1"), "a")

    async def test_gone_and_back(self) -> None:
        """The client leaves; the request stays; the same statement claims the approval, once."""
        self.reset()
        asked = self.gateway.approvals.next_request()
        done: defer.Deferred[None] = defer.Deferred()

        class Psql(ProcessProtocol):
            def processEnded(self, reason: Any) -> None:
                done.callback(None)

        client = Psql()
        process: Any = reactor
        process.spawnProcess(client, "psql", ["psql", "-XAt", "-c", self.STATEMENT], env=self.environment())
        approval = await asked
        client.transport.signalProcess("KILL")
        await done
        self.gateway.approvals.approve(approval.id)
        self.assertEqual(self.server.query("SELECT note FROM orders WHERE id = 1"), "a")
        out, _err, _ = await self.psql(self.STATEMENT)
        self.assertEqual(out, "UPDATE 1\n")
        self.assertEqual(self.gateway.approvals.requests[approval.id].state, "executed")

    async def test_in_a_transaction(self) -> None:
        _out, err, _ = await self.psql("BEGIN", self.STATEMENT)
        self.assertIn("open transaction", err)

    async def test_extended_protocol(self) -> None:
        self.reset()
        asked = self.gateway.approvals.next_request()

        def work() -> Any:
            with psycopg.connect(self.conninfo(), autocommit=True) as connection:
                cursor = connection.execute("UPDATE orders SET note = %s WHERE id = %s RETURNING note", ("held", 1))
                return cursor.fetchall(), connection.execute("SELECT 1").fetchall()

        running = defer.ensureDeferred(self.thread(work))
        approval = await asked
        held = self.gateway.approvals.held[approval.id]
        self.assertIn(b"held", held.parameters)
        self.gateway.approvals.approve(approval.id)
        self.assertEqual(await running, ([("held",)], [(1,)]))


class DriverTests(GatewayCase):
    async def test_psycopg(self) -> None:
        def work() -> dict[str, Any]:
            seen: dict[str, Any] = {}
            with psycopg.connect(self.conninfo(), autocommit=True) as connection:
                ask = "SELECT id, card_number, card FROM customers WHERE id = %s"
                seen["text"] = connection.execute(ask, (1,)).fetchall()
                seen["binary"] = connection.execute(ask, (1,), binary=True).fetchall()
                for _ in range(8):
                    seen["prepared"] = connection.execute(ask, (2,), prepare=True).fetchall()
                with connection.transaction(), connection.cursor("walk") as cursor:
                    cursor.execute("SELECT id, card_number FROM customers ORDER BY id")
                    seen["cursor"] = cursor.fetchmany(2) + cursor.fetchall()
                with connection.pipeline():
                    first = connection.execute("SELECT card_number FROM customers WHERE id = 1")
                    second = connection.execute("SELECT name FROM customers WHERE id = 1")
                    seen["pipeline"] = (first.fetchall(), second.fetchall())
                try:
                    with connection.pipeline():
                        connection.execute("INSERT INTO orders (total, note) VALUES (55, 'p')")
                        connection.execute("DROP TABLE orders")
                        connection.execute("INSERT INTO orders (total, note) VALUES (56, 'p')")
                except psycopg.Error as error:
                    seen["refused"] = error.sqlstate
                seen["after"] = connection.execute("SELECT 5").fetchall()
                with connection.cursor() as cursor, cursor.copy("COPY customers (id, card_number) TO STDOUT") as copy:
                    seen["copy"] = b"".join(bytes(each) for each in copy)
                query = (
                    "COPY (SELECT id, card_number, card FROM customers ORDER BY id LIMIT 1) TO STDOUT (FORMAT binary)"
                )
                with connection.cursor() as cursor, cursor.copy(query) as copy:
                    copy.set_types(["int4", "text", "int8"])
                    seen["copy binary"] = list(copy.rows())
                try:
                    connection.execute("COPY customers TO STDOUT (ENCODING 'LATIN1')")
                except psycopg.Error as error:
                    seen["copy refused"] = error.sqlstate
                with connection.cursor() as cursor:
                    with cursor.copy("COPY orders (total, note) FROM STDIN") as copy:
                        for number in range(1000):
                            copy.write_row((number, "bulk" * 100))
                seen["bulk"] = connection.execute("SELECT count(*) FROM orders WHERE note LIKE 'bulk%'").fetchone()
            return seen

        seen = await self.thread(work)
        self.assertEqual(seen["text"], [(1, "****1111", None)])
        self.assertEqual(seen["binary"], [(1, "****1111", None)])
        self.assertEqual(seen["prepared"], [(2, "****0004", None)])
        self.assertEqual([row[0] for row in seen["cursor"]], [1, 2, 3])
        self.assertNotIn(CARD, repr(seen))
        self.assertEqual(seen["pipeline"], ([("****1111",)], [("Ann",)]))
        self.assertEqual(seen["refused"], "42501")
        self.assertEqual(seen["after"], [(5,)])
        self.assertEqual(seen["copy"], b"1\t****1111\n2\t****0004\n3\t\\N\n")
        self.assertEqual(seen["copy binary"], [(1, "****1111", None)])
        self.assertEqual(seen["copy refused"], "42501")
        self.assertEqual(seen["bulk"], (1000,))
        self.assertEqual(self.server.query("SELECT count(*) FROM orders WHERE note = 'p'"), "0")
        self.server.query("DELETE FROM orders WHERE note LIKE 'bulk%'")
        self.assertNotIn(CARD, self.recorded())

    async def test_asyncpg(self) -> None:
        import asyncio
        import ssl

        import asyncpg

        def work() -> Any:
            async def run() -> Any:
                context = ssl.create_default_context(cafile=str(self.server.directory / "server.crt"))
                connection = await asyncpg.connect(
                    host="127.0.0.1",
                    port=self.port,
                    user="priya",
                    password="priya-token",
                    database="orders",
                    ssl=context,
                )
                first = await connection.fetch("SELECT id, name, card_number FROM customers WHERE id = $1", 1)
                statement = await connection.prepare("SELECT card_number FROM customers ORDER BY id")
                second = [row[0] for row in await statement.fetch()] + [row[0] for row in await statement.fetch()]
                await connection.executemany(
                    "INSERT INTO orders (total, note) VALUES ($1, 'many')", [(n,) for n in range(50)]
                )
                async with connection.transaction():
                    third = [row[0] async for row in connection.cursor("SELECT card_number FROM customers ORDER BY id")]
                await connection.close()
                return [tuple(row) for row in first], second, third

            return asyncio.run(run())

        first, second, third = await self.thread(work)
        self.assertEqual(first, [(1, "Ann", "****1111")])
        self.assertEqual(second, ["****1111", "****0004", None] * 2)
        self.assertEqual(third, ["****1111", "****0004", None])
        self.assertEqual(self.server.query("SELECT count(*) FROM orders WHERE note = 'many'"), "50")
        self.server.query("DELETE FROM orders WHERE note = 'many'")

    async def test_pg8000(self) -> None:
        import ssl

        import pg8000.native

        def work() -> Any:
            context = ssl.create_default_context(cafile=str(self.server.directory / "server.crt"))
            connection = pg8000.native.Connection(
                "priya",
                host="127.0.0.1",
                port=self.port,
                password="priya-token",
                database="orders",
                ssl_context=context,
            )
            rows = connection.run("SELECT id, card_number FROM customers WHERE id = :id", id=1)
            connection.close()
            return rows

        self.assertEqual(await self.thread(work), [[1, "****1111"]])

    async def test_cancel(self) -> None:
        def work() -> Any:
            with psycopg.connect(self.conninfo(), autocommit=True) as connection:
                import threading

                threading.Timer(0.3, connection.cancel_safe).start()
                try:
                    connection.execute("SELECT pg_sleep(20)")
                except psycopg.Error as error:
                    return error.sqlstate, connection.execute("SELECT 3").fetchone()
            return None

        self.assertEqual(await self.thread(work), ("57014", (3,)))

    async def test_definitions_changed_by_others_are_seen(self) -> None:
        self.server.query(
            "CREATE TABLE safe (id int, note text); INSERT INTO safe VALUES (1, 'n'); ALTER TABLE safe OWNER TO app"
        )
        self.addCleanup(self.server.query, "DROP TABLE IF EXISTS safe")

        def work() -> Any:
            with psycopg.connect(self.conninfo(), autocommit=True) as connection:
                first = connection.execute("SELECT note FROM safe").fetchall()
                self.server.query(
                    "DROP TABLE safe; CREATE TABLE safe AS SELECT id, card_number AS note FROM customers; "
                    "ALTER TABLE safe OWNER TO app"
                )
                return first, connection.execute("SELECT note FROM safe WHERE id = 1").fetchall()

        first, second = await self.thread(work)
        self.assertEqual(first, [("n",)])
        self.assertNotIn(CARD, repr(second))
