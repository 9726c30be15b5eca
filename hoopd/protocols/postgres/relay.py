"""A running session between a client and a target: carries bytes through the core, in the order of the route.

Thin Twisted over L{hoopd.protocols.postgres.core}: back-pressure in both directions, "recording on disk, then
forwarded", and the asking of the route's services for what the core wants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopd.display import utc
from hoopd.errors import HoopdError, RecordError, TargetError
from hoopd.flow.route import Overdue
from hoopd.flow.waiting import Notice
from hoopd.protocols.liveness import answers
from hoopd.protocols.postgres import backend, errors, withhold
from hoopd.protocols.postgres.bounds import told
from hoopd.protocols.postgres.core import Core
from hoopd.protocols.postgres.judgement import Judge, Refusal
from hoopd.protocols.postgres.opening import Opening
from hoopd.protocols.postgres.session import (
    AskBreakGlass,
    AskCancel,
    AskEnd,
    AskEstimate,
    AskHold,
    AskParse,
    AskRefresh,
    Run,
)
from hoopd.protocols.postgres.state import State
from hoopd.protocols.postgres.target import cancel
from hoopd.protocols.postgres.valve import Valve
from hoopd.sql.grammar import Unparsed
from hoopd.values import Approval, HeldOperation
from hoopd.values import Opening as GlassOpening

#: seconds that a target has to stop a statement whose time is over; after that the session ends, whose end it notices
STOPS_WITHIN = 10.0


class Relay:
    """
    @param factory: L{hoopd.protocols.postgres.plugin.PostgresFactory}
    @param opening: one that has run.
    @param client: the client's transport.
    @param guarded: calls, and ends the session in the right way if that raises.
    @param finish: C{(error or None, why)}: ends the session.
    """

    log = Logger()

    def __init__(
        self,
        factory: Any,
        opening: Opening,
        client: Any,
        guarded: Callable[..., None],
        finish: Callable[[BaseException | None, str], None],
    ) -> None:
        assert opening.admission is not None
        assert opening.ready is not None
        assert opening.catalogue is not None
        assert opening.route is not None
        assert opening.target is not None
        assert opening.shared is not None
        self._factory = factory
        self._opening = opening
        self._admission = opening.admission
        self._ready = opening.ready
        self._route = opening.route
        self._target = opening.target
        self._shared = opening.shared
        self._client = client
        self._guarded = guarded
        self._finish = finish
        self._over = False
        self._holding: Deferred[Approval | None] | None = None
        self._outgoing: list[bytes] = []
        self._outgoing_size = 0
        self._syncing = False
        self._timed: Run | None = None
        self._timer: Any = None
        worker = factory.worker
        admission, began = self._admission, worker.reactor.seconds()
        judge = Judge(
            worker,
            admission.identity,
            admission.target,
            factory.cache,
            lambda: admission.started_at + worker.reactor.seconds() - began,
        )
        self.core = Core(
            State(
                judge,
                self._route,
                factory.limits,
                opening.catalogue,
                lambda: worker.masker,
                admission.session,
                opening.database,
                self._ready.parameters,
                opening.login.reason,
                worker.reactor.seconds,
                opening.login.search_path,
            )
        )
        self.core.state.wait = opening.login.wait
        self._valve = Valve(client)
        #: break glass that the client knows of, and notices that wait until the target owes nothing
        self._known: GlassOpening | None = None
        self._notices: list[bytes] = []

    def begin(self) -> None:
        """Tell the client that it is in, and carry."""
        ready = self._ready
        parts = [backend.authentication(backend.AUTH_OK)]
        parts += [backend.parameter_status(name, value) for name, value in ready.parameters.items()]
        parts.append(backend.backend_key(self._opening.key))
        scrub = bool(self.core.state.judge.masks())
        parts += [backend.message(backend.NOTICE, withhold.scrubbed(each) if scrub else each) for each in ready.notices]
        parts.append(backend.ready(b"I"))
        self._client.writeSequence(parts)
        self._target.transport.registerProducer(self._valve, True)
        self._client.registerProducer(Valve(self._target.transport), True)
        self._target.begin(self._target_bytes, self._target_lost)
        remaining = self._admission.identity.claims.get("recovery_remaining")
        if remaining is not None:
            text = f"hoopd: a recovery code was used; {remaining} remain, and this session ends within the hour"
            self._notices.append(backend.notice(text, "It is recorded, and others are told.", "", "WARNING"))
        self.broken()
        self._guarded(self._carry)

    def broken(self) -> None:
        """Break glass may be in use, or may not be any more: tell, as soon as no message of the target is cut by it."""
        now, known = self.core.state.judge.opening(), self._known
        if self._over or (now and now.id) == (known and known.id):
            return
        self._known = now
        if now is not None:
            text = f"hoopd: break glass {now.id} is open until {utc(now.until)}: {', '.join(now.skip)} are skipped"
            detail = "Everything is recorded, told to others, and will be reviewed."
            hint = "RESET hoopd.break_glass closes it."
        else:
            text, detail, hint = f"hoopd: break glass {known.id if known else ''} has ended", "", ""
        self._notices.append(backend.notice(text, detail, hint, "WARNING"))
        self._guarded(self._carry)

    def close(self, client_gone: bool) -> None:
        """Carry no more; what the client may still have goes out."""
        self._over = True
        self._time(None, 0.0)
        state = self.core.state
        if not client_gone:
            if self._recorded():
                self._client.writeSequence(state.to_client)
            self._client.unregisterProducer()
        state.to_client = []
        holding, self._holding = self._holding, None
        if holding is not None:
            holding.cancel()

    def _recorded(self) -> bool:
        """Whether what the client may be sent is on file."""
        try:
            self._route.flush()
        except RecordError as error:
            self.log.error("recording of {session}: {error}", session=self._admission.session, error=str(error))
            return False
        return True

    def cancel(self) -> None:
        """A CancelRequest for this session was accepted: it meets what is held, or what runs, or nothing."""
        if self._route.withdraw("the requester interrupted it") or not self.core.busy:
            return
        state = self.core.state
        self._opening.record("cancel", {"operation": state.fifo[0].operation, "why": "the client asked"})
        state.cancelling = True
        self._cancel_target(AskCancel())

    # -- bytes -------------------------------------------------------------------------------------------------

    def client_bytes(self, data: bytes) -> None:
        """The client sent C{data}. @raise PeerError, RecordError"""
        self.core.client_bytes(data)
        self._carry()

    def _target_bytes(self, data: bytes) -> None:
        if not self._over:
            self._guarded(self._from_target, data)

    def _from_target(self, data: bytes) -> None:
        self.core.target_bytes(data)
        self._carry()

    def _target_lost(self, why: str) -> None:
        self._finish(TargetError(why), why)

    def catalogue_changed(self, catalogue: Any) -> None:
        """Another session, or the poll, brought a new snapshot."""
        if not self.core.state.stale:
            self._resume(self.core.refreshed, catalogue)

    def _resume(self, call: Callable[..., None], *arguments: Any) -> None:
        """An answer to an ask."""
        if self._over:
            return

        def run() -> None:
            call(*arguments)
            self._carry()

        self._guarded(run)

    def _carry(self) -> None:
        """Empty the core's outputs."""
        core = self.core
        state = core.state
        # what was recorded is on file before anything that follows from it leaves
        self._route.flush()
        while state.to_client or state.to_target or state.asks:
            if state.to_client:
                octets, state.to_client = state.to_client, []
                self._client.writeSequence(octets)
            if state.to_target:
                self._forward()
            asks, state.asks = state.asks, []
            for ask in asks:
                _ASKS[type(ask)](self, ask)
            if self._over:
                return
            self._route.flush()
        if self._notices and not core.busy:
            notices, self._notices = self._notices, []
            self._client.writeSequence(notices)
        run, until = state.due() or (None, 0.0)
        if run is not self._timed:
            self._time(run, until)
        waiting = core.backlog + self._outgoing_size
        if waiting > state.limits.queue and not core.holding:
            self._valve.shut("backlog")
        else:
            self._valve.open("backlog")

    def _time(self, run: Run | None, until: float) -> None:
        """Watch the time of this run from now on, and of no other."""
        timer, self._timed = self._timer, run
        if timer is not None and timer.active():
            timer.cancel()
        if run is not None:
            reactor = self._factory.worker.reactor
            self._timer = reactor.callLater(max(0.0, until - reactor.seconds()), self._late, run)

    def _late(self, run: Run) -> None:
        self._timer = self._factory.worker.reactor.callLater(STOPS_WITHIN, self._unstopped, run)
        self._resume(self.core.late, run)

    def _unstopped(self, run: Run) -> None:
        refusal = told(run.bounds, "time")
        self._finish(Overdue(refusal.why, refusal.rules), refusal.why)

    def _forward(self) -> None:
        state = self.core.state
        octets, state.to_target = state.to_target, []
        if not state.sync_needed and not self._syncing:
            self._target.transport.writeSequence(octets)
            return
        self._outgoing += octets
        self._outgoing_size += sum(map(len, octets))
        if not self._syncing:
            self._sync()

    def _sync(self) -> None:
        """The recording goes to disk; what waits for it, and what came behind, is forwarded then, in order."""
        self._syncing = True
        self.core.state.sync_needed = False
        octets, self._outgoing, self._outgoing_size = self._outgoing, [], 0
        self._route.sync().addCallbacks(lambda _: self._synced(octets), self._not_synced)

    def _synced(self, octets: list[bytes]) -> None:
        self._syncing = False
        if self._over:
            return
        self._target.transport.writeSequence(octets)
        if self._outgoing:
            if self.core.state.sync_needed:
                self._sync()
            else:
                octets, self._outgoing, self._outgoing_size = self._outgoing, [], 0
                self._target.transport.writeSequence(octets)
        self._guarded(self._carry)

    def _not_synced(self, failure: Failure) -> None:
        self._syncing = False
        self._finish(failure.value, "the recording cannot be written")

    # -- asks --------------------------------------------------------------------------------------------------

    def _hold(self, ask: AskHold) -> None:
        holding = self._route.hold(
            ask.operation, ask.held, ask.in_transaction, self._tell_held, self._present, ask.wait
        )
        self._holding = holding
        holding.addCallback(self._released, ask.held).addErrback(self._not_released)

    def _tell_held(self, approval: Approval, notice: Notice) -> None:
        if not self._over:
            self._client.write(backend.notice(f"hoopd: {notice.text}", notice.detail, notice.hint))

    async def _present(self, approval: Approval) -> bool:
        """Whether the client is there to see what comes of its operation: it acknowledges this notice."""
        if self._over:
            return False
        notice = backend.notice(f"hoopd: {approval.id} is approved: running it", "", "")
        there = await answers(self._factory.worker.reactor, self._client, lambda: self._client.write(notice))
        return there and not self._over

    def _released(self, approval: Approval | None, held: HeldOperation) -> None:
        self._holding = None
        if self._over:
            return
        if held.break_glass:
            text = f"hoopd: break glass {held.break_glass} lets this pass: {', '.join(held.skipped)}"
            self._client.write(backend.notice(text, "It is recorded, and will be reviewed.", "", "WARNING"))
        if approval is None:
            self._resume(self.core.released, "")
        else:
            self._resume(self.core.released, approval.id, approval.max_rows)

    def _not_released(self, failure: Failure) -> None:
        self._holding = None
        if failure.check(CancelledError):
            return
        if not failure.check(HoopdError):
            self.log.failure("a hold failed", failure)
        if not self._over:
            self._resume(self.core.refused, errors.refusal(failure.value))

    def _break_glass(self, ask: AskBreakGlass) -> None:
        glass, admission = self._factory.worker.break_glass, self._admission
        if ask.reason is None:
            asked = glass.close(admission.session, admission.token)
        else:
            asked = glass.open(admission.session, admission.token, ask.reason)
        asked.addCallback(lambda done: self._glass_answered(None)).addErrback(self._glass_refused)

    def _glass_refused(self, failure: Failure) -> None:
        if failure.check(ValueError):
            self._glass_answered(Refusal("22023", failure.getErrorMessage()))
            return
        if not failure.check(HoopdError):
            self.log.failure("break glass failed", failure)
        self._glass_answered(errors.refusal(failure.value))

    def _glass_answered(self, refusal: Refusal | None) -> None:
        if not self._over:
            self._resume(self.core.glass_answered, refusal)

    def _estimate(self, ask: AskEstimate) -> None:
        self._shared.estimator.ask(ask).addCallback(lambda rows: self._resume(self.core.estimated, rows))

    def _parse(self, ask: AskParse) -> None:
        core = self.core

        def failed(failure: Failure) -> None:
            problem = failure.value
            if not isinstance(problem, Unparsed):
                self.log.failure("a statement could not be parsed", failure)
                problem = Unparsed("the statement could not be judged")
            self._resume(core.parsed, problem)

        reading = self._factory.pool.read(ask.text, ask.question, ask.catalogue)
        reading.addCallback(lambda read: self._resume(core.parsed, read)).addErrback(failed)

    def _refresh(self, ask: AskRefresh) -> None:
        core = self.core
        read = self._shared.refresh()
        if ask.waiting:
            read.addCallback(lambda catalogue: self._resume(core.refreshed, catalogue))
            read.addErrback(lambda failure: self._finish(failure.value, "the catalogue cannot be read"))
        else:
            read.addErrback(lambda failure: self.log.debug("not read: {why}", why=failure.getErrorMessage()))

    def _cancel_target(self, ask: AskCancel) -> None:
        core, key = self.core, self._ready.key
        if key is None:
            # the target gave none (some poolers do not): nothing can be interrupted there
            core.state.cancelling = False
            return
        sent = cancel(self._factory.worker.reactor, self._admission.target, key)
        sent.addErrback(lambda failure: self.log.warn("cancel: {why}", why=failure.getErrorMessage()))
        sent.addCallback(lambda _: self._resume(core.cancelled))

    def _end(self, ask: AskEnd) -> None:
        self._finish(None, ask.why)


_ASKS: dict[type, Callable[[Relay, Any], None]] = {
    AskHold: Relay._hold,
    AskEstimate: Relay._estimate,
    AskBreakGlass: Relay._break_glass,
    AskParse: Relay._parse,
    AskRefresh: Relay._refresh,
    AskCancel: Relay._cancel_target,
    AskEnd: Relay._end,
}
