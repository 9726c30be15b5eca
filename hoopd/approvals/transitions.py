"""One change of an approval: made in one transaction, told to the log, the ledger and whoever waits; not who may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from hoopd.approvals import rows
from hoopd.approvals.outbox import Outbox
from hoopd.approvals.rows import Change, Row
from hoopd.approvals.waiting import Expiries, Waiters, ends
from hoopd.errors import Denied
from hoopd.values import Approval

#: tries at a row that somebody else changed; each one more is a coincidence
TRIES = 8

_EVENTS = {
    "request": "approval.requested",
    "vote": "approval.voted",
    "approve": "approval.approved",
    "grant": "approval.granted",
    "deny": "approval.denied",
    "expire": "approval.expired",
    "withdraw": "approval.cancelled",
    "revoke": "approval.cancelled",
    "claim": "approval.claimed",
    "use": "approval.used",
    "end": "approval.ended",
    "executed": "approval.executed",
    "failed": "approval.failed",
    "unknown": "approval.unknown",
}


#: which fields each transition's event has; the catalogue (L{hoopd.audit.events}) says which are public
_REQUEST = ("approval", "requester", "act", "target", "session", "rules", "text", "reason", "deadline", "policy")
_DECIDED = ("approval", "by", "requester", "target", "reason")
_OUTCOME = ("approval", "requester", "target", "session", "detail")
_FIELDS = {
    "request": _REQUEST,
    "vote": ("approval", "by", "approve", "reason", "state"),
    "approve": (*_DECIDED, "claim_by"),
    "grant": (*_DECIDED, "scope", "until"),
    "deny": _DECIDED,
    "expire": ("approval", "requester", "target", "was"),
    "withdraw": _DECIDED,
    "revoke": _DECIDED,
    "claim": ("approval", "requester", "target", "session"),
    "use": ("approval", "requester", "target", "session", "grant", "uses"),
    "end": ("approval", "requester", "target", "uses", "reason"),
    "executed": _OUTCOME,
    "failed": _OUTCOME,
    "unknown": _OUTCOME,
}


@frozen
class Refused:
    """A refusal that leaves a change behind: what was found too late has expired."""

    error: Denied
    change: Change | None = None


class Transitions:
    """
    @param store, ledger, clock, event: as in L{hoopd.approvals.service.Approvals}.
    """

    log = Logger()

    def __init__(self, store: Any, ledger: Any, clock: Any, event: Callable[[str, dict[str, Any]], None]) -> None:
        self.outbox = Outbox(store, ledger, clock, event)
        self.waiters = Waiters()
        self.expiries = Expiries(clock, self._due)
        self.observers: list[Callable[[Approval], Any]] = []
        self.within: list[Callable[[Any, Change], None]] = []
        self._store = store
        self._clock = clock
        self._event = event

    def stop(self) -> None:
        """Forget timers and waiters."""
        self.expiries.stop()
        self.waiters.stop()
        self.outbox.stop()

    async def change(self, work: Callable[[Any], Any]) -> Approval:
        """Run C{work(tx)}, which gives a L{Change}, an unchanged L{Approval}, or a L{Refused}; tell who waits."""
        for left in reversed(range(TRIES)):
            try:
                done = await self._store.transact(lambda tx: self._joined(tx, work(tx)))
                break
            except rows.Raced:
                if not left:
                    raise
        change = done.change if isinstance(done, Refused) else done
        if isinstance(change, Change):
            for each in (*change.also, change):
                self._tell(each)
            await self.outbox.drain()
        if isinstance(done, Refused):
            raise done.error
        approval: Approval = done.approval if isinstance(done, Change) else done
        return approval

    def _joined(self, tx: Any, done: Any) -> Any:
        change = done.change if isinstance(done, Refused) else done
        if isinstance(change, Change):
            for callback in self.within:
                callback(tx, change)
        return done

    def _tell(self, change: Change) -> None:
        approval = change.approval
        self.expiries.arm(approval)
        fields: dict[str, Any] = {
            "approval": approval.id,
            "requester": approval.requester,
            "act": approval.act,
            "target": approval.target,
            "session": approval.session,
            "rules": [terms.rule for terms in approval.holds],
            "by": change.by,
            "reason": change.reason,
            "was": change.was,
            "state": approval.state,
            "text": approval.redacted,
            "deadline": approval.deadline,
            "claim_by": approval.claim_by,
            "policy": approval.policy,
            "detail": approval.outcome,
            "approve": change.happening in ("vote", "approve"),
            "scope": approval.scope,
            "until": approval.until,
            "grant": approval.grant,
            "uses": approval.uses,
        }
        # a use is told once, by itself
        if change.happening != "use" or approval.grant:
            self._event(_EVENTS[change.happening], {name: fields[name] for name in _FIELDS[change.happening]})
        if approval.state != "pending":
            self.waiters.fire(approval)
        for callback in self.observers:
            try:
                callback(approval)
            except Exception:
                # a notifier's mistake must not undo what is decided and on disk
                self.log.failure("an observer of approvals failed on {id}", id=approval.id)

    def lapsed(self, tx: Any, row: Row) -> Change | None:
        """Expire C{row} if its time is over, and say so."""
        approval = row.approval
        now = self._clock.seconds()
        until = ends(approval)
        if until is None or now < until:
            return None
        over = approval.state == "granted" and approval.kind != "statements"
        fields = {"settled_at": now, "outcome": "its time is over"} if over else {"settled_at": now}
        return rows.transition(tx, row, "end" if over else "expire", now, "", fields=fields)

    def _due(self, approval: str) -> None:
        def work(tx: Any) -> Any:
            row = rows.get(tx, approval)
            return self.lapsed(tx, row) or row.approval

        # a timer may ring a hair too early: what has not lapsed is armed once more
        Deferred.fromCoroutine(self.change(work)).addCallbacks(
            self.expiries.arm, self._not_expired, errbackArgs=(approval,)
        )

    def _not_expired(self, failure: Any, approval: str) -> None:
        self.log.warn("{id} did not expire: {why}", id=approval, why=failure.getErrorMessage())
        self.expiries.again(approval)  # nobody can claim it meanwhile: every step checks the time itself
