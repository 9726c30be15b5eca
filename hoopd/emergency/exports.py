"""Emergency exports: one target's credential, sealed to two officers, on record until it was rotated.

Made while all is well and kept in a safe, or with the broker dead (L{hoopd.emergency.offline}). What was handed out is in
the store, with its leaf and its notices, before it is; opening the file needs nothing of hoopd, so it cannot be seen from
here: whoever did says so (L{Exports.opened}), and the target's own log does.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred

from hoopd.audit import pending as pending_leaves
from hoopd.breakglass.reviews import text as sentence
from hoopd.config.schema import EmergencyConfig
from hoopd.emergency.contents import contents
from hoopd.emergency.officers import Officers
from hoopd.emergency.sealing import seal
from hoopd.errors import Denied, RecordError
from hoopd.identity.names import same_person
from hoopd.notices.notice import notice
from hoopd.values import Identity, Target

#: two: one alone is no control, and three are not found at night
OFFICERS = 2
_COLUMNS = "id, target, credential, version, officers, made_at, made_by, reason, opened_at, settled_at, settled"


@frozen
class Export:
    """One export. Times are epoch seconds.

    @ivar officers: the first opens the outer file, the second the inner one.
    @ivar opened_at: when somebody said that it was used.
    @ivar settled_at: when it stopped to matter. @ivar settled: and how.
    """

    id: str
    target: str
    credential: str
    version: int
    officers: tuple[str, ...]
    made_at: float
    made_by: str
    reason: str
    opened_at: float | None
    settled_at: float | None
    settled: str


def problem(export: Export, now: float, rotate_within: float) -> str:
    """What is wrong with C{export} now, as a sentence; nothing if it only lies in a safe, or is settled."""
    if export.settled_at is not None:
        return ""
    do = f"put another password at the target and here: hoopctl vault put {export.credential}"
    if export.opened_at is not None:
        return f"{export.credential} was used outside hoopd ({export.id}): {do}"
    if now >= export.made_at + rotate_within:
        days = (now - export.made_at) / 86400
        return f"{export.credential} was exported {days:.0f} days ago ({export.id}) and not rotated: {do}"
    return ""


class Exports:
    """
    @param vault: L{hoopd.interfaces.ICredentialVault}.
    @param pending: L{hoopd.audit.pending.Pending} on the same store.
    @param targets: gives the targets of now by name.
    @param digest_key: 32 secret bytes of this installation.
    @param record: sends what waits for the ledger; where there is none now, leaves wait in the store for the next broker.
    """

    def __init__(
        self,
        store: Any,
        vault: Any,
        officers: Officers,
        notices: Any,
        clock: Any,
        settings: EmergencyConfig,
        digest_key: bytes,
        *,
        targets: Callable[[], Mapping[str, Target]],
        new_id: Callable[[], str],
        event: Callable[[str, dict[str, Any]], None],
        record: Callable[[], Any],
    ) -> None:
        self._store = store
        self._vault = vault
        self._officers = officers
        self._notices = notices
        self._clock = clock
        self._settings = settings
        self._digest_key = digest_key
        self._targets = targets
        self._new_id = new_id
        self._event = event
        self._record = record

    # -- making ------------------------------------------------------------------------------------------------

    def export(self, by: Identity, target: str, officers: Collection[str], reason: str) -> Deferred[tuple[Export, str]]:
        """Seal the credential of C{target} to two officers.

        @param officers: the one who opens first, and the one who then reads it.
        @return: Deferred of the L{Export} and the armored age file, which is not kept.
        @raise Denied: not by, or not to, these. @raise ValueError: no reason. @raise KeyError: no such target, or
            no secret of it. @raise RecordError: it is not handed out.
        """
        if by.kind != "human" or by.act is not None:
            return Deferred.fromCoroutine(_refusal("credentials are exported by people, not by agents or through one"))
        return self.make(by.name, target, officers, reason)

    def make(
        self, by: str, target: str, officers: Collection[str], reason: str, offline: bool = False
    ) -> Deferred[tuple[Export, str]]:
        """L{export}, for whoever has been found entitled. @param offline: without a broker, by whoever can read its store."""
        return Deferred.fromCoroutine(self._make(by, target, tuple(officers), reason, offline))

    async def _make(
        self, by: str, name: str, officers: tuple[str, ...], reason: str, offline: bool
    ) -> tuple[Export, str]:
        said = sentence(reason, "the reason")
        if len(officers) != OFFICERS or same_person(*officers):
            raise Denied("an export is sealed to two officers, both of whom are needed", hint="--to user:A --to user:B")
        target = self._targets().get(name)
        if target is None:
            raise KeyError(name)
        if not target.credential:
            raise Denied(f"{name} has no credential in the vault to export")

        def recipients(tx: Any) -> list[str]:
            return [self._officers.recipient(tx, officer) for officer in officers]

        first, second = keys = await self._store.transact(recipients)
        id, now = self._new_id(), self._clock.seconds()

        def sealed(version: int, value: bytes) -> tuple[int, str, str]:
            inside = contents(id, target, target.credential, version, value, (officers[0], officers[1]), said, now)
            return version, seal(inside, first, second), self._digest(value)

        version, file, digest = await self._vault.use(target.credential, sealed)
        made = Export(id, name, target.credential, version, officers, now, by, said, None, None, "")

        def work(tx: Any) -> None:
            # an officer may have gone meanwhile
            if recipients(tx) != keys:
                raise Denied("an officer's key was changed meanwhile: export it again")
            tx.execute(
                "INSERT INTO emergency_exports (id, target, credential, version, digest, officers, made_at, made_by, "
                "reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (id, name, made.credential, version, digest, json.dumps(officers), now, by, said),
            )
            print_ = hashlib.sha256(file.encode()).hexdigest()
            more = {"officers": officers, "recipients": keys, "reason": said, "file": print_, "offline": offline}
            title = f"{by} exported the credential of {name} to {' and '.join(officers)}: {said}"
            self._note(tx, made, "made", by, 0, title, more)

        await self._store.transact(work)
        try:
            await self._record()
        except RecordError:
            await self._settle(made, "hoopd", "it was never handed out: the ledger could not be written", "closed")
            raise
        self._notices.wake()
        fields = {"export": id, "by": by, "target": name, "secret": made.credential, "version": version}
        self._event("emergency.exported", {**fields, "officers": list(officers), "reason": said})
        return made, file

    def _digest(self, value: bytes) -> str:
        return hmac.new(self._digest_key, value, hashlib.sha256).hexdigest()

    # -- afterwards --------------------------------------------------------------------------------------------

    def opened(self, id: str, by: Identity, reason: str) -> Deferred[Export]:
        """Somebody has used it. @param by: one of its officers, or whoever has the duty vault. @raise Denied @raise KeyError"""

        async def work() -> Export:
            said, now = sentence(reason, "the reason"), self._clock.seconds()
            export = await self._mine(id, by)

            def change(tx: Any) -> Export:
                tx.execute("UPDATE emergency_exports SET opened_at = ? WHERE id = ? AND opened_at IS NULL", (now, id))
                title = f"{by.name} says that the export {id} of {export.target} was used: {said}"
                self._note(tx, export, "opened", by.name, int(now * 1000), title, {"reason": said})
                return _get(tx, id)

            changed: Export = await self._store.transact(change)
            self._notices.wake()
            await self._record()
            self._event("emergency.opened", {**_fields(export), "by": by.name, "reason": said})
            return changed

        return Deferred.fromCoroutine(work())

    async def _mine(self, id: str, by: Identity) -> Export:
        export: Export = await self._store.transact(lambda tx: _get(tx, id))
        if "vault" not in by.duties and by.name not in export.officers:
            # whether there is one is not told
            raise KeyError(id)
        return export

    def close(self, id: str, by: Identity, reason: str) -> Deferred[Export]:
        """It does not matter any more, though no other value came: the target or its account is gone.

        @raise Denied: the vault still has what was exported. @raise KeyError: no such export is outstanding.
        """

        async def work() -> Export:
            said = sentence(reason, "the reason")
            export: Export = await self._store.transact(lambda tx: _get(tx, id))
            if export.settled_at is not None:
                raise KeyError(id)
            then, now = await self._digests(export)
            if then == now:
                raise Denied(
                    f"the vault still has what {id} exported",
                    hint=f"put another password at the target and here: hoopctl vault put {export.credential}",
                )
            return await self._settle(export, by.name, said, "closed")

        return Deferred.fromCoroutine(work())

    def compare(self, by: str) -> Deferred[list[Export]]:
        """Look at what was exported and what the vault has now: what has another value is settled, and what has the
        exported one again is not.

        @return: Deferred of what is outstanding, oldest first
        """

        async def work() -> list[Export]:
            for export in await self.find():
                then, now = await self._digests(export)
                if export.settled_at is None and now not in ("", then):
                    await self._settle(export, by, f"rotated by {by}", "rotated")
                elif export.settled_at is not None and now == then:
                    await self._settle(export, by, "", "again")
            return await self.outstanding()

        return Deferred.fromCoroutine(work())

    async def _digests(self, export: Export) -> tuple[str, str]:
        """@return: of what was exported and of what the vault has now; the latter C{""} if it has nothing."""
        sql = "SELECT digest FROM emergency_exports WHERE id = ?"
        ((then,),) = await self._store.transact(lambda tx: tx.execute(sql, (export.id,)))
        try:
            return str(then), await self._vault.use(export.credential, lambda version, value: self._digest(value))
        except KeyError:
            return str(then), ""

    async def _settle(self, export: Export, by: str, how: str, event: str) -> Export:
        """@param how: C{""} is that it matters again."""
        now = self._clock.seconds()
        title = f"the export {export.id} of {export.target} is settled: {how}"
        if not how:
            title = f"the vault has what {export.id} exported again: it is not settled"

        def work(tx: Any) -> Export:
            found = _get(tx, export.id)
            if (found.settled_at is None) == (export.settled_at is None):
                sql = "UPDATE emergency_exports SET settled_at = ?, settled = ? WHERE id = ?"
                tx.execute(sql, (now if how else None, how, export.id))
                self._note(tx, export, event, by, int(now * 1000), title, {"reason": how})
            return _get(tx, export.id)

        changed: Export = await self._store.transact(work)
        self._notices.wake()
        self._event("emergency.settled", {**_fields(export), "by": by, "how": how or "in use again"})
        await self._record()
        return changed

    # -- looking -----------------------------------------------------------------------------------------------

    def outstanding(self) -> Deferred[list[Export]]:
        """@return: Deferred of those that are not settled, oldest first"""
        sql = f"SELECT {_COLUMNS} FROM emergency_exports WHERE settled_at IS NULL ORDER BY made_at, id"
        found: Deferred[list[Export]] = self._store.transact(lambda tx: [_export(row) for row in tx.execute(sql)])
        return found

    def find(self) -> Deferred[list[Export]]:
        """@return: Deferred of what is outstanding, and the newest of what is not: 1,000 together"""
        order = "settled_at IS NOT NULL, made_at DESC, id LIMIT 1000"
        sql = f"SELECT {_COLUMNS} FROM emergency_exports ORDER BY {order}"
        found: Deferred[list[Export]] = self._store.transact(lambda tx: [_export(row) for row in tx.execute(sql)])
        return found

    async def problems(self) -> list[str]:
        """What is wrong with exports now, as sentences."""
        now = self._clock.seconds()
        found = [problem(each, now, self._settings.rotate_within) for each in await self.outstanding()]
        return [each for each in found if each]

    def _note(
        self, tx: Any, export: Export, event: str, by: str, revision: int, title: str, more: dict[str, Any]
    ) -> None:
        leaf = {
            "event": event,
            "export": export.id,
            "by": by,
            "target": export.target,
            "secret": export.credential,
            "version": export.version,
            **more,
        }
        pending_leaves.add(tx, "emergency-export", leaf)
        fields = {
            "target": export.target,
            "secret": export.credential,
            "officers": export.officers,
            "by": by,
            "made_by": export.made_by,
        }
        act = ("hoopctl vault exports",)
        now = self._clock.seconds()
        self._notices.post(
            tx, notice("emergency.export", export.id, title, now, fields, "", act, revision), self._settings.notify
        )


async def _refusal(why: str) -> Any:
    raise Denied(why)


def _fields(export: Export) -> dict[str, Any]:
    return {"export": export.id, "target": export.target, "secret": export.credential}


def _export(row: tuple[Any, ...]) -> Export:
    id, target, credential, version, officers, *rest = row
    return Export(id, target, credential, version, tuple(json.loads(officers)), *rest)


def _get(tx: Any, id: str) -> Export:
    """@raise KeyError: no such export."""
    rows = tx.execute(f"SELECT {_COLUMNS} FROM emergency_exports WHERE id = ?", (id,))
    if not rows:
        raise KeyError(id)
    return _export(rows[0])
