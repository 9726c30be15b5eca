"""PostgreSQL's JDBC driver through the gateway: simple and server-prepared statements, refusals, transactions."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer

JAR = Path("/usr/share/java/postgresql.jar")

PROGRAM = """
import java.sql.*;
import java.util.Properties;

public class T {
    public static void main(String[] words) throws Exception {
        Properties who = new Properties();
        who.setProperty("user", "priya");
        who.setProperty("password", words[1]);
        who.setProperty("sslmode", "require");
        try (Connection c = DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + words[0] + "/orders", who)) {
            try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT * FROM customers ORDER BY id")) {
                r.next();
                System.out.println("simple " + r.getString("name") + " " + r.getString("card_number") + " " + r.getObject("card"));
            }
            try (PreparedStatement p = c.prepareStatement("SELECT card_number, name FROM customers WHERE id = ?")) {
                for (int round = 0; round < 8; round++) {
                    p.setInt(1, 1 + round % 2);
                    try (ResultSet r = p.executeQuery()) {
                        r.next();
                        System.out.println("prepared " + r.getString(1) + " " + r.getString(2));
                    }
                }
            }
            try (Statement s = c.createStatement()) {
                s.execute("DROP TABLE orders");
            } catch (SQLException refused) {
                System.out.println("refused " + refused.getSQLState() + " " + refused.getMessage().split("\\n")[0]);
            }
            c.setAutoCommit(false);
            try (Statement s = c.createStatement()) {
                s.executeUpdate("INSERT INTO orders (customer_id, total, note) VALUES (1, 9, 'jdbc')");
                try {
                    s.execute("TRUNCATE orders");
                } catch (SQLException refused) {
                    System.out.println("in transaction " + refused.getSQLState());
                }
                try {
                    s.execute("SELECT 1");
                } catch (SQLException failed) {
                    System.out.println("then " + failed.getSQLState());
                }
            }
            c.rollback();
            try (PreparedStatement p = c.prepareStatement("INSERT INTO orders (customer_id, total, note) VALUES (?, ?, ?)")) {
                for (int round = 0; round < 20; round++) {
                    p.setInt(1, 1);
                    p.setBigDecimal(2, new java.math.BigDecimal("1.5"));
                    p.setString(3, "batch");
                    p.addBatch();
                }
                System.out.println("batch " + p.executeBatch().length);
            }
            c.commit();
            try (ResultSet r = c.getMetaData().getColumns(null, "public", "customers", null)) {
                int columns = 0;
                while (r.next()) columns++;
                System.out.println("columns " + columns);
            }
        }
    }
}
"""


class JdbcTests(unittest.TestCase):
    def test_the_driver_works_and_is_masked(self) -> None:
        java = shutil.which("java")
        self.assertTrue(java and JAR.exists(), "java or PostgreSQL's driver is missing: make setup installs them")
        with PostgresServer() as server, Gateway(server) as gateway, tempfile.TemporaryDirectory() as name:
            token = gateway.identity("user:priya", groups=["eng"])
            source = Path(name) / "T.java"
            source.write_text(PROGRAM)
            done = subprocess.run(
                [str(java), "-cp", str(JAR), str(source), str(gateway.port), token],
                capture_output=True,
                text=True,
                timeout=90,
            )
            self.assertEqual(done.returncode, 0, done.stderr[-3000:])
            said = done.stdout.splitlines()
            self.assertEqual(said[0], "simple Ann ****1111 null")
            self.assertEqual(said[1:9], ["prepared ****1111 Ann", "prepared ****0004 Bob"] * 4)
            self.assertIn("refused 42501 ERROR: hoopd: Schema changes go through migrations", said[9])
            self.assertEqual(said[10:], ["in transaction 42501", "then 25P02", "batch 20", "columns 5"])
            self.assertEqual(server.query("SELECT count(*) FROM orders WHERE note = 'batch'"), "20")
            self.assertEqual(server.query("SELECT count(*) FROM orders WHERE note = 'jdbc'"), "0")
