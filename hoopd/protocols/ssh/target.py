"""The leg to a target: connected, its host key judged, signed in with what the broker answers; then messages.

No credential is here but a password, where a target takes nothing better: keys and certificates are the broker's, which signs
for one sign-in (L{hoopd.interfaces.ISshCredentials}). Specification: RFC 4252 from the client's side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.conch.ssh.service import SSHService
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from hoopd.display import visible
from hoopd.errors import PeerError, TargetError
from hoopd.protocols.ssh import authentication, keys, messages
from hoopd.protocols.ssh.messages import Reader
from hoopd.protocols.ssh.transport import ClientTransport
from hoopd.values import Grant, SshOffer, Target

#: name look-up, connection, key exchange, sign-in: a host that takes longer is not there
TIMEOUT = 30.0
#: a host that does not read why must not keep the socket
LINGER = 10.0
#: what a target may say before it lets us in
BANNERS_MAX = 64 * 1024
#: questions of a host that wants a password in a dialogue: PAM asks once, and may have something to say before and after
ROUNDS_MAX = 5
#: of what a host says, in errors
SAID_MAX = 200

#: RFC 4252 section 8; the number is INFO_REQUEST's as well
_PASSWORD_CHANGE = authentication.INFO_REQUEST


def said(raw: bytes) -> str:
    """Words of a host, for people: short, and with nothing invisible."""
    return visible(raw.decode("utf-8", "replace")[:SAID_MAX])


class TargetMessages(SSHService):
    """Hands the connection protocol's messages over."""

    name = b"ssh-connection"

    def __init__(self, received: Callable[[int, bytes], None]) -> None:
        self._received = received

    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        """Conch's name."""
        self._received(messageNum, packet)


class SignIn(SSHService):
    """Signs in at the target, once, by the way that its configuration names.

    A password is given as such, and where the host does not take that, in a dialogue (RFC 4256): to one question without echo,
    as sshd asks for PAM. Anything more is for people, and refused.
    """

    name = b"ssh-userauth"
    transport: Any

    def __init__(self, login: str, offer: SshOffer, sign: Callable[[bytes], Deferred[bytes]]) -> None:
        self.done: Deferred[None] = Deferred()
        self._login = login
        self._offer = offer
        self._sign = sign
        self._said = 0
        self._method = b""
        self._rounds = 0
        self._answered = False

    def serviceStarted(self) -> None:
        """Conch's name: the target takes authentication requests."""
        if self._offer.method == "password":
            self._request(b"password", messages.flag(False) + self._password())
            return
        offer = self._offer
        shown = messages.flag(True) + messages.string(offer.algorithm) + messages.string(offer.blob)
        request = self._head(b"publickey") + shown
        signed = messages.string(self.transport.sessionID) + bytes((authentication.REQUEST,)) + request
        self._sign(signed).addCallback(
            lambda made: self._request(b"publickey", shown + messages.string(made))
        ).addErrback(self._fail)

    def _head(self, method: bytes) -> bytes:
        return b"".join(map(messages.string, (self._login.encode(), b"ssh-connection", method)))

    def _password(self) -> bytes:
        assert self._offer.password is not None
        return messages.string(self._offer.password.reveal())

    def _request(self, method: bytes, rest: bytes) -> None:
        self._method = method
        self.transport.sendPacket(authentication.REQUEST, self._head(method) + rest)

    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        """Conch's name: one message of the target."""
        if messageNum == authentication.BANNER:
            self._said += len(packet)
            if self._said > BANNERS_MAX:
                raise PeerError("the banner has no end")
        elif not self._method:
            raise PeerError("an answer to no authentication request")
        elif messageNum == authentication.SUCCESS:
            done, self.done = self.done, Deferred()
            done.callback(None)
        elif messageNum == authentication.FAILURE:
            self._refused(Reader(packet))
        elif messageNum == _PASSWORD_CHANGE and self._method == b"password":
            self._fail(Failure(TargetError(f"the password for {self._login} has expired, the host wants a new one")))
        elif messageNum == authentication.INFO_REQUEST and self._method == b"keyboard-interactive":
            self._asked(Reader(packet))
        else:
            raise PeerError(f"message {messageNum} during authentication")

    def _refused(self, reader: Reader) -> None:
        takes, partly = reader.string(), reader.flag()
        if self._method == b"password" and not partly and b"keyboard-interactive" in takes.split(b","):
            # no language, and no devices to choose from
            self._request(b"keyboard-interactive", messages.string(b"") * 2)
            return
        what = {"certificate": "the gateway's certificate", "key": "the gateway's key", "password": "the password"}
        outcome = "was accepted, and is not enough" if partly else "was not accepted"
        words = f"{what[self._offer.method]} for {self._login} {outcome}; it takes {said(takes) or 'nothing'}"
        self._fail(Failure(TargetError(words)))

    def _asked(self, reader: Reader) -> None:
        """One round of a dialogue."""
        self._rounds += 1
        if self._rounds > ROUNDS_MAX:
            raise PeerError("questions without an end")
        for _ in range(3):
            reader.string()
        prompts = reader.number()
        if prompts == 0:
            # it only wants to say something
            self.transport.sendPacket(authentication.INFO_RESPONSE, messages.number(0))
            return
        prompt, echoed = reader.string(), reader.flag()
        if prompts > 1 or echoed or self._answered:
            asked = f"the host asks for more than a password: {said(prompt)}"
            self._fail(Failure(TargetError(asked)))
            return
        self._answered = True
        self.transport.sendPacket(authentication.INFO_RESPONSE, messages.number(1) + self._password())

    def _fail(self, failure: Failure) -> None:
        done, self.done = self.done, Deferred()
        done.errback(failure)


def algorithms(pins: Iterable[str], every: Iterable[bytes]) -> tuple[bytes, ...]:
    """The host key algorithms to ask for: those that there is something to compare with first, as ssh does.

    @param pins: lines of the target's C{host_keys}.
    @param every: all that are taken.
    """
    kinds = [line.split()[0].encode() for line in pins]
    certified = b"@cert-authority" in kinds

    def place(algorithm: bytes) -> int:
        if algorithm.endswith(keys.CERTIFICATE):
            return 0 if certified else 2
        return 1 if keys.kind(algorithm) in kinds else 3

    return tuple(sorted(every, key=place))


class TargetConnection(ClientTransport):
    """
    @ivar ready: fires with None once signed in; fails with TargetError, Denied, Unavailable.
    @ivar received: called with each message of the connection protocol, once there is a session.
    @ivar lost: called once with the reason when the connection ends after it was ready, unless we ended it.
    """

    transport: Any

    def __init__(self, clock: Any, credentials: Any, grant: Grant, target: Target, login: str) -> None:
        self.clock = clock
        self.supportedPublicKeys = algorithms(target.ssh.host_keys, type(self).supportedPublicKeys)
        self.ready: Deferred[None] = Deferred(lambda _: self.leave())
        self.received: Callable[[int, bytes], None] = lambda kind, payload: None
        self.lost: Callable[[str], None] = lambda why: None
        self._credentials = credentials
        self._grant = grant
        self._target = target
        self._login = login
        #: the host's key, once it is known to be the target's
        self._shown: bytes | None = None
        self._signing_in = False
        self._told = False
        self._abort_call: Any = None
        self._gone = False

    def verifyHostKey(self, hostKey: bytes, fingerprint: Any) -> Deferred[Any]:
        """Conch's name: the broker knows whether this is the target's; it is asked once."""
        if self._shown is None:
            checked: Deferred[Any] = self._credentials.check_host(self._grant, self._target, hostKey)
            return checked.addCallback(lambda _: self._verified(hostKey))
        if hostKey == self._shown:
            return succeed(None)
        return fail(TargetError(f"target {self._target.name} showed another host key when keys were renewed"))

    def _verified(self, blob: bytes) -> None:
        self._shown = blob

    def connectionSecure(self) -> None:
        """Conch's name: keys are there, and the host is the target. Called for each exchange of keys."""
        if not self._signing_in:
            self._signing_in = True
            Deferred.fromCoroutine(self._sign_in()).addErrback(self._failed)

    async def _sign_in(self) -> None:
        offer = await self._credentials.offer(self._grant, self._target, self._login)
        if self._ended:
            return
        service = SignIn(self._login, offer, lambda said: self._credentials.sign(self._grant, said))
        done = service.done
        self.requestService(service)
        await done
        self.setService(TargetMessages(lambda kind, payload: self.received(kind, payload)))
        ready, self.ready = self.ready, Deferred()
        ready.callback(None)

    def _failed(self, failure: Failure) -> None:
        if failure.check(PeerError):
            # their bytes, behind us: not the client's fault
            failure = self._ends(f"it broke the protocol: {failure.getErrorMessage()}")
        self._tell(failure)
        self.leave()

    def _tell(self, failure: Failure) -> None:
        """Whoever opened it learns why it ends. Once."""
        if self._told:
            return
        self._told = True
        ready = self.ready
        if isinstance(self.service, TargetMessages):
            self.lost(failure.getErrorMessage())
        elif not ready.called:
            ready.errback(failure)

    def too_slow(self) -> None:
        """It did not let us in in time."""
        self._failed(self._ends(f"it did not let us in within {TIMEOUT:.0f} s"))

    def _ends(self, why: str) -> Failure:
        return Failure(TargetError(f"target {self._target.name}: {why}"))

    def refused_host_key(self, error: BaseException) -> None:
        """See L{ClientTransport.refused_host_key}."""
        self._failed(Failure(error))

    def peer_error(self, error: PeerError) -> None:
        """The target broke the protocol."""
        super().peer_error(error)
        self._failed(Failure(error))

    def receiveError(self, reasonCode: int, description: bytes) -> None:
        """Conch's name: the target says why it goes."""
        self._ended = True
        self._failed(self._ends(f"it ended the connection: {said(description)}"))

    def connectionLost(self, reason: Any = None) -> None:
        """The connection is gone."""
        super().connectionLost(reason)
        self._gone = True
        self._stop(self._abort_call)
        self._tell(self._ends("it closed the connection"))

    def leave(self) -> None:
        """End it; the socket goes even if the host reads nothing of it."""
        if self.transport is None or self._gone or self._abort_call is not None:
            return
        # a producer that is paused would keep the socket open for good
        self.transport.unregisterProducer()
        self._abort_call = self.clock.callLater(LINGER, self.transport.abortConnection)
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
    deadline = reactor.seconds() + TIMEOUT
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
    timer = reactor.callLater(max(0.0, deadline - reactor.seconds()), connection.too_slow)
    try:
        await ready
    finally:
        if timer.active():
            timer.cancel()
    return connection
