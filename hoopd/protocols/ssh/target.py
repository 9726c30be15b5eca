"""The leg to a target: connected, its host key judged, signed in with what the broker answers; then messages.

No credential is here but a password, where a target takes nothing better: keys and certificates are the broker's, which signs
for one sign-in (L{hoopd.interfaces.ISshCredentials}). Specification: RFC 4252 from the client's side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.conch.ssh.service import SSHService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from hoopd.errors import PeerError, TargetError
from hoopd.protocols.ssh import authentication, messages
from hoopd.protocols.ssh.messages import Reader
from hoopd.protocols.ssh.transport import ClientTransport
from hoopd.values import Grant, SshOffer, Target

#: name look-up, connection, key exchange, sign-in: a host that takes longer is not there
TIMEOUT = 30.0
#: what a target may say before it lets us in
BANNERS_MAX = 64 * 1024


class TargetMessages(SSHService):
    """Hands the connection protocol's messages over."""

    name = b"ssh-connection"

    def __init__(self, received: Callable[[int, bytes], None]) -> None:
        self._received = received

    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        """Conch's name."""
        self._received(messageNum, packet)


class SignIn(SSHService):
    """Signs in at the target, once, by the way that its configuration names."""

    name = b"ssh-userauth"
    transport: Any

    def __init__(self, login: str, offer: SshOffer, sign: Callable[[bytes], Deferred[bytes]]) -> None:
        self.done: Deferred[None] = Deferred()
        self._login = login
        self._offer = offer
        self._sign = sign
        self._said = 0

    def serviceStarted(self) -> None:
        """Conch's name: the target takes authentication requests."""
        user, service = messages.string(self._login.encode()), messages.string(b"ssh-connection")
        offer = self._offer
        if offer.method == "password":
            assert offer.password is not None
            rest = messages.string(b"password") + messages.flag(False) + messages.string(offer.password.reveal())
            self.transport.sendPacket(authentication.REQUEST, user + service + rest)
            return
        shown = messages.string(offer.algorithm) + messages.string(offer.blob)
        request = user + service + messages.string(b"publickey") + messages.flag(True) + shown
        said = messages.string(self.transport.sessionID) + bytes((authentication.REQUEST,)) + request

        def signed(signature: bytes) -> None:
            self.transport.sendPacket(authentication.REQUEST, request + messages.string(signature))

        self._sign(said).addCallback(signed).addErrback(self._fail)

    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        """Conch's name: one message of the target."""
        if messageNum == authentication.SUCCESS:
            done, self.done = self.done, Deferred()
            done.callback(None)
        elif messageNum == authentication.BANNER:
            self._said += len(packet)
            if self._said > BANNERS_MAX:
                raise PeerError("the banner has no end")
        elif messageNum == authentication.FAILURE:
            left = Reader(packet).string().decode("ascii", "replace")
            what = {"certificate": "the gateway's certificate", "key": "the gateway's key", "password": "the password"}
            said = f"{what[self._offer.method]} for {self._login} was not accepted; it takes {left or 'nothing'}"
            self._fail(Failure(TargetError(said)))
        else:
            raise PeerError(f"message {messageNum} during authentication")

    def _fail(self, failure: Failure) -> None:
        done, self.done = self.done, Deferred()
        done.errback(failure)


class TargetConnection(ClientTransport):
    """
    @ivar ready: fires with None once signed in; fails with TargetError, Denied, Unavailable.
    @ivar received: called with each message of the connection protocol, once there is a session.
    @ivar lost: called with the reason when the connection ends after it was ready.
    """

    transport: Any

    def __init__(self, clock: Any, credentials: Any, grant: Grant, target: Target, login: str) -> None:
        self.clock = clock
        self.ready: Deferred[None] = Deferred(lambda _: self.leave())
        self.received: Callable[[int, bytes], None] = lambda kind, payload: None
        self.lost: Callable[[str], None] = lambda why: None
        self._credentials = credentials
        self._grant = grant
        self._target = target
        self._login = login
        self._open = True
        self._why = ""

    def verifyHostKey(self, hostKey: bytes, fingerprint: Any) -> Deferred[Any]:
        """Conch's name: the broker knows whether this is the target's."""
        checked: Deferred[Any] = self._credentials.check_host(self._grant, self._target, hostKey)
        return checked

    def connectionSecure(self) -> None:
        """Conch's name: keys are there, and the host is the target."""
        Deferred.fromCoroutine(self._sign_in()).addErrback(self._failed)

    async def _sign_in(self) -> None:
        offer = await self._credentials.offer(self._grant, self._target, self._login)
        service = SignIn(self._login, offer, lambda said: self._credentials.sign(self._grant, said))
        done = service.done
        self.requestService(service)
        await done
        self.setService(TargetMessages(lambda kind, payload: self.received(kind, payload)))
        ready, self.ready = self.ready, Deferred()
        self._open = False
        ready.callback(None)

    def _failed(self, failure: Failure) -> None:
        if self._open:
            self._open = False
            self.ready.errback(failure)
        self.leave()

    def refused_host_key(self, error: BaseException) -> None:
        """See L{ClientTransport.refused_host_key}."""
        self._failed(Failure(error))

    def peer_error(self, error: PeerError) -> None:
        """The target broke the protocol."""
        self._why = self._why or f"the target broke the protocol: {error}"
        super().peer_error(error)

    def receiveError(self, reasonCode: int, description: bytes) -> None:
        """Conch's name: the target says why it goes."""
        self._why = f"the target ended it: {description.decode('utf-8', 'replace')[:200]}"

    def connectionLost(self, reason: Any = None) -> None:
        """The connection is gone."""
        super().connectionLost(reason)
        why = self._why or "the target closed the connection"
        if self._open:
            self._open = False
            self.ready.errback(Failure(TargetError(f"target {self._target.name}: {why}")))
        else:
            self.lost(why)

    def leave(self) -> None:
        """End it."""
        if self.transport is not None and not self._ended:
            self.loseConnection()


async def connect(
    reactor: Any, credentials: Any, grant: Grant, target: Target, login: str, liveness: Any
) -> TargetConnection:
    """Open a connection and sign in.

    @return: connected, with nothing sent or received of the connection protocol yet.
    @raise TargetError: away, not the host that it should be, or it lets us in by nothing that we have.
    """
    factory = Factory.forProtocol(lambda: TargetConnection(reactor, credentials, grant, target, login))
    factory.noisy = False
    endpoint = HostnameEndpoint(reactor, target.host, target.port, timeout=TIMEOUT)
    connecting: Deferred[Any] = endpoint.connect(factory)
    try:
        connection: TargetConnection = await connecting
    except CancelledError:
        raise
    except Exception as error:
        raise TargetError(f"target {target.name} cannot be reached: {error}") from None
    liveness.keep(connection.transport)
    ready = connection.ready
    timer = reactor.callLater(TIMEOUT, connection.leave)
    try:
        await ready
    finally:
        if timer.active():
            timer.cancel()
    return connection
