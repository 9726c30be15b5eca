"""A session core between a scripted client and a scripted server, judged by real policy and real SQL analysis."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hoopd.audit.memory import MemoryRecorder
from hoopd.errors import RecordError
from hoopd.flow.judge import Judgements
from hoopd.masking.redactors import Redactors
from hoopd.policy.snapshot import PolicySnapshot
from hoopd.protocols.postgres import backend
from hoopd.protocols.postgres.backend import Column
from hoopd.protocols.postgres.codec import HEADER_SIZE, INT32
from hoopd.protocols.postgres.core import Core
from hoopd.protocols.postgres.judgement import Judge
from hoopd.protocols.postgres.session import AskEstimate, CoreLimits
from hoopd.protocols.postgres.state import State
from hoopd.sql.catalogue import Catalogue, Relation
from hoopd.sql.catalogue import Column as SqlColumn
from hoopd.values import Identity, Target

POLICY = """
targets = ["orders"]
mask.card = { columns = ["customers.card"], show = "last4" }
allow.all = { who = ["group:eng"], do = ["read", "write", "create", "alter"] }
allow.few = { who = ["group:few"], do = ["read"], max_rows = 2 }
allow.objects = { who = ["group:objects"], do = ["read", "large-object"] }
allow.code = { who = ["group:code"], do = ["read", "write", "function"] }
hold.update = { do = ["update"], by = ["group:leads"], wait = "15m" }
deny.drop = { do = ["drop"], why = "use migrations" }
"""
TARGET = Target("orders", "postgres", "db", 5432)
DETECTING = """
targets = ["orders"]
mask.found = { detect = ["card", "email"], who = ["group:scanned"] }
mask.card = { columns = ["customers.card"], show = "last4" }
allow.all = { do = ["read", "write", "large-object", "listen"] }
"""
POLICY_SNAPSHOT = PolicySnapshot.load({"p.toml": POLICY}, {"orders": TARGET}, b"k" * 32)
DETECTING_SNAPSHOT = PolicySnapshot.load({"p.toml": DETECTING}, {"orders": TARGET}, b"k" * 32)
CUSTOMERS, ORDERS = 20000, 20001
CARD = Column(b"card", CUSTOMERS, 2, 25)
NAME = Column(b"name", CUSTOMERS, 1, 25)


def catalogue() -> Catalogue:
    customers = Relation(CUSTOMERS, "public", "customers", "r", (SqlColumn(1, "name", 25), SqlColumn(2, "card", 25)))
    orders = Relation(ORDERS, "public", "orders", "r", (SqlColumn(1, "note", 25),))
    return Catalogue(("public",), "app", 150000, {each.oid: each for each in (customers, orders)}, version="v1")


class Route:
    """The part of L{hoopd.flow.route.Route} that a core calls."""

    def __init__(self) -> None:
        self.recorder = MemoryRecorder()
        self.denied = self.operations = self._last = 0
        self.settled: list[tuple[str, str]] = []
        self.details: list[str] = []
        self.broken = False

    def gate(self) -> None:
        if self.broken:
            raise RecordError("disk full")

    def record(self, kind: str, fields: Any) -> int:
        if self.broken:
            raise RecordError("disk full")
        return self.recorder.write(kind, fields)

    gather = record

    def next_operation(self) -> int:
        self._last += 1
        return self._last

    def event(self, name: str, fields: Any) -> None:
        pass

    def durable(self, classes: frozenset[str], approved: bool) -> bool:
        return approved or "write" in classes

    def settle(self, approval: str, outcome: str, detail: str) -> None:
        self.settled.append((approval, outcome))
        self.details.append(detail)


class Conversation:
    """C{client} and C{server} say bytes; C{heard} and C{served} are what came out, as short names of messages."""

    def __init__(self, group: str = "eng", policy: PolicySnapshot = POLICY_SNAPSHOT, **limits: int) -> None:
        self.route = Route()
        self.now = 5.0
        worker = SimpleNamespace(policy=policy, opening=lambda identity, target, now: None)
        judge = Judge(worker, Identity("p", "human", frozenset({group})), TARGET, Judgements(), lambda: 1000.0)
        self.state = State(
            judge, self.route, CoreLimits(**limits), catalogue(), lambda: Redactors(b"k" * 32), "S-1", "orders",
            {b"client_encoding": b"UTF8", b"standard_conforming_strings": b"on"}, None, lambda: self.now,
        )  # fmt: skip
        self.core = Core(self.state)
        self.rows: list[int | None] = []
        self.estimates: list[AskEstimate] = []

    def client(self, *wire: bytes) -> list[bytes]:
        """@return: what the target is sent"""
        self.core.client_bytes(b"".join(wire))
        self.answer()
        return self.served()

    def server(self, *wire: bytes) -> list[bytes]:
        """@return: what the client is sent"""
        self.core.target_bytes(b"".join(wire))
        self.answer()
        return self.heard()

    def answer(self) -> None:
        """Tell what C{rows} says of the next operations, where the core asks for that."""
        while any(isinstance(each, AskEstimate) for each in self.state.asks):
            ask = next(each for each in self.state.asks if isinstance(each, AskEstimate))
            self.state.asks.remove(ask)
            self.estimates.append(ask)
            self.core.estimated(tuple(self.rows.pop(0) if self.rows else None for _ in ask.texts))

    def served(self) -> list[bytes]:
        out, self.state.to_target = b"".join(self.state.to_target), []
        return split(out)

    def heard(self) -> list[bytes]:
        out, self.state.to_client = b"".join(self.state.to_client), []
        return split(out)

    def asked(self) -> list[Any]:
        asks, self.state.asks = self.state.asks, []
        return asks

    def frames(self, kind: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.route.recorder.frames if name == kind]


def split(wire: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(wire):
        end = at + 1 + INT32.unpack_from(wire, at + 1)[0]
        found.append(wire[at:end])
        at = end
    return found


def kinds(messages: list[bytes]) -> str:
    """Type bytes, in order."""
    return "".join(chr(each[0]) for each in messages)


def error(messages: list[bytes]) -> dict[str, bytes]:
    """Fields of the one error among C{messages}."""
    (found,) = [each for each in messages if each[:1] == backend.ERROR]
    return backend.parse_error(found[HEADER_SIZE:])


SYNTAX = backend.message(backend.ERROR, backend.error_payload({"S": b"ERROR", "C": b"42601", "M": b"syntax error"}))
READY = backend.ready(b"I")
IN_BLOCK = backend.ready(b"T")
FAILED = backend.ready(b"E")
PARSED, BOUND, CLOSED = (backend.message(kind) for kind in (b"1", b"2", b"3"))
NO_DATA = backend.message(b"n")
SUSPENDED = backend.message(b"s")
EMPTY = backend.message(b"I")
