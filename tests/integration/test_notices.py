"""Approvers are told, on the whole gateway: every kind of channel with a real receiver, within two seconds, and whoever is
killed in between, at least once under one key."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import statistics
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

import psycopg

from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer
from tests.integration.tiny.running import until
from tests.notices.receivers import Got, HttpReceiver, MailReceiver

POLICY = """
targets = ["orders"]
allow.all = { who = ["group:eng"], do = ["read", "write"] }
hold.update = { do = ["update"], by = ["group:leads"], wait = "60s", why = "customers notice", notify = "CHANNELS" }
mask.card = { columns = ["*.card_number", "*.card"], show = "last4" }
break_glass.sre = { who = ["group:oncall"], skip = "holds", for = "5m", notify = "orders", review = "1h" }
"""
KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()
SLACK, TEAMS = "services/T0/B0/sl4ck-s3cret", "workflows/te4ms-s3cret"
SECRETS = (KEY, SLACK, TEAMS, MailReceiver.ACCOUNT[1].decode())


def verified(got: Got) -> dict[str, Any]:
    """The notice of a webhook. @raise AssertionError: its signature is not good, as a receiver would find."""
    id, timestamp = got.headers["webhook-id"], got.headers["webhook-timestamp"]
    signed = f"{id}.{timestamp}.".encode() + got.body
    made = base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
    assert got.headers["webhook-signature"] == f"v1,{made}"
    assert abs(int(timestamp) - got.at) < 300
    document: dict[str, Any] = json.loads(got.body)
    assert document["id"] == id
    return document


class Case(unittest.TestCase):
    CHANNELS = ("orders",)

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = PostgresServer()
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)
        cls.directory = Path(tempfile.mkdtemp(prefix="hoopd-receivers-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.http = HttpReceiver(cls.directory, time.time)
        cls.addClassCleanup(cls.http.stop)
        policy = POLICY.replace('"CHANNELS"', json.dumps(cls.CHANNELS))
        cls.gateway = Gateway(cls.server, policy, settings=cls.settings())
        cls.gateway.__enter__()
        cls.addClassCleanup(cls.gateway.stop)
        cls.addClassCleanup(lambda: print(cls.gateway.text()[-20000:]))
        cls.gateway.identity("user:priya", groups=["eng"])
        cls.gateway.identity("user:sam", groups=["eng", "oncall"])
        cls.gateway.identity("user:lea", groups=["leads"], duties=["approver"])
        cls.gateway.hoopctl("vault", "put", "notify/orders", text=KEY)

    @classmethod
    def settings(cls) -> dict[str, dict[str, Any]]:
        webhook = {"kind": "webhook", "url": f"{cls.http.url}/hoopd", "secret": "notify/orders"}
        return {
            "notify.orders": {**webhook, "authorities": cls.http.authorities},
            "notifications": {"default": ["orders"]},
        }

    def hold(self, mark: str, count: int = 1) -> set[str]:
        """Have C{count} updates held. @return: their requests, once they are there."""
        clients = []
        for number in range(count):
            client = self.gateway.psql_started("user:priya", f"UPDATE orders SET note = '{mark}-{number}' WHERE id = 1")
            self.addCleanup(client.communicate)
            self.addCleanup(client.kill)
            clients.append(client)

        def there() -> bool:
            for client in clients:
                if client.poll() is not None:
                    raise AssertionError(f"psql ended: {client.stdout.read() if client.stdout else ''}")
            return len(self.requests(mark)) == count

        until(there, f"{count} of {mark} wait", 120)
        return set(self.requests(mark))

    def requests(self, mark: str) -> dict[str, dict[str, Any]]:
        """What waits, by id; nothing while the broker is away."""
        done = self.gateway.hoopctl("approvals", "list", "--json", who="user:lea", ok=False)
        found = json.loads(done.stdout) if done.returncode == 0 else []
        return {each["id"]: each for each in found if mark in each["redacted"]}

    def told(self, kind: str = "approval.held", mark: str = "") -> list[Got]:
        """Webhooks that came, whose statement has C{mark} in it."""
        found = [(got, verified(got)) for got in list(self.http.got) if got.path == "/hoopd"]
        return [got for got, one in found if one["type"] == kind and mark in one["data"].get("text", "")]


class EveryChannel(Case):
    CHANNELS = ("orders", "chat", "cards", "mail", "pager")

    @classmethod
    def settings(cls) -> dict[str, dict[str, Any]]:
        cls.mail = MailReceiver(cls.directory)
        cls.addClassCleanup(cls.mail.stop)
        pager = cls.directory / "page"
        pager.write_text(f'#!/bin/sh\ncat > "{cls.directory}/paged.$$"; mv "{cls.directory}/paged.$$" "$1"\n')
        pager.chmod(0o755)
        cls.paged = cls.directory / "paged"
        tls = {"authorities": cls.http.authorities}
        return {
            **super().settings(),
            "notify.chat": {"kind": "slack", "secret": "notify/chat", **tls},
            "notify.cards": {"kind": "teams", "secret": "notify/cards", **tls},
            "notify.mail": {
                "kind": "email", "server": "localhost", "port": cls.mail.port, "username": "hoopd",
                "secret": "notify/smtp", "from": "hoopd@example.com", "to": ["ops@example.com"],
                "authorities": cls.mail.authorities, "events": ["approval.held", "notify.test"],
            },
            "notify.pager": {"kind": "command", "run": [str(pager), str(cls.paged)], "events": ["approval.held"]},
        }  # fmt: skip

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        for name, value in (
            ("chat", f"{cls.http.url}/{SLACK}"),
            ("cards", f"{cls.http.url}/{TEAMS}"),
            ("smtp", MailReceiver.ACCOUNT[1].decode()),
        ):
            cls.gateway.hoopctl("vault", "put", f"notify/{name}", text=value)

    def test_all_that_an_approver_has_to_know_by_every_way(self) -> None:
        mark = "all_ways"
        dsn = self.gateway.dsn(user="priya", password=self.gateway.tokens["user:priya"])
        connection = psycopg.connect(dsn, options="-c hoopd.reason=OPS-42", autocommit=True)
        self.addCleanup(connection.pgconn.finish)
        statement = f"UPDATE customers AS {mark} SET card_number = $1 WHERE id = $2"
        connection.pgconn.send_query_params(statement.encode(), [b"4111111111111111", b"1"])
        (got,) = until(lambda: self.told(mark=mark), "the webhook came", 60)
        document = verified(got)
        fields = document["data"]["fields"]
        (asked,) = self.requests(mark).values()
        self.assertEqual(document["data"]["subject"], asked["id"])
        for name, value in {
            "requester": "user:priya", "target": "orders", "reason": "OPS-42", "tables": ["public.customers"],
            "rules": ["example.hold.update"], "approvers": ["1 of group:leads"], "why_held": ["customers notice"],
            "deadline_at": asked["deadline"], "state": "pending",
        }.items():  # fmt: skip
            self.assertEqual(fields[name], value, name)
        # as the target's planner says: one row by its primary key
        self.assertEqual(fields["estimated_rows"], 1)
        self.assertIn("$1", document["data"]["text"])
        self.assertIn(f"hoopctl approvals approve {asked['id']} --reason '…'", document["data"]["act"])

        until(lambda: len(self.others(mark)) == 4, "every channel has it", 60)
        for name, text in self.others(mark).items():
            for said in (asked["id"], "user:priya", "OPS-42", "public.customers", "customers notice", "group:leads"):
                self.assertIn(said, text, name)
            self.assertIn(f"hoopctl approvals approve {asked['id']}", text, name)
            self.assertNotIn("4111111111111111", text, name)
            # no link and no token: whoever only has the message can do nothing with it
            self.assertEqual(re.findall(r"(?i)\bhttps?:(?!//adaptivecards\.io/schemas/)", text), [], name)
            self.assertNotIn(self.gateway.tokens["user:lea"], text, name)
        self.assertNotIn(b"4111111111111111", got.body)
        (letter,) = [each for each in self.mail.letters if mark.encode() in base64_text(each.content)]
        self.assertEqual((letter.account, letter.tls, letter.recipients), (b"hoopd", True, ("ops@example.com",)))

        self.gateway.hoopctl("approvals", "deny", asked["id"], "--reason", "not today", who="user:lea")
        until(lambda: [one for one in self.told("approval.denied") if asked["id"].encode() in one.body], "denied", 60)

    def others(self, mark: str) -> dict[str, str]:
        """What came by each other way that has C{mark} in it, as text."""
        found = {}
        for got in list(self.http.got):
            if mark.encode() in got.body and got.path != "/hoopd" and b"waits for approval" in got.body:
                text = json.dumps(json.loads(got.body), ensure_ascii=False)
                found[got.path] = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        for letter in self.mail.letters:
            text = base64_text(letter.content).decode()
            if mark in text:
                found["mail"] = text
        if self.paged.exists() and mark in self.paged.read_text():
            found["command"] = json.dumps(json.loads(self.paged.read_text()), ensure_ascii=False)
        return found

    def test_within_two_seconds(self) -> None:
        took = []
        for number in range(5):
            mark = f"how-soon-{number}"
            self.hold(mark)
            (got,) = until(lambda mark=mark: self.told(mark=mark), "the webhook came", 60)  # type: ignore[misc]
            took.append(got.at - verified(got)["data"]["fields"]["requested_at"])
        print("seconds from hold to receipt:", [f"{each:.3f}" for each in took])
        self.assertLess(statistics.median(took), 2.0)

    def test_the_secrets_are_in_no_file_no_log_and_no_process_s_words(self) -> None:
        self.hold("hidden")
        until(lambda: len(self.others("hidden")) == 4 and self.told(mark="hidden"), "every channel has it", 60)
        (notifier,) = self.gateway.pids("notifier")
        words = Path(f"/proc/{notifier}/cmdline").read_bytes() + Path(f"/proc/{notifier}/environ").read_bytes()
        for path in sorted(self.gateway.directory.rglob("*")):
            if path.is_file():
                words += path.read_bytes()
        self.assertGreater(len(words), 100_000)
        for secret in SECRETS:
            self.assertNotIn(secret.encode(), words)
        # no descriptor of the vault, the store or a recording
        open_files = {os.readlink(each) for each in Path(f"/proc/{notifier}/fd").iterdir()}
        self.assertEqual([name for name in open_files if name.startswith(str(self.gateway.state))], [])

    def test_hoopctl_notify(self) -> None:
        for channel in self.CHANNELS:
            done = self.gateway.hoopctl("notify", "test", channel)
            self.assertIn(f"{channel} was told (", done.stdout)
        found = self.gateway.json("notify", "list", "--channel", "mail")
        self.assertEqual({each["channel"] for each in found}, {"mail"})
        (tested,) = [each for each in found if each["kind"] == "notify.test"]
        before = len(self.mail.letters)
        self.assertIn("mail was told", self.gateway.hoopctl("notify", "retry", tested["id"]).stdout)
        until(lambda: len(self.mail.letters) == before + 1, "the mail came again", 60)
        ids = [email.message_from_bytes(each.content)["message-id"] for each in self.mail.letters]
        self.assertEqual(ids.count(f"<{tested['id']}@example.com>"), 2)
        refused = self.gateway.hoopctl("notify", "list", who="user:priya", ok=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertNotEqual(self.gateway.hoopctl("notify", "test", "nobody", ok=False).returncode, 0)

    def test_break_glass_is_told(self) -> None:
        self.gateway.hoopctl("break-glass", "open", "orders", "--reason", "INC-7 orders are stuck", who="user:sam")
        (got,) = until(lambda: self.told("break-glass.opened"), "the opening was told", 60)
        fields = verified(got)["data"]["fields"]
        self.assertEqual((fields["identity"], fields["target"]), ("user:sam", "orders"))
        self.assertIn("INC-7", fields["reason"])


class NothingIsLost(Case):
    def test_killed_notifiers_and_brokers_and_a_receiver_that_fails(self) -> None:
        mark = "not-lost"
        failures = [503] * 3
        self.http.answer = lambda path: (failures.pop() if failures else 200, {})
        victims = ("notifier", "broker", "notifier", "broker")
        asked: set[str] = set()
        for number, victim in enumerate(victims):
            asked |= self.hold(f"{mark}-{number}", 2)
            before = self.gateway.pids(victim)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            until(lambda: self.another(victim, before), f"there is another {victim}", 60)  # noqa: B023
        self.assertEqual(len(asked), 8)
        until(lambda: {verified(got)["data"]["subject"] for got in self.told(mark=mark)} >= asked, "all are told", 120)
        ids: dict[str, set[str]] = {}
        for got in self.told(mark=mark):
            ids.setdefault(verified(got)["data"]["subject"], set()).add(got.headers["webhook-id"])
        self.assertEqual({len(each) for each in ids.values()}, {1}, "one key each, however often it came")
        until(lambda: self.waiting() == [], "nothing waits any more", 120)

    def another(self, role: str, before: list[int]) -> bool:
        return bool(set(self.gateway.pids(role)) - set(before))

    def waiting(self) -> list[dict[str, Any]] | None:
        """What is not delivered; None while the broker is away."""
        done = self.gateway.hoopctl("notify", "list", "--state", "waiting", "--json", ok=False)
        found: list[dict[str, Any]] | None = json.loads(done.stdout) if done.returncode == 0 else None
        return found

    def test_killed_while_the_receiver_thinks_it_comes_again(self) -> None:
        seen: list[float] = []

        def slow(path: str) -> tuple[int, dict[str, str]]:
            seen.append(time.time())
            if len(seen) == 1:
                for notifier in self.gateway.pids("notifier"):
                    os.kill(notifier, signal.SIGKILL)
            return 200, {}

        self.http.answer = slow
        self.hold("comes-again")
        first, second = until(lambda: self.told(mark="comes-again")[1:] and self.told(mark="comes-again"), "twice", 60)[
            :2
        ]
        self.assertEqual(first.headers["webhook-id"], second.headers["webhook-id"])
        self.assertEqual(first.body, second.body)

    def test_what_fails_is_in_status_list_and_log(self) -> None:
        self.http.answer = lambda path: (500, {})
        done = self.gateway.hoopctl("notify", "test", "orders", ok=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("orders was not told: status 500", done.stderr)
        until(
            lambda: [
                line
                for line in self.gateway.hoopctl("status").stdout.splitlines()
                if re.fullmatch(r"WRONG: orders was not told for \d+ s, \d+ notices wait: status 500", line)
            ],
            "status says it",
            60,
        )
        waiting = self.gateway.json("notify", "list", "--state", "waiting")
        self.assertIn("status 500", {each["outcome"] for each in waiting})
        self.assertTrue(self.gateway.events("notify.failed"))
        self.http.answer = lambda path: (200, {})
        for each in waiting:
            self.gateway.hoopctl("notify", "retry", each["id"])
        self.assertNotIn("was not told", self.gateway.hoopctl("status").stdout)

    def test_a_reload_adds_and_removes_channels(self) -> None:
        toml = self.gateway.etc / "hoopd.toml"
        before = toml.read_text()
        self.addCleanup(self.gateway.reload)
        self.addCleanup(toml.write_text, before)
        more = before.replace(
            "[notify.orders]", '[notify.more]\nkind = "command"\nrun = ["/bin/true"]\n\n[notify.orders]'
        )
        toml.write_text(more)
        self.gateway.reload()
        self.assertIn("more was told (exit status 0)", self.gateway.hoopctl("notify", "test", "more").stdout)
        self.http.answer = lambda path: (200, {})
        self.assertIn("orders was told", self.gateway.hoopctl("notify", "test", "orders").stdout)
        changes = [verified(got)["data"]["fields"] for got in self.told("policy.changed")]
        self.assertIn(("user:root", ["hoopd.toml"]), [(each["by"], each.get("changed")) for each in changes])
        broken = more.replace('"/bin/true"', '"true"')
        toml.write_text(broken)
        refused = self.gateway.hoopctl("reload", ok=False)
        self.assertIn("absolute path", refused.stdout + refused.stderr)
        (got,) = until(lambda: self.told("policy.refused"), "the refusal was told", 60)
        self.assertIn("absolute path", verified(got)["data"]["fields"]["why"])
        self.assertIn("more was told", self.gateway.hoopctl("notify", "test", "more").stdout)


def base64_text(message: bytes) -> bytes:
    return str(email.message_from_bytes(message, policy=email.policy.default).get_content()).encode()
