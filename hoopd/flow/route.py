"""The route of one session's operations on the worker's side: decide, hold, record, forward, result, record.

The same for every protocol; a protocol translates its wire to operations and back, and asks here at each step. Not
the decision (L{hoopd.flow.judge}), not the broker's admission (L{hoopd.flow.admission}). The order it keeps:
nothing is forwarded before its operation frame is written, and, where C{durability} says so, before that is on disk;
an approved operation is claimed on disk before either.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import define, evolve
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopd.errors import Denied, RecordError, Unavailable
from hoopd.flow.waiting import Notice, StillOpen, Withdrawn, describe, refused, sentences, still_open, ticket
from hoopd.values import Admission, Approval, Covering, HeldOperation

#: in an open transaction locks stay held while people think
IN_TRANSACTION_WAIT = 120.0
#: frames that may wait for one write: a pipeline of so many statements costs one system call, and 100 kB of memory
GATHER_MAX = 256
#: pause before asking again for a decision when the broker went away in the middle
RETRY = 1.0

_WRITING = frozenset(
    {
        "write",
        "ddl",
        "role",
        "call",
        "do",
        "copy-in",
        "session-privileged",
        "program",
        "maintenance",
        "exec",
        "shell",
        "upload",
        "remove",
    }
)


class Overdue(Denied):
    """The target did not stop what took longer than it may."""


@define(eq=False)
class _Hold:
    """One operation that is held.

    @ivar approval: id of the request, once there is one.
    @ivar waiting: for its decision.
    @ivar withdrawn: why the requester gave it up, or empty.
    """

    approval: str = ""
    waiting: Deferred[Any] | None = None
    withdrawn: str = ""


class Route:
    """One session's way through.

    @param worker: L{hoopd.interfaces.IWorker}
    @param recorder: L{hoopd.interfaces.IRecorder}
    @param durability: C{"none"}, C{"writes"} or C{"all"}
    @ivar operations, denied, held: counts for the session's end.
    """

    log = Logger()

    def __init__(self, worker: Any, admission: Admission, recorder: Any, durability: str) -> None:
        self.worker = worker
        self.admission = admission
        self.operations = 0
        self.denied = 0
        self.held = 0
        self._recorder = recorder
        self._durability = durability
        self._broken = ""
        self._last = 0
        self._holds: dict[int, _Hold] = {}
        #: identical operations at once are requests of their own: each is asked for knowing those before it
        self._asking = DeferredLock()
        self._open: set[str] = set()
        self._gathered: list[tuple[str, Mapping[str, Any]]] = []
        # deadlines are epoch seconds and the reactor's clock need not be: the session's start joins the two
        self._began = worker.reactor.seconds()

    # -- record ------------------------------------------------------------------------------------------------

    def gate(self) -> None:
        """@raise Unavailable, RecordError: no operation may pass now."""
        if self._broken:
            raise RecordError(self._broken)
        why = self.worker.available()
        if why:
            raise Unavailable(why)

    def record(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Write one frame, and what was gathered before it.

        @raise RecordError: now or before; the session takes no further operation.
        """
        self.gather(kind, fields)
        self.flush()

    def gather(self, kind: str, fields: Mapping[str, Any]) -> None:
        """As L{record}, but written with the next frame or L{flush}, in one write(2): nothing that follows from this frame
        may leave, to target or client, before that. C{fields} must not change any more.

        @raise RecordError: nothing can be written any more.
        """
        if self._broken:
            raise RecordError(self._broken)
        self._gathered.append((kind, fields))
        if len(self._gathered) >= GATHER_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered. @raise RecordError: now or before; the session takes no further operation."""
        if self._broken:
            raise RecordError(self._broken)
        gathered = self._gathered
        if not gathered:
            return
        self._gathered = []
        try:
            self._recorder.write_many(gathered)
        except RecordError as error:
            self._broken = str(error) or "the recording cannot be written"
            raise

    def next_operation(self) -> int:
        """@return: the id of a new operation, from 1."""
        self._last += 1
        return self._last

    def event(self, name: str, fields: Mapping[str, Any]) -> None:
        """Log one decision of this session."""
        admission = self.admission
        known = {
            "session": admission.session,
            "identity": admission.identity.name,
            "target": admission.target.name,
        }
        self.worker.event(name, {**known, **fields})

    def durable(self, classes: frozenset[str], approved: bool) -> bool:
        """Whether an operation waits for the disk before it is forwarded."""
        if self._durability == "all":
            return True
        return self._durability == "writes" and (approved or not classes.isdisjoint(_WRITING))

    def sync(self) -> Deferred[None]:
        """@return: Deferred of None once all frames are on disk. A failure is final."""

        def failed(failure: Any) -> Any:
            self._broken = failure.getErrorMessage() or "the recording cannot be written"
            if failure.check(RecordError):
                return failure
            raise RecordError(self._broken)

        try:
            self.flush()
        except RecordError as error:
            return fail(Failure(error))
        done: Deferred[None] = self._recorder.sync()
        return done.addErrback(failed)

    # -- hold --------------------------------------------------------------------------------------------------

    def hold(
        self,
        operation: int,
        held: HeldOperation,
        in_transaction: bool,
        tell: Callable[[Approval, Notice], None],
        present: Callable[[Approval], Awaitable[bool]],
        wait: float | None = None,
    ) -> Deferred[Approval | None]:
        """Have C{held} approved and claim it; when this fires it may be recorded and forwarded, once. Several may be held
        at once, each a request of its own, decided and withdrawn by itself. What break glass skips is let pass by the broker, which writes it into the ledger first; what it does not skip is approved as ever.

        @param operation: its id in the recording.
        @param tell: called when the request is on file and waits.
        @param present: whether the client is still there, with the approval that it waited for; asked last before
            the claim.
        @param wait: seconds that the client is ready to wait, if less than the rules let it; 0 is not at all.
        @return: Deferred of the claimed L{Approval}, or of None where break glass left nothing to approve; fails with
            Denied (refused, or in a transaction, or break glass is over), StillOpen, Ticket,
            Withdrawn, Unavailable, RecordError. Cancel it when the connection is gone: the request stays open.
        """
        hold = self._holds[operation] = _Hold()
        done = Deferred.fromCoroutine(self._hold(hold, operation, held, in_transaction, tell, present, wait))
        return done.addBoth(self._held, operation)

    def _held(self, result: Any, operation: int) -> Any:
        self._holds.pop(operation, None)
        return result

    async def _hold(
        self,
        hold: _Hold,
        operation: int,
        held: HeldOperation,
        in_transaction: bool,
        tell: Callable[[Approval, Notice], None],
        present: Callable[[Approval], Awaitable[bool]],
        wait: float | None,
    ) -> Approval | None:
        rules = tuple(terms.rule for terms in held.holds)
        longest = min((terms.wait for terms in held.holds), default=0.0)
        if in_transaction:
            longest = min(longest, IN_TRANSACTION_WAIT)
        wait = longest if wait is None else min(wait, longest)
        if not held.holds and held.break_glass:
            self.held += 1
            await self._let_pass(hold, held)
            return None
        admission, approvals = self.admission, self.worker.approvals
        clock = self.worker.reactor
        if held.unreasoned is None:
            self.held += 1
        if in_transaction and wait > 0 and not all(terms.in_transaction for terms in held.holds):
            # nobody is asked here, but what was asked for in advance runs
            covering: Covering = await approvals.covering(admission.session, admission.token, held)
            if covering.approval is None and held.unreasoned is not None:
                raise Denied(held.unreasoned.why, rules, held.unreasoned.hint)
            if covering.approval is None:
                raise Denied(
                    "this operation needs approval, and approval is not waited for in an open transaction",
                    rules,
                    " ".join(
                        [
                            *sentences(covering.beside),
                            "Ask in advance (hoopctl request), or commit or roll back, and run it by itself: locks would "
                            "stay held while people decide.",
                        ]
                    ),
                )
            approval = covering.approval
        else:
            approval = await self._request(hold, held)
        self.hold_frame(operation, held, approval)
        if approval.state == "pending":
            if wait <= 0:
                raise ticket(approval, self._now())
            tell(approval, describe(approval, self._now(), wait))
            approval = await self._decided(hold, approval, clock.seconds() + wait)
            self._approval_frame(operation, approval)
        if approval.state not in ("approved", "granted"):
            raise refused(approval, rules)
        # whoever uses a grant has not waited: it was there this moment
        if approval.state == "approved" and not await present(approval):
            raise StillOpen(
                f"{approval.id} was approved, but this connection did not answer; it has not run",
                rules,
                "The approval stays good for a while. Repeat exactly this statement, and it will run, once.",
            )
        if hold.withdrawn:
            await self._give_up(hold, approval)
        if held.break_glass:
            await self._let_pass(hold, held)
        claimed: Approval = await approvals.claim(admission.session, admission.token, approval.id, held)
        self._open.add(claimed.id)
        return claimed

    def _now(self) -> float:
        """Seconds since the epoch, as the broker counts them."""
        return self.admission.started_at + self.worker.reactor.seconds() - self._began

    async def _request(self, hold: _Hold, held: HeldOperation) -> Approval:
        await self._asking.acquire()
        try:
            if hold.withdrawn:
                raise Withdrawn("withdrawn", tuple(terms.rule for terms in held.holds))
            admission = self.admission
            apart = tuple(each.approval for each in self._holds.values() if each.approval)
            asked: Approval = await self.worker.approvals.request(
                admission.session, admission.token, evolve(held, apart=apart)
            )
            hold.approval = asked.id
            return asked
        finally:
            self._asking.release()

    async def _let_pass(self, hold: _Hold, held: HeldOperation) -> None:
        """@raise Denied: break glass is over, or does not skip this. @raise Unavailable: the broker is away"""
        await self.worker.break_glass.skip(self.admission.session, self.admission.token, held)
        if hold.withdrawn:
            raise Withdrawn("withdrawn", held.skipped)

    def hold_frame(self, operation: int, held: HeldOperation, approval: Approval) -> None:
        """Record that C{held} is asked for. @raise RecordError"""
        self.record(
            "hold",
            {
                "operation": operation,
                "approval": approval.id,
                "state": approval.state,
                "rules": [terms.rule for terms in held.holds],
                "text": held.redacted,
                "reason": held.reason,
                "deadline": approval.deadline,
            },
        )

    def _approval_frame(self, operation: int, approval: Approval) -> None:
        votes = [
            {"identity": vote.identity, "approve": vote.approve, "reason": vote.reason, "at": vote.at}
            for vote in approval.votes
        ]
        fields = {"operation": operation, "approval": approval.id, "state": approval.state, "votes": votes}
        self.record("approval", fields)

    async def _decided(self, hold: _Hold, approval: Approval, until: float) -> Approval:
        clock = self.worker.reactor
        while True:
            waiting: Deferred[Approval] = self.worker.approvals.decided(approval.id)
            hold.waiting = waiting
            timer = clock.callLater(max(0.0, until - clock.seconds()), waiting.cancel)
            if hold.withdrawn:
                waiting.cancel()
            try:
                return await waiting
            except Unavailable:
                if clock.seconds() + RETRY >= until:
                    raise still_open(approval, self._now())
                await _pause(clock, RETRY)
            except CancelledError:
                if hold.withdrawn:
                    await self._give_up(hold, approval)
                raise still_open(approval, self._now())
            finally:
                hold.waiting = None
                if timer.active():
                    timer.cancel()

    async def _give_up(self, hold: _Hold, approval: Approval) -> None:
        admission = self.admission
        await self.worker.approvals.withdraw(admission.session, admission.token, approval.id, hold.withdrawn)
        raise Withdrawn(f"withdrawn: {approval.id}", tuple(terms.rule for terms in approval.holds))

    def withdraw(self, why: str, operation: int | None = None) -> bool:
        """The requester gives up what waits. @param operation: only this. @return: whether anything waited."""
        holds = [hold for number, hold in self._holds.items() if operation in (None, number)]
        for hold in holds:
            hold.withdrawn = why
            if hold.waiting is not None:
                hold.waiting.cancel()
        return bool(holds)

    def settle(self, approval: str, outcome: str, detail: str) -> None:
        """The outcome of a claimed operation: C{executed}, C{failed} or C{unknown}. Told once."""
        if approval not in self._open:
            return
        self._open.discard(approval)
        if self._gathered and not self._broken:
            # what came of it is in the record before anybody is told
            self.flush()
        admission = self.admission
        told = self.worker.approvals.settle(admission.session, admission.token, approval, outcome, detail)
        # the broker settles what a lost worker had claimed as unknown; this failure is logged, not hidden
        told.addErrback(lambda failure: self.log.failure("{approval} could not be settled", failure, approval=approval))

    # -- end ---------------------------------------------------------------------------------------------------

    def close(self, why: str) -> None:
        """The session is over: what was claimed and has no answer is unknown, the recording is closed."""
        for approval in tuple(self._open):
            self.settle(approval, "unknown", why)
        for hold in list(self._holds.values()):
            if hold.waiting is not None:
                hold.waiting.cancel()
        counts = {"operations": self.operations, "denied": self.denied, "held": self.held}
        try:
            self.record("close", {"why": why, **counts, "by": "worker"})
        except RecordError as error:
            self.log.error("recording of {session}: {error}", session=self.admission.session, error=str(error))
        self._recorder.close()
        admission = self.admission
        told = self.worker.sessions.ended(
            admission.session, admission.token, why, self.operations, self.denied, self.held
        )
        # a broker that is away learns of the end when this worker resumes its sessions
        told.addErrback(
            lambda failure: self.log.warn(
                "end of {session} not told: {why}", session=admission.session, why=failure.getErrorMessage()
            )
        )


def _pause(clock: Any, seconds: float) -> Deferred[None]:
    done: Deferred[None] = Deferred()
    clock.callLater(seconds, done.callback, None)
    return done
