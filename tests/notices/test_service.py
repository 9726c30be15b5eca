"""Posting: a row for each channel, with what it tells or not at all, once."""

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from hoopd.config.channels import Channel, Notifications
from hoopd.notices.notice import notice
from hoopd.notices.service import Notices
from hoopd.notices.tables import MIGRATIONS
from hoopd.store.memory import MemoryStore

CHANNELS = {
    "orders": Channel(kind="webhook", url="https://x.example", secret="notify/orders"),
    "security": Channel(kind="slack", secret="notify/security", events=("break-glass.opened",)),
}
HELD = notice("approval.held", "A-1", "priya waits", 1000.0)
GLASS = notice("break-glass.opened", "B-1", "priya broke glass", 1000.0)


class Posting(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.store = MemoryStore(MIGRATIONS)
        self.notices = Notices(self.store, CHANNELS, Notifications(default=("orders",)), "inst", self.clock)

    def entries(self) -> list[tuple[str, str]]:
        found: list[Any] = self.successResultOf(self.notices.find())
        return sorted((entry.channel, entry.subject) for entry in found)

    def test_named_channels_or_the_default_ones(self) -> None:
        self.successResultOf(self.notices.tell(HELD))
        self.successResultOf(self.notices.tell(GLASS, ["security", "orders", "security"]))
        assert self.entries() == [("orders", "A-1"), ("orders", "B-1"), ("security", "B-1")]

    def test_a_channel_chooses_its_events(self) -> None:
        self.successResultOf(self.notices.tell(HELD, ["security"]))
        assert self.entries() == []

    def test_the_same_notice_is_posted_once(self) -> None:
        self.successResultOf(self.notices.tell(HELD))
        self.successResultOf(self.notices.tell(HELD))
        assert self.entries() == [("orders", "A-1")]

    def test_rolled_back_with_what_it_tells(self) -> None:
        def work(tx: Any) -> None:
            self.notices.post(tx, HELD)
            raise ValueError("the transition failed")

        self.failureResultOf(self.store.transact(work), ValueError)
        assert self.entries() == []


def test_keys_differ_by_gateway_channel_kind_and_revision() -> None:
    from hoopd.notices.rows import key

    again = notice("approval.held", "A-1", "priya waits", 1000.0, revision=1)
    keys = {key("i", "orders", HELD), key("j", "orders", HELD), key("i", "x", HELD), key("i", "orders", GLASS)}
    assert len(keys | {key("i", "orders", again)}) == 5
    assert key("i", "orders", HELD) == key("i", "orders", HELD)
    # Standard Webhooks joins id, time and body by full stops
    assert all("." not in each for each in keys)


@pytest.mark.parametrize("state", ["waiting"])
def test_a_new_entry_waits(state: str) -> None:
    clock = Clock()
    notices = Notices(MemoryStore(MIGRATIONS), CHANNELS, Notifications(default=("orders",)), "inst", clock)
    notices.tell(HELD)
    found: list[Any] = []
    notices.find(state).addCallback(found.extend)
    assert [entry.attempts for entry in found] == [0]
