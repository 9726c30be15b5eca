"""Break glass in the broker: opening, each thing it lets pass, ending, and the review; over the store and the ledger.

Everything is on disk, with its leaf, before it is answered, and what an opening lets pass is asked for here one by one:
a worker's word is not enough. Not the rules (L{hoopd.policy}) nor who may review (L{hoopd.breakglass.reviews}).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from hoopd.audit.pending import Pending
from hoopd.breakglass import reviews, rows
from hoopd.breakglass.values import Use, Verdict
from hoopd.errors import Denied, HoopdError, RecordError
from hoopd.notices.notice import notice
from hoopd.values import HeldOperation, Identity, Opening

#: how often somebody is told that a review is overdue
REMIND = 86400.0
#: a store that does not answer a timer is asked again after so long
RETRY = 5.0
#: which word of a rule's skip lets a rule of which verb pass
_WORDS = {"hold": "holds", "deny": "denies", "mask": "masks"}


class BreakGlass:
    """
    @param policy: gives the L{hoopd.interfaces.IPolicyService} in force.
    @param pending: L{Pending} on the same store.
    @param new_id: gives a fresh short id, such as C{G-7KQ2M9}.
    @param locked: C{(identity name) -> Deferred of bool}: whether it is disabled.
    @param notices: L{hoopd.interfaces.INotices}: what is told is posted with what it tells.
    @param changed: called with the list of L{Opening} in use whenever that is another one.
    """

    log = Logger()

    def __init__(
        self,
        store: Any,
        pending: Pending,
        clock: Any,
        *,
        policy: Callable[[], Any],
        new_id: Callable[[], str],
        locked: Callable[[str], Any],
        event: Callable[[str, dict[str, Any]], None],
        notices: Any,
        changed: Callable[[list[Opening]], None] = lambda openings: None,
    ) -> None:
        self._store = store
        self._pending = pending
        self._clock = clock
        self._policy = policy
        self._new_id = new_id
        self._locked = locked
        self._event = event
        self._notices = notices
        self._changed = changed
        self._live: dict[str, Opening] = {}
        self._lock: DeferredLock = DeferredLock()
        self._timer: Any = None
        self._stopped = False

    # -- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Go on with what is in use, but for what the policy of now, or a lock, does not permit any more."""
        for use in await self._store.transact(rows.live):
            self._live[use.id] = use.opening
            why = self._unfounded(use)
            if not why and await self._locked(use.opening.identity):
                why = f"{use.opening.identity} is disabled"
            if why:
                await self._end(use.id, "hoopd", why)
        await self._look()

    def stop(self) -> None:
        """Forget the timer; uses stay in the store."""
        self._stopped = True
        self._unarm()

    def _unarm(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def openings(self) -> list[Opening]:
        """What is in use now, as far as time goes."""
        now = self._clock.seconds()
        return [each for each in self._live.values() if now < each.until]

    def _unfounded(self, use: Use) -> str:
        policy, opening = self._policy(), use.opening
        target = policy.targets().get(opening.target)
        if target is None:
            return f"there is no target {opening.target} any more"
        subject = opening.identity.partition(":")[2]
        identity = Identity(subject, use.kind, use.groups, opening.scopes, act=opening.act)
        if not any(rule.id == opening.rule for rule in policy.break_glass(identity, target)):
            return f"the policy gives no such right any more: {opening.rule}"
        return ""

    # -- opening -----------------------------------------------------------------------------------------------

    def open(self, identity: Identity, target: str, reason: str) -> Deferred[Use]:
        """Begin: for this identity, on this target, for as long as the rule says. What is open already stays so.

        @return: Deferred of the L{Use}, on disk and in the ledger.
        @raise Denied: no rule, or a review is overdue. @raise ValueError: no reason. @raise RecordError
        """
        return Deferred.fromCoroutine(self._open(identity, target, reason))

    async def _open(self, identity: Identity, name: str, reason: str) -> Use:
        said = reviews.text(reason, "the reason")
        policy = self._policy()
        target = policy.targets().get(name)
        rules = policy.break_glass(identity, target) if target is not None else ()
        if not rules or policy.may_connect(identity, target, self._clock.seconds()).verdict == "deny":
            # one sentence for both, so that nobody lists targets by trying names
            why = f"no break_glass rule gives {identity.name} a right on {name!r}"
            self._refused(identity, name, why)
            raise Denied(why, hint="ask those who approve; hoopctl policy explain tells what applies")
        rule, now = rules[0], self._clock.seconds()
        opening = Opening(
            id=self._new_id(),
            identity=identity.name,
            act=identity.act,
            target=name,
            rule=rule.id,
            skip=tuple(rule.table.skip),
            reason=said,
            opened_at=now,
            until=now + rule.table.lasts,
            scopes=identity.scopes,
        )
        made = Use(
            opening=opening,
            kind=identity.kind,
            groups=identity.groups,
            proof=identity.proof,
            notify=rule.table.notify,
            review_by=rule.table.review_by or policy.approvers(target),
            auditors=not rule.table.review_by,
            review_due=opening.until + rule.table.review,
        )

        def work(tx: Any) -> Use | Denied:
            overdue = [each for each in rows.unreviewed(tx, identity.name) if each.overdue(now)]
            if overdue:
                return _lapsed(overdue[0])
            for each in rows.live(tx):
                if _covers(each.opening, opening) and now < each.opening.until:
                    return each
            more = {"skip": list(opening.skip), "reason": said, "until": opening.until, "review_due": made.review_due}
            rows.write(tx, made, "opened", identity.name, policy=policy.version, **more)
            minutes = rule.table.lasts / 60
            self._post(tx, made, "opened", f"{identity.name} breaks glass on {name} for {minutes:g} min: {said}")
            return made

        found = await self._store.transact(work)
        if isinstance(found, Denied):
            self._refused(identity, name, found.why)
            raise found
        if found is not made:
            return found
        try:
            await self._pending.send()
        except RecordError:
            # it was never in use: nobody was told of it, and the store says so
            await self._end(opening.id, "hoopd", "it could not be written into the ledger")
            raise
        self._live[opening.id] = opening
        fields = {**_fields(made), "reason": said, "until": opening.until, "skip": list(opening.skip)}
        self._event("break-glass.opened", fields)
        self._notices.wake()
        self._changed(self.openings())
        await self._look()
        return made

    def _refused(self, identity: Identity, target: str, why: str) -> None:
        self._event(
            "break-glass.refused", {"identity": identity.name, "act": identity.act, "target": target, "why": why}
        )

    # -- what it lets pass -------------------------------------------------------------------------------------

    def skip(self, identity: Identity, target: str, held: HeldOperation) -> Deferred[None]:
        """Let one operation pass the rules in C{held.skipped}; when this fires it is in the ledger.

        @raise Denied: it is over, or does not skip those. @raise RecordError: it must not run.
        """
        return Deferred.fromCoroutine(self._skip(identity, target, held))

    async def _skip(self, identity: Identity, name: str, held: HeldOperation) -> None:
        policy, now = self._policy(), self._clock.seconds()
        if held.policy != policy.version:
            raise Denied("the policy has changed since this was decided", held.skipped, "Run the statement again.")
        opening, target = self._live.get(held.break_glass), policy.targets().get(name)
        words = policy.skips(opening, identity, target, now) if target is not None else frozenset()
        verbs = {rule.id: rule.verb for file in policy.files for rule in file.rules}
        unskipped = [rule for rule in held.skipped if _WORDS.get(verbs.get(rule, "")) not in words]
        if opening is None or not held.skipped or unskipped:
            why = f"break glass {held.break_glass} does not let this pass, or is over"
            raise Denied(why, tuple(unskipped), "Run the statement again to see what applies now.")
        digest = hashlib.sha256(held.redacted.encode()).hexdigest()
        more = {"session": held.session, "skipped": list(held.skipped), "digest": digest, "policy": held.policy}

        def work(tx: Any) -> Use:
            use = rows.get(tx, held.break_glass)
            if use.ended_at is not None:
                raise Denied(f"break glass {use.id} has ended: {use.ended_why}", held.skipped)
            changed = evolve(use, skipped=use.skipped + 1)
            rows.write(tx, changed, "skipped", identity.name, **more)
            said = f"under break glass {use.id} {identity.name} passes {', '.join(held.skipped)} on {name}"
            self._post(tx, changed, "used", said, held.redacted, changed.skipped)
            return changed

        use = await self._store.transact(work)
        self._notices.wake()
        await self._pending.send()
        fields = {**_fields(use), "session": held.session, "rules": list(held.skipped), "text": held.redacted}
        self._event("break-glass.skipped", {**fields, "classes": list(held.classes), "objects": list(held.objects)})

    # -- the end -----------------------------------------------------------------------------------------------

    def close(self, id: str, identity: Identity, why: str = "") -> Deferred[Use]:
        """End it now: by the person themselves, whoever may review it, or an administrator or auditor.

        @raise KeyError: no such use, or not for this person to close. @raise RecordError
        """
        return Deferred.fromCoroutine(self._close(id, identity, why))

    async def _close(self, id: str, identity: Identity, why: str) -> Use:
        use: Use = await self._store.transact(lambda tx: rows.get(tx, id))
        mine = identity.name == use.opening.identity
        if not mine and not self._may_see(use, identity):
            raise KeyError(id)
        said = why.strip() or ("closed by its user" if mine else f"closed by {identity.name}")
        return await self._end(id, identity.name, said[: reviews.TEXT_MAX])

    def close_on(self, identity: Identity, target: str) -> Deferred[list[str]]:
        """End what this identity has open on C{target}. @return: Deferred of the ids"""

        async def work() -> list[str]:
            mine = [each.id for each in self._live.values() if (each.identity, each.target) == (identity.name, target)]
            for id in mine:
                await self._end(id, identity.name, "closed by its user")
            return mine

        return Deferred.fromCoroutine(work())

    def revoked(self, identity: str, token: str, why: str) -> Deferred[None]:
        """An identity was disabled or changed, or its token revoked: what rests on that ends.

        @param token: only what was opened with the token of this id; C{""} is everything of the identity.
        """

        async def work() -> None:
            for use in await self._store.transact(rows.live):
                if identity not in (use.opening.identity, use.opening.act):
                    continue
                if not token or use.proof.partition(":")[2] == token:
                    await self._end(use.id, "hoopd", why)

        return Deferred.fromCoroutine(work())

    async def _end(self, id: str, by: str, why: str) -> Use:
        now = self._clock.seconds()
        # first of all it lets nothing more pass, whatever becomes of store and ledger
        was = self._live.pop(id, None)

        def work(tx: Any) -> tuple[Use, bool]:
            use = rows.get(tx, id)
            if use.ended_at is not None:
                return use, False
            ended = evolve(use, ended_at=now, ended_by=by, ended_why=why)
            rows.write(tx, ended, "ended", by, why=why, operations=ended.skipped)
            who, where = ended.opening.identity, ended.opening.target
            self._post(
                tx, ended, "closed", f"break glass of {who} on {where} has ended ({why}); let pass: {ended.skipped}"
            )
            said = f"the break glass of {who} on {where} is to be reviewed by {reviews.reviewers(ended)}"
            self._post(tx, ended, "review", said)
            return ended, True

        try:
            use, fresh = await self._store.transact(work)
        finally:
            if was is not None:
                self._changed(self.openings())
        if fresh:
            self._event("break-glass.ended", {**_fields(use), "by": by, "why": why, "skipped": use.skipped})
            self._notices.wake()
            # it is over and on file; a ledger that is away gets the leaf when it is back
            await self._pending.send().addErrback(lambda failure: failure.trap(RecordError) and None)
            await self._look()
        return use

    # -- reviews -----------------------------------------------------------------------------------------------

    def review(self, id: str, identity: Identity, verdict: Verdict, findings: str) -> Deferred[Use]:
        """Close the review.

        @raise Denied: not entitled, or reviewed already. @raise ValueError: verdict or findings. @raise KeyError
        """
        return Deferred.fromCoroutine(self._review(id, identity, verdict, findings))

    async def _review(self, id: str, identity: Identity, verdict: Verdict, findings: str) -> Use:
        if verdict not in ("ok", "misuse"):
            raise ValueError("a verdict is ok or misuse")
        said = reviews.text(findings, "what was found")
        now = self._clock.seconds()

        def work(tx: Any) -> Use:
            use = rows.get(tx, id)
            why = reviews.refusal(use, identity)
            if not why and use.reviewed_at is not None:
                why = f"{id} was reviewed by {use.reviewed_by} already"
            if why:
                raise Denied(why, hint=f"Reviewers: {reviews.reviewers(use)}.")
            done = evolve(use, reviewed_at=now, reviewed_by=identity.name, verdict=verdict, findings=said)
            rows.write(tx, done, "reviewed", identity.name, verdict=verdict, findings=said, late=use.overdue(now))
            told = f"{identity.name} reviewed {id} of {use.opening.identity}: {verdict}"
            self._post(tx, done, "reviewed", told, said)
            return done

        use: Use = await self._store.transact(work)
        self._notices.wake()
        await self._pending.send()
        fields = {**_fields(use), "by": identity.name, "verdict": verdict, "findings": said}
        self._event("break-glass.reviewed" if verdict == "ok" else "break-glass.misuse", fields)
        await self._look()
        return use

    def find(self, identity: Identity, target: str | None = None) -> Deferred[list[Use]]:
        """@return: Deferred of the uses that this identity may see, newest first"""
        found: Deferred[list[Use]] = self._store.transact(lambda tx: rows.find(tx, None, target))
        return found.addCallback(lambda uses: [each for each in uses if self._may_see(each, identity)])

    def show(self, id: str, identity: Identity) -> Deferred[Use]:
        """@raise KeyError: no such use, or none of this identity's business"""

        def seen(use: Use) -> Use:
            if not self._may_see(use, identity):
                raise KeyError(id)
            return use

        found: Deferred[Use] = self._store.transact(lambda tx: rows.get(tx, id))
        return found.addCallback(seen)

    @staticmethod
    def _may_see(use: Use, identity: Identity) -> bool:
        if identity.name == use.opening.identity or identity.duties & {"administrator", "auditor"}:
            return True
        return not reviews.refusal(evolve(use, ended_at=0.0), identity)

    # -- time --------------------------------------------------------------------------------------------------

    def _look(self) -> Deferred[None]:
        """See what time has ended or made overdue, and be called again at the next such moment."""
        return self._lock.run(lambda: Deferred.fromCoroutine(self._looked()))

    async def _looked(self) -> None:
        if self._stopped:
            return
        now = self._clock.seconds()
        moments: list[float] = []
        for use in await self._store.transact(rows.unreviewed):
            if use.ended_at is None:
                if now >= use.opening.until:
                    self._later(self._end(use.id, "hoopd", "its time is over"))
                else:
                    moments.append(use.opening.until)
            if now < use.review_due:
                moments.append(use.review_due)
            elif use.reminded_at is None or now - use.reminded_at >= REMIND:
                await self._overdue(use, now)
                moments.append(now + REMIND)
            else:
                moments.append(use.reminded_at + REMIND)
        self._unarm()
        if moments:
            # not more than a day ahead: clocks are set
            self._timer = self._clock.callLater(min(REMIND, max(0.01, min(moments) - now)), self._rang)

    def _rang(self) -> None:
        self._timer = None
        self._look().addErrback(self._not_looked)

    def _not_looked(self, failure: Any) -> None:
        if not failure.check(HoopdError):
            self.log.failure("looking after break glass", failure)
        if not self._stopped and self._timer is None:
            # what is over by time lets nothing pass meanwhile: every look at an opening checks the time itself
            self._timer = self._clock.callLater(RETRY, self._rang)

    def _later(self, work: Any) -> None:
        # _end looks again when it is done, and _look holds the lock now
        Deferred.fromCoroutine(work).addErrback(self._not_looked)

    async def _overdue(self, use: Use, now: float) -> None:
        def work(tx: Any) -> Use | None:
            found = rows.get(tx, use.id)
            if found.reviewed_at is not None:
                return None
            reminded = evolve(found, reminded_at=now)
            rows.write(tx, reminded, "overdue", "hoopd", review_due=use.review_due)
            who = use.opening.identity
            text = f"the review of {use.id} ({who} on {use.opening.target}) is overdue, and {who} may not break glass"
            told = f"{text} until {reviews.reviewers(use)} closes it"
            self._post(tx, reminded, "overdue", told, "", int((now - use.review_due) // REMIND))
            return reminded

        overdue = await self._store.transact(work)
        if overdue is None:
            return
        self._event("break-glass.overdue", {**_fields(use), "review_due": use.review_due})
        self._notices.wake()
        name = use.opening.identity
        await self._pending.send().addErrback(lambda failure: failure.trap(RecordError) and None)
        for opening in list(self._live.values()):
            if opening.identity == name and opening.id != use.id:
                self._later(self._end(opening.id, "hoopd", f"the review of {use.id} is overdue"))

    # -- telling -----------------------------------------------------------------------------------------------

    def _post(self, tx: Any, use: Use, kind: str, title: str, text: str = "", revision: int = 0) -> None:
        opening = use.opening
        act: tuple[str, ...] = (f"hoopctl break-glass show {use.id}",)
        fields = {
            "identity": opening.identity,
            "on_behalf_of": opening.act,
            "target": opening.target,
            "rule": opening.rule,
            "skips": opening.skip,
            "reason": opening.reason,
            "until_at": opening.until,
            "review_at": use.review_due,
            "reviewers": reviews.reviewers(use),
        }
        now = self._clock.seconds()
        if kind in ("review", "overdue"):
            act = (*act, f"hoopctl break-glass review {use.id} --verdict ok|misuse --findings …")
        made = notice(f"break-glass.{kind}", use.id, title, now, fields, text, act, revision)
        self._notices.post(tx, made, use.notify)


def _fields(use: Use) -> dict[str, Any]:
    opening = use.opening
    return {
        "use": opening.id,
        "identity": opening.identity,
        "act": opening.act,
        "target": opening.target,
        "rule": opening.rule,
    }


def _covers(opening: Opening, other: Opening) -> bool:
    return (opening.identity, opening.act, opening.target, opening.rule, opening.scopes) == (
        other.identity,
        other.act,
        other.target,
        other.rule,
        other.scopes,
    )


def _lapsed(use: Use) -> Denied:
    who = reviews.reviewers(use)
    return Denied(
        f"break glass has lapsed for {use.opening.identity}: the review of {use.id} is overdue",
        (use.opening.rule,),
        f"Have {who} close it: hoopctl break-glass review {use.id} --verdict ok|misuse --findings …",
    )


__all__ = ["BreakGlass"]
