"""Held operations: asked for, decided, claimed, settled; implements L{IApprovals} in the broker.

The store is the truth: every transition is one transaction that looks at the state it found, so that of any number of
racing events one wins and the others are told. What a transition says to the ledger is written in the same transaction
and carried over afterwards, at the latest by the next broker. Nothing of the statement is stored but its redacted text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from hoopd.approvals import quorum
from hoopd.approvals.digest import digest
from hoopd.approvals.states import FINAL, IllegalTransition, after
from hoopd.config.schema import ApprovalsConfig
from hoopd.errors import Denied, HoopdError
from hoopd.interfaces import IApprovals
from hoopd.ipc import wire
from hoopd.secret import Secret
from hoopd.values import Approval, HeldOperation, Identity, Vote

#: a reason is a sentence, not a document
REASON_MAX = 2000


@implementer(IApprovals)
class Approvals:
    """
    @param digest_key: 32 secret bytes of this installation.
    @param clock: IReactorTime; its seconds are the epoch's.
    @param policy_version: callable giving the version in force.
    @param identity_of: callable from session id to L{Identity}, or None when it does not live.
    @param target_of: callable from session id to the target's name.
    @param new_id: callable giving a fresh, sayable id.
    @param event: takes an event's name and fields.
    """

    log = Logger()

    def __init__(
        self,
        store: Any,
        digest_key: bytes,
        ledger: Any,
        clock: Any,
        config: ApprovalsConfig,
        policy_version: Callable[[], str],
        identity_of: Callable[[str], Identity | None],
        target_of: Callable[[str], str],
        new_id: Callable[[], str],
        event: Callable[[str, dict[str, Any]], None] = lambda name, fields: None,
    ) -> None:
        self._store = store
        self._key = digest_key
        self._ledger = ledger
        self._clock = clock
        self._config = config
        self._policy_version = policy_version
        self._identity_of = identity_of
        self._target_of = target_of
        self._new_id = new_id
        self._event = event
        self._timers: dict[str, Any] = {}
        self._waiting: dict[str, list[Deferred[Approval]]] = {}
        self._observers: list[Callable[[Approval], Any]] = []
        self._draining: Deferred[None] | None = None
        self._drain_again = False
        self._stopped = False

    # -- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Arm the expiries that a former broker left, and carry over what the ledger lacks."""
        rows = await self._store.transact(
            lambda tx: tx.execute("SELECT document FROM approvals WHERE state IN ('pending', 'approved')")
        )
        for (document,) in rows:
            self._arm(_read(document))
        self._drain()

    async def stop(self) -> None:
        """Forget timers; everything else is in the store."""
        self._stopped = True
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        self._timers.clear()
        if self._draining is not None:
            await _either(self._draining)

    def observe(self, observer: Callable[[Approval], Any]) -> None:
        """Call C{observer} with every L{Approval} after each transition."""
        self._observers.append(observer)

    # -- the requester's side ----------------------------------------------------------------------------------

    def request(self, session: str, token: Secret, held: HeldOperation) -> Deferred[Approval]:
        """See L{IApprovals.request}. The session's token has been checked (L{hoopd.flow.admission})."""
        return Deferred.fromCoroutine(self._request(session, held))

    async def _request(self, session: str, held: HeldOperation) -> Approval:
        identity, target = self._who(session)
        bound = digest(self._key, identity.name, identity.act, target, held)
        now = self._clock.seconds()
        fresh = Approval(
            id=self._new_id(),
            state="pending",
            requester=identity.name,
            act=identity.act,
            target=target,
            session=session,
            redacted=held.redacted,
            classes=held.classes,
            objects=held.objects,
            reason=held.reason,
            holds=held.holds,
            policy=held.policy,
            requested_at=now,
            deadline=now + min(terms.wait for terms in held.holds),
        )

        def work(tx: Any) -> tuple[Approval, bool]:
            rows = tx.execute(
                "SELECT document FROM approvals WHERE digest = ? AND requester = ? AND state IN ('pending', 'approved')"
                " ORDER BY requested_at DESC",
                (bound, identity.name),
            )
            for (document,) in rows:
                found = _read(document)
                if not self._lapsed(found, now):
                    return found, False
            ((count,),) = tx.execute(
                "SELECT count(*) FROM approvals WHERE requester = ? AND state = 'pending'", (identity.name,)
            )
            if count >= self._config.pending_per_identity:
                raise Denied(
                    f"{identity.name} has {count} requests open already",
                    hint="withdraw some, or wait for their decision",
                )
            tx.execute(
                "INSERT INTO approvals (id, revision, state, requester, target, session, digest, requested_at, document)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (fresh.id, 0, "pending", fresh.requester, target, session, bound, now, _written(fresh)),
            )
            self._tell_ledger(tx, fresh, "request", "", identity.name, held.reason or "", bound)
            return fresh, True

        approval, made = await self._store.transact(work)
        if made:
            self._changed(approval, "approval.requested", {"text": approval.redacted, "reason": approval.reason or ""})
        else:
            self._event(
                "approval.joined",
                {
                    "approval": approval.id,
                    "requester": approval.requester,
                    "target": target,
                    "session": session,
                    "state": approval.state,
                },
            )
        return approval

    def decided(self, approval: str) -> Deferred[Approval]:
        """See L{IApprovals.decided}; may be cancelled."""
        waiter: Deferred[Approval] = Deferred(lambda deferred: self._let_go(approval, deferred))
        self._waiting.setdefault(approval, []).append(waiter)
        looked = self.show(approval)

        def found(present: Approval) -> None:
            if present.state != "pending":
                self._wake(present)

        def missing(failure: Any) -> None:
            if self._forget(approval, waiter) and not waiter.called:
                waiter.errback(failure)

        looked.addCallbacks(found, missing)
        return waiter

    def _let_go(self, approval: str, waiter: Deferred[Approval]) -> None:
        self._forget(approval, waiter)

    def _forget(self, approval: str, waiter: Deferred[Approval]) -> bool:
        waiting = self._waiting.get(approval, [])
        if waiter not in waiting:
            return False
        waiting.remove(waiter)
        if not waiting:
            del self._waiting[approval]
        return True

    def claim(self, session: str, token: Secret, approval: str, held: HeldOperation) -> Deferred[Approval]:
        """See L{IApprovals.claim}."""
        return Deferred.fromCoroutine(self._claim(session, approval, held))

    async def _claim(self, session: str, id: str, held: HeldOperation) -> Approval:
        identity, target = self._who(session)
        bound = digest(self._key, identity.name, identity.act, target, held)

        def change(found: Approval, stored: str) -> Approval:
            if stored != bound or found.requester != identity.name or found.target != target:
                raise Denied(f"{id} is for another operation")
            if self._lapsed(found, self._clock.seconds()):
                raise Denied(f"{id} has lapsed", hint="ask again by repeating the statement")
            return evolve(found, session=session)

        return await self._transition(id, "claim", identity.name, "", change)

    def settle(self, session: str, token: Secret, approval: str, outcome: str, detail: str) -> Deferred[Approval]:
        """See L{IApprovals.settle}. Said twice (a broker died over the first) it is the same."""
        return Deferred.fromCoroutine(self._settle(session, approval, outcome, detail))

    async def _settle(self, session: str, id: str, outcome: str, detail: str) -> Approval:
        if outcome not in ("executed", "failed", "unknown"):
            raise ValueError(f"no operation ends {outcome!r}")
        present = await self._show(id)
        if present.session != session:
            raise Denied(f"{id} was not claimed by this session")
        if present.state == outcome:
            return present

        def change(found: Approval, stored: str) -> Approval:
            return evolve(found, outcome=detail[:REASON_MAX], settled_at=self._clock.seconds())

        return await self._transition(id, outcome, present.requester, detail, change)

    def withdraw(self, session: str, token: Secret, approval: str, why: str) -> Deferred[Approval]:
        """See L{IApprovals.withdraw}."""
        return Deferred.fromCoroutine(self._withdraw(session, approval, why))

    async def _withdraw(self, session: str, id: str, why: str) -> Approval:
        identity, _ = self._who(session)

        def change(found: Approval, stored: str) -> Approval:
            if found.requester != identity.name:
                raise Denied(f"{id} is somebody else's request")
            return evolve(found, outcome=why[:REASON_MAX], settled_at=self._clock.seconds())

        return await self._transition(id, "withdraw", identity.name, why, change)

    async def session_gone(self, session: str) -> None:
        """A session is over: what it claimed and did not settle is unknown for ever; what waits stays parked."""
        rows = await self._store.transact(
            lambda tx: tx.execute("SELECT id FROM approvals WHERE session = ? AND state = 'claimed'", (session,))
        )
        for (id,) in rows:
            detail = "the session ended before the target's answer was seen"

            def change(found: Approval, stored: str, detail: str = detail) -> Approval:
                return evolve(found, outcome=detail, settled_at=self._clock.seconds())

            try:
                await self._transition(id, "unknown", "hoopd", detail, change)
            except Denied:
                continue  # it was settled in between

    # -- the approvers' side -----------------------------------------------------------------------------------

    def decide(self, approval: str, identity: Identity, approve: bool, reason: str) -> Deferred[Approval]:
        """See L{IApprovals.decide}."""
        return Deferred.fromCoroutine(self._decide(approval, identity, approve, reason))

    async def _decide(self, id: str, identity: Identity, approve: bool, reason: str) -> Approval:
        if not reason.strip():
            raise ValueError("a decision needs a reason")
        now = self._clock.seconds()
        vote = Vote(identity.name, approve, reason[:REASON_MAX], now, identity.groups)

        def work(tx: Any) -> tuple[Approval, str]:
            found, stored = _found(tx, id)
            if found.state != "pending":
                raise Denied(f"{id} is {found.state} already")
            if self._lapsed(found, now):
                raise Denied(f"{id} has lapsed")
            quorum.check_voter(found, identity)
            voted = evolve(found, votes=(*found.votes, vote))
            event = quorum.outcome(voted.holds, voted.votes)
            if not event:
                return self._write(tx, voted, found, "vote", identity.name, reason, stored), "vote"
            changed = evolve(voted, state=after(found.state, event))
            if event == "approve":
                changed = evolve(changed, claim_by=now + self._config.claim_within)
            else:
                changed = evolve(changed, settled_at=now, outcome=reason[:REASON_MAX])
            return self._write(tx, changed, found, event, identity.name, reason, stored), event

        try:
            changed, event = await self._store.transact(work)
        except Denied as denied:
            self._event("approval.refused", {"approval": id, "by": identity.name, "act": "decide", "why": denied.why})
            raise
        name = {"vote": "approval.voted", "approve": "approval.approved", "deny": "approval.denied"}[event]
        self._changed(changed, name, {"by": identity.name, "reason": reason})
        return changed

    def find(
        self, states: Any = None, requester: str | None = None, target: str | None = None
    ) -> Deferred[list[Approval]]:
        """See L{IApprovals.find}; at most a thousand."""
        where, values = ["1 = 1"], []
        if states:
            where.append(f"state IN ({', '.join('?' * len(states))})")
            values += list(states)
        for column, value in (("requester", requester), ("target", target)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        query = f"SELECT document FROM approvals WHERE {' AND '.join(where)} ORDER BY requested_at DESC LIMIT 1000"
        found: Deferred[list[Approval]] = self._store.transact(
            lambda tx: [_read(document) for (document,) in tx.execute(query, tuple(values))]
        )
        return found

    def show(self, approval: str) -> Deferred[Approval]:
        """See L{IApprovals.show}."""
        return Deferred.fromCoroutine(self._show(approval))

    async def _show(self, id: str) -> Approval:
        found: Approval = await self._store.transact(lambda tx: _found(tx, id)[0])
        return found

    # -- transitions -------------------------------------------------------------------------------------------

    def _who(self, session: str) -> tuple[Identity, str]:
        identity = self._identity_of(session)
        if identity is None:
            raise Denied("this session is not known to the broker")
        return identity, self._target_of(session)

    async def _transition(
        self, id: str, event: str, by: str, reason: str, change: Callable[[Approval, str], Approval]
    ) -> Approval:
        def work(tx: Any) -> Approval:
            found, stored = _found(tx, id)
            try:
                state = after(found.state, event)
            except IllegalTransition:
                raise Denied(f"{id} is {found.state}", hint=_what_now(found)) from None
            changed = evolve(change(found, stored), state=state)
            return self._write(tx, changed, found, event, by, reason, stored)

        changed: Approval = await self._store.transact(work)
        self._changed(changed, f"approval.{changed.state}", {"by": by, "reason": reason, "detail": changed.outcome})
        return changed

    def _write(
        self, tx: Any, changed: Approval, found: Approval, event: str, by: str, reason: str, bound: str
    ) -> Approval:
        written = evolve(changed, revision=found.revision + 1)
        rows = tx.execute(
            "UPDATE approvals SET revision = ?, state = ?, session = ?, document = ? WHERE id = ? AND revision = ?"
            " RETURNING id",
            (written.revision, written.state, written.session, _written(written), found.id, found.revision),
        )
        if not rows:
            raise HoopdError(f"{found.id} changed under its own transaction")
        self._tell_ledger(tx, written, event, found.state, by, reason, bound)
        return written

    def _tell_ledger(self, tx: Any, approval: Approval, event: str, was: str, by: str, reason: str, bound: str) -> None:
        leaf = {
            "approval": approval.id,
            "revision": approval.revision,
            "event": event,
            "was": was,
            "state": approval.state,
            "by": by,
            "reason": reason[:REASON_MAX],
            "requester": approval.requester,
            "act": approval.act,
            "target": approval.target,
            "session": approval.session,
            "digest": bound,
            "policy": self._policy_version(),
        }
        tx.execute("INSERT INTO approvals_outbox (approval, leaf) VALUES (?, ?)", (approval.id, json.dumps(leaf)))

    def _changed(self, approval: Approval, name: str, fields: dict[str, Any]) -> None:
        common = {"approval": approval.id, "requester": approval.requester, "act": approval.act}
        common |= {"target": approval.target, "session": approval.session, "state": approval.state}
        self._event(name, {**common, **fields})
        self._arm(approval)
        if approval.state != "pending":
            self._wake(approval)
        for observer in self._observers:
            observer(approval)
        self._drain()

    def _wake(self, approval: Approval) -> None:
        for waiter in self._waiting.pop(approval.id, ()):
            if not waiter.called:
                waiter.callback(approval)

    # -- time --------------------------------------------------------------------------------------------------

    @staticmethod
    def _lapsed(approval: Approval, now: float) -> bool:
        if approval.state == "pending":
            return now >= approval.deadline
        return approval.claim_by is not None and now >= approval.claim_by

    def _arm(self, approval: Approval) -> None:
        timer = self._timers.pop(approval.id, None)
        if timer is not None and timer.active():
            timer.cancel()
        if self._stopped or approval.state in FINAL or approval.state == "claimed":
            return
        at = approval.deadline if approval.state == "pending" else approval.claim_by
        delay = max(0.0, (at or 0.0) - self._clock.seconds())
        self._timers[approval.id] = self._clock.callLater(delay, self._expire, approval.id)

    def _expire(self, id: str) -> None:
        self._timers.pop(id, None)

        def change(found: Approval, stored: str) -> Approval:
            if not self._lapsed(found, self._clock.seconds()):
                raise Denied("not yet")
            return evolve(
                found, settled_at=self._clock.seconds(), outcome="nobody decided, or nobody came back, in time"
            )

        expired = Deferred.fromCoroutine(self._transition(id, "expire", "hoopd", "", change))
        expired.addErrback(lambda failure: self._not_expired(failure, id))

    def _not_expired(self, failure: Any, id: str) -> None:
        if failure.check(Denied) is None:
            self.log.failure("{id} could not be ended", failure=failure, id=id)

    # -- to the ledger -----------------------------------------------------------------------------------------

    def _drain(self) -> None:
        if self._draining is not None:
            self._drain_again = True
            return
        self._draining = Deferred.fromCoroutine(self._carry_over())
        self._draining.addErrback(lambda failure: self.log.failure("approvals wait for the ledger", failure=failure))
        self._draining.addBoth(self._drained)

    def _drained(self, result: None) -> None:
        self._draining = None
        if self._drain_again and not self._stopped:
            self._drain_again = False
            self._drain()

    async def _carry_over(self) -> None:
        while True:
            rows = await self._store.transact(
                lambda tx: tx.execute("SELECT number, leaf FROM approvals_outbox ORDER BY number LIMIT 100")
            )
            if not rows:
                return
            for number, leaf in rows:
                # a crash between these two says it twice: revision and event tell that it is the same
                await self._ledger.append("approval", json.loads(leaf))
                await self._store.transact(
                    lambda tx, number=number: tx.execute("DELETE FROM approvals_outbox WHERE number = ?", (number,))
                )


def _found(tx: Any, id: str) -> tuple[Approval, str]:
    rows = tx.execute("SELECT document, digest FROM approvals WHERE id = ?", (id,))
    if not rows:
        raise KeyError(id)
    return _read(rows[0][0]), rows[0][1]


def _read(document: str) -> Approval:
    found: Approval = wire.decode(document.encode(), Approval)
    return found


def _written(approval: Approval) -> str:
    return wire.encode(approval).decode()


def _what_now(approval: Approval) -> str:
    if approval.state == "unknown":
        return "nobody knows whether it ran: look at the target before asking again"
    return "ask again by repeating the statement" if approval.state in FINAL else ""


async def _either(deferred: Deferred[Any]) -> None:
    """Wait for C{deferred}, which somebody else waits for as well."""
    done: Deferred[None] = Deferred()

    def pass_on(result: Any) -> Any:
        if not done.called:
            done.callback(None)
        return result

    deferred.addBoth(pass_on)
    await done
