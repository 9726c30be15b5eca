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
from tests.integration.test_jdbc import JAR

PROJECT = Path(__file__).with_name("alembic_project")

#: reading is free, definitions and changes of data are held; the pipeline is nobody's person
POLICY = """
targets = ["orders"]
allow.deploy = { who = ["agent:ci/orders"], do = ["read", "write", "ddl", "function", "session-privileged"] }
hold.changes = { do = ["ddl", "write"], by = ["group:leads"], wait = "ticket", scopes = ["once", "window"], window_max = "1h" }
deny.drop = { do = ["drop", "truncate"] }
"""
CI = "agent:ci/orders"

#: what Flyway's migrate asks PostgreSQL by JDBC, in its order (flyway-database-postgresql: PostgreSQLConnection,
#: PostgreSQLDatabase, PostgreSQLAdvisoryLockTemplate), with one migration of two statements; Flyway itself is in none of
#: the registries that tests install from
FLYWAY = """
import java.sql.*;
import java.util.Properties;

public class F {
    static String ask(Connection c, String sql, String... values) throws SQLException {
        try (PreparedStatement p = c.prepareStatement(sql)) {
            for (int at = 0; at < values.length; at++) p.setString(at + 1, values[at]);
            if (!p.execute()) return "";
            try (ResultSet r = p.getResultSet()) { return r.next() ? r.getString(1) : ""; }
        }
    }

    static void run(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement()) { s.execute(sql); }
    }

    public static void main(String[] words) throws Exception {
        Properties who = new Properties();
        who.setProperty("user", "ci/orders");
        who.setProperty("password", words[1]);
        String url = "jdbc:postgresql://127.0.0.1:" + words[0] + "/orders?sslmode=require&preferQueryMode=simple";
        try (Connection c = DriverManager.getConnection(url, who)) {
            String path = ask(c, "SHOW search_path"), role = ask(c, "SELECT CURRENT_USER");
            ask(c, "SELECT current_schema");
            ask(c, "SELECT COUNT(*) FROM pg_namespace WHERE nspname=?", "public");
            ask(c, "SELECT pg_try_advisory_lock(77431708279161)");
            try {
                String history = "\\"public\\".\\"flyway_schema_history\\"";
                c.setAutoCommit(false);
                run(c, "CREATE TABLE " + history + " (\\"installed_rank\\" INT NOT NULL, \\"version\\" VARCHAR(50), "
                    + "\\"description\\" VARCHAR(200) NOT NULL, \\"script\\" VARCHAR(1000) NOT NULL, \\"installed_by\\" "
                    + "VARCHAR(100) NOT NULL, \\"installed_on\\" TIMESTAMP NOT NULL DEFAULT now(), \\"success\\" BOOLEAN NOT NULL)");
                run(c, "ALTER TABLE " + history + " ADD CONSTRAINT \\"flyway_schema_history_pk\\" PRIMARY KEY (\\"installed_rank\\")");
                run(c, "CREATE INDEX \\"flyway_schema_history_s_idx\\" ON " + history + " (\\"success\\")");
                c.commit();
                c.setAutoCommit(true);
                ask(c, "SELECT \\"version\\" FROM " + history + " WHERE \\"installed_rank\\" > ? ORDER BY \\"installed_rank\\"", "0");
                c.setAutoCommit(false);
                run(c, "CREATE TABLE parcels (order_id int, carrier text)");
                run(c, "INSERT INTO parcels SELECT id, CASE id WHEN 2 THEN 'courier' ELSE 'post' END FROM orders");
                run(c, "SET ROLE '" + role + "'");
                try (PreparedStatement p = c.prepareStatement("INSERT INTO " + history + " (\\"installed_rank\\", "
                    + "\\"version\\", \\"description\\", \\"script\\", \\"installed_by\\", \\"success\\") VALUES (?, ?, ?, ?, ?, ?)")) {
                    p.setInt(1, 1); p.setString(2, "1"); p.setString(3, "parcels"); p.setString(4, "V1__parcels.sql");
                    p.setString(5, role); p.setBoolean(6, true);
                    p.executeUpdate();
                }
                c.commit();
                c.setAutoCommit(true);
            } finally {
                ask(c, "SELECT pg_advisory_unlock(77431708279161)");
            }
            run(c, "SET ROLE '" + role + "'");
            System.out.println("path " + ask(c, "SELECT set_config('search_path', ?, false)", path));
        }
    }
}
"""


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

    def test_what_flyway_sends_in_a_window(self) -> None:
        directory = self.gateway.directory
        (directory / "F.java").write_text(FLYWAY)
        window = self.ask("window", "orders", "--do", "ddl,write,read,function", "--for", "30m")
        self.approve(window["id"])
        done = subprocess.run(
            ["java", "-cp", str(JAR), "F.java", str(self.gateway.port), self.gateway.tokens[CI]],
            cwd=directory, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        self.assertEqual((done.returncode, done.stdout), (0, 'path "$user", public\n'), done.stderr)
        self.assertEqual(self.migrated(), "1|post\n2|courier\n3|post")
        self.assertEqual(self.server.query("SELECT version, script FROM flyway_schema_history"), "1|V1__parcels.sql")
