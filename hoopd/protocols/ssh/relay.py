"""One SSH session under way: the two legs, the pumping of messages between them and the core, and what the core asks for.

Thin Twisted over L{hoopd.protocols.ssh.session}. Not the client's way in (L{hoopd.protocols.ssh.adapter}).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopd.display import utc, visible
from hoopd.errors import Denied, HoopdError, PeerError, TargetError, Unavailable
from hoopd.flow.judge import unmasked
from hoopd.flow.route import Route
from hoopd.flow.waiting import Notice
from hoopd.policy import unmaskable
from hoopd.protocols.liveness import answers
from hoopd.protocols.ssh import messages
from hoopd.protocols.ssh.channels import Leg
from hoopd.protocols.ssh.operations import Refusal
from hoopd.protocols.ssh.permission import Ask, BreakGlass, Judged, Permission
from hoopd.protocols.ssh.runs import Limits
from hoopd.protocols.ssh.session import Session
from hoopd.protocols.ssh.target import TargetConnection, connect
from hoopd.protocols.ssh.views import Viewing
from hoopd.values import Admission, Approval, Opening, Operation

#: messages that are no data, which windows bound, and which a peer that is full has not read: some hundred kilobytes. Nobody leaves
#: so many answers unread but who asks for them to fill our memory.
UNREAD_MAX = 10_000

_DATA = frozenset({messages.DATA, messages.EXTENDED_DATA})


@implementer(IPushProducer)
class Flow:
    """Pauses reading from one leg while the other is full, unless keys of the one that is read are being exchanged.

    An exchange has to be read to its end, however slow the other leg is. What is ahead of it is bounded by the windows.

    @ivar transport: the leg that is read
    @ivar to: the other one
    """

    def __init__(self, transport: Any, to: Any) -> None:
        self.transport = transport
        self.to = to
        self._full = self._exchanging = self._paused = False
        self._unread = 0

    def pauseProducing(self) -> None:
        self._full = True
        self._settle()

    def resumeProducing(self) -> None:
        self._full, self._unread = False, 0
        self._settle()

    def stopProducing(self) -> None:
        """The other leg is gone: what ends the session is its connectionLost."""

    def send(self, waiting: list[tuple[int, bytes]]) -> None:
        """Send these; whoever never reads what it has asked for is let go."""
        for kind, payload in waiting:
            if self._full and kind not in _DATA:
                self._unread += 1
                if self._unread > UNREAD_MAX:
                    self.to.peer_error(PeerError("it does not read what it is answered"))
                    return
            self.to.sendPacket(kind, payload)

    def exchanging(self, busy: bool) -> None:
        """Keys of the leg that is read begin to be exchanged, or have been."""
        self._exchanging = busy
        self._settle()

    def _settle(self) -> None:
        paused = self._full and not self._exchanging
        if paused != self._paused:
            self._paused = paused
            (self.transport.pauseProducing if paused else self.transport.resumeProducing)()


class Relay:
    """One session under way: the two legs, the core, and what the core asks for.

    @param user: L{hoopd.protocols.ssh.adapter.ClientConnection}
    @param plugin: L{hoopd.protocols.ssh.plugin.SshFactory}
    """

    log = Logger()

    def __init__(self, user: Any, plugin: Any, admission: Admission, login: str) -> None:
        self._user = user
        self._plugin = plugin
        self._worker = plugin.worker
        self._admission = admission
        self._login = login
        self._over = ""
        self._target: TargetConnection | None = None
        self._connecting: Deferred[TargetConnection] | None = None
        #: what waits for approval: as many at once as there may be channels
        self._holds: dict[Ask, Deferred[Any]] = {}
        #: break glass that the client knows of
        self._known: Opening | None = None
        config = self._worker.config
        self.route = Route(self._worker, admission, self._worker.recorder(admission), config.durability)
        viewing = Viewing(self._worker, admission, self._now)
        permission = Permission(admission.session, self.route, self._judge, lambda: self.core.context(), viewing)
        self.core = Session(
            self.route,
            permission,
            login,
            self._worker.reactor.seconds,
            self._later,
            self._withdraw,
            Limits(config.max_channels, config.record_bytes, config.record_input),
        )

    def _judge(self, operation: Operation) -> Judged:
        admission, now = self._admission, self._now()
        opening = self._worker.opening(admission.identity, admission.target.name, now)
        policy = self._worker.policy
        decision = policy.decide(admission.identity, admission.target, operation, now, opening)
        comes_out = unmaskable.shows(operation) or unmaskable.passes_by(operation)
        skips = policy.skips(opening, admission.identity, admission.target, now) if comes_out else ()
        if opening is not None and "masks" in skips:
            decision = unmasked(decision, opening, policy.masks(admission.identity, admission.target, now))
        return Judged(decision, opening)

    def _now(self) -> float:
        """Seconds since the epoch."""
        seconds: float = self._worker.reactor.seconds()
        return seconds

    def _later(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        waiting = self._worker.reactor.callLater(seconds, self._take, call)
        return lambda: waiting.cancel() if waiting.active() else None

    # -- opening -----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and sign in at the target. @raise Denied, TargetError, Unavailable, RecordError"""
        admission, worker = self._admission, self._worker
        self.route.record("state", {"name": "login", "value": visible(self._login)})
        self._connecting = Deferred.fromCoroutine(
            connect(worker.reactor, worker.ssh, admission.grant, admission.target, self._login, self._plugin.liveness)
        )
        self._target = await self._connecting
        self._connecting = None
        self._target.lost = self._lost
        if self._over:
            self._target.leave()
            raise Unavailable("the client left before the session began")

    def begin(self) -> None:
        """The client may speak from now on."""
        assert self._target is not None
        self._target.received = self._target_message
        user, target = self._user, self._target
        # each leg stops while the other does not take what it brings
        of_user, of_target = Flow(user.transport, target), Flow(target.transport, user)
        self._to_target, self._to_user = of_user, of_target
        user.transport.registerProducer(of_target, True)
        target.transport.registerProducer(of_user, True)
        # nor is it brought more than windows let in while its keys are exchanged
        core = self.core
        for connection, flow, leg in ((user, of_user, core.client_leg), (target, of_target, core.target_leg)):
            connection.exchanging = partial(self._exchanging, flow, leg)
            connection.exchanging(connection.busy)

    def _exchanging(self, flow: Flow, leg: Leg, busy: bool) -> None:
        flow.exchanging(busy)
        self.core.takes(leg, not busy)
        if not busy and not self._over:
            self._pump()

    # -- messages ----------------------------------------------------------------------------------------------

    def client_message(self, kind: int, payload: bytes) -> None:
        """One message of the client. @raise PeerError"""
        self._take(self.core.client_message, kind, payload)

    def _target_message(self, kind: int, payload: bytes) -> None:
        self._take(self.core.target_message, kind, payload)

    def _take(self, call: Any, *arguments: Any) -> None:
        if self._over:
            return
        try:
            call(*arguments)
        except HoopdError as error:
            self._user.finish(error, str(error))
            return
        self._pump()

    def _pump(self) -> None:
        core = self.core
        while core.permission.asks:
            self._ask(core.permission.asks.pop(0))
        if core.to_client:
            waiting, core.to_client = core.to_client, []
            self._to_user.send(waiting)
        if core.to_target:
            waiting, core.to_target = core.to_target, []
            self._to_target.send(waiting)

    def _lost(self, why: str) -> None:
        if not self._over:
            self._user.finish(TargetError(why), why)

    # -- asks --------------------------------------------------------------------------------------------------

    def _ask(self, ask: Ask | BreakGlass) -> None:
        if isinstance(ask, BreakGlass):
            self._break_glass(ask)
            return
        if ask.held is None:
            synced = self.route.sync()
            synced.addCallbacks(lambda _: self._released(ask, None), lambda failure: self._failed(ask, failure))
            synced.addErrback(self._broke)
            return
        if len(self._holds) >= self._worker.config.max_channels:
            # each channel waits for one at most: what opens channels could be asked for without end
            self.core.permission.refused(ask, Denied("too many operations of this connection wait for approval"))
            return
        holding = self.route.hold(
            ask.number,
            ask.held,
            False,
            lambda approval, notice: self._tell(ask, notice),
            lambda approval: self._present(ask, approval),
        )
        self._holds[ask] = holding
        holding.addCallbacks(
            lambda approval: self._released(ask, approval.id if approval is not None else None),
            lambda failure: self._failed(ask, failure),
        )
        holding.addErrback(self._broke).addBoth(lambda _: self._holds.pop(ask, None))

    def _break_glass(self, ask: BreakGlass) -> None:
        admission = self._admission
        asked = self._worker.break_glass.open(admission.session, admission.token, ask.reason)

        def refused(failure: Failure) -> None:
            error = failure.value
            if not failure.check(HoopdError, ValueError):
                self.log.failure("break glass failed", failure)
            if not self._over:
                said = Refusal(str(error)) if isinstance(error, ValueError) else Refusal.of(error or Denied("no cause"))
                self._take(ask.refused, said)

        def opened(opening: Opening) -> None:
            self._known = opening
            if not self._over:
                self._take(ask.opened, opening)

        asked.addCallbacks(opened, refused).addErrback(self._broke)

    def broken(self) -> None:
        """Break glass may be in use, or may not be any more: whoever sits at a terminal is told."""
        admission = self._admission
        now, known = self._worker.opening(admission.identity, admission.target.name, self._now()), self._known
        if self._over or self._target is None or (now and now.id) == (known and known.id):
            return
        self._known = now
        text = f"{now.id} is open until {utc(now.until)}" if now else f"{known.id if known else ''} has ended"
        self._take(self.core.announce, f"hoopd: break glass {text}")

    def _tell(self, ask: Ask, notice: Notice) -> None:
        if self._over or ask.tell is None:
            return
        lines = (f"{notice.text}", notice.detail, f"to approve: {notice.hint}")
        ask.tell("\n".join(f"hoopd: {visible(line)}" for line in lines if line))
        self._pump()

    async def _present(self, ask: Ask, approval: Approval) -> bool:
        if self._over:
            return False

        def write() -> None:
            if ask.tell is not None:
                ask.tell(f"hoopd: {approval.id} is approved: running it")
                self._pump()
            else:
                self._user.sendIgnore(b"")

        there = await answers(self._worker.reactor, self._user.transport, write)
        return there and not self._over

    def _released(self, ask: Ask, approval: str | None) -> None:
        if not self._over:
            held = ask.held
            if held is not None and held.break_glass and ask.tell is not None:
                ask.tell(f"hoopd: break glass {held.break_glass} lets this pass: {', '.join(held.skipped)}")
            self._take(self.core.permission.released, ask, approval)

    def _failed(self, ask: Ask, failure: Failure) -> None:
        if failure.check(CancelledError) or self._over:
            return
        if not failure.check(HoopdError):
            self.log.failure("an operation of {session} failed", failure, session=self._admission.session)
        self._take(self.core.permission.refused, ask, failure.value or RuntimeError("no cause"))

    def _broke(self, failure: Failure) -> None:
        self.log.failure("a session of {target} failed", failure, target=self._admission.target.name)
        self._user.finish(failure.value, "internal error")

    def _withdraw(self, channel: int, why: str) -> None:
        for ask in [each for each in self._holds if each.channel == channel]:
            self.route.withdraw(why, ask.number)

    def leave(self) -> None:
        """The client says goodbye, as ssh does on Ctrl-C: what waits is given up. Of one that vanishes it stays open."""
        if not self._over:
            self.route.withdraw("the requester left")

    # -- end ---------------------------------------------------------------------------------------------------

    def close(self, why: str) -> None:
        """Give everything back. Runs once."""
        if self._over:
            return
        self._over = why
        try:
            self.core.close()
        except HoopdError as error:
            self.log.error("recording: {error}", error=str(error))
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.addErrback(lambda failure: None)
            connecting.cancel()
        holds, self._holds = self._holds, {}
        for holding in holds.values():
            holding.cancel()
        target, self._target = self._target, None
        if target is not None:
            target.lost = lambda why: None
            target.leave()
        self.route.close(why)
