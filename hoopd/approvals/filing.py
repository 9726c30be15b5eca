"""Requests as they come in: joined to what waits or is approved already, covered by a grant, or put on file.

In the broker. Not what a request says (L{hoopd.approvals.asking}) nor its later life (L{hoopd.approvals.service}).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import evolve

from hoopd.approvals import asking, rows, uses
from hoopd.approvals.digest import joint_digest, operation_digest
from hoopd.approvals.rows import Row
from hoopd.approvals.scope import reasoned
from hoopd.approvals.texts import TEXT_MAX
from hoopd.approvals.transitions import TRIES, Refused, Transitions
from hoopd.approvals.waiting import ends
from hoopd.config.schema import ApprovalsConfig
from hoopd.errors import Denied
from hoopd.values import Approval, Covering, HeldOperation, HoldTerms, Identity

#: statements that one person can read and agree to together
STEPS_MAX = 200

#: relations of a window that one person can read, each schema and name of 63 bytes and quotes
OBJECTS_MAX = 100
NAME_MAX = 200

#: grants that a requester is told do not fit; the newest
BESIDE_MAX = 3


class Filing:
    """
    @param store, key, clock, config, policy_version, identity_of, target_of, new_id: as in
        L{hoopd.approvals.service.Approvals}.
    """

    def __init__(
        self,
        store: Any,
        transitions: Transitions,
        key: bytes,
        clock: Any,
        config: ApprovalsConfig,
        policy_version: Callable[[], str],
        identity_of: Callable[[str], Identity | None],
        target_of: Callable[[str], str],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._transitions = transitions
        self._key = key
        self._clock = clock
        self._config = config
        self._policy_version = policy_version
        self._identity_of = identity_of
        self._target_of = target_of
        self.new_id = new_id

    def requester(self, session: str) -> Identity:
        """Who runs C{session}. @raise Denied: it is over"""
        identity = self._identity_of(session)
        if identity is None:
            raise Denied("this session is over")
        return identity

    async def one(self, session: str, held: HeldOperation) -> Approval:
        if not held.holds:
            raise ValueError("an operation is held under at least one rule's terms")
        identity = self.requester(session)
        target = self._target_of(session)
        digest = self.digest(identity, target, held)

        def park(tx: Any, id: str, now: float) -> Any:
            covering = self._covering(tx, session, identity, target, held, digest)
            known = [row for row in rows.open_with(tx, digest, identity.name) if row.approval.id not in held.apart]
            waiting = [row.approval for row in known if row.approval.state == "pending" and not self._over(row)]
            found = covering.approval or next((each for each in waiting if reasoned(each, held)), None)
            if found is not None:
                return found
            if held.unreasoned is not None:
                rules = tuple(terms.rule for terms in held.holds)
                return Refused(Denied(held.unreasoned.why, rules, held.unreasoned.hint))
            asked = asking.one(id, session, identity, target, held, now, self._config.open_for)
            return self._put(tx, Row(evolve(asked, beside=covering.beside), digest))

        return await self._filed(park)

    async def covering(self, session: str, held: HeldOperation) -> Covering:
        identity = self.requester(session)
        target = self._target_of(session)
        digest = self.digest(identity, target, held)
        found: Covering = await self._store.transact(
            lambda tx: self._covering(tx, session, identity, target, held, digest)
        )
        return found

    async def several(self, session: str, plan: tuple[HeldOperation, ...], shown: str) -> Approval:
        if not plan or not all(held.holds for held in plan):
            raise ValueError("what is asked for together are operations that are held, at least one")
        if len(plan) > STEPS_MAX:
            raise ValueError(f"more than {STEPS_MAX} statements at once: nobody reads them all; ask for a window")
        if len(plan) == 1:
            # the session that asks ends with this, so it is not asked for as long as that lasts
            alone = [evolve(terms, scope="once") if terms.scope == "session" else terms for terms in plan[0].holds]
            return await self.one(session, evolve(plan[0], holds=tuple(alone)))
        identity = self.requester(session)
        target = self._target_of(session)
        digests = [self.digest(identity, target, held) for held in plan]
        joint = joint_digest(self._key, ["statements", *digests])

        def park(tx: Any, id: str, now: float) -> Any:
            for row in rows.open_with(tx, joint, identity.name):
                if not self._over(row) and not row.approval.uses:
                    return row.approval
            asked = asking.several(id, session, identity, target, plan, digests, shown, now, self._config.open_for)
            return self._put(tx, Row(asked, joint))

        return await self._filed(park)

    async def window(
        self,
        identity: Identity,
        target: str,
        do: Sequence[str],
        objects: Sequence[str],
        lasts: float,
        reason: str,
        holds: tuple[HoldTerms, ...],
    ) -> Approval:
        """Ask for a time in which to run C{do} on C{objects} of C{target} under C{holds}; time runs from approval.

        @raise ValueError: longer than the rules allow, no reason, or nothing to ask for.
        """
        if not reason.strip() or len(reason) > TEXT_MAX:
            raise ValueError(f"a window needs a reason, of at most {TEXT_MAX} characters")
        if not holds or not do:
            raise ValueError("a window is for something that is held")
        if len(objects) > OBJECTS_MAX or any(len(name) > NAME_MAX for name in objects):
            raise ValueError(f"a window names at most {OBJECTS_MAX} relations, of at most {NAME_MAX} characters each")
        policy = self._policy_version()
        act = identity.act or ""
        words = ["window", identity.name, act, target, repr(lasts), " ".join(sorted(do)), " ".join(sorted(objects))]
        joint = joint_digest(self._key, [*words, policy])

        def park(tx: Any, id: str, now: float) -> Any:
            for row in rows.open_with(tx, joint, identity.name):
                if row.approval.state == "pending" and not self._over(row):
                    return row.approval
            asked = asking.time(
                id, identity, target, do, objects, lasts, reason, holds, policy, now, self._config.open_for
            )
            return self._put(tx, Row(asked, joint))

        return await self._filed(park)

    async def _filed(self, park: Callable[[Any, str, float], Any]) -> Approval:
        for _ in range(TRIES):
            id = self.new_id()
            approval: Approval | None = await self._transitions.change(partial(self._filed_as, park, id))
            if approval is not None:
                return approval
        raise RuntimeError("ids of approvals repeat themselves")

    def _filed_as(self, park: Callable[[Any, str, float], Any], id: str, tx: Any) -> Any:
        return park(tx, id, self._clock.seconds())

    def _put(self, tx: Any, row: Row) -> Any:
        """A new request, unless there are too many; None if its id is taken: with six letters that happens."""
        asked = row.approval
        if rows.count_pending(tx, asked.requester) >= self._config.pending_per_identity:
            return Refused(
                Denied(
                    f"{asked.requester} has {self._config.pending_per_identity} requests open already",
                    tuple(terms.rule for terms in asked.holds),
                    "Wait until some are decided, or withdraw them: hoopctl request withdraw.",
                )
            )
        if tx.execute("SELECT 1 FROM approvals WHERE id = ?", (asked.id,)):
            return None
        return rows.insert(tx, row)

    def digest(self, identity: Identity, target: str, held: HeldOperation) -> str:
        return operation_digest(self._key, identity.name, identity.act, target, held)

    def _over(self, row: Row) -> bool:
        until = ends(row.approval)
        return until is not None and self._clock.seconds() >= until

    def _covering(
        self, tx: Any, session: str, identity: Identity, target: str, held: HeldOperation, digest: str
    ) -> Covering:
        """What lets C{held} run now: several statements that are at this one, its own approval, or a wider grant."""
        policy = self._policy_version()
        fit: list[Approval] = []
        beside: list[str] = []
        for row in rows.granted(tx, identity.name, target):
            if row.approval.act != identity.act or self._over(row) or not reasoned(row.approval, held):
                continue
            why = uses.uncovered(tx, row, session, held, digest, policy)
            if not why:
                fit.append(row.approval)
            elif row.claimed_by in ("", session):
                beside.append(f"{row.approval.id} does not cover it: {why}")
        exact = [
            row.approval
            for row in rows.open_with(tx, digest, identity.name)
            if row.approval.state == "approved"
            and row.approval.id not in held.apart
            and not self._over(row)
            and reasoned(row.approval, held)
        ]
        several = [approval for approval in fit if approval.kind == "statements"]
        found = next(iter([*several, *exact, *fit]), None)
        return Covering(found, () if found is not None else tuple(beside[-BESIDE_MAX:]))
