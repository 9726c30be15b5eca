"""Connections to a target: TCP, TLS verified against its configuration, start-up with the vault's answers.

Thin Twisted over L{hoopd.protocols.postgres.upstream}; used for users' sessions, for the catalogue and for
CancelRequests. A password is never here: challenges are relayed to the broker under a grant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopd.errors import HoopdError, TargetError
from hoopd.protocols.liveness import Liveness
from hoopd.protocols.postgres import upstream
from hoopd.protocols.postgres.frontend import TERMINATE_MESSAGE
from hoopd.protocols.postgres.upstream import TargetStartup, cancel_request, ssl_request
from hoopd.protocols.tls import client_tls, widen
from hoopd.values import Grant, ScramServerFirst, Target

#: TCP and TLS to a target in the same network take milliseconds; SYN is repeated after 1, 3 and 7 s
CONNECT_TIMEOUT = 10


@implementer(IHandshakeListener)
class TargetConnection(Protocol):
    """One connection to a target, through its start-up; then bytes go to C{receiver}.

    @param tls: of L{hoopd.protocols.tls.client_tls}.
    @ivar ready: Deferred of L{upstream.Ready}; fails with TargetError or Denied.
    @ivar receiver: called with bytes once ready.
    @ivar lost: called with a text when the connection ends after it was ready.
    """

    log = Logger()
    transport: Any

    def __init__(
        self, vault: Any, grant: Grant, target: Target, settings: Mapping[str, str], liveness: Liveness, tls: Any
    ) -> None:
        self.ready: Deferred[upstream.Ready] = Deferred(self._given_up)
        self.receiver: Callable[[bytes], None] | None = None
        self.lost: Callable[[str], None] | None = None
        self._vault = vault
        self._liveness = liveness
        self._grant = grant
        self._target = target
        self._tls = tls
        self._startup = TargetStartup(settings, self._tls is not None, bool(target.credential))
        self._started = False
        self._ended = False
        self._early: list[bytes] = []
        self._gone = False
        self._timer: Any = None

    def _given_up(self, _: Any) -> None:
        self.abort()

    def connectionMade(self) -> None:
        self._liveness.keep(self.transport)
        widen(self.transport)
        if self._ended:
            self.transport.abortConnection()
            return
        self.transport.write(self._startup.first)

    def handshakeCompleted(self) -> None:
        """The certificate was verified."""
        self.transport.write(self._startup.encrypted())

    def dataReceived(self, data: bytes) -> None:
        if self._started:
            if self.receiver is None:
                self._early.append(data)
            else:
                self.receiver(data)
            return
        try:
            for event in self._startup.receive(data):
                self._treat(event)
        except HoopdError as error:
            self._fail(error)

    def begin(self, receiver: Callable[[bytes], None], lost: Callable[[str], None]) -> None:
        """Pass on what comes from now, and what came since the start-up ended."""
        self.receiver, self.lost = receiver, lost
        early, self._early = self._early, []
        for data in early:
            receiver(data)

    def _treat(self, event: upstream.Event) -> None:
        match event:
            case upstream.BeginTls():
                self.transport.startTLS(self._tls)
            case upstream.Ready():
                self._started = True
                del self._startup
                if event.rest:
                    self._early.append(event.rest)
                self.ready.callback(event)
            case _:
                answered = Deferred.fromCoroutine(self._answer(event))
                answered.addErrback(self._failed)

    async def _answer(self, event: upstream.Event) -> None:
        vault, grant, target, startup = self._vault, self._grant, self._target, self._startup
        if isinstance(event, upstream.Sasl):
            offer = ScramServerFirst(event.mechanisms, self._certificates(), target.tls.server_name or target.host)
            mechanism, first = await vault.start_challenge(grant, target, offer)
            self.transport.write(startup.sasl_first(mechanism, first))
        elif isinstance(event, upstream.SaslContinue):
            self.transport.write(startup.sasl_next(await vault.continue_challenge(grant, event.octets)))
        elif isinstance(event, upstream.SaslFinal):
            await vault.finish_challenge(grant, event.octets)
            startup.sasl_verified()
        elif isinstance(event, upstream.Weak):
            answer = await vault.weak_answer(grant, target, event.method, event.salt)
            self.transport.write(startup.password(answer))
        # more may be here already, such as AuthenticationOk behind the server's signature
        self.dataReceived(b"")

    def _certificates(self) -> tuple[bytes, ...]:
        if self._tls is None:
            return ()
        handle = self.transport.getHandle()
        leaf = handle.get_peer_certificate()
        chain = [leaf, *(handle.get_peer_cert_chain() or [])]
        return tuple(dict.fromkeys(crypto.dump_certificate(crypto.FILETYPE_ASN1, each) for each in chain if each))

    def _failed(self, failure: Failure) -> None:
        self._fail(failure.value)

    def _fail(self, error: BaseException | None) -> None:
        if not self._ended and not self._started:
            self._ended = True
            self.ready.errback(Failure(error or TargetError("start-up failed")))
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        why = "the target closed the connection"
        if reason.check(SSL.Error) or "verif" in reason.getErrorMessage().lower():
            why = "the target's certificate is not good, or TLS failed"
            self.log.warn("TLS to {target}: {why}", target=self._target.name, why=reason.getErrorMessage())
        if not self._started:
            if not self._ended:
                self._ended = True
                self.ready.errback(Failure(TargetError(why)))
            return
        self._ended = True
        if self.lost is not None:
            self.lost(why)

    def leave(self, reactor: Any) -> None:
        """Say goodbye and close; at once if the target does not take it."""
        self.receiver, self.lost = _ignored, _ignored
        if self._gone:
            return
        self.transport.unregisterProducer()
        self.transport.write(TERMINATE_MESSAGE)
        self.transport.loseConnection()
        self._timer = reactor.callLater(CONNECT_TIMEOUT, self.transport.abortConnection)

    def abort(self) -> None:
        """Close at once."""
        self._ended = True
        if self.transport is not None and not self._gone:
            self.transport.abortConnection()


def _ignored(_: Any) -> None:
    """What a target says after the session's end is nobody's."""


def settings_for(target: Target, database: str, application_name: str, settings: Mapping[str, str]) -> dict[str, str]:
    """What our StartupMessage says. NAMEDATALEN cuts application_name at the target, at 63 bytes."""
    return {**settings, "user": target.username, "database": database, "application_name": application_name}


def connect(
    reactor: Any, vault: Any, grant: Grant, target: Target, settings: Mapping[str, str], liveness: Liveness
) -> Deferred[tuple[TargetConnection, upstream.Ready]]:
    """Connect and start up. @return: Deferred of both; fails with TargetError, Denied or Unavailable"""
    tls = client_tls(target.tls, target.host, reactor.seconds())
    connection = TargetConnection(vault, grant, target, settings, liveness, tls)
    return Deferred.fromCoroutine(_connect(reactor, connection, target))


async def _connect(
    reactor: Any, connection: TargetConnection, target: Target
) -> tuple[TargetConnection, upstream.Ready]:
    await _tcp(reactor, connection, target)
    timer = reactor.callLater(CONNECT_TIMEOUT, connection.ready.cancel)
    try:
        ready = await connection.ready
    finally:
        if timer.active():
            timer.cancel()
    return connection, ready


async def _tcp(reactor: Any, protocol: Protocol, target: Target) -> None:
    endpoint = HostnameEndpoint(reactor, target.host, target.port, timeout=CONNECT_TIMEOUT)
    try:
        await endpoint.connect(_Once(protocol))
    except Exception as error:
        raise TargetError(f"the target {target.name} cannot be reached: {error}") from None


class _Once(Factory):
    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: Any) -> Protocol:
        return self._protocol


@implementer(IHandshakeListener)
class _Cancellation(Protocol):
    transport: Any

    def __init__(self, key: bytes, tls: Any) -> None:
        self.done: Deferred[None] = Deferred()
        self._tls = tls
        self._request = cancel_request(key)

    def connectionMade(self) -> None:
        self.transport.write(self._request if self._tls is None else ssl_request())

    def dataReceived(self, data: bytes) -> None:
        if data == b"S" and self._tls is not None:
            self.transport.startTLS(self._tls)
        else:
            self.transport.abortConnection()

    def handshakeCompleted(self) -> None:
        self.transport.write(self._request)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.done.called:
            self.done.callback(None)


def cancel(reactor: Any, target: Target, key: bytes) -> Deferred[None]:
    """Send a CancelRequest. @return: Deferred of None when the target has closed that connection, done or not"""
    return Deferred.fromCoroutine(_cancel(reactor, target, key))


async def _cancel(reactor: Any, target: Target, key: bytes) -> None:
    cancellation = _Cancellation(key, client_tls(target.tls, target.host, reactor.seconds()))
    await _tcp(reactor, cancellation, target)
    timer = reactor.callLater(CONNECT_TIMEOUT, cancellation.transport.abortConnection)
    await cancellation.done
    if timer.active():
        timer.cancel()
