"""The rules in force, whose they are and how they came to be; broker only.

What is taken is judged here by the very texts that run (L{hoopd.governance.reading.endorsement}), whatever a check before
said. A change, the texts, the manifest remembered and the leaf are one transaction. Not what rules say
(L{hoopd.policy}).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from hoopd.audit import pending as leaves
from hoopd.errors import Denied, RecordError
from hoopd.governance import rows
from hoopd.governance.changes import Change, Confirmation, barred, changed, difference
from hoopd.governance.manifest import Accepted, Endorsement, digests, sha256
from hoopd.governance.papers import SETTINGS, SIGNERS, Papers
from hoopd.governance.reading import endorsement
from hoopd.governance.signers import person
from hoopd.ipc import wire
from hoopd.values import Identity

#: more changes than a person reads at once
SHOWN = 200
#: characters of the difference in a leaf, which ends at 256 KiB of JSON; the whole is made from the texts kept
LEAF_DIFFERENCE = 32 * 1024
#: files named in a leaf; its digest is over all
LEAF_FILES = 200


class RuleSets:
    """
    @param store: L{hoopd.interfaces.IStore} with L{hoopd.governance.tables} and L{hoopd.audit.tables}.
    @param send: L{hoopd.audit.pending.Pending.send}.
    @param clock: IReactorTime; its seconds are seconds since the epoch.
    @param authors_approve: L{hoopd.config.schema.PolicyConfig.authors_approve}.
    @param event: takes an event's name and fields.
    @ivar change: the last change of what rules depend on.
    @ivar within: called with C{(tx, "loaded" or "refused", fields of the leaf)} in the transaction of each.
    @ivar told: called once that is on disk.
    """

    def __init__(
        self,
        store: Any,
        send: Callable[[], Deferred[None]],
        clock: Any,
        authors_approve: bool,
        event: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._store = store
        self._pending = send
        self._clock = clock
        self._authors_approve = authors_approve
        self._event = event
        self.change: Change | None = None
        self.within: Callable[[Any, str, Mapping[str, Any]], None] = lambda tx, act, fields: None
        self.told: Callable[[], None] = lambda: None

    async def judge(self, papers: Papers, policies: Mapping[str, str], needed: int) -> Endorsement | None:
        """Whether these texts may run. @raise hoopd.config.structure.ConfigErrors: not."""
        accepted = await self._store.transact(rows.accepted)
        return endorsement(papers, policies, needed, accepted, self._clock.seconds())

    async def begin(
        self,
        papers: Papers,
        policies: Mapping[str, str],
        needed: int,
        endorsed: Endorsement | None,
        version: str,
        by: str,
        author: str,
    ) -> None:
        """These texts, which were judged, run from now on. @param by, author: see L{Change}."""
        files = papers.covered(policies)
        every = {**files, SETTINGS: papers.settings}
        now = self._clock.seconds()

        def work(tx: Any) -> tuple[Change | None, dict[str, Any] | None]:
            if endorsed is not None:
                known = rows.accepted(tx)
                if known is None or known.digest != endorsed.digest:
                    rows.accept(tx, Accepted(endorsed.serial, endorsed.digest, now, needed, files.get(SIGNERS, "")))
            before, named = rows.last(tx), digests(every)
            if before is not None and dict(before.files) == named:
                return rows.last(tx, rules=True), None
            change = _next(before, named, now, version, by, author)
            if endorsed is not None:
                change = evolve(change, serial=endorsed.serial, signers=endorsed.signers)
            old = rows.texts(tx, before.files) if before is not None else {}
            rows.write(tx, change, {named[path]: text for path, text in every.items()})
            fields = _fields(change, before)
            text = difference(old, every)
            leaf = {**fields, "act": "loaded", "diff": _short(text), "diff_sha256": sha256(text)}
            leaves.add(tx, "policy", leaf)
            self.within(tx, "loaded", fields)
            return (change if change.rules else rows.last(tx, rules=True)), fields

        self.change, fields = await self._store.transact(work)
        await self._send()
        if fields is not None:
            self.told()
            self._event("policy.changed", fields)

    def _refused(self, tx: Any, fields: Mapping[str, Any]) -> None:
        leaves.add(tx, "policy", {"act": "refused", **fields})
        self.within(tx, "refused", fields)

    async def _send(self) -> None:
        # what the ledger does not take now is told as an event, waits in the store, and is tried again
        await self._pending().addErrback(lambda failure: failure.trap(RecordError) and None)

    # -- who may approve ---------------------------------------------------------------------------------------

    def barred(self, name: str) -> str:
        """Why C{name} may not approve under the rules in force, or C{""}."""
        return "" if self._authors_approve else barred(self.change, name)

    async def confirm(self, number: int, caller: Identity, reason: str) -> Change:
        """Say that the last change of the rules, which was somebody else's, is right.

        @raise Denied: C{caller} is no person, or stands for it already. @raise ValueError: another change, no reason.
        """
        if caller.kind != "human" or caller.act is not None:
            raise Denied("agents confirm nothing, and nobody through one: it is a person's word")
        if not reason.strip():
            raise ValueError("a change is confirmed for a reason")
        now = self._clock.seconds()

        def work(tx: Any) -> Change | Denied | None:
            change = rows.last(tx, rules=True)
            if change is None or change.number != number:
                return None
            if person(caller.name) in map(person, change.people):
                return Denied(f"{caller.name} stands for change {number} already: somebody else confirms it")
            change = evolve(change, confirmed=(*change.confirmed, Confirmation(caller.name, now, reason)))
            rows.write(tx, change, {})
            leaf = {"act": "confirmed", "by": caller.name, "number": number, "digest": change.digest, "why": reason}
            leaves.add(tx, "policy", leaf)
            return change

        change = await self._store.transact(work)
        if change is None:
            last = f"the last is number {self.change.number}" if self.change is not None else "there is none"
            raise ValueError(f"change {number} is not the last change of the rules: {last}")
        if isinstance(change, Denied):
            raise change
        self.change = change
        await self._send()
        self._event("policy.confirmed", {"by": caller.name, "number": number, "digest": change.digest, "why": reason})
        assert isinstance(change, Change)
        return change

    # -- looking -----------------------------------------------------------------------------------------------

    def history(self, below: int | None = None) -> Deferred[list[Change]]:
        """@return: Deferred of the changes before number C{below}, newest first, L{SHOWN} at most."""
        found: Deferred[list[Change]] = self._store.transact(lambda tx: rows.newest(tx, SHOWN, below))
        return found

    def files(self, number: int | None = None) -> Deferred[tuple[int, dict[str, str]]]:
        """@return: Deferred of a change's number, the last one's without C{number}, and its files: path to text.

        @raise KeyError: there is no such change.
        """

        def work(tx: Any) -> tuple[int, dict[str, str]]:
            if number == 0:
                return 0, {}
            change = rows.last(tx) if number is None else rows.get(tx, number)
            if change is None:
                raise KeyError("no change")
            return change.number, rows.texts(tx, change.files)

        found: Deferred[tuple[int, dict[str, str]]] = self._store.transact(work)
        return found

    # -- reload ------------------------------------------------------------------------------------------------

    async def reload(self, caller: Identity, ask: Callable[[str, str], Awaitable[None]]) -> None:
        """Have the files on disk checked and taken, for C{caller}.

        @param ask: the supervisor; takes who asked and the person behind it.
        @raise ValueError: they are not good; nothing changed.
        """
        try:
            await ask(caller.name, author_of(caller))
        except ValueError as problem:
            fields = {"by": caller.name, "why": _short(str(problem))}
            await self._store.transact(lambda tx: self._refused(tx, fields))
            self.told()
            await self._send()
            self._event("policy.refused", fields)
            raise


def recovered(tx: Any, by: str, why: str) -> bool:
    """Forget who had to sign until now; inside a transaction of whoever has the machine, the broker running or not.

    @return: whether there was anything to forget.
    """
    known = rows.accepted(tx)
    if known is None or not known.needed:
        return False
    # the serial number stays: what was replaced does not come back
    rows.accept(tx, evolve(known, needed=0, signers=""))
    leaves.add(tx, "policy", {"act": "recovered", "by": by, "why": why, "serial": known.serial})
    return True


def author_of(caller: Identity) -> str:
    """The person behind C{caller}; empty where none is known: an agent is nobody's word, whomever it names."""
    return caller.name if caller.kind == "human" and caller.act is None else ""


def _next(before: Change | None, named: Mapping[str, str], now: float, version: str, by: str, author: str) -> Change:
    rules = {path: digest for path, digest in named.items() if path != SETTINGS}
    had = {path: digest for path, digest in before.files.items() if path != SETTINGS} if before is not None else None
    whole = sha256(wire.encode(named).decode())
    return Change((before.number if before else 0) + 1, now, whole, version, by, author, rules != had, named)


def _fields(change: Change, before: Change | None) -> dict[str, Any]:
    which = changed(before.files if before is not None else {}, change.files)
    return {
        "number": change.number,
        "by": change.by,
        "author": change.author,
        "digest": change.digest,
        "previous": before.digest if before is not None else "",
        "version": change.version,
        "rules": change.rules,
        "serial": change.serial,
        "signers": list(change.signers),
        **{
            name: [f"{path} {change.files.get(path, '')}".strip() for path in found][:LEAF_FILES]
            for name, found in which.items()
        },
    }


def _short(text: str) -> str:
    return (
        text if len(text) <= LEAF_DIFFERENCE else f"{text[:LEAF_DIFFERENCE]}\n… and {len(text) - LEAF_DIFFERENCE} more"
    )
