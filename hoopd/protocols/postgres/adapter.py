"""The client's connection to the listener: its phases, its target, and the carrying of bytes between both.

Thin Twisted over the pure parts. It owns timeouts, TLS on the client's leg, back-pressure in both directions, the
order "recording on disk, then forwarded", and the asking of the route's services. Every error is turned into the
protocol's own here, once (L{hoopd.protocols.postgres.errors}).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopd.errors import Denied, HoopdError, PeerError, TargetError
from hoopd.flow.route import Notice, Route
from hoopd.protocols.postgres import backend, errors, frontend, startup, withhold
from hoopd.protocols.postgres.catalogue_reader import SharedCatalogue
from hoopd.protocols.postgres.codec import INT32
from hoopd.protocols.postgres.core import Core
from hoopd.protocols.postgres.judgement import Judge
from hoopd.protocols.postgres.session import AskCancel, AskEnd, AskHold, AskParse, AskRefresh
from hoopd.protocols.postgres.startup import ClientStartup, Login
from hoopd.protocols.postgres.state import State
from hoopd.protocols.postgres.target import TargetConnection, cancel, connect, keep_alive, settings_for
from hoopd.protocols.postgres.upstream import Ready
from hoopd.secret import Secret
from hoopd.sql.grammar import Unparsed
from hoopd.values import Admission, Approval, Peer, Proof

#: a PasswordMessage: JWTs with many groups reach 16 kB
PASSWORD_MAX = 64 * 1024


@implementer(IPushProducer)
class Valve:
    """One transport's reading, paused while anybody has a reason to."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._reasons: set[str] = set()

    def shut(self, reason: str) -> None:
        if not self._reasons:
            self._transport.pauseProducing()
        self._reasons.add(reason)

    def open(self, reason: str) -> None:
        if reason in self._reasons:
            self._reasons.discard(reason)
            if not self._reasons:
                self._transport.resumeProducing()

    def pauseProducing(self) -> None:
        """The consumer is full."""
        self.shut("consumer")

    def resumeProducing(self) -> None:
        self.open("consumer")

    def stopProducing(self) -> None:
        """The consumer is gone; its own end of connection closes this one."""


@implementer(IHandshakeListener)
class ClientConnection(Protocol):
    """One client.

    @ivar session: session id once admitted, else None.
    @ivar identified: C{(session id, token)} once admitted.
    """

    log = Logger()
    transport: Any

    def __init__(self, factory: Any, peer_address: Any) -> None:
        self.session: str | None = None
        self.identified: tuple[str, Secret] | None = None
        self._factory = factory
        self._worker = factory.worker
        self._host = getattr(peer_address, "host", "")
        self._port = getattr(peer_address, "port", 0)
        self._startup = ClientStartup(self._worker.tls is not None)
        self._phase: Callable[[bytes], None] = self._starting
        self._encrypted = False
        self._direct = False
        self._server_name: str | None = None
        self._password = b""
        self._login: Login | None = None
        self._timer: Any = None
        self._gone = False
        self._ended = ""
        self._opening: Deferred[None] | None = None
        self._admission: Admission | None = None
        self._route: Route | None = None
        self._core: Core | None = None
        self._target: TargetConnection | None = None
        self._target_key: bytes | None = None
        self._shared: SharedCatalogue | None = None
        self._valve: Valve | None = None
        self._holding: Deferred[Approval] | None = None
        self._outgoing: list[bytes] = []
        self._outgoing_size = 0
        self._syncing = False

    # -- connection --------------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        keep_alive(self.transport)
        self._worker.opened(self)
        self._factory.arrived(self)
        self._timer = self._worker.reactor.callLater(self._worker.config.login_timeout, self._too_slow)

    def _too_slow(self) -> None:
        self._finish(PeerError("start-up took too long"), "login timeout")

    def too_many(self) -> None:
        """There are more connections without a login than may be."""
        self._finish(PeerError("too many connections have not logged in"), "too many without login")

    def handshakeCompleted(self) -> None:
        """TLS is up on the client's leg."""
        handle = self.transport.getHandle()
        protocol = handle.get_alpn_proto_negotiated()
        if self._direct and protocol != b"postgresql":
            # without ALPN another protocol's client could be steered here
            self.transport.abortConnection()
            return
        name = handle.get_servername()
        self._server_name = name.decode("ascii", "replace") if name else None
        self._encrypted = True
        self._startup.encrypted()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = True
        self._close(self._ended or "the client closed the connection")
        self._factory.left(self)
        self._worker.closed(self)

    def dataReceived(self, data: bytes) -> None:
        if self._ended:
            return
        self._guarded(self._phase, data)

    def _guarded(self, call: Callable[..., None], *arguments: Any) -> None:
        try:
            call(*arguments)
        except HoopdError as error:
            self._finish(error, str(error))
        except Exception as error:
            self.log.failure("a session of {target} failed", target=self.session)
            self._finish(error, "internal error")

    def _finish(self, error: BaseException | None, why: str, last: bytes = b"") -> None:
        """Tell the client of C{error}, or C{last}, and end."""
        if self._ended:
            return
        self._ended = why or "ended"
        if isinstance(error, PeerError):
            fields = {"peer": self._host, "session": self.session, "protocol": "postgres", "what": str(error)}
            self._worker.event("peer.error", fields)
        elif isinstance(error, TargetError):
            target = self._admission.target.name if self._admission is not None else ""
            self._worker.event("target.error", {"session": self.session, "target": target, "what": str(error)})
        core = self._core
        if core is not None and core.state.to_client:
            self.transport.writeSequence(core.state.to_client)
            core.state.to_client = []
        if error is not None:
            refusal = errors.refusal(error)
            if self._route is not None:
                fields = {"operation": 0, "severity": "FATAL", "code": refusal.sqlstate, "text": refusal.why}
                self._recorded("error", {**fields, "from": "gateway"})
            self.transport.write(errors.response(refusal, "FATAL"))
        elif last:
            self.transport.write(last)
        if self._valve is not None:
            self.transport.unregisterProducer()
        self.transport.loseConnection()
        self._close(self._ended)
        # a peer that does not read its error must not keep the socket
        self._timer = self._worker.reactor.callLater(10.0, self.transport.abortConnection)

    def _recorded(self, kind: str, fields: dict[str, Any]) -> None:
        assert self._route is not None
        try:
            self._route.record(kind, fields)
        except HoopdError as error:
            self.log.error("{session}: {error}", session=self.session, error=str(error))

    def _close(self, why: str) -> None:
        """The session is over: everything of it is given back. Runs once."""
        self._logged_in()
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
        holding, self._holding = self._holding, None
        if holding is not None:
            holding.cancel()
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.leave(self)
        target, self._target = self._target, None
        if target is not None:
            target.lost = None
            target.receiver = lambda data: None
            if self._core is not None:
                target.transport.unregisterProducer()
                target.transport.write(frontend.TERMINATE_MESSAGE)
            target.transport.loseConnection()
        route, self._route = self._route, None
        if route is not None:
            route.close(why)

    def _logged_in(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        self._factory.known(self)

    # -- before the login --------------------------------------------------------------------------------------

    def _starting(self, data: bytes) -> None:
        for event in self._startup.receive(data):
            match event:
                case startup.Reply():
                    self.transport.write(event.octets)
                case startup.StartTls():
                    if event.answer:
                        self.transport.write(event.answer)
                    self._direct = event.direct
                    self.transport.startTLS(self._worker.tls)
                    if event.direct:
                        # the ClientHello came before TLS was there to read it
                        self.transport.protocol.dataReceived(data)
                case startup.Cancel():
                    self._cancel_request(event.key)
                case Login():
                    self._ask_password(event)

    def _cancel_request(self, key: bytes) -> None:
        self._ended = "a cancel request"
        asked = self._worker.sessions.cancel(key, self._peer())
        asked.addErrback(lambda failure: self.log.warn("cancel: {why}", why=failure.getErrorMessage()))
        # the sender waits for this end to close; nothing tells it whether the key was good
        self.transport.loseConnection()

    def _peer(self) -> Peer:
        return Peer(self._host, self._port, self._encrypted, self._server_name)

    def _ask_password(self, login: Login) -> None:
        if not self._encrypted and not (self._worker.config.plaintext_loopback and _is_loopback(self._host)):
            hint = "Connect with sslmode=require (or verify-full)."
            self._finish(None, "no TLS", backend.error_response("28000", "TLS is required", "", hint, "FATAL"))
            return
        self._login = login
        if login.negotiate:
            self.transport.write(backend.negotiate_version(login.spoken, login.unknown))
        self.transport.write(backend.authentication(backend.AUTH_CLEARTEXT))
        self._phase = self._password_bytes

    def _password_bytes(self, data: bytes) -> None:
        self._password += data
        if self._password[:1] != b"p":
            raise PeerError("a password was expected")
        if len(self._password) < 5:
            return
        length = INT32.unpack_from(self._password, 1)[0]
        if not 5 <= length <= PASSWORD_MAX:
            raise PeerError("invalid length of password message")
        if len(self._password) < length + 1:
            return
        if len(self._password) > length + 1 or self._password.find(b"\0", 5) != length:
            raise PeerError("malformed password message")
        secret, self._password = Secret(self._password[5:-1]), b""
        self._phase = self._too_early
        self._opening = Deferred.fromCoroutine(self._open(secret))
        self._opening.addErrback(self._not_opened)

    def _too_early(self, data: bytes) -> None:
        if data == frontend.TERMINATE_MESSAGE:
            self._finish(None, "the client gave up")
            return
        raise PeerError("bytes before the session was ready")

    def _not_opened(self, failure: Failure) -> None:
        self._opening = None
        if failure.check(CancelledError):
            return
        if not failure.check(HoopdError):
            self.log.failure("a session could not be opened", failure)
        self._finish(failure.value, f"not opened: {failure.getErrorMessage()}")

    # -- opening -----------------------------------------------------------------------------------------------

    async def _open(self, secret: Secret) -> None:
        worker, login = self._worker, self._login
        assert login is not None
        admission = await worker.sessions.admit(Proof(login.user, secret, self._peer()), login.target, "postgres")
        self._admission = admission
        self._route = Route(worker, admission, worker.recorder(admission), worker.config.durability)
        if self._gone or self._ended:
            route, self._route = self._route, None
            route.close("the client left before the session began")
            return
        self.session, self.identified = admission.session, (admission.session, admission.token)
        database = self._database(login, admission)
        self._recorded("state", {"name": "database", "value": database})
        if login.application_name:
            shown = "".join(c if c.isprintable() else "?" for c in login.application_name)
            self._recorded("state", {"name": "application_name", "value": shown[:200]})
        self._shared = self._factory.catalogues.of(admission.target, database)
        reading = self._shared.join(
            self, lambda: worker.sessions.catalogue_grant(admission.session, admission.token), self._catalogue_changed
        )
        try:
            name = f"hoopd {admission.identity.name} {admission.session}"
            settings = settings_for(admission.target, database, name, login.settings)
            self._target, ready = await connect(
                worker.reactor, worker.vault, admission.grant, admission.target, settings
            )
        except BaseException:
            reading.addErrback(lambda failure: None)  # the session ends for the other reason
            raise
        catalogue = await reading
        self._target_key = ready.key
        await self._begin(login, admission, database, ready, catalogue)

    def _database(self, login: Login, admission: Admission) -> str:
        databases = admission.target.databases
        if not login.database:
            return databases[0] if databases else admission.target.username
        if databases and login.database not in databases:
            raise Denied(f'no database "{login.database}" is open at {login.target}', hint=", ".join(databases))
        return login.database

    async def _begin(self, login: Login, admission: Admission, database: str, ready: Ready, catalogue: Any) -> None:
        worker, factory = self._worker, self._factory
        # 31 bits of number, as drivers read it signed; the secret of 3.2 may be longer
        key = bytes((factory.random(1)[0] & 0x7F,)) + factory.random(3) + factory.random(32 if login.spoken else 4)
        await worker.sessions.register_cancel(admission.session, admission.token, key)
        if self._gone or self._ended:
            return
        self._opening = None
        began = worker.reactor.seconds()
        judge = Judge(
            worker,
            admission.identity,
            admission.target,
            factory.cache,
            lambda: admission.started_at + worker.reactor.seconds() - began,
        )
        state = State(
            judge,
            self._route,
            factory.limits,
            catalogue,
            lambda: worker.masker,
            admission.session,
            database,
            dict(ready.parameters),
            login.reason,
            worker.reactor.seconds,
        )
        self._core = Core(state)
        parts = [backend.authentication(backend.AUTH_OK)]
        parts += [backend.parameter_status(name, value) for name, value in ready.parameters.items()]
        parts.append(backend.backend_key(key))
        if not judge.masks():
            parts += [backend.message(backend.NOTICE, each) for each in ready.notices]
        else:
            parts += [backend.message(backend.NOTICE, withhold.scrubbed(each)) for each in ready.notices]
        parts.append(backend.ready(b"I"))
        self.transport.writeSequence(parts)
        self._logged_in()
        assert self._target is not None
        self._valve = Valve(self.transport)
        self._target.transport.registerProducer(self._valve, True)
        self.transport.registerProducer(Valve(self._target.transport), True)
        self._phase = self._client_bytes
        self._target.begin(self._target_bytes, self._target_lost)

    # -- the session -------------------------------------------------------------------------------------------

    def _client_bytes(self, data: bytes) -> None:
        assert self._core is not None
        self._core.client_bytes(data)
        self._carry()

    def _target_bytes(self, data: bytes) -> None:
        if not self._ended:
            self._guarded(self._from_target, data)

    def _from_target(self, data: bytes) -> None:
        assert self._core is not None
        self._core.target_bytes(data)
        self._carry()

    def _target_lost(self, why: str) -> None:
        self._finish(TargetError(why), why)

    def _catalogue_changed(self, catalogue: Any) -> None:
        if self._core is not None and not self._core.state.stale:
            self._resume(self._core.refreshed, catalogue)

    def _resume(self, call: Callable[..., None], *arguments: Any) -> None:
        """An answer to an ask."""
        if self._ended or self._core is None:
            return

        def run() -> None:
            call(*arguments)
            self._carry()

        self._guarded(run)

    def _carry(self) -> None:
        """Empty the core's outputs."""
        core = self._core
        assert core is not None
        state = core.state
        while state.to_client or state.to_target or state.asks:
            if state.to_client:
                octets, state.to_client = state.to_client, []
                self.transport.writeSequence(octets)
            if state.to_target:
                self._forward()
            asks, state.asks = state.asks, []
            for ask in asks:
                _ASKS[type(ask)](self, ask)
            if self._ended:
                return
        assert self._valve is not None
        waiting = core.backlog + self._outgoing_size
        if waiting > state.limits.queue and not core.holding:
            self._valve.shut("backlog")
        else:
            self._valve.open("backlog")

    def _forward(self) -> None:
        core, target, route = self._core, self._target, self._route
        assert core is not None
        assert target is not None
        assert route is not None
        state = core.state
        octets, state.to_target = state.to_target, []
        if not state.sync_needed and not self._syncing:
            target.transport.writeSequence(octets)
            return
        self._outgoing += octets
        self._outgoing_size += sum(map(len, octets))
        if not self._syncing:
            self._sync()

    def _sync(self) -> None:
        """The recording goes to disk; what waits for it, and what came behind, is forwarded then, in order."""
        assert self._core is not None
        assert self._route is not None
        self._syncing = True
        self._core.state.sync_needed = False
        octets, self._outgoing, self._outgoing_size = self._outgoing, [], 0
        self._route.sync().addCallbacks(lambda _: self._synced(octets), self._not_synced)

    def _synced(self, octets: list[bytes]) -> None:
        self._syncing = False
        if self._ended or self._target is None or self._core is None:
            return
        self._target.transport.writeSequence(octets)
        if self._outgoing:
            if self._core.state.sync_needed:
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
        assert self._route is not None
        holding = self._route.hold(
            ask.operation, ask.held, ask.in_transaction, self._tell_held, lambda: not self._gone and not self._ended
        )
        self._holding = holding
        holding.addCallbacks(self._released, self._not_released)

    def _tell_held(self, approval: Approval, notice: Notice) -> None:
        if not self._ended:
            self.transport.write(backend.notice(f"hoopd: {notice.text}", notice.detail, notice.hint))

    def _released(self, approval: Approval) -> None:
        self._holding = None
        if self._core is not None and not self._ended:
            self._resume(self._core.released, approval.id)

    def _not_released(self, failure: Failure) -> None:
        self._holding = None
        if failure.check(CancelledError):
            return
        if not failure.check(HoopdError):
            self.log.failure("a hold failed", failure)
        if self._core is not None and not self._ended:
            self._resume(self._core.refused, errors.refusal(failure.value))

    def _parse(self, ask: AskParse) -> None:
        assert self._core is not None
        core = self._core

        def failed(failure: Failure) -> None:
            problem = failure.value
            if not isinstance(problem, Unparsed):
                self.log.failure("a statement could not be parsed", failure)
                problem = Unparsed("the statement could not be judged")
            self._resume(core.parsed, problem)

        self._factory.pool.parse(ask.text).addCallback(lambda tree: self._resume(core.parsed, tree)).addErrback(failed)

    def _refresh(self, ask: AskRefresh) -> None:
        if self._shared is None or self._core is None:
            return
        core = self._core
        read = self._shared.refresh()
        if ask.waiting:
            read.addCallback(lambda catalogue: self._resume(core.refreshed, catalogue))
            read.addErrback(lambda failure: self._finish(failure.value, "the catalogue cannot be read"))
        else:
            # the reader has logged it, and looks again by itself
            read.addErrback(lambda failure: None)

    def _cancel_target(self, ask: AskCancel) -> None:
        core, admission = self._core, self._admission
        assert core is not None
        assert admission is not None
        if self._target_key is None:
            core.state.cancelling = False
            return
        sent = cancel(self._worker.reactor, admission.target, self._target_key)
        sent.addErrback(lambda failure: self.log.warn("cancel: {why}", why=failure.getErrorMessage()))
        sent.addCallback(lambda _: self._resume(core.cancelled))

    def _end(self, ask: AskEnd) -> None:
        self._finish(None, ask.why)

    # -- what the worker calls ---------------------------------------------------------------------------------

    def cancel(self) -> None:
        """A CancelRequest for this session was accepted."""
        if self._ended or self._core is None or self._route is None:
            return
        if self._route.withdraw("the requester interrupted it"):
            return
        if self._core.busy:
            self._core.state.cancelling = self._target_key is not None
            self._recorded("cancel", {"operation": self._core.state.fifo[0].operation, "why": "the client asked"})
            self._cancel_target(AskCancel())

    def end(self, why: str) -> None:
        """The session ends now: revoked, unknown to a new broker, or the gateway stops."""
        if not self._ended:
            text = f"hoopd ends this session: {why}"
            self._finish(None, why, backend.error_response("57P01", text, severity="FATAL"))


_ASKS: dict[type, Callable[[ClientConnection, Any], None]] = {
    AskHold: ClientConnection._hold,
    AskParse: ClientConnection._parse,
    AskRefresh: ClientConnection._refresh,
    AskCancel: ClientConnection._cancel_target,
    AskEnd: ClientConnection._end,
}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
