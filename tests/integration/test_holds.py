"""A hold outlasts its client on the whole gateway: whose wait is over, or who is gone, comes back to what was approved."""

from __future__ import annotations

import time
import unittest
from typing import Any

import psycopg

from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer
from tests.integration.tiny.running import until

WAIT = 2
POLICY = f"""
targets = ["orders"]
allow.all = {{ who = ["group:eng"], do = ["read", "write"] }}
hold.update = {{ do = ["update"], by = ["group:leads"], wait = "{WAIT}s" }}
"""


class HoldTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = PostgresServer()
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)
        cls.gateway = Gateway(cls.server, POLICY, workers=2)
        cls.gateway.__enter__()
        cls.addClassCleanup(cls.gateway.stop)
        cls.gateway.identity("user:priya", groups=["eng"])
        cls.gateway.identity("user:lea", groups=["leads"], duties=["approver"])

    def waiting(self, mark: str = "") -> list[dict[str, Any]]:
        """Pending requests whose statement has C{mark} in it."""
        found = self.gateway.json("approvals", "list", who="user:lea")
        return [each for each in found if mark in each["redacted"]]

    def approve(self, id: str) -> None:
        self.gateway.hoopctl("approvals", "approve", id, "--reason", "seen", who="user:lea")

    def executed(self, mark: str) -> int:
        """How often the target executed the statement with C{mark}, by its own log."""
        lines = self.server.statements().splitlines()
        return sum(mark in line and ("statement: UPDATE" in line or "execute " in line) for line in lines)

    def state(self, id: str) -> str:
        return str(self.gateway.json("approvals", "show", id, who="user:lea")["state"])

    def test_psql_whose_wait_is_over(self) -> None:
        statement = "UPDATE orders SET note = 'psql-waited' WHERE id = 1"
        began = time.monotonic()
        first = self.gateway.psql("user:priya", statement)
        self.assertGreaterEqual(time.monotonic() - began, WAIT)
        self.assertNotEqual(first.returncode, 0)
        (asked,) = self.waiting("psql-waited")
        self.assertIn(f"This connection waits {WAIT} s, the request stays open for 60 min.", first.stderr)
        self.assertIn(f"ERROR:  hoopd: nobody has decided on {asked['id']} yet; it has not run", first.stderr)
        self.assertIn(f"Repeat exactly this statement once {asked['id']} is approved", first.stderr)
        # again before anybody decided: the same request, not another
        again = self.gateway.psql("user:priya", statement)
        self.assertIn(f"nobody has decided on {asked['id']} yet", again.stderr)
        self.assertEqual([each["id"] for each in self.waiting("psql-waited")], [asked["id"]])
        self.assertEqual(self.executed("psql-waited"), 0)
        self.approve(asked["id"])
        other = self.gateway.psql("user:priya", statement.replace("id = 1", "id = 2"))
        self.assertIn("held for approval", other.stderr, "another statement is another request")
        back = self.gateway.psql("user:priya", statement)
        self.assertEqual((back.stdout, back.returncode), ("UPDATE 1\n", 0), back.stderr)
        self.assertEqual(self.executed("psql-waited"), 1)
        self.assertEqual(self.state(asked["id"]), "executed")
        third = self.gateway.psql("user:priya", statement)
        self.assertIn("held for approval", third.stderr)
        self.assertNotIn(asked["id"], third.stderr)
        self.assertEqual(self.executed("psql-waited"), 1)

    def test_a_driver_whose_wait_is_over_goes_on_in_its_session(self) -> None:
        dsn = self.gateway.dsn(user="priya", password=self.gateway.tokens["user:priya"])
        statement, values = "UPDATE orders SET note = %s WHERE id = %s RETURNING note", ("driver-waited", 1)
        with psycopg.connect(dsn, autocommit=True) as connection:
            with self.assertRaises(psycopg.Error) as failed:
                connection.execute(statement, values)
            diagnosis = failed.exception.diag
            self.assertEqual(diagnosis.sqlstate, "55000")
            known = {each["id"] for each in self.waiting()}
            (id,) = [each for each in known if each in (diagnosis.message_primary or "")]
            self.assertIn("Repeat exactly this statement", diagnosis.message_hint or "")
            # the session is as good as before
            self.assertEqual(connection.execute("SELECT 7").fetchone(), (7,))
            self.approve(id)
            with self.assertRaises(psycopg.Error):
                connection.execute(statement, ("driver-waited", 2))
            self.assertEqual(self.executed("driver-waited"), 0)
            self.assertEqual(connection.execute(statement, values).fetchall(), [("driver-waited",)])
            with self.assertRaises(psycopg.Error) as held:
                connection.execute(statement, values)
            self.assertEqual(held.exception.diag.sqlstate, "55000")
            self.assertNotIn(id, held.exception.diag.message_primary or "")
        self.assertEqual(self.executed("UPDATE orders SET note = $1 WHERE id = $2 RETURNING note"), 1)

    def test_a_client_that_left_while_held_comes_back(self) -> None:
        statement = "UPDATE orders SET note = 'left' WHERE id = 3"
        client = self.gateway.psql_started("user:priya", statement)
        until(lambda: self.waiting("'left'"), "the request is on file")
        id = self.waiting("'left'")[0]["id"]
        client.kill()
        client.communicate()
        self.approve(id)
        time.sleep(0.5)
        self.assertEqual(self.executed("'left'"), 0, "nobody is there to run it for")
        self.assertEqual(self.state(id), "approved")
        back = self.gateway.psql("user:priya", statement)
        self.assertEqual((back.stdout, back.returncode), ("UPDATE 1\n", 0), back.stderr)
        self.assertEqual((self.executed("'left'"), self.state(id)), (1, "executed"))
