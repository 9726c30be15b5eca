"""Held operations and their approval: L{IApprovals} over the store and the ledger; broker only.

Each transition is one transaction that reads, checks and writes, so that of two who race one wins and the other is
told. What is on disk when a Deferred fires stays true over a crash. Not here: the table of states
(L{hoopd.approvals.states}), who may decide (L{hoopd.approvals.quorum}), session tokens (L{hoopd.flow.admission}).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from hoopd.approvals import quorum, rows, states
from hoopd.approvals.digest import operation_digest, same
from hoopd.approvals.rows import Row
from hoopd.approvals.transitions import TRIES, Refused, Transitions
from hoopd.config.schema import ApprovalsConfig
from hoopd.errors import Denied, RecordError
from hoopd.interfaces import IApprovals
from hoopd.secret import Secret
from hoopd.values import Approval, HeldOperation, Identity, Vote

#: more than one person looks through; who wants them all narrows the search
FOUND_MAX = 1000
#: characters of a reason or an outcome: a paragraph or two
TEXT_MAX = 4000


@implementer(IApprovals)
class Approvals:
    """
    @param store: L{hoopd.interfaces.IStore} with the tables of this package.
    @param digest_key: at least 32 bytes, the same for the life of the installation.
    @param ledger: L{hoopd.interfaces.ILedger}.
    @param clock: IReactorTime; its seconds are seconds since the epoch.
    @param policy_version: gives the version of the policy in force.
    @param identity_of: gives the L{Identity} of a live session, or None.
    @param target_of: gives the target's name of a live session.
    @param new_id: gives a fresh short id, such as C{A-7KQ2M9}.
    @param event: takes an event's name and fields.
    @param still: whether the person behind a vote could cast it today: bool or Deferred of bool; asked at the claim.
    """

    def __init__(
        self,
        store: Any,
        digest_key: bytes,
        ledger: Any,
        clock: Any,
        config: ApprovalsConfig,
        *,
        policy_version: Callable[[], str],
        identity_of: Callable[[str], Identity | None],
        target_of: Callable[[str], str],
        new_id: Callable[[], str],
        event: Callable[[str, dict[str, Any]], None] = lambda name, fields: None,
        still: Callable[[Vote], Any] = lambda vote: True,
    ) -> None:
        self._store = store
        self._key = digest_key
        self._clock = clock
        self._config = config
        self._policy_version = policy_version
        self._identity_of = identity_of
        self._target_of = target_of
        self._new_id = new_id
        self._event = event
        self._still = still
        self._transitions = Transitions(store, ledger, clock, event)

    # -- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Send what the ledger has not got, expire what lapsed meanwhile, and arm the rest. After the sessions that
        may be resumed are known: what a session claimed that is not among them has an unknown outcome.
        """
        await self._transitions.outbox.drain()
        for row in await self._store.transact(lambda tx: rows.in_state(tx, "pending", "approved", "claimed")):
            if row.approval.state != "claimed":
                self._transitions.expiries.arm(row.approval)
            elif self._identity_of(row.claimed_by) is None:
                await self.session_gone(row.claimed_by)

    async def stop(self) -> None:
        """Forget timers and waiters; requests stay in the store."""
        self._transitions.stop()

    def observe(self, callback: Callable[[Approval], Any]) -> None:
        """Have C{callback} called with the L{Approval} after each transition, once that is on disk."""
        self._transitions.observers.append(callback)

    # -- the requester -----------------------------------------------------------------------------------------

    def request(self, session: str, token: Secret, held: HeldOperation) -> Deferred[Approval]:
        """See L{IApprovals.request}.

        @raise hoopd.errors.Denied: the session is not alive, or has too many open requests.
        @raise ValueError: held without terms.
        """
        return Deferred.fromCoroutine(self._request(session, held))

    async def _request(self, session: str, held: HeldOperation) -> Approval:
        if not held.holds:
            raise ValueError("an operation is held under at least one rule's terms")
        identity = self._requester(session)
        for _ in range(TRIES):
            id = self._new_id()
            parked = partial(self._park, id=id, session=session, identity=identity, held=held)
            approval: Approval | None = await self._transitions.change(parked)
            if approval is not None:
                return approval
        raise RuntimeError("ids of approvals repeat themselves")

    def _park(self, tx: Any, id: str, session: str, identity: Identity, held: HeldOperation) -> Any:
        now = self._clock.seconds()
        target = self._target_of(session)
        digest = operation_digest(self._key, identity.name, identity.act, target, held)
        for row in rows.open_with(tx, digest, identity.name):
            until = row.approval.deadline if row.approval.state == "pending" else row.approval.claim_by
            if until is not None and now < until:
                return row.approval
        if rows.count_pending(tx, identity.name) >= self._config.pending_per_identity:
            return Refused(
                Denied(
                    f"{identity.name} has {self._config.pending_per_identity} requests open already",
                    tuple(terms.rule for terms in held.holds),
                    "Wait until some are decided, or withdraw them.",
                )
            )
        if tx.execute("SELECT 1 FROM approvals WHERE id = ?", (id,)):
            return None  # with six letters that happens; another one is tried
        approval = Approval(
            id=id,
            state="pending",
            requester=identity.name,
            act=identity.act,
            target=target,
            session=session,
            redacted=held.redacted,
            classes=tuple(held.classes),
            objects=tuple(held.objects),
            reason=held.reason,
            holds=tuple(held.holds),
            policy=held.policy,
            requested_at=now,
            # longer than the requester's connection waits, by the shortest of the rules' waits
            deadline=now + max(self._config.open_for, min(terms.wait for terms in held.holds)),
            estimated_rows=held.estimated_rows,
            max_rows=held.max_rows,
            facts=dict(held.facts),
        )
        return rows.insert(tx, Row(approval, digest))

    def _requester(self, session: str) -> Identity:
        identity = self._identity_of(session)
        if identity is None:
            raise Denied("this session is over")
        return identity

    def decided(self, approval: str) -> Deferred[Approval]:
        """See L{IApprovals.decided}. Cancel it to stop waiting; the request stays. @raise KeyError: unknown id."""
        waiting = self._transitions.waiters.wait(approval)
        # registered before it is read: a decision in between is not missed
        self.show(approval).addCallbacks(
            lambda found: self._transitions.waiters.fire(found) if found.state != "pending" else None,
            lambda failure: self._transitions.waiters.fail(waiting, failure),
        )
        return waiting

    def claim(self, session: str, token: Secret, approval: str, held: HeldOperation) -> Deferred[Approval]:
        """See L{IApprovals.claim}. Also refused when an approver could not approve it any more, or the policy changed.

        @raise hoopd.errors.RecordError: the ledger did not take it; it has not run and will not.
        @raise KeyError: unknown id.
        """
        return Deferred.fromCoroutine(self._claim(session, approval, held))

    async def _claim(self, session: str, id: str, held: HeldOperation) -> Approval:
        identity = self._requester(session)
        if held.policy != self._policy_version():
            raise Denied("the policy has changed since this was decided", hint="Run the statement again.")
        seen: Approval = await self.show(id)
        lapsed = [vote for vote in seen.votes if vote.approve and not await _value(self._still(vote))]

        def work(tx: Any) -> Any:
            row = rows.get(tx, id)
            refused = self._unclaimable(tx, row, session, identity, held)
            if refused is not None:
                return refused
            now = self._clock.seconds()
            if row.approval.revision != seen.revision:
                return Refused(Denied(f"{id} was decided this moment", hint="Run the statement again."))
            standing = tuple(vote for vote in row.approval.votes if vote not in lapsed)
            if quorum.result(row.approval.holds, standing) != "approve":
                who = ", ".join(vote.identity for vote in lapsed)
                error = Denied(f"{who} approved {id} and may not do so any more", hint="Run the statement again.")
                gone = rows.transition(tx, row, "revoke", now, who, error.why, fields={"settled_at": now})
                return Refused(error, gone)
            return rows.transition(tx, row, "claim", now, identity.name, session=session)

        claimed = await self._transitions.change(work)
        if await self._transitions.outbox.waits(claimed):
            await self._unrun(claimed)
        return claimed

    def _unclaimable(self, tx: Any, row: Row, session: str, identity: Identity, held: HeldOperation) -> Refused | None:
        approval = row.approval
        rules = tuple(terms.rule for terms in approval.holds)
        if approval.requester != identity.name or approval.act != identity.act:
            return Refused(Denied(f"{approval.id} is not a request of {identity.name}", rules))
        if not same(
            row.digest, operation_digest(self._key, identity.name, identity.act, self._target_of(session), held)
        ):
            return Refused(Denied(f"{approval.id} is for another operation than this one", rules))
        lapsed = self._transitions.lapsed(tx, row)
        if lapsed is not None:
            return Refused(Denied(f"{approval.id} was not run in time and has lapsed", rules), lapsed)
        if approval.state != "approved":
            return Refused(Denied(f"{approval.id} is {approval.state}", rules))
        return None

    async def _unrun(self, claimed: Approval) -> None:
        """The claim is not in the ledger and cannot be put there: it must not run, and it has not. @raise RecordError"""
        detail = "not run: the ledger cannot be written"

        def work(tx: Any) -> Any:
            now = self._clock.seconds()
            return rows.transition(
                tx, rows.get(tx, claimed.id), "failed", now, "", detail, fields={"settled_at": now, "outcome": detail}
            )

        await self._transitions.change(work)
        raise RecordError(f"{claimed.id} is {detail}")

    def settle(self, session: str, token: Secret, approval: str, outcome: str, detail: str) -> Deferred[Approval]:
        """See L{IApprovals.settle}. The same outcome told twice is told once.

        @raise hoopd.errors.Denied: not claimed by this session, or settled otherwise.
        @raise ValueError: no such outcome. @raise KeyError: unknown id.
        """
        if outcome not in states.OUTCOMES:
            raise ValueError(f"no outcome is called {outcome!r}")
        text = _cut(detail)

        def work(tx: Any) -> Any:
            row = rows.get(tx, approval)
            if row.claimed_by != session:
                return Refused(Denied(f"{approval} is not claimed by this session"))
            if row.approval.state == outcome:
                return row.approval
            if row.approval.state != "claimed":
                return Refused(Denied(f"{approval} is {row.approval.state}"))
            now = self._clock.seconds()
            fields = {"settled_at": now, "outcome": text}
            return rows.transition(tx, row, states.OUTCOMES[outcome], now, row.approval.requester, text, fields=fields)

        return Deferred.fromCoroutine(self._transitions.change(work))

    def withdraw(self, session: str, token: Secret, approval: str, why: str) -> Deferred[Approval]:
        """See L{IApprovals.withdraw}. One that has ended already stays as it is.

        @raise hoopd.errors.Denied: not the requester's, or it runs already. @raise KeyError: unknown id.
        """
        return Deferred.fromCoroutine(self._withdraw(session, approval, why))

    async def _withdraw(self, session: str, id: str, why: str) -> Approval:
        identity = self._requester(session)

        def work(tx: Any) -> Any:
            row = rows.get(tx, id)
            if row.approval.requester != identity.name:
                return Refused(Denied(f"{id} is not a request of {identity.name}"))
            if row.approval.state == "claimed":
                return Refused(Denied(f"{id} is being run"))
            if row.approval.state in states.FINAL:
                return row.approval
            now = self._clock.seconds()
            fields = {"settled_at": now, "outcome": _cut(why)}
            return rows.transition(tx, row, "withdraw", now, identity.name, _cut(why), fields=fields)

        return await self._transitions.change(work)

    def session_gone(self, session: str) -> Deferred[None]:
        """A session is over: what it claimed and did not settle has an unknown outcome; what waits stays open.

        @return: Deferred of None.
        """
        return Deferred.fromCoroutine(self._session_gone(session))

    async def _session_gone(self, session: str) -> None:
        detail = "the session ended before its outcome was known"
        for found in await self._store.transact(lambda tx: rows.claimed_by(tx, session)):

            def work(tx: Any, id: str = found.approval.id) -> Any:
                row = rows.get(tx, id)
                if row.approval.state != "claimed":
                    return row.approval
                now = self._clock.seconds()
                return rows.transition(
                    tx, row, "unknown", now, "", detail, fields={"settled_at": now, "outcome": detail}
                )

            await self._transitions.change(work)

    # -- those who decide --------------------------------------------------------------------------------------

    def decide(self, approval: str, identity: Identity, approve: bool, reason: str) -> Deferred[Approval]:
        """See L{IApprovals.decide}. @raise ValueError: no reason, or too long a one. @raise KeyError: unknown id."""
        return Deferred.fromCoroutine(self._decide(approval, identity, approve, reason))

    async def _decide(self, id: str, identity: Identity, approve: bool, reason: str) -> Approval:
        if not reason.strip():
            raise ValueError("a decision needs a reason")
        if len(reason) > TEXT_MAX:
            raise ValueError(f"a reason has at most {TEXT_MAX} characters")

        def work(tx: Any) -> Any:
            row = rows.get(tx, id)
            lapsed = self._transitions.lapsed(tx, row)
            state = lapsed.approval.state if lapsed is not None else row.approval.state
            if state != "pending":
                return Refused(Denied(f"{id} is {state} and not to be decided any more"), lapsed)
            refused = quorum.refusal(row.approval, identity)
            if refused:
                rules = tuple(terms.rule for terms in row.approval.holds)
                return Refused(Denied(refused, rules, quorum.whom_to_ask(row.approval)))
            now = self._clock.seconds()
            vote = Vote(identity.name, approve, reason, now, frozenset(identity.groups))
            votes = (*row.approval.votes, vote)
            happening = quorum.result(row.approval.holds, votes)
            fields: dict[str, Any] = {"votes": votes}
            if happening == "approve":
                fields["claim_by"] = now + self._config.claim_within
            elif happening == "deny":
                fields["settled_at"] = now
            return rows.transition(tx, row, happening, now, identity.name, reason, fields=fields)

        try:
            return await self._transitions.change(work)
        except Denied as denied:
            self._event("approval.refused", {"approval": id, "by": identity.name, "why": denied.why})
            raise

    def find(
        self, states: Any = None, requester: str | None = None, target: str | None = None
    ) -> Deferred[list[Approval]]:
        """See L{IApprovals.find}. At most L{FOUND_MAX}."""
        found: Deferred[list[Approval]] = self._store.transact(
            lambda tx: rows.find(tx, states, requester, target, FOUND_MAX)
        )
        return found

    def show(self, approval: str) -> Deferred[Approval]:
        """See L{IApprovals.show}."""
        found: Deferred[Approval] = self._store.transact(lambda tx: rows.get(tx, approval).approval)
        return found


def _cut(text: str) -> str:
    """An outcome's text, bounded: what is longer is in the recording."""
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}… ({len(text)} characters)"


async def _value(result: Any) -> Any:
    return await result if isinstance(result, Deferred) else result
