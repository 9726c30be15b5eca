"""Decisions of people: yes, no, and taking a yes back; in the broker.

Not who may (L{hoopd.approvals.quorum}), nor how far a yes reaches (L{hoopd.approvals.scope}).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from hoopd.approvals import ceiling, quorum, rows, scope, states
from hoopd.approvals.rows import Row
from hoopd.approvals.texts import check_reason, cut
from hoopd.approvals.transitions import Refused, Transitions
from hoopd.config.schema import ApprovalsConfig
from hoopd.errors import Denied
from hoopd.values import Approval, Identity, Scope, Vote

_CONFIRM = "Let somebody else approve it, or an administrator or auditor confirm the change: hoopctl policy confirm."
_ASK_ANEW = "Deny it, and have it asked for again."


class Decisions:
    """
    @param clock, config, policy_version, identity_of, event, barred: as in L{hoopd.approvals.service.Approvals}.
    """

    def __init__(
        self,
        transitions: Transitions,
        clock: Any,
        config: ApprovalsConfig,
        policy_version: Callable[[], str],
        identity_of: Callable[[str], Identity | None],
        event: Callable[[str, dict[str, Any]], None],
        barred: Callable[[str], str],
    ) -> None:
        self._transitions = transitions
        self._clock = clock
        self._config = config
        self._policy_version = policy_version
        self._identity_of = identity_of
        self._event = event
        self._barred = barred

    async def decide(
        self,
        id: str,
        identity: Identity,
        approve: bool,
        reason: str,
        reach: Scope | None,
        lasts: float | None,
        max_rows: int | None,
    ) -> Approval:
        check_reason(reason)

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
            refused = self._barred(identity.name) if approve else ""
            if refused:
                rules = tuple(terms.rule for terms in row.approval.holds)
                return Refused(Denied(refused, rules, _CONFIRM))
            now = self._clock.seconds()
            vote = Vote(identity.name, approve, reason, now, frozenset(identity.groups))
            if approve:
                wanted, seconds = scope.chosen(row.approval, reach, lasts)
                vote = evolve(vote, scope=wanted, lasts=seconds, max_rows=ceiling.chosen(row.approval, max_rows))
            votes = (*row.approval.votes, vote)
            happening = quorum.result(row.approval.holds, votes)
            if happening == "approve":
                return self._approved(tx, row, votes, identity.name, reason, now)
            fields: dict[str, Any] = {"votes": votes}
            if happening == "deny":
                fields["settled_at"] = now
            return rows.transition(tx, row, happening, now, identity.name, reason, fields=fields)

        try:
            return await self._transitions.change(work)
        except Denied as denied:
            self._event("approval.refused", {"approval": id, "by": identity.name, "why": denied.why})
            raise

    def _approved(self, tx: Any, row: Row, votes: tuple[Vote, ...], by: str, reason: str, now: float) -> Any:
        """All who must have said yes: for one run, or for as far as the most careful of them said."""
        approval = row.approval
        reach, lasts = scope.agreed(votes)
        fields: dict[str, Any] = {"votes": votes, "scope": reach, "lasts": lasts, "max_rows": ceiling.agreed(votes)}
        if reach == "once":
            fields["claim_by"] = now + self._config.claim_within
            if approval.kind == "operation":
                return rows.transition(tx, row, "approve", now, by, reason, fields=fields)
            fields["until"] = fields["claim_by"]
            return rows.transition(tx, row, "grant", now, by, reason, fields=fields)
        rules = tuple(terms.rule for terms in approval.holds)
        if approval.policy != self._policy_version():
            return Refused(Denied(f"the policy has changed since {approval.id} was asked for", rules, _ASK_ANEW))
        if reach == "session" and self._identity_of(approval.session) is None:
            return Refused(
                Denied(f"the session that asked for {approval.id} is over", rules, "Approve it once instead.")
            )
        fields["until"] = None if lasts is None else now + lasts
        bound = approval.session if reach == "session" else ""
        return rows.transition(tx, row, "grant", now, by, reason, session=bound, fields=fields)

    async def revoke(self, approval: str, identity: Identity, reason: str) -> Approval:
        """Take back what was approved or granted: nothing begins under it any more; what has begun goes on.

        @param identity: somebody who may decide it, or an administrator.
        @raise hoopd.errors.Denied: somebody else, or there is nothing to take back.
        @raise ValueError: no reason, or too long a one. @raise KeyError: unknown id.
        """
        check_reason(reason)

        def work(tx: Any) -> Any:
            row = rows.get(tx, approval)
            refused = quorum.revocation_refusal(row.approval, identity)
            if refused:
                return Refused(Denied(refused, (), quorum.whom_to_ask(row.approval)))
            lapsed = self._transitions.lapsed(tx, row)
            state = lapsed.approval.state if lapsed is not None else row.approval.state
            if "revoke" not in states.TRANSITIONS[state]:
                hint = f"hoopctl approvals deny {approval}" if state == "pending" else ""
                return Refused(Denied(f"{approval} is {state}: there is nothing to revoke", (), hint), lapsed)
            now = self._clock.seconds()
            fields = {"settled_at": now, "outcome": cut(f"revoked by {identity.name}: {reason}")}
            return rows.transition(tx, row, "revoke", now, identity.name, reason, fields=fields)

        return await self._transitions.change(work)
