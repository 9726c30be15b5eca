"""What the tests of approvals share: people, operations, and a service over any store."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock

from hoopd.approvals.service import Approvals
from hoopd.audit.memory import MemoryLedger
from hoopd.config.schema import ApprovalsConfig
from hoopd.secret import Secret
from hoopd.values import HeldOperation, HoldTerms, Identity

KEY = bytes(range(32))
TOKEN = Secret("token")
START = 1_790_000_000.0


def person(name: str, *groups: str, duties: tuple[str, ...] = ("user", "approver"), **fields: Any) -> Identity:
    return Identity(name, "human", frozenset(groups), duties=frozenset(duties), **fields)


PRIYA = person("priya", "eng")
LEA = person("lea", "leads")
LARS = person("lars", "leads")
DORA = person("dora", "dba")
DAN = person("dan", "dba")
BOTH = person("bo", "leads", "dba")
TERMS = HoldTerms("orders.hold.write", ("group:leads",), wait=900.0)
BULK = HoldTerms("orders.hold.bulk", ("group:dba",), quorum=2, wait=600.0)


def held(session: str = "S-1", text: str = "UPDATE orders SET paid = true", **fields: Any) -> HeldOperation:
    made = HeldOperation(
        session=session,
        protocol="postgres",
        statement=text.encode(),
        parameters=b"",
        context="database=shop;role=app",
        redacted=text,
        classes=("update", "write"),
        objects=("public.orders",),
        reason="ticket 7",
        holds=(TERMS,),
        policy="p1",
    )
    return evolve(made, **fields)


class World:
    """A broker's part of approvals, that can be restarted over the same store and ledger.

    @ivar sessions: live sessions and who runs them.
    """

    def __init__(self, store: Any, clock: Any = None, config: ApprovalsConfig | None = None) -> None:
        if clock is None:
            clock = Clock()
            clock.advance(START)
        self.store = store
        self.clock = clock
        self.config = config or ApprovalsConfig(open_for=0.0)
        self.ledger = MemoryLedger()
        self.sessions: dict[str, Identity] = {}
        self.targets: dict[str, str] = {}
        self.policy = "p1"
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.still: Callable[[Any], Any] = lambda vote: True
        self._ids = count(1)
        self.approvals = self._made()

    def _made(self) -> Approvals:
        return Approvals(
            self.store,
            KEY,
            self.ledger,
            self.clock,
            self.config,
            policy_version=lambda: self.policy,
            identity_of=self.sessions.get,
            target_of=self.targets.__getitem__,
            new_id=lambda: f"A-{next(self._ids)}",
            event=lambda name, fields: self.events.append((name, fields)),
            still=lambda vote: self.still(vote),
        )

    async def session(self, id: str, identity: Identity = PRIYA, target: str = "orders") -> str:
        """A live session."""
        self.sessions[id] = identity
        self.targets[id] = target
        return id

    async def restart(self) -> None:
        """The broker dies without a word and another one starts."""
        await self.approvals.stop()
        self.approvals = self._made()
        await self.approvals.start()
