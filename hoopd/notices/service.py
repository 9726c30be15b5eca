"""Notices in the broker: posted with what they tell, kept until delivered, at least once; not the network talk.

Posting writes a row for each channel, in the poster's own transaction where there is one, so that nothing that happened
goes untold. Each channel has a lane of its own (L{hoopd.notices.lanes}): one that hangs holds nobody else up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from hoopd.config.channels import Channel, Notifications
from hoopd.interfaces import INotices
from hoopd.notices import rows
from hoopd.notices.notice import Notice
from hoopd.notices.rows import Entry

#: what one list shows
FOUND_MAX = 500


@implementer(INotices)
class Notices:
    """
    @param store: L{hoopd.interfaces.IStore} with the tables of this package.
    @param channels: by name. @param settings: for all of them.
    @param installation: goes into the idempotency keys, so that two gateways never share one.
    @param clock: IReactorTime; its seconds are seconds since the epoch.
    """

    def __init__(
        self,
        store: Any,
        channels: Mapping[str, Channel],
        settings: Notifications,
        installation: str,
        clock: Any,
    ) -> None:
        self._store = store
        self._channels = channels
        self._settings = settings
        self._installation = installation
        self._clock = clock

    # -- telling -----------------------------------------------------------------------------------------------

    def post(self, tx: Any, notice: Notice, channels: Iterable[str] = ()) -> None:
        """See L{INotices.post}."""
        now = self._clock.seconds()
        for name in self._wanted(channels):
            channel = self._channels.get(name)
            # a name that is gone was checked when its rule was loaded: the channel was removed since
            if channel is not None and (not channel.events or notice.kind in channel.events):
                id = rows.key(self._installation, name, notice)
                rows.insert(tx, id, name, notice, now, now + self._settings.give_up)

    def _wanted(self, channels: Iterable[str]) -> list[str]:
        return sorted(set(channels) or set(self._settings.default))

    def tell(self, notice: Notice, channels: Iterable[str] = ()) -> Deferred[None]:
        """See L{INotices.tell}."""
        named = tuple(channels)
        posted: Deferred[None] = self._store.transact(lambda tx: self.post(tx, notice, named))
        return posted.addCallback(lambda _: self.wake())

    def wake(self) -> None:
        """See L{INotices.wake}."""

    # -- looking -----------------------------------------------------------------------------------------------

    def find(self, state: str | None = None, channel: str | None = None) -> Deferred[list[Entry]]:
        """@return: Deferred of the newest entries, at most L{FOUND_MAX}."""
        found: Deferred[list[Entry]] = self._store.transact(lambda tx: rows.find(tx, state, channel, FOUND_MAX))
        return found
