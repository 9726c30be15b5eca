"""Held operations and their approval: L{IApprovals} over the store and the ledger; broker only.

Each transition is one transaction that reads, checks and writes, so that of two who race one wins and the other is
told. What is on disk when a Deferred fires stays true over a crash. Not here: the table of states
(L{hoopd.approvals.states}), who may decide (L{hoopd.approvals.quorum}), session tokens (L{hoopd.flow.admission}).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from zope.interface import implementer

from hoopd.approvals import quorum, rows, states, uses
from hoopd.approvals.decisions import Decisions
from hoopd.approvals.digest import same
from hoopd.approvals.filing import Filing
from hoopd.approvals.rows import Row
from hoopd.approvals.scope import reasoned
from hoopd.approvals.texts import cut
from hoopd.approvals.transitions import Refused, Transitions
from hoopd.config.schema import ApprovalsConfig
from hoopd.errors import Denied, RecordError
from hoopd.interfaces import IApprovals
from hoopd.secret import Secret
from hoopd.values import Approval, Covering, HeldOperation, HoldTerms, Identity, Scope, Vote

#: more than one person looks through; who wants them all narrows the search
FOUND_MAX = 1000


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
    @param barred: why somebody may say no and not yes under the rules in force, or nothing.
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
        barred: Callable[[str], str] = lambda name: "",
    ) -> None:
        self._store = store
        self._key = digest_key
        self._clock = clock
        self._config = config
        self._policy_version = policy_version
        self._identity_of = identity_of
        self._target_of = target_of
        self._event = event
        self._still = still
        self._transitions = Transitions(store, ledger, clock, event)
        self._filing = Filing(
            store, self._transitions, digest_key, clock, config, policy_version, identity_of, target_of, new_id
        )
        self._decisions = Decisions(self._transitions, clock, config, policy_version, identity_of, event, barred)

    # -- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Send what the ledger has not got, expire what lapsed meanwhile, and arm the rest. After the sessions that
        may be resumed are known: what a session claimed that is not among them has an unknown outcome.
        """
        await self._transitions.outbox.drain()
        open_states = ("pending", "approved", "granted", "claimed")
        for row in await self._store.transact(lambda tx: rows.in_state(tx, *open_states)):
            if row.approval.state != "claimed":
                self._transitions.expiries.arm(row.approval)
            if row.claimed_by and self._identity_of(row.claimed_by) is None:
                await self.session_gone(row.claimed_by)
            elif self._outlived(row.approval):
                await self._transitions.change(partial(self._end_outlived, row.approval.id))

    async def stop(self) -> None:
        """Forget timers and waiters; requests stay in the store."""
        self._transitions.stop()

    def _outlived(self, approval: Approval) -> bool:
        """Whether a grant is of another policy than the one in force: it covers nothing any more."""
        return (
            approval.state == "granted" and approval.kind != "statements" and approval.policy != self._policy_version()
        )

    def _end_outlived(self, id: str, tx: Any) -> Any:
        row = rows.get(tx, id)
        if not self._outlived(row.approval):
            return row.approval
        now, why = self._clock.seconds(), "the policy has changed"
        return rows.transition(tx, row, "end", now, "", why, fields={"settled_at": now, "outcome": why})

    def observe(self, callback: Callable[[Approval], Any]) -> None:
        """Have C{callback} called with the L{Approval} after each transition, once that is on disk."""
        self._transitions.observers.append(callback)

    def within(self, callback: Callable[[Any, rows.Change], None]) -> None:
        """Have C{callback(tx, change)} called in the transaction of each change: what it writes is there if and only if
        the change is. What it raises undoes the change."""
        self._transitions.within.append(callback)

    # -- the requester -----------------------------------------------------------------------------------------

    def request(self, session: str, token: Secret, held: HeldOperation) -> Deferred[Approval]:
        """See L{IApprovals.request}.

        @raise hoopd.errors.Denied: the session is not alive, or has too many open requests.
        @raise ValueError: held without terms.
        """
        return Deferred.fromCoroutine(self._filing.one(session, held))

    def covering(self, session: str, token: Secret, held: HeldOperation) -> Deferred[Covering]:
        """See L{IApprovals.covering}."""
        return Deferred.fromCoroutine(self._filing.covering(session, held))

    def request_several(
        self, session: str, token: Secret, plan: Sequence[HeldOperation], shown: str
    ) -> Deferred[Approval]:
        """See L{IApprovals.request_several}."""
        return Deferred.fromCoroutine(self._filing.several(session, tuple(plan), shown))

    def request_window(
        self,
        identity: Identity,
        target: str,
        do: Sequence[str],
        objects: Sequence[str],
        lasts: float,
        reason: str,
        holds: tuple[HoldTerms, ...],
    ) -> Deferred[Approval]:
        """See L{Filing.window}."""
        return Deferred.fromCoroutine(self._filing.window(identity, target, do, objects, lasts, reason, holds))

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
        identity = self._filing.requester(session)
        if held.policy != self._policy_version():
            raise Denied("the policy has changed since this was decided", hint="Run the statement again.")
        seen: Approval = await self.show(id)
        lapsed = [vote for vote in seen.votes if vote.approve and not await _value(self._still(vote))]

        def work(tx: Any) -> Any:
            row = rows.get(tx, id)
            digest = self._filing.digest(identity, self._target_of(session), held)
            refused = self._unclaimable(tx, row, session, identity, held, digest)
            if refused is not None:
                return refused
            now = self._clock.seconds()
            if row.approval.votes != seen.votes:
                # each of them was asked about above; uses of the same grant by others change nothing
                return Refused(Denied(f"{id} was decided this moment", hint="Run the statement again."))
            standing = tuple(vote for vote in row.approval.votes if vote not in lapsed)
            if quorum.result(row.approval.holds, standing) != "approve":
                who = ", ".join(vote.identity for vote in lapsed)
                error = Denied(f"{who} approved {id} and may not do so any more", hint="Run the statement again.")
                gone = rows.transition(tx, row, "revoke", now, who, error.why, fields={"settled_at": now})
                return Refused(error, gone)
            if row.approval.state == "granted":
                return uses.take(tx, row, session, held, digest, now, self._config.run_within)
            return rows.transition(tx, row, "claim", now, identity.name, session=session)

        claimed = await self._transitions.change(work)
        if await self._transitions.outbox.waits(claimed):
            await self._unrun(claimed)
        return claimed

    def _unclaimable(
        self, tx: Any, row: Row, session: str, identity: Identity, held: HeldOperation, digest: str
    ) -> Refused | None:
        approval = row.approval
        rules = tuple(terms.rule for terms in approval.holds)
        if approval.requester != identity.name or approval.act != identity.act:
            return Refused(Denied(f"{approval.id} is not a request of {identity.name}", rules))
        if approval.target != self._target_of(session):
            return Refused(
                Denied(f"{approval.id} is for another operation than this one: for {approval.target}", rules)
            )
        if not reasoned(approval, held):
            return Refused(Denied(f"{approval.id} was not asked for with such a reason as is required", rules))
        lapsed = self._transitions.lapsed(tx, row)
        if lapsed is not None:
            return Refused(Denied(f"{approval.id} was not run in time and has lapsed", rules), lapsed)
        if approval.state == "granted":
            why = uses.uncovered(tx, row, session, held, digest, self._policy_version())
            return Refused(Denied(f"{approval.id} does not cover this: {why}", rules)) if why else None
        if approval.state != "approved":
            return Refused(Denied(f"{approval.id} is {approval.state}", rules))
        if not same(row.digest, digest):
            return Refused(Denied(f"{approval.id} is for another operation than this one", rules))
        return None

    async def _unrun(self, claimed: Approval) -> None:
        """The claim is not in the ledger and cannot be put there: it must not run, and it has not. @raise RecordError"""
        detail = "not run: the ledger cannot be written"

        await self._transitions.change(lambda tx: self._settled(tx, rows.get(tx, claimed.id), "failed", "", detail))
        raise RecordError(f"{claimed.id} is {detail}")

    def settle(self, session: str, token: Secret, approval: str, outcome: str, detail: str) -> Deferred[Approval]:
        """See L{IApprovals.settle}. The same outcome told twice is told once.

        @raise hoopd.errors.Denied: not claimed by this session, or settled otherwise.
        @raise ValueError: no such outcome. @raise KeyError: unknown id.
        """
        if outcome not in states.OUTCOMES:
            raise ValueError(f"no outcome is called {outcome!r}")
        text = cut(detail)

        def work(tx: Any) -> Any:
            row = rows.get(tx, approval)
            if row.claimed_by != session:
                return Refused(Denied(f"{approval} is not claimed by this session"))
            if row.approval.state == outcome:
                return row.approval
            if row.approval.state != "claimed":
                return Refused(Denied(f"{approval} is {row.approval.state}"))
            return self._settled(tx, row, states.OUTCOMES[outcome], row.approval.requester, text)

        return Deferred.fromCoroutine(self._transitions.change(work))

    def _settled(self, tx: Any, row: Row, happening: states.Happening, by: str, detail: str) -> rows.Change:
        """The outcome of a claimed operation, and what it means for its grant."""
        now = self._clock.seconds()
        fields = {"settled_at": now, "outcome": detail}
        change = rows.transition(tx, row, happening, now, by, detail, fields=fields)
        return evolve(change, also=uses.told(tx, row.approval, happening, detail, now))

    def withdraw(self, session: str, token: Secret, approval: str, why: str) -> Deferred[Approval]:
        """See L{IApprovals.withdraw}. One that has ended already stays as it is.

        @raise hoopd.errors.Denied: not the requester's, or it runs already. @raise KeyError: unknown id.
        """
        return Deferred.fromCoroutine(self._withdraw(session, approval, why))

    async def _withdraw(self, session: str, id: str, why: str) -> Approval:
        return await self.withdraw_own(id, self._filing.requester(session), why)

    def withdraw_own(self, approval: str, identity: Identity, why: str) -> Deferred[Approval]:
        """C{identity} gives up its own request, or what it was granted; what has begun goes on.

        @raise hoopd.errors.Denied: not the requester's, or it runs already. @raise KeyError: unknown id.
        """

        def work(tx: Any) -> Any:
            row = rows.get(tx, approval)
            if row.approval.requester != identity.name:
                return Refused(Denied(f"{approval} is not a request of {identity.name}"))
            if row.approval.state == "claimed":
                return Refused(Denied(f"{approval} is being run"))
            if row.approval.state in states.FINAL:
                return row.approval
            now = self._clock.seconds()
            fields = {"settled_at": now, "outcome": cut(why)}
            return rows.transition(tx, row, "withdraw", now, identity.name, cut(why), fields=fields)

        return Deferred.fromCoroutine(self._transitions.change(work))

    def session_gone(self, session: str) -> Deferred[None]:
        """A session is over: what it claimed and did not settle has an unknown outcome; what waits stays open.

        @return: Deferred of None.
        """
        return Deferred.fromCoroutine(self._session_gone(session))

    async def _session_gone(self, session: str) -> None:
        detail = "the session ended before its outcome was known"

        def work(id: str, tx: Any) -> Any:
            row = rows.get(tx, id)
            if row.approval.state == "claimed":
                return self._settled(tx, row, "unknown", "", detail)
            if row.approval.state == "granted":
                return uses.unbound(tx, row, self._clock.seconds())
            return row.approval

        # first what it ran: several statements are unknown where one of them is
        for find in (rows.claimed_by, rows.bound_to):
            for found in await self._store.transact(lambda tx, find=find: find(tx, session)):
                await self._transitions.change(partial(work, found.approval.id))

    # -- those who decide --------------------------------------------------------------------------------------

    def decide(
        self,
        approval: str,
        identity: Identity,
        approve: bool,
        reason: str,
        reach: Scope | None = None,
        lasts: float | None = None,
        max_rows: int | None = None,
    ) -> Deferred[Approval]:
        """See L{IApprovals.decide}."""
        return Deferred.fromCoroutine(
            self._decisions.decide(approval, identity, approve, reason, reach, lasts, max_rows)
        )

    def revoke(self, approval: str, identity: Identity, reason: str) -> Deferred[Approval]:
        """See L{Decisions.revoke}."""
        return Deferred.fromCoroutine(self._decisions.revoke(approval, identity, reason))

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


async def _value(result: Any) -> Any:
    return await result if isinstance(result, Deferred) else result
