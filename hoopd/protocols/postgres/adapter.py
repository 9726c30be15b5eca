"""The client's connection to the listener: its phases from the first byte to the session, and its end.

Thin Twisted over L{hoopd.protocols.postgres.startup}. It owns the login's timeout, TLS on the client's leg and the
proof of identity; the session itself is L{hoopd.protocols.postgres.relay}'s. Every error is turned into the protocol's
own here, once (L{hoopd.protocols.postgres.errors}).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, Literal

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopd.errors import AuthenticationFailed, Denied, HoopdError, PeerError, TargetError
from hoopd.identity.certificates import CHAIN_MAX, OCTETS_MAX
from hoopd.protocols.postgres import backend, errors, frontend, startup
from hoopd.protocols.postgres.opening import Opening
from hoopd.protocols.postgres.proving import Proving
from hoopd.protocols.postgres.relay import Relay
from hoopd.protocols.postgres.startup import ClientStartup, Login
from hoopd.protocols.tls import widen
from hoopd.secret import Secret
from hoopd.sql.catalogue import Catalogue
from hoopd.values import Peer, Proof


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
        self._startup = ClientStartup(factory.tls is not None, self._worker.config.server_names)
        self._phase: Callable[[bytes], None] = self._starting
        self._encrypted = False
        self._direct = False
        self._server_name: str | None = None
        self._certificates: tuple[bytes, ...] = ()
        self._proving: Proving | None = None
        self._login: Login | None = None
        self._timer: Any = None
        self._ended = ""
        self._opening: Opening | None = None
        self._running: Deferred[None] | None = None
        self._relay: Relay | None = None

    # -- connection --------------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        self._factory.liveness.keep(self.transport)
        widen(self.transport)
        self._worker.opened(self)
        self._factory.unproven.arrived(self)
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
        self._certificates = _certificates(handle) if self._worker.asks_certificates else ()
        self._startup.encrypted(self._server_name)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._close(self._ended or "the client closed the connection")
        self._factory.unproven.known(self)
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
            target = self._login.target if self._login is not None else ""
            self._worker.event("target.error", {"session": self.session, "target": target, "what": str(error)})
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.close(False)
        if error is not None:
            refusal = errors.refusal(error)
            if self._opening is not None:
                fields = {"operation": 0, "severity": "FATAL", "code": refusal.sqlstate, "text": refusal.why}
                self._opening.record("error", {**fields, "from": "gateway"})
            self.transport.write(errors.response(refusal, "FATAL"))
        elif last:
            self.transport.write(last)
        self.transport.loseConnection()
        self._close(self._ended)
        # a peer that does not read its error must not keep the socket
        self._timer = self._worker.reactor.callLater(10.0, self.transport.abortConnection)

    def _close(self, why: str) -> None:
        """The session is over: everything of it is given back. Runs once."""
        self._logged_in()
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.close(True)
        opening, self._opening = self._opening, None
        if opening is None:
            return
        opening.close(why)
        running, self._running = self._running, None
        if running is not None and opening.admission is not None:
            # an admission under way is not interrupted: what it brings is given back when it is there
            running.cancel()

    def _logged_in(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        self._factory.unproven.known(self)

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
                    self.transport.startTLS(self._factory.tls)
                    if event.direct:
                        # the ClientHello came before TLS was there to read it
                        self.transport.protocol.dataReceived(data)
                case startup.Cancel():
                    self._cancel_request(event.key)
                case Login():
                    self._ask_proof(event)

    def _cancel_request(self, key: bytes) -> None:
        self._ended = "a cancel request"
        asked = self._worker.sessions.cancel(key, self._peer())
        asked.addErrback(lambda failure: self.log.warn("cancel: {why}", why=failure.getErrorMessage()))
        # the sender waits for this end to close; nothing tells it whether the key was good
        self.transport.loseConnection()

    def _peer(self) -> Peer:
        return Peer(self._host, self._port, self._encrypted, self._server_name)

    def _ask_proof(self, login: Login) -> None:
        if not self._encrypted and not (self._worker.config.plaintext_loopback and _is_loopback(self._host)):
            hint = "Connect with sslmode=require (or verify-full)."
            self._finish(None, "no TLS", backend.error_response("28000", "TLS is required", "", hint, "FATAL"))
            return
        self._login = login
        if login.negotiate:
            self.transport.write(backend.negotiate_version(login.spoken, login.unknown))
        if self._certificates:
            self._prove(Proof(login.user, Secret(b""), self._peer(), "certificate", self._certificates))
        else:
            self._ask_secret()

    def _ask_secret(self) -> None:
        assert self._login is not None
        kind = self._login.proof or self._worker.config.proof
        if kind == "oauth" and self._worker.discovery is None:
            raise Denied("OAUTHBEARER is not offered here", hint="Leave hoopd.proof out, and give a token as password.")
        self._proving = Proving(kind, self._worker.discovery)
        self.transport.write(self._proving.request())
        self._phase = self._secret_bytes

    def _secret_bytes(self, data: bytes) -> None:
        assert self._proving is not None
        assert self._login is not None
        received = self._proving.receive(data)
        if isinstance(received, Secret):
            method: Literal["bearer", "password"] = "bearer" if self._proving.bearer else "password"
            self._prove(Proof(self._login.user, received, self._peer(), method))
        elif received is not None:
            self.transport.write(received)

    def _prove(self, proof: Proof) -> None:
        """Begin a session on C{proof}; where it is not enough, another may be asked for."""
        self._phase = self._too_early
        assert self._login is not None
        opening = self._opening = Opening(self._factory, self._login, self)
        self._running = Deferred.fromCoroutine(self._open(opening, proof))
        self._running.addErrback(self._not_proven, proof.method).addErrback(self._not_opened)

    def _not_proven(self, failure: Failure, method: str) -> None:
        failure.trap(AuthenticationFailed)
        if method == "password" or self._ended:
            failure.raiseException()
        self._opening = self._running = None
        if method == "certificate":
            # libpq sends what it finds in ~/.postgresql unasked: one that does not count is as none
            self._guarded(self._ask_secret)
        elif self._proving is not None:
            self._phase = self._secret_bytes
            self.transport.write(self._proving.rejected())

    def _too_early(self, data: bytes) -> None:
        if data == frontend.TERMINATE_MESSAGE:
            self._finish(None, "the client gave up")
            return
        raise PeerError("bytes before the session was ready")

    def _not_opened(self, failure: Failure) -> None:
        self._running = None
        if failure.check(CancelledError) or self._ended:
            return
        if not failure.check(HoopdError):
            self.log.failure("a session could not be opened", failure)
        self._finish(failure.value, f"not opened: {failure.getErrorMessage()}")

    # -- the session -------------------------------------------------------------------------------------------

    async def _open(self, opening: Opening, proof: Proof) -> None:
        await opening.run(proof)
        admission = opening.admission
        assert admission is not None
        if self._ended:
            return
        self.session, self.identified = admission.session, (admission.session, admission.token)
        self._running = None
        self._logged_in()
        # there may be a thousand sessions: what only the login needed goes
        del self._startup
        self._certificates, self._proving = (), None
        self._relay = Relay(self._factory, opening, self.transport, self._guarded, self._finish)
        self._phase = self._relay_bytes
        self._relay.begin()

    def _relay_bytes(self, data: bytes) -> None:
        assert self._relay is not None
        self._relay.client_bytes(data)

    def catalogue_changed(self, catalogue: Catalogue) -> None:
        """The database's catalogue is another now."""
        if self._relay is not None:
            self._relay.catalogue_changed(catalogue)

    def broken(self) -> None:
        """What break glass is in use has changed."""
        if self._relay is not None:
            self._relay.broken()

    # -- what the worker calls ---------------------------------------------------------------------------------

    def cancel(self) -> None:
        """A CancelRequest for this session was accepted."""
        if self._relay is not None:
            self._relay.cancel()

    def end(self, why: str) -> None:
        """The session ends now: revoked, unknown to a new broker, or the gateway stops."""
        if not self._ended:
            text = f"hoopd ends this session: {why}"
            self._finish(None, why, backend.error_response("57P01", text, severity="FATAL"))


def _certificates(handle: Any) -> tuple[bytes, ...]:
    """What the client sent in its handshake, in DER, its own first; nothing where it is too much to look at."""
    own = handle.get_peer_certificate(as_cryptography=True)
    if own is None:
        return ()
    # the chain of a server's peer is without the peer's own certificate
    others = handle.get_peer_cert_chain(as_cryptography=True) or []
    chain = [own, *(each for each in others if each != own)]
    encoded = tuple(each.public_bytes(Encoding.DER) for each in chain[:CHAIN_MAX])
    return encoded if sum(map(len, encoded)) <= OCTETS_MAX else ()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
