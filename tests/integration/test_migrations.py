"""Migration tools through the whole gateway: alembic's own run in a time that was asked for, and its SQL, agreed to word by word.

What is held waits for nobody inside a transaction, and these tools run in one: the yes has to be there before.
"""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer

PROJECT = Path(__file__).with_name("alembic_project")

#: reading is free, definitions and changes of data are held; the pipeline is nobody's person
POLICY = """
targets = ["orders"]
allow.deploy = { who = ["agent:ci/orders"], do = ["read", "write", "ddl"] }
hold.changes = { do = ["ddl", "write"], by = ["group:leads"], wait = "ticket", scopes = ["once", "window"], window_max = "1h" }
deny.drop = { do = ["drop", "truncate"] }
"""
CI = "agent:ci/orders"


class MigrationTests(unittest.TestCase):
    def setUp(self) -> None:
        self.server = PostgresServer()
        self.server.start()
        self.addCleanup(self.server.stop)
        self.gateway = Gateway(self.server, POLICY)
        self.gateway.__enter__()
        self.addCleanup(self.gateway.stop)
        self.gateway.identity(CI)
        self.gateway.identity("user:lea", groups=["leads"], duties=["approver"])

    def alembic(self, *words: str) -> subprocess.CompletedProcess[str]:
        gateway = self.gateway
        url = (
            f"postgresql+psycopg://ci%2Forders:{gateway.tokens[CI]}@127.0.0.1:{gateway.port}/orders"
            f"?sslmode=verify-full&sslrootcert={gateway.authorities}"
        )
        return subprocess.run(
            [sys.executable, "-m", "alembic", "-c", str(self.ini()), *words],
            env={**os.environ, "ALEMBIC_URL": url},
            cwd=gateway.directory,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def ini(self) -> Path:
        path = self.gateway.directory / "alembic.ini"
        path.write_text(f"[alembic]\nscript_location = {PROJECT}\npath_separator = os\n")
        return path

    def ask(self, *words: Any) -> Any:
        return self.gateway.json("request", *words, "--reason", "release 12", who=CI)["approval"]

    def approve(self, id: str) -> None:
        self.gateway.hoopctl("approvals", "approve", id, "--reason", "read it", who="user:lea")

    def migrated(self) -> str:
        return self.server.query("SELECT order_id, carrier FROM parcels ORDER BY order_id")

    def nothing_is_left(self) -> None:
        self.assertEqual(self.server.query("SELECT to_regclass('parcels') IS NULL"), "t")

    def test_alembic_in_a_window(self) -> None:
        before = self.alembic("upgrade", "head")
        self.assertNotEqual(before.returncode, 0)
        self.assertIn("approval needed, ticket A-", before.stderr)
        self.nothing_is_left()
        window = self.ask("window", "orders", "--do", "ddl,write,read", "--for", "30m")
        self.approve(window["id"])
        done = self.alembic("upgrade", "head")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.migrated(), "1|post\n2|courier\n3|post")
        withdrawn = self.gateway.json("request", "withdraw", window["id"], who=CI)
        self.assertEqual(withdrawn["state"], "cancelled")
        self.assertGreater(withdrawn["uses"], 5)
        uses = self.gateway.json("approvals", "list", "--all", who="user:lea")
        self.assertEqual({one["state"] for one in uses if one["grant"] == window["id"]}, {"executed"})
        after = self.alembic("downgrade", "-1")
        self.assertIn("approval needed, ticket A-", after.stderr)

    def test_alembics_sql_agreed_to_word_by_word(self) -> None:
        script = self.alembic("upgrade", "head", "--sql")
        self.assertEqual(script.returncode, 0, script.stderr)
        path = self.gateway.directory / "release-12.sql"
        path.write_text(script.stdout)
        asked = self.ask("run", "orders", "--file", path)
        for words in ("CREATE TABLE parcels", "UPDATE parcels SET carrier", "INSERT INTO alembic_version"):
            self.assertIn(words, asked["redacted"])
        self.approve(asked["id"])
        done = self.psql(path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.migrated(), "1|post\n2|courier\n3|post")
        self.assertEqual(self.gateway.json("approvals", "show", asked["id"], who="user:lea")["state"], "executed")
        again = self.psql(path)
        self.assertIn("approval needed, ticket A-", again.stderr)

    def psql(self, path: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.gateway.dsn(), "-f", str(path)],
            env=self.gateway.environment(CI),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
