"""Officers' keys: the age recipient that each vault administrator keeps the secret half of, on paper or a token.

A key counts from a day after everybody was told of it: who could name a key and use it at once could name two of
their own. Not the sealing (L{hoopd.emergency.sealing}).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred

from hoopd.audit import pending as pending_leaves
from hoopd.config.schema import EmergencyConfig
from hoopd.emergency.sealing import valid_recipient
from hoopd.errors import Denied
from hoopd.identity import duties
from hoopd.identity.directory import find
from hoopd.identity.names import same_person
from hoopd.notices.notice import notice
from hoopd.values import Identity


@frozen
class OfficerKey:
    """@ivar counts_at: epoch seconds, from when exports may be sealed to it, until C{lapses_at}."""

    identity: str
    recipient: str
    counts_at: float
    lapses_at: float


class Officers:
    """
    @param pending: L{hoopd.audit.pending.Pending} on the same store. @param notices: L{hoopd.interfaces.INotices}
    @param conflicts: duties that exclude each other.
    """

    def __init__(
        self,
        store: Any,
        pending: Any,
        notices: Any,
        clock: Any,
        settings: EmergencyConfig,
        conflicts: duties.Conflicts,
        event: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._store = store
        self._pending = pending
        self._notices = notices
        self._clock = clock
        self._settings = settings
        self._conflicts = conflicts
        self._event = event

    def register(self, identity: Identity, recipient: str) -> Deferred[OfficerKey]:
        """C{recipient} is from now on the one key of C{identity}, who asks.

        @raise Denied: not for these. @raise ValueError: no recipient, or somebody else's.
        """
        return Deferred.fromCoroutine(self._register(identity, recipient))

    async def _register(self, identity: Identity, recipient: str) -> OfficerKey:
        if identity.kind != "human" or identity.act is not None or identity.scopes is not None:
            raise Denied("officers are people, by themselves and with all that they may")
        if identity.proof.startswith("recovery:"):
            raise Denied("a recovery code registers no keys", hint="sign in another way first")
        plain, now, name = valid_recipient(recipient), self._clock.seconds(), identity.name

        def work(tx: Any) -> OfficerKey:
            for other, key in tx.execute("SELECT identity, recipient FROM officer_keys WHERE identity <> ?", (name,)):
                if key == plain:
                    raise ValueError(f"{other} has this key: two officers with one key are one officer")
                if same_person(other, name):
                    raise ValueError(f"{other} has a key already, and the names are too much alike")
            found = tx.execute("SELECT recipient, registered_at FROM officer_keys WHERE identity = ?", (name,))
            # registered again, so that it does not lapse, the same key counts on; another one waits
            since = found[0][1] if found and found[0][0] == plain else now
            row = (name, plain, max(since, now - self._settings.key_wait))
            tx.execute("DELETE FROM officer_keys WHERE identity = ?", (name,))
            tx.execute("INSERT INTO officer_keys (identity, recipient, registered_at) VALUES (?, ?, ?)", row)
            fields = {"event": "registered", "identity": name, "by": name, "recipient": plain}
            pending_leaves.add(tx, "officer-key", fields)
            title = f"{name} registered a key for emergency exports; who does not know of it asks {name} now"
            told = notice("emergency.key", name, title, now, {"recipient": plain}, revision=int(now * 1000))
            self._notices.post(tx, told, self._settings.notify)
            return self._key(row)

        key: OfficerKey = await self._store.transact(work)
        self._notices.wake()
        await self._pending.send()
        self._event("emergency.key", {"identity": name, "recipient": plain, "counts_at": key.counts_at})
        return key

    def _key(self, row: tuple[Any, ...]) -> OfficerKey:
        name, recipient, registered_at = row
        return OfficerKey(
            name, recipient, registered_at + self._settings.key_wait, registered_at + self._settings.key_lapse
        )

    def remove(self, name: str, by: Identity) -> Deferred[None]:
        """Nothing is sealed to the key of C{name} any more. @raise Denied @raise KeyError: has none."""

        async def work() -> None:
            if name != by.name and "administrator" not in by.duties:
                raise Denied("the keys of others are removed by administrators")

            def change(tx: Any) -> None:
                if not tx.execute("DELETE FROM officer_keys WHERE identity = ? RETURNING identity", (name,)):
                    raise KeyError(name)
                pending_leaves.add(tx, "officer-key", {"event": "removed", "identity": name, "by": by.name})

            await self._store.transact(change)
            await self._pending.send()
            self._event("emergency.key-removed", {"identity": name, "by": by.name})

        return Deferred.fromCoroutine(work())

    def keys(self) -> Deferred[list[OfficerKey]]:
        """@return: Deferred of everybody's, by name"""

        def work(tx: Any) -> list[OfficerKey]:
            rows = tx.execute("SELECT identity, recipient, registered_at FROM officer_keys ORDER BY identity")
            return [self._key(row) for row in rows]

        found: Deferred[list[OfficerKey]] = self._store.transact(work)
        return found

    def recipient(self, tx: Any, name: str) -> str:
        """The key to seal to, inside the caller's transaction. @raise Denied: C{name} is no officer now, and why."""
        rows = tx.execute("SELECT identity, recipient, registered_at FROM officer_keys WHERE identity = ?", (name,))
        if not rows:
            raise Denied(f"{name} has no key", hint="an officer registers one: hoopctl officer-keys set age1…")
        key, now = self._key(rows[0]), self._clock.seconds()
        if tx.execute("SELECT 1 FROM identity_locks WHERE name = ?", (name,)):
            raise Denied(f"{name} is disabled")
        if tx.execute("SELECT 1 FROM identities WHERE name = ?", (name,)):
            held = find(tx, name).duties
            if "vault" not in set(held) - duties.clashes(held, self._conflicts):
                raise Denied(f"{name} has not the duty vault any more")
        if now < key.counts_at:
            left = (key.counts_at - now) / 3600
            raise Denied(f"the key of {name} is new and counts in {left:.1f} h (emergency.key_wait)")
        if now >= key.lapses_at:
            raise Denied(f"the key of {name} has lapsed", hint=f"{name} registers it again: hoopctl officer-keys set")
        return key.recipient
