"""Notices in the broker: posted with what they tell, kept until delivered, at least once; not the network talk.

Posting writes a row for each channel, in the poster's own transaction where there is one, so that nothing that happened
goes untold. Each channel has a lane of its own (L{hoopd.notices.lanes}): one that hangs holds nobody else up. A crash
between attempt and outcome repeats the attempt, under the same key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger
from zope.interface import implementer

from hoopd.config.channels import Channel, Notifications
from hoopd.errors import HoopdError, Unavailable
from hoopd.interfaces import INotices
from hoopd.notices import rows
from hoopd.notices.deliveries import Outcome
from hoopd.notices.lanes import Lane
from hoopd.notices.notice import Notice, notice
from hoopd.notices.rendering import render
from hoopd.notices.rows import Entry, Row
from hoopd.secret import Secret

#: what one list shows
FOUND_MAX = 500
#: seconds between the first attempt and the second; doubles with each, up to the second number
PAUSE, PAUSE_MAX = 1.0, 600.0
#: of each pause, up to so much more, so that receivers are not asked by all at once
JITTER = 0.25
#: how often what is settled and old is forgotten, seconds
TIDY = 3600.0
#: a notice that waits longer than this is a problem, seconds
LATE = 10.0
#: and so is one that was given up, for so long
GIVEN_UP_SHOWN = 86400.0
#: how long somebody who asked for an attempt waits to hear what came of it: the slowest receiver's time, and a second
TOLD = 61.0


@implementer(INotices)
class Notices:
    """
    @param store: L{hoopd.interfaces.IStore} with the tables of this package.
    @param channels: by name. @param settings: for all of them.
    @param installation: goes into the idempotency keys, so that two gateways never share one.
    @param clock: IReactorTime; its seconds are seconds since the epoch.
    @param reveal: gives Deferred of the L{Secret} of a channel by its name in the vault.
    @param ledger: L{hoopd.interfaces.ILedger}. @param event: takes an event's name and fields.
    @param jitter: gives a number from 0 to 1, evenly.
    """

    log = Logger()

    def __init__(
        self,
        store: Any,
        channels: Mapping[str, Channel],
        settings: Notifications,
        installation: str,
        clock: Any,
        *,
        reveal: Callable[[str], Deferred[Secret]],
        ledger: Any,
        event: Callable[[str, dict[str, Any]], None],
        jitter: Callable[[], float],
    ) -> None:
        self._store = store
        self._channels = channels
        self._settings = settings
        self._installation = installation
        self._clock = clock
        self._reveal = reveal
        self._ledger = ledger
        self._event = event
        self._jitter = jitter
        self._notifier: Any = None
        self._tidying: Any = None
        self._told: dict[str, list[Deferred[Entry]]] = {}
        self._lanes = {
            name: Lane(name, store, clock, self._attempt, lambda: self._notifier is not None) for name in channels
        }

    # -- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Give up what waits for channels that are gone, and send the rest once a notifier is there."""
        for entry in await self._store.transact(lambda tx: rows.stranded(tx, self._channels)):
            await self._give_up(entry, entry.attempts, "the channel is not configured any more")
        await self._tidy()
        self.wake()

    def stop(self) -> None:
        """Begin nothing more. What waits is in the store."""
        self._notifier = None
        for lane in self._lanes.values():
            lane.stop()
        if self._tidying is not None:
            self._tidying.cancel()
            self._tidying = None

    def attached(self, notifier: Any) -> None:
        """@param notifier: L{hoopd.interfaces.INotifier}, there for the first time or again."""
        self._notifier = notifier
        now = self._clock.seconds()
        hastened: Deferred[None] = self._store.transact(lambda tx: rows.hasten(tx, now))
        # where the store is away everything waits for its own time
        hastened.addErrback(lambda failure: failure.trap(HoopdError) and None)
        hastened.addCallback(lambda _: self.wake())

    async def _tidy(self) -> None:
        before = self._clock.seconds() - self._settings.keep
        await self._store.transact(lambda tx: rows.forget(tx, before))
        self._tidying = self._clock.callLater(TIDY, self._tidy_again)

    def _tidy_again(self) -> None:
        self._tidying = None
        Deferred.fromCoroutine(self._tidy()).addErrback(self._untidy)

    def _untidy(self, failure: Any) -> None:
        self.log.warn("old notices are not forgotten: {why}", why=failure.getErrorMessage())
        self._tidying = self._clock.callLater(TIDY, self._tidy_again)

    # -- telling -----------------------------------------------------------------------------------------------

    @property
    def default(self) -> tuple[str, ...]:
        """The channels for those who name none."""
        return self._settings.default

    def post(self, tx: Any, notice: Notice, channels: Iterable[str] = ()) -> None:
        """See L{INotices.post}."""
        for name in sorted(set(channels) or set(self.default)):
            channel = self._channels.get(name)
            # a name that is gone was checked when its rule was loaded: the channel was removed since
            if channel is not None and (not channel.events or notice.kind in channel.events):
                self._insert(tx, name, notice)

    def _insert(self, tx: Any, channel: str, notice: Notice) -> str:
        now = self._clock.seconds()
        id = rows.key(self._installation, channel, notice)
        rows.insert(tx, id, channel, notice, now, now + self._settings.give_up)
        return id

    def tell(self, notice: Notice, channels: Iterable[str] = ()) -> Deferred[None]:
        """See L{INotices.tell}."""
        named = tuple(channels)
        posted: Deferred[None] = self._store.transact(lambda tx: self.post(tx, notice, named))
        return posted.addCallback(lambda _: self.wake())

    def wake(self) -> None:
        """See L{INotices.wake}."""
        for lane in self._lanes.values():
            lane.wake()

    # -- for administrators ------------------------------------------------------------------------------------

    def find(self, state: str | None = None, channel: str | None = None) -> Deferred[list[Entry]]:
        """@return: Deferred of the newest entries, at most L{FOUND_MAX}."""
        found: Deferred[list[Entry]] = self._store.transact(lambda tx: rows.find(tx, state, channel, FOUND_MAX))
        return found

    async def problems(self) -> list[str]:
        """@return: what is wrong with the channels, a sentence each, for L{hoopd.administration_condition}."""
        now = self._clock.seconds()
        found = await self._store.transact(lambda tx: rows.trouble(tx, now - LATE, now - GIVEN_UP_SHOWN))
        said = []
        for one in found:
            if one.since is not None:
                late = now - one.since
                said.append(f"{one.channel} was not told for {late:.0f} s, {one.failing} notices wait: {one.outcome}")
            if one.untried:
                said.append(f"{one.untried} notices to {one.channel} wait for their first attempt")
            if one.given_up:
                what = f"{one.given_up} notices to {one.channel} were given up in the last day"
                said.append(f"{what}: {one.outcome}; hoopctl notify list --state given-up")
        return said

    async def test(self, channel: str, by: str, subject: str) -> Entry:
        """Send C{channel} a notice that says it is a test, whatever its C{events} are, and wait for the outcome.

        @param subject: a fresh id. @raise KeyError: no such channel.
        """
        lane = self._lanes[channel]
        now = self._clock.seconds()
        fields = {"channel": channel, "asked_by": by, "tested_at": now}
        made = notice("notify.test", subject, f"{by} tests the channel {channel}", now, fields)
        id = await self._store.transact(lambda tx: self._insert(tx, channel, made))
        return await self._outcome(id, lane)

    async def retry(self, id: str) -> Entry:
        """Try C{id} now, also one that was given up or delivered, and wait for the outcome.

        @raise KeyError: no such entry, or its channel is gone.
        """
        known = await self._store.transact(lambda tx: rows.get(tx, id))
        lane = self._lanes[known.channel]
        now = self._clock.seconds()
        await self._store.transact(lambda tx: rows.revive(tx, id, now, now + self._settings.give_up))
        return await self._outcome(id, lane)

    async def _outcome(self, id: str, lane: Lane) -> Entry:
        """The entry after its next attempt; as it is, where that takes too long."""
        told: Deferred[Entry] = Deferred()
        self._told.setdefault(id, []).append(told)
        lane.wake()
        try:
            return await told.addTimeout(TOLD, self._clock)
        except TimeoutError:
            entry: Entry = await self._store.transact(lambda tx: rows.get(tx, id))
            return entry

    # -- one attempt -------------------------------------------------------------------------------------------

    def _attempt(self, row: Row) -> Deferred[None]:
        return Deferred.fromCoroutine(self._try(row))

    async def _try(self, row: Row) -> None:
        outcome = await self._delivered(row)
        entry, attempts, now = row.entry, row.entry.attempts + 1, self._clock.seconds()
        if outcome.delivered:
            await self._settle(entry.id, rows.DELIVERED, attempts, outcome.detail)
            seconds = round(now - entry.posted_at, 3)
            self._say("notify.delivered", entry, attempts, seconds=seconds, outcome=outcome.detail)
        elif now >= entry.give_up_at:
            await self._give_up(entry, attempts, outcome.detail)
        else:
            pause = min(PAUSE * 2 ** min(entry.attempts, 20), PAUSE_MAX) * (1 + JITTER * self._jitter())
            again = now + max(pause, outcome.retry_after or 0.0)
            await self._store.transact(lambda tx: rows.again(tx, entry.id, attempts, again, outcome.detail))
            self._say("notify.failed", entry, attempts, why=outcome.detail, next=again)
        await self._tell_waiting(entry.id)

    async def _delivered(self, row: Row) -> Outcome:
        try:
            return await self._asked(row)
        except Exception:
            # a notice that cannot be rendered must not stop its lane
            self.log.failure("notice {id} could not be sent", id=row.entry.id)
            return Outcome(False, "the gateway met an error of its own; its log says more")

    async def _asked(self, row: Row) -> Outcome:
        channel = self._channels[row.entry.channel]
        try:
            secret = await self._reveal(channel.secret) if channel.secret else Secret(b"")
            delivery = render(channel, row.notice, row.entry.id, self._clock.seconds(), secret)
        except KeyError:
            return Outcome(False, f"the vault has no secret {channel.secret}: hoopctl vault put {channel.secret}")
        except (HoopdError, ValueError) as error:
            return Outcome(False, str(error)[:500])
        if self._notifier is None:
            return Outcome(False, rows.AWAY)
        try:
            outcome: Outcome = await self._notifier.deliver(delivery)
        except Unavailable:
            return Outcome(False, rows.AWAY)
        return outcome

    async def _settle(self, id: str, state: str, attempts: int, outcome: str) -> None:
        now = self._clock.seconds()
        await self._store.transact(lambda tx: rows.settle(tx, id, state, attempts, now, outcome))

    async def _give_up(self, entry: Entry, attempts: int, why: str) -> None:
        """On record first: a ledger that cannot be written keeps the notice alive."""
        fields = {"notice": entry.id, "channel": entry.channel, "kind": entry.kind, "subject": entry.subject}
        await self._ledger.append("notice", {**fields, "act": "given up", "attempts": attempts, "why": why})
        await self._settle(entry.id, rows.GIVEN_UP, attempts, why)
        self._say("notify.given-up", entry, attempts, why=why)

    def _say(self, name: str, entry: Entry, attempts: int, **more: Any) -> None:
        fields = {"notice": entry.id, "channel": entry.channel, "kind": entry.kind, "subject": entry.subject}
        self._event(name, {**fields, "attempts": attempts, **more})

    async def _tell_waiting(self, id: str) -> None:
        waiting = self._told.pop(id, [])
        if waiting:
            entry = await self._store.transact(lambda tx: rows.get(tx, id))
            for told in waiting:
                if not told.called:
                    told.callback(entry)
