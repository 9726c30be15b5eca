"""What rules oblige statements to on the whole gateway: rows, bytes and time of results, rows that are changed, estimates.

Against a real server: what is said to be rolled back is looked for in the database itself, by another connection.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import psycopg

from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer
from tests.integration.tiny.running import until

POLICY = """
targets = ["orders"]
allow.rows    = { who = ["group:rows"], do = ["read", "write", "session"], max_rows = 10 }
allow.bytes   = { who = ["group:bytes"], do = ["read", "write"], max_bytes = "4KiB" }
allow.time    = { who = ["group:time"], do = ["read", "write"], max_time = "1s" }
allow.changes = { who = ["group:changes"], do = ["read", "write", "do", "create"], max_changes = 5 }
allow.asked   = { who = ["group:asked"], do = ["read", "write"] }
hold.asked    = { who = ["group:asked"], do = ["delete"], by = ["group:leads"], wait = "90s", max_rows_factor = 2 }
allow.bulk    = { who = ["group:bulk"], do = ["read", "write", "call", "do"] }
deny.huge     = { who = ["group:bulk"], do = ["write", "do"], when = "op.rows > 5000", why = "in batches" }
hold.some     = { who = ["group:bulk"], do = ["update"], when = "op.rows > 100", by = ["group:leads"], wait = "90s", max_rows = 300 }
hold.delete   = { who = ["group:bulk"], do = ["delete"], when = "!op.where || op.rows > 100", by = ["group:leads"], wait = "90s", max_rows_factor = 1.5 }
"""

SAMPLE = """
CREATE TABLE big (id int PRIMARY KEY, v text NOT NULL);
INSERT INTO big SELECT n, 'value ' || n FROM generate_series(1, 10000) n;
CREATE TABLE small (id int PRIMARY KEY, v text NOT NULL);
INSERT INTO small SELECT n, 'value ' || n FROM generate_series(1, 50) n;
CREATE TABLE checked (id int PRIMARY KEY, parent int REFERENCES small DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE called (at timestamptz DEFAULT now());
CREATE FUNCTION tell() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE WARNING 'ran here'; RETURN 1; END $$;
CREATE FUNCTION tell(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RAISE WARNING 'ran here'; RETURN true; END $$;
CREATE VIEW telling AS SELECT id FROM big WHERE id > tell();
CREATE TABLE guarded (id int PRIMARY KEY);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
ALTER TABLE guarded FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON guarded USING (tell(1));
ANALYZE;
"""

Rows = list[tuple[Any, ...]]


class LimitTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = PostgresServer(SAMPLE)
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)
        cls.gateway = Gateway(cls.server, POLICY)
        cls.gateway.__enter__()
        cls.addClassCleanup(cls.gateway.stop)
        for each in ("rows", "bytes", "time", "changes", "bulk", "asked"):
            cls.gateway.identity(f"user:{each}", groups=[each])
        cls.gateway.identity("user:lea", groups=["leads"], duties=["approver"])

    @contextmanager
    def connected(self, user: str, **words: Any) -> Iterator[psycopg.Connection[Any]]:
        dsn = self.gateway.dsn(user=user, password=self.gateway.tokens[f"user:{user}"])
        with psycopg.connect(dsn, autocommit=True, **words) as connection:
            yield connection

    @contextmanager
    def refused(self, state: str, *words: str) -> Iterator[None]:
        with self.assertRaises(psycopg.Error) as failed:
            yield
        diagnosis = failed.exception.diag
        text = f"{diagnosis.message_primary} / {diagnosis.message_detail} / {diagnosis.message_hint}"
        self.assertEqual(diagnosis.sqlstate, state, text)
        for each in words:
            self.assertIn(each, text)

    def count(self, condition: str = "true", table: str = "big") -> int:
        """By the database itself."""
        return int(self.server.query(f"SELECT count(*) FROM {table} WHERE {condition}"))

    # -- rows ----------------------------------------------------------------------------------------------------

    def test_rows_by_every_way(self) -> None:
        rule = "more than 10 rows, which is all that rule example.allow.rows allows"
        with self.connected("rows") as connection:
            cursor = connection.cursor()
            for prepare in (False, True):
                self.assertEqual(len(cursor.execute("SELECT * FROM big LIMIT 10", prepare=prepare).fetchall()), 10)
                with self.refused("54000", rule, "example.allow.rows"):
                    cursor.execute("SELECT * FROM big", prepare=prepare)
            with self.refused("54000", rule):
                connection.execute("SELECT * FROM big WHERE id > %s", (5,), binary=True)
            with self.refused("54000", rule), connection.cursor().copy("COPY (SELECT * FROM big) TO STDOUT") as copy:
                for _ in copy:
                    pass
            # every statement of a text for itself
            connection.execute("SELECT * FROM big LIMIT 8; SELECT * FROM big LIMIT 8")
            self.assertEqual(connection.execute("SELECT 7").fetchone(), (7,))
            self.assertEqual(connection.info.transaction_status.name, "IDLE")

    def portal(self, user: str, query: str, *sizes: int) -> tuple[list[int], Exception | None]:
        """Fetch from one portal in parts of C{sizes} rows. @return: how many came each time, and what ended it"""

        async def fetch() -> tuple[list[int], Exception | None]:
            dsn = {"host": "127.0.0.1", "port": self.gateway.port, "database": "orders", "user": user}
            secured = ssl.create_default_context(cafile=str(self.gateway.authorities))
            connection = await asyncpg.connect(password=self.gateway.tokens[f"user:{user}"], ssl=secured, **dsn)
            got: list[int] = []
            try:
                async with connection.transaction():
                    cursor = await connection.cursor(query)
                    for size in sizes:
                        got.append(len(await cursor.fetch(size)))
            except asyncpg.PostgresError as error:
                return got, error
            finally:
                await connection.close()
            return got, None

        return asyncio.run(fetch())

    def test_a_portal_with_row_limits_counts_together(self) -> None:
        got, error = self.portal("rows", "SELECT * FROM big", 4, 4, 4)
        self.assertEqual(got, [4, 4])
        self.assertIn("more than 10 rows", str(error))
        self.assertEqual(self.portal("rows", "SELECT * FROM big", 4, 4, 2), ([4, 4, 2], None))
        got, error = self.portal("bytes", "SELECT id, repeat('x', 1000) FROM big", 2, 1, 2, 2)
        self.assertEqual((got, getattr(error, "sqlstate", "")), ([2, 1], "54000"))
        got, error = self.portal("changes", "UPDATE small SET v = 'parts' RETURNING id", 1)
        self.assertEqual(got, [])
        self.assertIn("rows fetched in parts are not counted", str(error))
        self.assertEqual(self.count("v = 'parts'", "small"), 0)

    def test_rows_in_a_pipeline(self) -> None:
        with self.connected("rows") as connection:
            with self.refused("54000", "more than 10 rows"), connection.pipeline():
                connection.execute("SELECT * FROM big")
                connection.execute("UPDATE small SET v = 'behind' WHERE id = 1")
            self.assertEqual(self.count("v = 'behind'", "small"), 0)

    def test_returning_that_is_cut_keeps_nothing(self) -> None:
        with self.connected("rows") as connection:
            for prepare in (False, True):
                with self.refused("54000", "more than 10 rows"):
                    connection.execute("UPDATE small SET v = 'cut' RETURNING id", prepare=prepare)
            with self.refused("54000", "more than 10 rows"):
                connection.execute("UPDATE small SET v = 'cut' WHERE id > %s RETURNING id", (1,))
            self.assertEqual(self.count("v = 'cut'", "small"), 0)
        done = self.gateway.psql("user:rows", "UPDATE small SET v = 'cut' RETURNING id")
        self.assertIn("more than 10 rows", done.stderr)
        self.assertEqual(self.count("v = 'cut'", "small"), 0)

    # -- bytes ---------------------------------------------------------------------------------------------------

    def test_bytes_by_every_way(self) -> None:
        rule = "more than 4096 bytes, which is all that rule example.allow.bytes allows"
        with self.connected("bytes") as connection:
            self.assertEqual(len(connection.execute("SELECT id FROM big LIMIT 200").fetchall()), 200)
            for query, values in (
                ("SELECT * FROM big", None),
                ("SELECT * FROM big WHERE id > %s", (1,)),
                ("SELECT repeat(v, 5000) FROM small LIMIT 1", None),
                ("SELECT repeat(v, 1000000) FROM small LIMIT 1", None),
            ):
                with self.refused("54000", rule, "example.allow.bytes"):
                    connection.execute(query, values)
            with self.refused("54000", rule), connection.cursor().copy("COPY big TO STDOUT (FORMAT binary)") as copy:
                got = b"".join(bytes(each) for each in copy)
                self.assertLessEqual(len(got), 4096)
            self.assertEqual(connection.execute("SELECT 7").fetchone(), (7,))

    # -- time ----------------------------------------------------------------------------------------------------

    def test_time_by_every_way(self) -> None:
        rule = "longer than 1 s, which is all that rule example.allow.time allows"
        slow = "SELECT count(*) FROM big a, big b, small c WHERE mod(a.id + b.id, 7) = 8"
        with self.connected("time") as connection:
            for query, values in ((slow, None), (slow + " AND c.id > %s", (1,))):
                with self.refused("57014", rule, "example.allow.time"):
                    connection.execute(query, values)
                self.assertEqual(connection.execute("SELECT 7").fetchone(), (7,))
            # the statements of a text share it
            with self.refused("57014", rule):
                connection.execute(f"SELECT 1; {slow}")
            with self.refused("57014", rule), connection.pipeline():
                connection.execute("SELECT 1")
                connection.execute(slow)
                connection.execute("UPDATE small SET v = 'late' WHERE id = 1")
            copied = connection.cursor()
            with self.refused("57014", rule), copied.copy(f"COPY ({slow}) TO STDOUT") as copy:
                copy.read()
            with self.refused("57014", rule), copied.copy("COPY small (id, v) FROM STDIN") as copy:
                copy.write_row((1001, "slow"))
                time.sleep(3)
            self.assertEqual(connection.execute("SELECT 7").fetchone(), (7,))
        self.assertEqual(self.count("v IN ('late', 'slow')", "small"), 0)

    # -- changes -------------------------------------------------------------------------------------------------

    def test_changes_in_autocommit(self) -> None:
        rule = "and rule example.allow.changes allows 5"
        with self.connected("changes") as connection:
            for query, values in (
                ("UPDATE small SET v = 'many'", None),
                ("UPDATE small SET v = 'many' WHERE id > %s", (0,)),
                ("UPDATE small SET v = 'many' WHERE id < 3; UPDATE small SET v = 'many' WHERE id > 40", None),
                ("INSERT INTO small SELECT n, 'many' FROM generate_series(2000, 2010) n", None),
                ("DELETE FROM small WHERE id > 20", None),
                ("CREATE TABLE small_copy AS SELECT * FROM small", None),
            ):
                with self.refused("54000", "rolled back: it touched ", rule, "example.allow.changes"):
                    connection.execute(query, values)
                self.assertEqual(self.count("v = 'many'", "small"), 0, query)
                self.assertEqual(connection.info.transaction_status.name, "IDLE")
            self.assertEqual(self.count(table="small"), 50)
            self.assertEqual(connection.execute("UPDATE small SET v = v WHERE id < 6").statusmessage, "UPDATE 5")
            done = connection.execute("UPDATE small SET v = 'few' WHERE id = %s", (3,))
            self.assertEqual(done.statusmessage, "UPDATE 1")
            with self.refused("54000", rule), connection.cursor().copy("COPY small (id, v) FROM STDIN") as copy:
                for number in range(3000, 3010):
                    copy.write_row((number, "copied"))
            with connection.cursor().copy("COPY small (id, v) FROM STDIN") as copy:
                copy.write_row((3000, "copied"))
        self.assertEqual(self.count("v = 'few'", "small"), 1)
        self.assertEqual(self.count("v = 'copied'", "small"), 1)
        self.server.query("DELETE FROM small WHERE id > 50; UPDATE small SET v = 'value ' || id")

    def test_psql_sees_what_it_would_see_directly(self) -> None:
        for statement in (
            "UPDATE small SET v = v WHERE id = 1 RETURNING id",
            "INSERT INTO checked VALUES (1, 999)",
            "UPDATE nothing SET v = 1",
            "UPDATE small SET id = 2 WHERE id = 1",
        ):
            through = self.gateway.psql("user:changes", statement)
            direct = self.server.query
            try:
                expected = (direct(statement, user="app", password=self.server.app_password), 0)
            except Exception as error:
                expected = (getattr(error, "stderr", ""), 1)
            if expected[1]:
                self.assertNotEqual(through.returncode, 0)
                self.assertIn("ERROR", through.stderr)
                self.assertNotIn("hoopd", through.stderr)
            else:
                self.assertEqual(through.stdout.split("\n")[0], expected[0], through.stderr)
        self.assertEqual(self.count(table="checked"), 0)

    def test_changes_in_a_transaction(self) -> None:
        for pipeline in (False, True):
            with self.connected("changes") as connection:
                connection.execute("BEGIN")
                connection.execute("UPDATE small SET v = 'kept?' WHERE id = 1")
                with self.refused("54000", "rolled back: it touched"):
                    if pipeline:
                        with connection.pipeline():
                            connection.execute("UPDATE small SET v = 'kept?'")
                            connection.execute("COMMIT")
                    else:
                        connection.execute("UPDATE small SET v = 'kept?'")
                self.assertEqual(connection.info.transaction_status.name, "INERROR")
                self.assertEqual(connection.execute("COMMIT").statusmessage, "ROLLBACK")
                self.assertEqual(self.count("v = 'kept?'", "small"), 0)

    def test_what_cannot_be_counted_is_refused(self) -> None:
        with self.connected("changes") as connection:
            for query in (
                "DO $$ BEGIN UPDATE small SET v = 'uncounted'; END $$",
                "WITH gone AS (UPDATE small SET v = 'uncounted' RETURNING *) SELECT * FROM gone",
                "EXPLAIN ANALYZE UPDATE small SET v = 'uncounted'",
                "BEGIN; UPDATE small SET v = 'uncounted'; COMMIT",
            ):
                with self.refused("42501", "its row ceiling cannot be kept"):
                    connection.execute(query)
        self.assertEqual(self.count("v = 'uncounted'", "small"), 0)

    def test_a_server_that_dies_in_the_middle_keeps_nothing(self) -> None:
        with self.connected("changes") as connection, self.assertRaises(psycopg.Error):
            pid = connection.execute("SELECT pg_backend_pid()").fetchone()
            threading.Timer(1.0, lambda: self.server.query(f"SELECT pg_terminate_backend({pid[0]})")).start()
            connection.execute("UPDATE small SET v = 'dead' FROM pg_sleep(30) WHERE id = 1")
        self.assertEqual(self.count("v = 'dead'", "small"), 0)

    # -- estimates -----------------------------------------------------------------------------------------------

    def test_the_estimate_decides(self) -> None:
        with self.connected("bulk") as connection:
            self.assertEqual(connection.execute("UPDATE big SET v = v WHERE id = 5").statusmessage, "UPDATE 1")
            self.assertEqual(connection.execute("UPDATE big SET v = v WHERE id < %s", (50,)).statusmessage, "UPDATE 49")
            for query, values in (
                ("UPDATE big SET v = 'huge'", None),
                ("UPDATE big SET v = 'huge' WHERE id > %s", (10,)),
                ("UPDATE big SET v = 'huge' WHERE true", None),
                ("UPDATE big SET v = 'huge' WHERE id = id", None),
                ("UPDATE big SET v = 'huge' FROM small WHERE small.id = 1", None),
                ("DELETE FROM big USING small WHERE small.id = 1", None),
                ("INSERT INTO big SELECT n + 100000, 'huge' FROM generate_series(1, 100000) n", None),
            ):
                with self.refused("42501", "in batches", "example.deny.huge"):
                    connection.execute(query, values)
        self.assertEqual(self.count("v = 'huge'"), 0)

    def test_what_cannot_be_estimated_counts_as_too_much(self) -> None:
        before = self.server.log.read_text().count("ran here")
        with self.connected("bulk") as connection:
            for query in (
                "UPDATE big SET v = 'unknown' WHERE id = tell()",
                "UPDATE big SET v = 'unknown' FROM telling WHERE big.id = telling.id AND big.id = 1",
                "DELETE FROM guarded WHERE id = 1",
                "DO $$ BEGIN UPDATE big SET v = 'unknown' WHERE id = 1; END $$",
            ):
                with self.refused("42501", "in batches"):
                    connection.execute(query)
        self.assertEqual(self.server.log.read_text().count("ran here"), before, "a function of users ran")
        self.assertEqual(self.count("v = 'unknown'"), 0)

    # -- ceilings ------------------------------------------------------------------------------------------------

    def pending(self, mark: str) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            return [each for each in self.gateway.json("approvals", "list", who="user:lea") if mark in each["redacted"]]

        until(lambda: bool(found()), f"the request for {mark} is on file")
        return found()[0]

    def held(self, query: str, mark: str, *words: str, who: str = "bulk") -> tuple[dict[str, Any], list[Any]]:
        """Run C{query}, have it approved with C{words}. @return: the request, and the tag or error"""
        outcome: list[Any] = []

        def run() -> None:
            with self.connected(who) as connection:
                try:
                    outcome.append(connection.execute(query).statusmessage)
                except psycopg.Error as error:
                    outcome.append(error.diag)

        thread = threading.Thread(target=run)
        thread.start()
        asked = self.pending(mark)
        self.gateway.hoopctl("approvals", "approve", asked["id"], "--reason", "seen", *words, who="user:lea")
        thread.join(100)
        return self.gateway.json("approvals", "show", asked["id"], who="user:lea"), outcome

    def test_an_approval_has_a_row_ceiling(self) -> None:
        approval, (tag,) = self.held("UPDATE big SET v = 'lawful' WHERE id <= 200", "lawful")
        self.assertEqual((tag, approval["state"], approval["max_rows"]), ("UPDATE 200", "executed", 300))
        self.assertTrue(150 <= approval["estimated_rows"] <= 250, approval["estimated_rows"])
        self.assertEqual(self.count("v = 'lawful'"), 200)
        approval, (error,) = self.held("UPDATE big SET v = 'beyond' WHERE id <= 400", "beyond")
        self.assertEqual((error.sqlstate, approval["state"]), ("54000", "failed"))
        self.assertIn(
            f"rolled back: it touched 400 rows, and approval {approval['id']} allows 300", error.message_primary
        )
        self.assertIn("rolled back", approval["outcome"])
        self.assertEqual(self.count("v = 'beyond'"), 0)

    def test_a_ceiling_by_the_estimate(self) -> None:
        approval, (tag,) = self.held("DELETE FROM small", "DELETE FROM small")
        self.assertEqual((tag, approval["max_rows"]), ("DELETE 50", 75))
        self.assertIs(approval["facts"]["where"], False)
        self.server.query("INSERT INTO small SELECT n, 'value ' || n FROM generate_series(1, 50) n")

    def test_an_approver_says_another_number(self) -> None:
        approval, (error,) = self.held("DELETE FROM small WHERE id <= 20", "id <= 20", "--max-rows", "10", who="asked")
        self.assertEqual((approval["max_rows"], approval["state"], error.sqlstate), (10, "failed", "54000"))
        self.assertEqual(self.count(table="small"), 50)
        approval, (tag,) = self.held("DELETE FROM small WHERE id <= 21", "id <= 21", "--max-rows", "21", who="asked")
        self.assertEqual((tag, approval["state"]), ("DELETE 21", "executed"))
        self.server.query("INSERT INTO small SELECT n, 'value ' || n FROM generate_series(1, 21) n")

    def test_without_an_estimate_the_approver_has_to_say_a_number(self) -> None:
        client = self.gateway.psql_started("user:asked", "DELETE FROM guarded WHERE id = 1")
        asked = self.pending("DELETE FROM guarded")
        shown = self.gateway.hoopctl("approvals", "show", asked["id"], who="user:lea").stdout
        self.assertIn("the target gives no estimate; no ceiling", shown)
        approve = ("approvals", "approve", asked["id"], "--reason", "seen")
        refused = self.gateway.hoopctl(*approve, who="user:lea", ok=False)
        self.assertIn("example.hold.asked sets a ceiling by the target's estimate, and there is none", refused.stderr)
        self.gateway.hoopctl(*approve, "--max-rows", "1", who="user:lea")
        self.assertIn("DELETE 0", client.communicate(timeout=100)[0])
