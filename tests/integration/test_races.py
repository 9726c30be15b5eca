"""A thousand races over what is held, on the whole gateway: people who say yes and no, give up, revoke, repeat, come back
on other connections, do nothing until it lapses, while processes are killed. Nothing runs twice, late, or unapproved.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import threading
import time
import unittest
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from hoopd.approvals.service import FOUND_MAX
from hoopd.audit.leaves import ENTRIES, Leaf, decode_leaf, entries_of
from hoopd.audit.replay import load
from hoopd.audit.verify import render, verify
from hoopd.ctl import connection as control
from hoopd.ctl.failures import UNREACHABLE, Failure
from hoopd.secret import Secret
from hoopd.values import ApprovalState
from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer
from tests.integration.tiny.running import until

RACES = 1000
CLIENTS = 30
#: a process is killed after so many races, one of these in turn
KILL_EVERY = 25
ROLES = ("worker", "broker", "worker", "control")
OPEN: tuple[ApprovalState, ...] = ("pending", "approved", "granted", "claimed")

SAMPLE = """
CREATE TABLE patient (mark text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE hasty (mark text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
"""
POLICY = """
targets = ["orders"]
allow.all = { who = ["group:eng"], do = ["read", "write"] }
hold.patient = { do = ["insert"], objects = ["public.patient"], by = ["group:leads"], wait = "60s", scopes = ["once", "session", "window"] }
hold.hasty = { do = ["insert"], objects = ["public.hasty"], by = ["group:leads"], wait = "1s", scopes = ["once", "session", "window"] }
"""
SETTINGS = {"approvals": {"open_for": "1s", "claim_within": "5s", "pending_per_identity": 100000}}

APPROVERS = ("user:lea", "user:lars", "user:lou")
REQUESTERS = ("user:priya", "user:pete")


class Race:
    """One statement, somebody who wants it to run, and others who want other things.

    @ivar done: how often its client was told that it ran.
    """

    def __init__(self, number: int, world: World) -> None:
        self.world = world
        self.dice = random.Random(number)
        self.mark = f"race-{number:04d}"
        self.table = self.dice.choice(("patient", "patient", "hasty"))
        self.statement = f"INSERT INTO {self.table} (mark) VALUES ('{self.mark}')"
        self.who = self.dice.choice(REQUESTERS)
        self.done = 0
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def run(self) -> None:
        """As a person or a driver does who is refused, or loses the connection: a few times again."""
        try:
            self.attempts()
        finally:
            self.world.one_finished()

    def attempts(self) -> None:
        for _ in range(self.dice.choice((1, 2, 3))):
            if self.attempt(self.dice.choice(("default", "1s", "ticket"))):
                return
            time.sleep(self.dice.uniform(0, 0.3))

    def attempt(self, wait: str) -> bool:
        client = self.world.client(self.who)
        try:
            with client.watched(self.asked):
                client.connection.execute(f"SET hoopd.wait = '{wait}'")
                client.connection.execute(self.statement)
        except psycopg.Error as error:
            self.found(str(error))
            if client.connection.broken or self.dice.random() < 0.1:
                client.drop()
            return False
        finally:
            self.world.give_back(client)
        with self._lock:
            self.done += 1
        return True

    def asked(self, notice: str, client: Client) -> None:
        self.found(notice)
        if self.dice.random() < 0.1:
            self.world.later(client.vanish, self.dice.uniform(0, 0.3))

    def found(self, said: str) -> None:
        """An id was told: those who decide begin."""
        for id in re.findall(r"A-[0-9A-Z]+", said):
            with self._lock:
                if id in self._known:
                    continue
                self._known.add(id)
            self.world.ids.append(id)
            for act in self.acts(id):
                self.world.later(act, self.dice.uniform(0, 0.3) if self.dice.random() < 0.9 else 1.0)

    def acts(self, id: str) -> list[Callable[[], Any]]:
        call, dice = self.world.call, self.dice
        if self.table == "hasty" and dice.random() < 0.1:
            return []  # nobody looks at it
        scope = dice.choice((None, None, None, "once", "session"))
        acts: list[Callable[[], Any]] = [
            lambda: call(APPROVERS[0], "approvals.approve", id=id, reason="yes", scope=scope),
            lambda: call(APPROVERS[1], "approvals.approve", id=id, reason="yes too"),
        ]
        for chance, act in (
            (0.35, lambda: call(APPROVERS[2], "approvals.deny", id=id, reason="no")),
            (0.3, lambda: call(self.who, "request.withdraw", id=id, why="never mind")),
            (0.3, lambda: call(APPROVERS[2], "approvals.revoke", id=id, reason="not after all")),
            # the same statement on another connection at the same time
            (0.3, lambda: self.attempt("1s")),
        ):
            if dice.random() < chance:
                acts.append(act)
        dice.shuffle(acts)
        return acts


class Client:
    """One connection of somebody, and who listens to its notices."""

    def __init__(self, who: str, dsn: str) -> None:
        self.who = who
        self.connection = psycopg.connect(dsn, autocommit=True, connect_timeout=30)
        self._listens: Callable[[str, Client], None] | None = None
        self.connection.add_notice_handler(self._told)

    def _told(self, diagnosis: psycopg.errors.Diagnostic) -> None:
        if self._listens is not None and "held for approval" in (diagnosis.message_primary or ""):
            self._listens(diagnosis.message_primary or "", self)

    @contextlib.contextmanager
    def watched(self, listens: Callable[[str, Client], None]) -> Any:
        self._listens = listens
        try:
            yield
        finally:
            self._listens = None

    def vanish(self) -> None:
        """The connection is cut in the middle of whatever it does."""
        with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(self.connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)

    def drop(self) -> None:
        self.connection.close()


class World:
    """The gateway, its people and their connections.

    @ivar ids: of all requests that anybody was told.
    @ivar refusals: what those were told who came too late, or second.
    @ivar finished: races whose client has given up or seen its statement run.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.ids: list[str] = []
        self.refusals: Counter[str] = Counter()
        self.lost = 0
        self.finished = 0
        self._controls = {
            who: control.Gateway(str(gateway.socket), Path("/nonexistent"), Secret(gateway.tokens[who].encode()))
            for who in (*APPROVERS, *REQUESTERS)
        }
        self._idle: dict[str, list[Client]] = defaultdict(list)
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(30)
        self._pending: list[Any] = []

    def call(self, who: str, verb: str, **arguments: Any) -> Any:
        """@return: None if it was refused, or nobody answered"""
        for left in reversed(range(10)):
            try:
                return self._controls[who].call(verb, **arguments)
            except Failure as problem:
                if problem.exit_code != UNREACHABLE or not left:
                    with self._lock:
                        self.refusals[re.sub(r"A-[0-9A-Z/]+", "A", problem.message)] += 1
                    return None
            # control or the broker was killed this moment, or too many ask at once: people try again
            time.sleep(0.2)
        raise AssertionError("not reached")

    def client(self, who: str) -> Client:
        with self._lock:
            if self._idle[who]:
                return self._idle[who].pop()
        for _ in range(60):
            try:
                return Client(who, self.gateway.dsn(user=who.partition(":")[2], password=self.gateway.tokens[who]))
            except psycopg.OperationalError:
                # a broker or worker was killed this moment
                with self._lock:
                    self.lost += 1
                time.sleep(0.2)
        raise AssertionError("nobody takes clients any more")

    def give_back(self, client: Client) -> None:
        if client.connection.closed or client.connection.broken:
            return
        with self._lock:
            self._idle[client.who].append(client)

    def one_finished(self) -> None:
        with self._lock:
            self.finished += 1

    def later(self, act: Callable[[], Any], seconds: float) -> None:
        def acts() -> None:
            time.sleep(seconds)
            act()

        with self._lock:
            self._pending.append(self._pool.submit(acts))

    def finish(self) -> None:
        """Whatever was set going is over, and every connection closed. @raise Exception: what one of them raised."""
        while self._pending:
            with self._lock:
                waiting, self._pending = self._pending, []
            for each in waiting:
                each.result(120)
        self._pool.shutdown()
        for clients in self._idle.values():
            for client in clients:
                client.drop()


class RaceTests(unittest.TestCase):
    @pytest.mark.timeout(900)
    def test_a_thousand_races(self) -> None:
        with (
            PostgresServer(SAMPLE) as server,
            Gateway(server, POLICY, workers=3, settings=SETTINGS) as gateway,
        ):
            for who in REQUESTERS:
                gateway.identity(who, groups=["eng"])
            for who in APPROVERS:
                gateway.identity(who, groups=["leads"], duties=["approver"])
            world = World(gateway)
            races = [Race(number, world) for number in range(RACES)]
            over = threading.Event()
            others = [
                threading.Thread(target=self.kill, args=(world, over)),
                threading.Thread(target=self.windows, args=(world, over)),
            ]
            for each in others:
                each.start()
            try:
                with ThreadPoolExecutor(CLIENTS) as clients:
                    list(clients.map(Race.run, races))
                world.finish()
            finally:
                over.set()
                for each in others:
                    each.join()
            until(lambda: not self.open(world), "what is open lapses, what was claimed has an outcome", 180)
            self.examine(world, races, server)

    def kill(self, world: World, over: threading.Event) -> None:
        """One process after every few races: by what was done, not by the clock, so that a slow machine gets on too."""
        dice = random.Random(2027)
        self.killed: Counter[str] = Counter()
        for finished in range(KILL_EVERY, RACES, KILL_EVERY):
            while world.finished < finished:
                if over.wait(0.1):
                    return
            role = ROLES[sum(self.killed.values()) % len(ROLES)]
            pids = sorted(world.gateway.pids(role))
            if pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(dice.choice(pids), signal.SIGKILL)
                self.killed[role] += 1

    def windows(self, world: World, over: threading.Event) -> None:
        """A time for everything, given and taken back, again and again."""
        dice = random.Random(2028)
        who = REQUESTERS[1]
        while not over.wait(dice.uniform(0.5, 2)):
            asked = world.call(
                who, "request.window", target="orders", do=["insert"], lasts=dice.choice((0.5, 60.0)), reason="a while"
            )
            if asked is None:
                continue
            id = asked["approval"]["id"]
            world.call(APPROVERS[0], "approvals.approve", id=id, reason="for a while")
            over.wait(dice.uniform(0.2, 1))
            if dice.random() < 0.5:
                world.call(APPROVERS[1], "approvals.revoke", id=id, reason="enough")
            else:
                world.call(who, "request.withdraw", id=id)

    def open(self, world: World) -> list[Any]:
        found = [world.call(APPROVERS[0], "approvals.list", state=state) for state in OPEN]
        return [each for each in found if each is None] + [one for each in found if each for one in each]

    def examine(self, world: World, races: list[Race], server: PostgresServer) -> None:
        gateway = world.gateway
        key = gateway.hoopctl("audit", "key").stdout.strip()
        leaves = self.leaves(gateway)
        ids = list(dict.fromkeys(leaf.fields["approval"] for leaf in leaves))
        self.assertLessEqual(set(world.ids), set(ids), "what somebody was told is in the ledger")
        shown = {id: world.call(APPROVERS[0], "approvals.show", id=id) for id in ids}
        self.assertNotIn(None, shown.values())
        # each state reached is what hoopctl approvals and the ledger say
        last = {leaf.fields["approval"]: leaf.fields["state"] for leaf in leaves}
        self.assertEqual({id: one["state"] for id, one in shown.items()}, last)
        states = Counter(last.values())
        self.assertLessEqual({"executed", "denied", "expired", "cancelled", "ended"}, set(states), states)
        uses = Counter(one["grant"].partition("/")[0] for one in shown.values() if one["grant"])
        self.assertEqual(dict(uses), {id: one["uses"] for id, one in shown.items() if one["uses"]})
        self.assertGreater(sum(uses.values()), 10)
        for state in states:
            listed = gateway.json("approvals", "list", "--state", state, who=APPROVERS[0])
            self.assertLessEqual({one["id"] for one in listed}, {id for id in ids if last[id] == state}, state)
            self.assertEqual(len(listed), min(states[state], FOUND_MAX), state)
        gateway.terminate()
        report = verify(gateway.state, key)
        self.assertTrue(report.ok, render(report))
        self.assertEqual(self.leaves(gateway), leaves)
        self.nothing_ran_twice_late_or_unapproved(gateway, races, shown, leaves, server)
        print(f"\n{RACES} races, {len(ids)} approvals: {dict(states)}; killed {dict(self.killed)}; {world.lost} "
              f"connections refused; told: {world.refusals.most_common(12)}")  # fmt: skip
        self.assertGreaterEqual(self.killed["broker"], 1)
        self.assertGreaterEqual(self.killed["worker"], 1)

    def leaves(self, gateway: Gateway) -> list[Leaf]:
        """The ledger's, of approvals."""
        octets, _, error = entries_of((gateway.state / "ledger" / ENTRIES).read_bytes())
        self.assertIsNone(error)
        found = [decode_leaf(index, leaf) for index, leaf in enumerate(octets)]
        return [leaf for leaf in found if leaf.kind == "approval"]

    def nothing_ran_twice_late_or_unapproved(
        self, gateway: Gateway, races: list[Race], shown: dict[str, Any], leaves: list[Leaf], server: PostgresServer
    ) -> None:
        claims = {
            leaf.fields["approval"]: leaf.fields["happened_at"] / 1e6
            for leaf in leaves
            if leaf.fields["state"] == "claimed"
        }
        ended = {
            leaf.fields["approval"]: leaf.fields["happened_at"] / 1e6
            for leaf in leaves
            if leaf.fields["state"] in ("executed", "failed", "unknown")
        }
        forwarded: Counter[str] = Counter()
        by_mark: Counter[str] = Counter()
        for path in (gateway.state / "recordings").rglob("*.hoopd-rec"):
            for entry in load(path.read_bytes())[0]:
                mark = re.search(r"race-\d+", str(entry.fields.get("text"))) if entry.kind == "operation" else None
                if mark is None or entry.fields["decision"] == "deny":
                    continue
                id = entry.fields["approval"]
                forwarded[id] += 1
                by_mark[mark.group()] += 1
                self.assertIn(mark.group(), shown[id]["redacted"])
                self.assertIn(id, claims)
                until_ = shown[id]["claim_by"]
                self.assertTrue(until_ is None or claims[id] <= until_, f"{id} was claimed late")
        self.assertEqual({id: times for id, times in forwarded.items() if times > 1}, {}, "forwarded twice")
        self.assertLessEqual(set(forwarded), set(claims))
        for id, one in shown.items():
            if one["state"] == "executed" and one["kind"] == "operation":
                self.assertIn(id, forwarded, f"{id} is said to be executed")
        rows = defaultdict(list)
        for line in server.query(
            "SELECT mark, extract(epoch FROM at) FROM (TABLE patient UNION ALL TABLE hasty) AS ran"
        ).splitlines():
            mark, at = line.split("|")
            rows[mark].append(float(at))
        self.assertGreater(len(rows), RACES // 10, "many did run")
        for race in races:
            own = [id for id, one in shown.items() if race.mark in one["redacted"]]
            sure = [id for id in own if shown[id]["state"] == "executed" and id in claims]
            maybe = [id for id in own if shown[id]["state"] == "unknown" and id in claims]
            times = rows[race.mark]
            self.assertLessEqual(len(times), by_mark[race.mark], f"{race.mark} ran unrecorded")
            self.assertLessEqual(len(sure), len(times), f"{race.mark}: executed, and did not run")
            self.assertLessEqual(len(times), len(sure) + len(maybe), f"{race.mark} ran too often")
            self.assertGreaterEqual(len(times), race.done, f"{race.mark}: its client was told that it ran")
            for at in times:
                # the same machine's clock: each run lies within one claim and its outcome
                self.assertTrue(
                    any(claims[id] <= at <= ended[id] for id in (*sure, *maybe)),
                    f"{race.mark} ran outside its approval",
                )
