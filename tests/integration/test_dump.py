"""pg_dump and pg_restore of a database under a restrictive policy, and psql's \\d family: the same, less what is masked."""

from __future__ import annotations

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import pytest

from tests.integration.installation import Gateway
from tests.integration.postgres import BINARIES, PostgresServer

pytestmark = pytest.mark.integration

POLICY = """
targets = ["orders"]
mask.card = { columns = ["*.card_number", "*.card"], show = "last4" }
allow.backup = { who = ["group:backup"], do = ["read", "read-secret"] }
allow.eng = { who = ["group:eng"], do = ["read"] }
"""

SCHEMA = """
CREATE VIEW spent AS SELECT c.id, c.name, sum(o.total) AS total FROM customers c JOIN orders o ON o.customer_id = c.id
    GROUP BY c.id, c.name;
CREATE MATERIALIZED VIEW kept AS SELECT id, name, card_number FROM customers;
CREATE TABLE parts (id int, kind text, note text) PARTITION BY LIST (kind);
CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a');
INSERT INTO parts VALUES (1, 'a', E'tab\\there, "quotes", back\\\\slash');
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN percent AS int CHECK (VALUE BETWEEN 0 AND 100);
CREATE INDEX by_note ON orders (note);
COMMENT ON TABLE orders IS 'what they bought';
"""

DESCRIBE = (
    "\\d", "\\d customers", "\\d+ orders", "\\d+ spent", "\\d parts", "\\dt+", "\\dv+", "\\dm+", "\\di", "\\ds", "\\df", "\\dT+", "\\dn+",
    "\\du", "\\dp", "\\l", "\\db", "\\dx", "\\dC int4", "\\do =", "\\dD", "\\dd", "\\dO", "\\sf twice", "\\sv spent",
)  # fmt: skip


class DumpTests(unittest.TestCase):
    server: PostgresServer
    gateway: Gateway

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = cls.enterClassContext(PostgresServer())
        cls.server.query(SCHEMA, "orders", "app", cls.server.app_password)
        cls.gateway = cls.enterClassContext(Gateway(cls.server, POLICY))
        cls.gateway.identity("user:bea", groups=["backup"])
        cls.gateway.identity("user:priya", groups=["eng"])

    def run_program(self, name: str, *words: str, through: str = "", database: str = "orders") -> str:
        """A program of PostgreSQL's, through the gateway as C{through} or straight as the owner. @return: what it printed"""
        own = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        if through:
            given = {
                "PGPORT": str(self.gateway.port), "PGUSER": through, "PGSSLMODE": "verify-full",
                "PGPASSWORD": self.gateway.tokens[f"user:{through}"], "PGSSLROOTCERT": str(self.gateway.authorities),
            }  # fmt: skip
        else:
            given = {"PGPORT": str(self.server.port), "PGUSER": "app", "PGPASSWORD": self.server.app_password}
        done = subprocess.run(
            [str(BINARIES / name), *words],
            env={**own, **given, "PGHOST": "127.0.0.1", "PGDATABASE": database},
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr.decode()[:3000])
        self.assertEqual(done.stderr, b"")
        return done.stdout.decode()

    def test_definitions_are_dumped_as_they_are(self) -> None:
        direct, through = (self.run_program("pg_dump", "--schema-only", through=each) for each in ("", "bea"))
        self.assertEqual(_told(through), _told(direct))

    def test_a_masked_dump_is_restored(self) -> None:
        self.server.query("CREATE DATABASE again OWNER app", "postgres")
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "dump"
            self.run_program("pg_dump", "--format=custom", f"--file={path}", through="bea")
            self.assertNotIn(b"4111111111111111", path.read_bytes())
            self.run_program("pg_restore", "--dbname=again", "--no-owner", "--no-comments", str(path))
        for table in ("orders", "parts", "spent"):
            ask = f"SELECT string_agg(t::text, ';' ORDER BY t::text) FROM {table} t"
            self.assertEqual(self.server.query(ask, "again"), self.server.query(ask, "orders"), table)
        self.assertEqual(
            self.server.query("SELECT id, card_number, card FROM customers ORDER BY id", "again").splitlines(),
            ["1|****1111|", "2|****0004|", "3||"],
        )
        self.assertEqual(self.server.query("SELECT card_number FROM kept WHERE id = 1", "again"), "****1111")

    def test_it_reads_catalogs_that_hold_secrets(self) -> None:
        with self.assertRaisesRegex(AssertionError, "no rule allows user:priya to read-secret on orders"):
            self.run_program("pg_dump", "--schema-only", through="priya")

    def test_rows_as_inserts(self) -> None:
        text = self.run_program("pg_dump", "--data-only", "--inserts", "--table=customers", through="bea")
        self.assertIn("'****1111', NULL);", text)
        self.assertNotIn("4111111111111111", text)

    def test_psql_describes_as_it_does_directly(self) -> None:
        for command in DESCRIBE:
            with self.subTest(command):
                direct, through = (self.run_program("psql", "-Xc", command, through=each) for each in ("", "priya"))
                self.assertEqual(through, direct)


def _told(dump: str) -> list[str]:
    """Without comments and the tokens that each run makes."""
    return [line for line in dump.splitlines() if not line.startswith(("--", "\\restrict", "\\unrestrict"))]
