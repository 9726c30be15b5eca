"""Asking ahead on the whole gateway: for statements of a file, for a time, with a ticket; and what a yes reaches."""

from __future__ import annotations

import subprocess
import unittest
from pathlib import Path
from typing import Any

import psycopg

from hoopd.audit.verify import render, verify
from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer
from tests.integration.tiny.running import until

POLICY = """
targets = ["orders"]
allow.all = { who = ["group:eng"], do = ["read", "write", "ddl"] }
hold.update = { do = ["update"], by = ["group:leads"], wait = "30s", scopes = ["once", "session", "window"], window_max = "2h" }
hold.delete = { do = ["delete"], by = ["group:leads"], wait = "ticket", why = "customers notice" }
hold.truncate = { do = ["truncate"], by = ["group:leads"], wait = "30s", scopes = ["once", "window"], reason = "INC-[0-9]+", reason_hint = "an incident" }
hold.ddl = { do = ["ddl"], by = ["group:leads"], wait = "30s", scopes = ["once", "window"] }
deny.drop = { do = ["drop"] }
"""

#: as a person writes a change: two statements are held, three are not
CHANGE = """-- the correction of INC-7
BEGIN;
SELECT count(*) FROM orders;
UPDATE orders SET note = 'file-one' WHERE id = 1;
UPDATE orders SET note = 'file-two' WHERE id = 2;
COMMIT;
"""


class RequestTests(unittest.TestCase):
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

    # -- words of these tests ----------------------------------------------------------------------------------

    def ask(self, *words: Any) -> Any:
        return self.gateway.json("request", *words, "--reason", "INC-7", who="user:priya")

    def approve(self, id: str, *words: str) -> Any:
        return self.gateway.json("approvals", "approve", id, "--reason", "seen", *words, who="user:lea")

    def show(self, id: str) -> Any:
        return self.gateway.json("approvals", "show", id, who="user:lea")

    def state(self, id: str) -> str:
        return str(self.show(id)["state"])

    def run_file(self, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.gateway.dsn(), *options, "-f", str(path)],
            env=self.gateway.environment("user:priya"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def connect(self, **options: Any) -> psycopg.Connection:
        dsn = self.gateway.dsn(user="priya", password=self.gateway.tokens["user:priya"])
        return psycopg.connect(dsn, **{"autocommit": True, **options})

    def file(self, text: str) -> Path:
        path = self.gateway.directory / f"{self.id().rpartition('.')[2]}.sql"
        path.write_text(text)
        return path

    def executed(self, mark: str) -> int:
        """How often the target executed the statement with C{mark}, by its own log."""
        return sum(
            mark in line and ("statement: " in line or "execute " in line)
            for line in self.server.statements().splitlines()
        )

    # -- statements --------------------------------------------------------------------------------------------

    def test_a_file_of_statements_in_a_transaction(self) -> None:
        path = self.file(CHANGE)
        asked = self.ask("run", "orders", "--file", path)
        approval = asked["approval"]
        self.assertEqual(
            [verdict for _, verdict, _ in asked["statements"]], ["allow", "allow", "hold", "hold", "allow"]
        )
        self.assertEqual((approval["state"], approval["kind"], len(approval["steps"])), ("pending", "statements", 2))
        self.assertIn("UPDATE orders SET note = 'file-one' WHERE id = 1;\nUPDATE", approval["redacted"])
        self.assertEqual(self.executed("file-one"), 0)
        # asked again: the same request
        self.assertEqual(self.ask("run", "orders", "--file", path)["approval"]["id"], approval["id"])
        refused = self.run_file(path)
        self.assertIn("approval is not waited for in an open transaction", refused.stderr)
        self.approve(approval["id"])
        done = self.run_file(path)
        self.assertEqual((done.returncode, done.stdout), (0, "3\n"), done.stderr)
        self.assertEqual((self.executed("file-one"), self.executed("file-two")), (1, 1))
        self.assertEqual(self.state(approval["id"]), "executed")
        self.assertEqual([self.state(f"{approval['id']}/{number}") for number in (1, 2)], ["executed", "executed"])
        again = self.run_file(path)
        self.assertIn("approval is not waited for in an open transaction", again.stderr)
        self.assertEqual((self.executed("file-one"), self.executed("file-two")), (1, 1))

    def test_another_order_or_another_text_is_not_what_was_approved(self) -> None:
        statements = [f"UPDATE orders SET note = 'order-{number}' WHERE id = {number}" for number in (1, 2, 3)]
        id = self.ask("run", "orders", ";".join(statements))["approval"]["id"]
        self.approve(id)
        with self.connect() as connection, connection.transaction(force_rollback=True):
            with self.assertRaises(psycopg.Error) as out_of_turn:
                connection.execute(statements[1])
            self.assertIn("not waited for in an open transaction", str(out_of_turn.exception))
        with self.connect() as connection:
            self.assertEqual(connection.execute(statements[0]).rowcount, 1)
            # begun here: another session does not go on with it, nor is a statement run twice
            with self.connect() as other, other.transaction(), self.assertRaises(psycopg.Error):
                other.execute(statements[1])
            with connection.transaction(force_rollback=True), self.assertRaises(psycopg.Error):
                connection.execute(statements[0])
            self.assertEqual(connection.execute(statements[1]).rowcount, 1)
        until(lambda: self.state(id) == "failed", "what its session left undone is not done by another")
        self.assertIn("its session ended after 2 of 3 statements", self.show(id)["outcome"])
        self.assertEqual([self.executed(f"order-{number}") for number in (1, 2, 3)], [1, 1, 0])

    def test_a_statement_that_fails_ends_the_rest(self) -> None:
        statements = [
            "UPDATE orders SET total = 1 / (id - id) WHERE id = 1",
            "UPDATE orders SET note = 'rest' WHERE id = 1",
        ]
        id = self.ask("run", "orders", ";".join(statements))["approval"]["id"]
        self.approve(id)
        with self.connect() as connection:
            with self.assertRaises(psycopg.errors.DivisionByZero):
                connection.execute(statements[0])
            until(lambda: self.state(id) == "failed", "its outcome is told")
            with connection.transaction(), self.assertRaises(psycopg.Error):
                connection.execute(statements[1])
        self.assertEqual((self.state(f"{id}/1"), self.executed("'rest'")), ("failed", 0))

    def test_definitions_and_settings_inside_a_file(self) -> None:
        path = self.file(
            "CREATE TABLE parcels (id int);\nSET statement_timeout = '5s';\n"
            "INSERT INTO parcels VALUES (1);\nUPDATE parcels SET id = 2;\n"
            "BEGIN;\nSET LOCAL search_path = information_schema, public;\nUPDATE parcels SET id = 3;\nCOMMIT;\n"
            "PREPARE again AS UPDATE parcels SET id = 4;\nEXECUTE again;\n"
        )
        asked = self.ask("run", "orders", "--file", path)
        verdicts = [verdict for _, verdict, _ in asked["statements"]]
        self.assertEqual([number for number, verdict in enumerate(verdicts, 1) if verdict == "hold"], [1, 4, 7, 10])
        id = asked["approval"]["id"]
        self.approve(id)
        done = self.run_file(path)
        self.assertEqual((done.returncode, self.state(id)), (0, "executed"), done.stderr)

    def test_a_single_statement_of_a_driver_with_parameters_is_another_one(self) -> None:
        statement = "UPDATE orders SET note = 'single' WHERE id = 1"
        asked = self.ask("run", "orders", statement)
        self.assertEqual(asked["approval"]["kind"], "operation")
        self.approve(asked["approval"]["id"])
        with self.connect() as connection:
            self.assertEqual(connection.execute(statement).rowcount, 1)
        self.assertEqual((self.executed("'single'"), self.state(asked["approval"]["id"])), (1, "executed"))

    def test_what_needs_no_approval_and_what_is_refused(self) -> None:
        self.assertIsNone(self.ask("run", "orders", "SELECT 1")["approval"])
        refused = self.gateway.hoopctl(
            "request", "run", "orders", "SELECT 1; DROP TABLE orders", "--reason", "x", who="user:priya", ok=False
        )
        self.assertIn(
            "statement 2 of 2: a rule refuses it\n  rules: example.deny.drop", refused.stdout + refused.stderr
        )
        for text, why in (("SELEC 1", "syntax error"), ("", "no statement"), ("\\connect x", "no psql commands")):
            failed = self.gateway.hoopctl("request", "run", "orders", text, "--reason", "x", who="user:priya", ok=False)
            self.assertNotEqual(failed.returncode, 0)
            self.assertIn(why, failed.stdout + failed.stderr)
        for words in (("run", "nowhere", "SELECT 1"), ("window", "nowhere", "--do", "update", "--for", "1h")):
            failed = self.gateway.hoopctl("request", *words, "--reason", "x", who="user:priya", ok=False)
            self.assertIn("no target called 'nowhere' is open to user:priya", failed.stdout + failed.stderr)

    def test_the_reason_given_beforehand_counts_when_it_runs(self) -> None:
        self.server.query("CREATE TABLE heaps (id int); GRANT ALL ON heaps TO app")
        statement = "TRUNCATE heaps"
        silent = self.gateway.psql("user:priya", statement)
        self.assertIn("a reason is required: an incident", silent.stderr)
        self.assertEqual(self.waiting("TRUNCATE"), [])
        unfit = self.gateway.hoopctl(
            "request", "run", "orders", statement, "--reason", "because", who="user:priya", ok=False
        )
        self.assertIn("a reason is required: an incident", unfit.stdout + unfit.stderr)
        with self.connect() as connection:
            for _ in range(2):
                id = self.ask("run", "orders", statement)["approval"]["id"]
                self.approve(id)
                # prepared and run without a word of why
                connection.execute(statement, prepare=True)
                self.assertEqual((self.show(id)["state"], self.show(id)["reason"]), ("executed", "INC-7"))
                with self.assertRaises(psycopg.Error) as again:
                    connection.execute(statement, prepare=True)
                self.assertIn("a reason is required", str(again.exception))
        window = self.ask("window", "orders", "--do", "truncate", "--for", "10m")["approval"]["id"]
        self.approve(window)
        self.assertEqual(self.gateway.psql("user:priya", f"BEGIN; {statement}; COMMIT").returncode, 0)
        self.assertEqual(self.gateway.psql("user:priya", "BEGIN", statement, "COMMIT").returncode, 0)
        self.assertEqual(self.show(f"{window}/2")["reason"], "INC-7")
        self.gateway.json("request", "withdraw", window, who="user:priya")

    # -- a time ------------------------------------------------------------------------------------------------

    def test_a_window(self) -> None:
        asked = self.ask("window", "orders", "--do", "update,delete", "--objects", "public.orders", "--for", "1h")
        self.assertEqual(asked["beside"], ["example.hold.delete"])
        id = asked["approval"]["id"]
        granted = self.approve(id, "--for", "30m")
        self.assertEqual((granted["state"], granted["lasts"]), ("granted", 1800.0))
        with self.connect(autocommit=False) as connection:
            for number in (1, 2):
                connection.execute("UPDATE orders SET note = %s WHERE id = %s", ("in-window", number))
            # the rule that allows no window holds as ever, and what was not named does
            with self.assertRaises(psycopg.Error):
                connection.execute("DELETE FROM orders WHERE id = 3")
            connection.rollback()
            with self.assertRaises(psycopg.Error) as elsewhere:
                connection.execute("UPDATE customers SET name = 'x' WHERE id = 1")
            self.assertIn("not waited for in an open transaction", str(elsewhere.exception))
            connection.rollback()
            connection.execute("UPDATE orders SET note = 'in-window' WHERE id = 2")
            connection.commit()
        self.assertEqual(self.show(id)["uses"], 3)
        uses = [one for one in self.gateway.json("approvals", "list", "--all", who="user:lea") if one["grant"] == id]
        self.assertEqual([one["state"] for one in uses], ["executed"] * 3)
        revoked = self.gateway.json("approvals", "revoke", id, "--reason", "that is enough", who="user:lea")
        self.assertEqual(revoked["state"], "cancelled")
        with self.connect() as connection, connection.transaction(), self.assertRaises(psycopg.Error) as over:
            connection.execute("UPDATE orders SET note = 'in-window' WHERE id = 2")
        self.assertIn("not waited for in an open transaction", str(over.exception))
        self.assertEqual(self.executed("note = 'in-window'"), 1)

    def test_too_long_a_window_and_one_that_nobody_holds(self) -> None:
        for words, why in (
            (("--do", "update", "--for", "3h"), "windows of at most 120 min"),
            (("--do", "delete", "--for", "1h"), "allow no window"),
            (("--do", "read", "--for", "1h"), "no rule holds that"),
            (("--do", "updat", "--for", "1h"), "'updat' is no word of do"),
        ):
            failed = self.gateway.hoopctl(
                "request", "window", "orders", *words, "--reason", "x", who="user:priya", ok=False
            )
            self.assertIn(why, failed.stdout + failed.stderr)

    # -- what a yes reaches ------------------------------------------------------------------------------------

    def test_a_yes_for_the_session_ends_with_it(self) -> None:
        with self.connect() as connection:
            connection.execute("SET hoopd.wait = 'ticket'")
            with self.assertRaises(psycopg.Error) as ticket:
                connection.execute("UPDATE orders SET note = 'session-1' WHERE id = 1")
            self.assertEqual(ticket.exception.diag.sqlstate, "55000")
            (id,) = [each["id"] for each in self.waiting("session-1")]
            self.assertIn(f"approval needed, ticket {id}", ticket.exception.diag.message_primary or "")
            self.assertEqual(self.approve(id, "--scope", "session")["state"], "granted")
            for number in (1, 2):
                connection.execute(f"UPDATE orders SET note = 'session-{number}' WHERE id = {number}")
            with self.assertRaises(psycopg.Error):
                connection.execute("UPDATE customers SET name = 'session' WHERE id = 1")
            with self.connect() as other:
                other.execute("SET hoopd.wait = 'ticket'")
                with self.assertRaises(psycopg.Error):
                    other.execute("UPDATE orders SET note = 'session-3' WHERE id = 3")
        until(lambda: self.state(id) == "ended", "it ends with its session")
        self.assertEqual((self.show(id)["uses"], self.executed("session-3")), (2, 0))

    def waiting(self, mark: str) -> list[dict[str, Any]]:
        found = self.gateway.json("approvals", "list", who="user:lea")
        return [each for each in found if mark in each["redacted"]]

    def test_a_ticket_of_a_rule(self) -> None:
        statement = "DELETE FROM orders WHERE id = 3 AND note = 'ticket-rule'"
        first = self.gateway.psql("user:priya", statement)
        (asked,) = self.waiting("ticket-rule")
        self.assertIn(
            f"ERROR:  hoopd: approval needed, ticket {asked['id']}: customers notice; it has not run", first.stderr
        )
        again = self.gateway.psql("user:priya", statement)
        self.assertIn(f"ticket {asked['id']}", again.stderr)
        self.approve(asked["id"])
        back = self.gateway.psql("user:priya", statement)
        self.assertEqual((back.returncode, back.stdout), (0, "DELETE 0\n"), back.stderr)
        third = self.gateway.psql("user:priya", statement)
        self.assertIn("approval needed, ticket A-", third.stderr)
        self.assertNotIn(asked["id"], third.stderr)
        self.assertEqual(self.executed("ticket-rule"), 1)

    def test_a_client_says_how_long_it_waits(self) -> None:
        statement = "UPDATE orders SET note = 'own-wait' WHERE id = 1"
        refused = self.gateway.psql("user:priya", statement, options="-c hoopd.wait=ticket")
        self.assertIn("approval needed, ticket A-", refused.stderr)
        waited = self.gateway.psql("user:priya", "SET hoopd.wait = '1s'", "SHOW hoopd.wait", statement)
        self.assertIn("This connection waits 1 s", waited.stderr)
        self.assertIn("nobody has decided on A-", waited.stderr)
        self.assertIn("1s", waited.stdout)
        nonsense = self.gateway.psql("user:priya", "SET hoopd.wait = 'a while'")
        self.assertIn('hoopd.wait is "ticket", or a duration', nonsense.stderr)

    def test_withdrawn_before_and_after_the_yes(self) -> None:
        statement = "UPDATE orders SET note = 'withdrawn' WHERE id = 1"
        for approved in (False, True):
            id = self.ask("run", "orders", statement)["approval"]["id"]
            if approved:
                self.approve(id)
            foreign = self.gateway.hoopctl("request", "withdraw", id, who="user:lea", ok=False)
            self.assertIn("is not a request of user:lea", foreign.stdout + foreign.stderr)
            found = self.gateway.json("request", "withdraw", id, who="user:priya")
            self.assertEqual(found["state"], "cancelled")
            refused = self.gateway.psql("user:priya", statement, options="-c hoopd.wait=ticket")
            self.assertIn("approval needed, ticket A-", refused.stderr)
            self.assertNotIn(id, refused.stderr)
            (left,) = self.waiting("withdrawn")
            self.gateway.json("request", "withdraw", left["id"], who="user:priya")
        self.assertEqual(self.executed("'withdrawn'"), 0)


class ChangeTests(unittest.TestCase):
    """What changes between the yes and the run."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = PostgresServer()
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)

    def test_policy_approver_and_requester_are_looked_at_again(self) -> None:
        with Gateway(self.server, POLICY) as gateway:
            gateway.identity("user:priya", groups=["eng"])
            gateway.identity("user:lea", groups=["leads"], duties=["approver"])
            gateway.identity("user:max", groups=["leads"], duties=["approver"])

            def asked(*words: str, by: str = "user:lea") -> str:
                id = str(gateway.json("request", *words, "--reason", "x", who="user:priya")["approval"]["id"])
                gateway.hoopctl("approvals", "approve", id, "--reason", "seen", who=by)
                return id

            def state(id: str) -> str:
                return str(gateway.json("approvals", "show", id)["state"])

            statement = "UPDATE orders SET note = 'change-{}' WHERE id = 1"
            window = asked("window", "orders", "--do", "update", "--for", "1h")
            several = asked("run", "orders", ";".join(map(statement.format, (1, 2))))
            # other terms: what was approved under the old ones lets nothing pass
            gateway.policy(
                POLICY.replace('do = ["update"], by = ["group:leads"]', 'do = ["update"], by = ["group:dba"]')
            )
            gateway.reload()
            self.assertEqual(state(window), "ended")
            refused = gateway.psql("user:priya", statement.format(1), options="-c hoopd.wait=ticket")
            self.assertIn("approval needed, ticket A-", refused.stderr)
            gateway.policy(POLICY)
            gateway.reload()
            # the terms are the old ones again: what was approved one by one is good
            passed = gateway.psql("user:priya", *map(statement.format, (1, 2)))
            self.assertEqual(passed.returncode, 0, passed.stderr)
            self.assertEqual(state(several), "executed")
            # a window does not survive a policy that has changed, though it is the old one again
            self.assertEqual(state(window), "ended")
            window = asked("window", "orders", "--do", "update", "--for", "1h", by="user:max")
            self.assertEqual(gateway.psql("user:priya", statement.format(3)).returncode, 0)
            gateway.hoopctl("identities", "disable", "user:max")
            refused = gateway.psql("user:priya", statement.format(4), options="-c hoopd.wait=ticket")
            self.assertIn(f"user:max approved {window} and may not do so any more", refused.stderr)
            self.assertEqual(state(window), "cancelled")
            window = asked("window", "orders", "--do", "update", "--for", "1h")
            gateway.hoopctl("identities", "disable", "user:priya")
            self.assertNotEqual(gateway.psql("user:priya", statement.format(5)).returncode, 0)
            key = gateway.hoopctl("audit", "key").stdout.strip()
            gateway.terminate()
            report = verify(gateway.state, key)
            self.assertTrue(report.ok, render(report))
        log = self.server.statements()
        self.assertEqual([log.count(f"'change-{number}'") for number in range(1, 6)], [1, 1, 1, 0, 0])
