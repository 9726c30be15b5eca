"""Recovery codes: proof of a person while their identity provider is dead, each good once and for that person alone.

Codes are kept as keyed digests only. People make their own, so that nobody else has seen them, and somebody else
confirms the sheet by its id, so that a stolen token makes no lasting proof. A use begins a short session, whose token
(C{hoopdr_…}) proves the same person until it is over; what was begun with it ends then. Each step is in the ledger, in
the log, and told.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from hoopd.audit import pending as pending_leaves
from hoopd.errors import Denied, RecordError
from hoopd.identity import recovery_codes as codes
from hoopd.identity import tokens
from hoopd.identity.directory import find
from hoopd.identity.names import same_person
from hoopd.identity.values import Revocation
from hoopd.notices.notice import notice
from hoopd.policy.rules import names
from hoopd.secret import Secret
from hoopd.values import Identity

#: a sheet of paper; more are not kept track of
COUNT_MAX = 20
#: how long what a code begins may last, seconds: another hour needs another code
SESSION = 3600.0
PREFIX = b"hoopdr_"
_UNUSED = "used_at IS NULL"


@frozen
class Sheet:
    """One sheet of recovery codes, as lists show it. Times are epoch seconds.

    @ivar confirmed_by: who said that it counts; C{""} is nobody yet.
    @ivar groups: those that a provider gave its person; a local identity has its own. C{duties} likewise.
    """

    id: str
    identity: str
    remaining: int
    used: int
    groups: tuple[str, ...]
    duties: tuple[str, ...]
    created_at: float
    lapses_at: float
    confirmed_by: str
    last_used_at: float | None


class Recovery:
    """
    @param pending: L{hoopd.audit.pending.Pending} on the same store. @param notices: L{hoopd.interfaces.INotices}
    @param pepper: 32 secret bytes of this installation.
    @param whose: names and groups of those who may have codes, beside whoever has a duty.
    @param lapse: seconds from making a sheet until it is worthless. @param new_id: gives a sheet's id.
    @param over: called with a L{Revocation} when the time of a session is over.
    """

    log = Logger()

    def __init__(
        self,
        store: Any,
        pending: Any,
        notices: Any,
        clock: Any,
        pepper: bytes,
        entropy: Callable[[int], bytes],
        event: Callable[[str, dict[str, Any]], None],
        over: Callable[[Revocation], None],
        *,
        whose: Iterable[str],
        lapse: float,
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._pending = pending
        self._notices = notices
        self._clock = clock
        self._pepper = pepper
        self._entropy = entropy
        self._event = event
        self._over = over
        self._whose = tuple(whose)
        self._lapse = lapse
        self._new_id = new_id
        self._timers: set[Any] = set()

    async def start(self) -> None:
        """Arm the ends of sessions that go on."""
        rows = await self._store.transact(
            lambda tx: tx.execute(
                "SELECT id, identity, expires_at FROM recovery_codes WHERE expires_at IS NOT NULL AND ended = 0"
            )
        )
        for id, identity, expires_at in rows:
            self._arm(id, identity, max(0.0, expires_at - self._clock.seconds()))

    def stop(self) -> None:
        """Forget timers; sessions are in the store."""
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self._timers.clear()

    def _arm(self, id: str, identity: str, after: float) -> None:
        def rang() -> None:
            self._timers.discard(timer)
            self._over(Revocation(identity, id, "the recovery session is over"))
            done: Deferred[Any] = self._store.transact(
                lambda tx: tx.execute("UPDATE recovery_codes SET ended = 1 WHERE id = ?", (id,))
            )
            # not noted it is told once more at the next start, which ends nothing that is not over
            done.addErrback(lambda failure: self.log.warn("recovery: {why}", why=failure.getErrorMessage()))

        timer = self._clock.callLater(after, rang)
        self._timers.add(timer)

    # -- sheets ------------------------------------------------------------------------------------------------

    def create(self, identity: Identity, count: int) -> Deferred[tuple[str, list[str]]]:
        """A sheet for C{identity}, who asks. It counts once somebody else has confirmed it; until then the older one does.

        @return: Deferred of the sheet's id and its codes, which are not kept.
        @raise Denied: not for these. @raise ValueError: C{count}.
        """
        return Deferred.fromCoroutine(self._create(identity, count))

    async def _create(self, identity: Identity, count: int) -> tuple[str, list[str]]:
        self._entitled(identity)
        if not 1 <= count <= COUNT_MAX:
            raise ValueError(f"a sheet has 1 to {COUNT_MAX} codes")
        name, now, sheet = identity.name, self._clock.seconds(), self._new_id()
        held, may = sorted(identity.groups), sorted(identity.duties)
        fresh = [codes.make(self._entropy) for _ in range(count)]

        def work(tx: Any) -> None:
            tx.execute(f"DELETE FROM recovery_codes WHERE identity = ? AND {_UNUSED} AND confirmed_by = ''", (name,))
            for code in fresh:
                id = base64.b32encode(self._entropy(10)).decode().lower()
                row = (id, sheet, name, self._digest(code), json.dumps(held), json.dumps(may), now, now + self._lapse)
                tx.execute(
                    "INSERT INTO recovery_codes (id, sheet, identity, digest, groups, duties, created_at, lapses_at) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
            self._leaf(tx, "created", name, name, sheet=sheet, count=count, groups=held, duties=may)
            title = f"{name} made recovery codes: sheet {sheet}, which somebody else must confirm"
            self._tell(tx, sheet, title, now, name, 0, f"hoopctl recovery-codes confirm {sheet}")

        await self._store.transact(work)
        self._notices.wake()
        await self._pending.send()
        self._event("recovery.created", {"identity": name, "sheet": sheet, "count": count})
        return sheet, fresh

    def _entitled(self, identity: Identity) -> None:
        if identity.kind != "human" or identity.act is not None or identity.scopes is not None:
            raise Denied("recovery codes are for people, by themselves and with all that they may")
        if identity.proof.startswith("recovery:"):
            raise Denied("a recovery code makes no further ones", hint="sign in another way first")
        if not identity.duties - {"user"} and not any(names(pattern, identity) for pattern in self._whose):
            hint = "identity.recovery_for in hoopd.toml names them"
            raise Denied(f"{identity.name} is none of those who may have recovery codes", hint=hint)

    def confirm(self, sheet: str, by: Identity) -> Deferred[str]:
        """From now on C{sheet} counts, and unused codes of older ones do not.

        @return: Deferred of whose it is.
        @raise Denied: one's own, or not by a person. @raise KeyError: no such sheet waits.
        """
        return Deferred.fromCoroutine(self._confirm(sheet, by))

    async def _confirm(self, sheet: str, by: Identity) -> str:
        if by.kind != "human" or by.act is not None or by.proof.startswith("recovery:"):
            raise Denied("a sheet is confirmed by a person, not proven by a recovery code")
        now = self._clock.seconds()

        def work(tx: Any) -> tuple[str, int]:
            waiting = f"sheet = ? AND {_UNUSED} AND confirmed_by = '' AND lapses_at > ?"
            rows = tx.execute(f"SELECT identity FROM recovery_codes WHERE {waiting} LIMIT 1", (sheet, now))
            if not rows:
                raise KeyError(sheet)
            name = str(rows[0][0])
            if same_person(name, by.name):
                raise Denied("nobody confirms their own recovery codes")
            older = f"DELETE FROM recovery_codes WHERE identity = ? AND sheet <> ? AND {_UNUSED} RETURNING id"
            void = len(tx.execute(older, (name, sheet)))
            tx.execute(f"UPDATE recovery_codes SET confirmed_by = ? WHERE {waiting}", (by.name, sheet, now))
            self._leaf(tx, "confirmed", name, by.name, sheet=sheet, void=void)
            self._tell(tx, sheet, f"{by.name} confirmed recovery codes of {name}: sheet {sheet}", now, name, 1)
            return name, void

        name, void = await self._store.transact(work)
        self._notices.wake()
        await self._pending.send()
        self._event("recovery.confirmed", {"identity": name, "by": by.name, "sheet": sheet, "void": void})
        return str(name)

    def void(self, name: str, by: Identity) -> Deferred[int]:
        """Unused codes of this person prove nothing any more. @return: Deferred of how many. @raise Denied"""

        async def work() -> int:
            if name != by.name and "administrator" not in by.duties:
                raise Denied("recovery codes of others are void when an administrator says so")

            def change(tx: Any) -> int:
                sql = f"DELETE FROM recovery_codes WHERE identity = ? AND {_UNUSED} RETURNING id"
                gone = len(tx.execute(sql, (name,)))
                self._leaf(tx, "void", name, by.name, void=gone)
                now = self._clock.seconds()
                self._tell(tx, name, f"{by.name} made {gone} recovery codes of {name} void", now, name, int(now * 1000))
                return gone

            gone: int = await self._store.transact(change)
            self._notices.wake()
            await self._pending.send()
            self._event("recovery.void", {"identity": name, "by": by.name, "void": gone})
            return gone

        return Deferred.fromCoroutine(work())

    def sheets(self, name: str | None = None) -> Deferred[list[Sheet]]:
        """@return: Deferred of everybody's, or one person's, by name; oldest first."""

        def work(tx: Any) -> list[Sheet]:
            rows = tx.execute(
                "SELECT sheet, identity, SUM(CASE WHEN used_at IS NULL THEN 1 ELSE 0 END), COUNT(used_at), groups, "
                "duties, created_at, lapses_at, confirmed_by, MAX(used_at) FROM recovery_codes "
                "WHERE (? IS NULL OR identity = ?) GROUP BY sheet ORDER BY identity, created_at",
                (name, name),
            )
            return [
                Sheet(id, who, int(left), int(used), tuple(json.loads(groups)), tuple(json.loads(may)), *rest)
                for id, who, left, used, groups, may, *rest in rows
            ]

        found: Deferred[list[Sheet]] = self._store.transact(work)
        return found

    # -- use ---------------------------------------------------------------------------------------------------

    async def use(self, claimed: str, secret: bytes, address: str) -> tuple[Identity | None, str]:
        """Spend a code. @param claimed: whose it is said to be. @return: who that is, or None and why not"""
        name = claimed if claimed.startswith("user:") else f"user:{claimed}"
        code = codes.parse(secret)
        if code is None:
            return None, "mistyped recovery code"
        wanted, now = self._digest(code), self._clock.seconds()

        def work(tx: Any) -> tuple[Identity | None, str]:
            rows = tx.execute(
                f"SELECT id, digest, groups, duties FROM recovery_codes WHERE identity = ? AND {_UNUSED} "
                "AND confirmed_by <> '' AND lapses_at > ?",
                (name, now),
            )
            # all are compared, each in constant time: how long it takes tells nothing
            met = [row for row in rows if hmac.compare_digest(row[1], wanted)]
            if not met:
                return None, "unknown, used, lapsed or unconfirmed recovery code"
            if tx.execute("SELECT 1 FROM identity_locks WHERE name = ?", (name,)):
                return None, f"{name} is disabled"
            id, _, groups, duties = met[0]
            sql = "UPDATE recovery_codes SET used_at = ?, expires_at = ? WHERE id = ? AND used_at IS NULL RETURNING id"
            if not tx.execute(sql, (now, now + SESSION, id)):
                return None, "used recovery code"
            identity = self._identity(tx, name, id, groups, duties, now, now + SESSION, len(rows) - 1)
            self._leaf(tx, "used", name, name, code=id, peer=address, remaining=len(rows) - 1)
            title = f"{name} used a recovery code from {address}; {len(rows) - 1} remain"
            self._notices.post(tx, notice("emergency.recovery", id, title, now, {"identity": name, "peer": address}))
            return identity, ""

        identity, why = await self._store.transact(work)
        if identity is None:
            return None, str(why)
        self._notices.wake()
        self._arm(identity.proof.partition(":")[2], name, SESSION)
        remaining = identity.claims["recovery_remaining"]
        self._event(
            "recovery.used", {"identity": name, "peer": address, "remaining": remaining, "proof": identity.proof}
        )
        try:
            await self._pending.send()
        except RecordError as error:
            # the leaf is on disk and follows; the code is spent, and whoever has it is needed now
            self.log.error("recovery: the use by {name} is not in the ledger yet: {why}", name=name, why=str(error))
        return identity, ""

    def session(self, identity: Identity) -> Deferred[tuple[Secret, float]]:
        """A token for the rest of the session that a code began. @return: Deferred of it and when it lapses"""
        id = identity.proof.partition(":")[2]
        token = PREFIX + id.encode() + b"_" + base64.urlsafe_b64encode(self._entropy(32)).rstrip(b"=")

        def work(tx: Any) -> float:
            sql = "UPDATE recovery_codes SET session_digest = ? WHERE id = ? RETURNING expires_at"
            rows = tx.execute(sql, (tokens.digest(self._pepper, "recovery-session", token), id))
            if not rows:
                raise KeyError(id)
            return float(rows[0][0])

        made: Deferred[float] = self._store.transact(work)
        return made.addCallback(lambda until: (Secret(token), until))

    async def by_token(self, secret: bytes) -> tuple[Identity | None, str]:
        """Who bears a session's token, or None and why not."""
        id = secret[len(PREFIX) :].partition(b"_")[0].decode("ascii", "replace")
        wanted, now = tokens.digest(self._pepper, "recovery-session", secret), self._clock.seconds()

        def work(tx: Any) -> tuple[Identity | None, str]:
            rows = tx.execute(
                "SELECT identity, session_digest, groups, duties, used_at, expires_at FROM recovery_codes WHERE id = ?",
                (id,),
            )
            if not rows or rows[0][1] is None or not hmac.compare_digest(rows[0][1], wanted):
                return None, "unknown recovery session"
            name, _, groups, duties, used_at, expires_at = rows[0]
            if now >= expires_at:
                return None, "the recovery session is over"
            if tx.execute("SELECT 1 FROM identity_locks WHERE name = ?", (name,)):
                return None, f"{name} is disabled"
            return self._identity(tx, name, id, groups, duties, used_at, expires_at, None), ""

        found: tuple[Identity | None, str] = await self._store.transact(work)
        return found

    @staticmethod
    def _identity(
        tx: Any, name: str, id: str, groups: str, duties: str, proven: float, until: float, remaining: int | None
    ) -> Identity:
        held, may = json.loads(groups), json.loads(duties)
        if _local(tx, name):
            own = find(tx, name)
            held, may = own.groups, own.duties
        return Identity(
            subject=name.partition(":")[2],
            kind="human",
            groups=frozenset(held),
            duties=frozenset(may),
            proof=f"recovery:{id}",
            proven_at=proven,
            expires_at=until,
            claims={} if remaining is None else {"recovery_remaining": remaining},
        )

    def _digest(self, code: str) -> str:
        return tokens.digest(self._pepper, "recovery-code", code.encode())

    def _tell(self, tx: Any, sheet: str, title: str, now: float, name: str, revision: int, act: str = "") -> None:
        made = notice("emergency.recovery", sheet, title, now, {"identity": name}, "", (act,) if act else (), revision)
        self._notices.post(tx, made)

    @staticmethod
    def _leaf(tx: Any, event: str, identity: str, by: str, **more: Any) -> None:
        pending_leaves.add(tx, "recovery-code", {"event": event, "identity": identity, "by": by, **more})


def _local(tx: Any, name: str) -> bool:
    return bool(tx.execute("SELECT 1 FROM identities WHERE name = ?", (name,)))


__all__ = ["Recovery", "Sheet"]
