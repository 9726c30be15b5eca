"""What the tests of notices share: channels, a notifier that does as it is told, a service over a clock."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopd.audit.memory import MemoryLedger
from hoopd.config.channels import Channel, Notifications
from hoopd.interfaces import INotifier
from hoopd.notices.deliveries import Delivery, Outcome
from hoopd.notices.notice import notice
from hoopd.notices.service import Notices
from hoopd.notices.tables import MIGRATIONS
from hoopd.secret import Secret
from hoopd.store.memory import MemoryStore

START = 1_790_000_000.0
KEY = "whsec_" + "QUJD" * 10
SLACK = "https://hooks.slack.example/services/T0/B0/s3cret"
SECRETS = {"notify/orders": KEY, "notify/security": SLACK, "notify/smtp": "smtp-passw0rd"}
CHANNELS = {
    "orders": Channel(kind="webhook", url="https://r.example/hoopd", secret="notify/orders"),
    "security": Channel(kind="slack", secret="notify/security", events=("break-glass.opened",)),
    "nokey": Channel(kind="teams", secret="notify/missing"),
}
HELD = notice("approval.held", "A-1", "priya waits", START)
GLASS = notice("break-glass.opened", "G-1", "priya broke glass", START)


@implementer(INotifier)
class MemoryNotifier:
    """@ivar answer: an outcome, an error, or a Deferred of what all get that are given meanwhile. @ivar given: every delivery."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.answer: Any = Outcome(True, "status 200")

    def deliver(self, delivery: Delivery) -> Deferred[Outcome]:
        self.given.append(delivery)
        if isinstance(self.answer, Exception):
            return fail(Failure(self.answer))
        if not isinstance(self.answer, Deferred):
            return succeed(self.answer)
        mine: Deferred[Outcome] = Deferred()
        self.answer.addCallback(_passed_on, mine)
        return mine

    @property
    def ids(self) -> list[str]:
        """The keys of the webhooks that came, in order."""
        return [dict(each.headers)["webhook-id"] for each in self.given]


def _passed_on(outcome: Outcome, waiting: Deferred[Outcome]) -> Outcome:
    waiting.callback(outcome)
    return outcome


class World:
    """A broker's part of notices, that can be restarted over the same store."""

    def __init__(self, channels: Any = None, **settings: Any) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.store: Any = MemoryStore(MIGRATIONS)
        self.ledger = MemoryLedger()
        self.channels = CHANNELS if channels is None else channels
        self.settings = Notifications(**{"default": ("orders",), **settings})
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.secrets = dict(SECRETS)
        self.notifier = MemoryNotifier()
        self.notices = self.made()

    def made(self) -> Notices:
        return Notices(
            self.store,
            self.channels,
            self.settings,
            "inst",
            self.clock,
            reveal=self._reveal,
            ledger=self.ledger,
            event=lambda name, fields: self.events.append((name, fields)),
            jitter=lambda: 0.0,
        )

    def _reveal(self, name: str) -> Deferred[Secret]:
        if name not in self.secrets:
            return fail(Failure(KeyError(name)))
        return succeed(Secret(self.secrets[name]))

    def restart(self) -> None:
        """As after kill -9: nothing but the store is left."""
        self.clock = Clock()
        self.clock.advance(START + 60)
        self.notices = self.made()

    def names(self) -> list[str]:
        return [name for name, _ in self.events]
