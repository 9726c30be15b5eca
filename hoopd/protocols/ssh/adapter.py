"""The client's connection to the listener: key exchange, proof, session, end; thin Twisted over the core.

It owns the login's timeout and the choice of what the client comes to: a session at a target (L{hoopd.protocols.ssh.relay}), or the
gateway itself (L{hoopd.protocols.ssh.visit}). Errors are turned into the protocol's own here, once: a DISCONNECT with its reason.
"""

from __future__ import annotations

from typing import Any

from twisted.conch.ssh import transport as conch
from twisted.conch.ssh.service import SSHService
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopd.display import spoken, visible
from hoopd.errors import AuthenticationFailed, Denied, HoopdError, PeerError, TargetError, Unavailable
from hoopd.protocols.ssh.authentication import ALGORITHMS, Authentication
from hoopd.protocols.ssh.login import Login
from hoopd.protocols.ssh.operations import Refusal
from hoopd.protocols.ssh.relay import Relay
from hoopd.protocols.ssh.transport import ServerTransport
from hoopd.protocols.ssh.visit import Visit
from hoopd.secret import Secret
from hoopd.values import Admission, Identity, Pass, Peer, Proof

#: a peer that does not read why must not keep the socket
LINGER = 10.0


def named(user: str) -> tuple[str, str]:
    """C{target} or C{login%target} as clients name it. @return: login (empty: the target's own), target"""
    login, percent, target = user.rpartition("%")
    return (login, target) if percent else ("", user)


class ClientConnection(ServerTransport):
    """One client.

    @ivar session: session id once admitted, else None.
    @ivar identified: C{(session id, token)} once admitted.
    @param jump: inside another connection: the target that was asked for, and who the other one proved to be.
    """

    log = Logger()
    transport: Any
    signature_algorithms = tuple(sorted(ALGORITHMS))

    def __init__(self, factory: Any, peer: Peer, jump: tuple[str, Identity] | None = None) -> None:
        self.session: str | None = None
        self.identified: tuple[str, Secret] | None = None
        self.clock = factory.worker.reactor
        self._worker = factory.worker
        self._plugin = factory
        self.peer = peer
        self._jump = jump
        self._timer: Any = None
        self._linger_call: Any = None
        self._over = ""
        self._relay: Relay | Visit | None = None
        self._login = Login(self._worker, peer.address, self._has_time)
        self._opening: Deferred[Any] | None = None

    # -- connection --------------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Conch's name."""
        self._plugin.liveness.keep(self.transport)
        self._worker.opened(self)
        self._plugin.unproven.arrived(self)
        self._timer = self.clock.callLater(self._worker.config.login_timeout, self._too_slow)
        super().connectionMade()

    def _has_time(self, seconds: float) -> None:
        """Somebody logs in elsewhere: that takes longer, and links have a bound of their own."""
        self._plugin.unproven.known(self)
        self._stop(self._timer)
        if not self._over:
            self._timer = self.clock.callLater(seconds, self._too_slow)

    def _too_slow(self) -> None:
        if self._login.link is None or self._login.used:
            self.finish(PeerError("no proof of identity in time"), "login timeout")
        else:
            self.finish(Denied(f"nobody has logged in within {spoken(self._login.seconds)}"), "login link timeout")

    def too_many(self) -> None:
        """There are more connections without a login than may be."""
        self.finish(PeerError("too many connections have not logged in"), "too many without login")

    def connectionLost(self, reason: Any = None) -> None:
        """Conch's name."""
        super().connectionLost(reason)
        self._stop(self._linger_call)
        # what is still under way finds that there is nobody
        self._over = self._over or "the client closed the connection"
        self._close(self._over)
        self._plugin.unproven.known(self)
        self._worker.closed(self)

    def receiveError(self, reasonCode: int, description: bytes) -> None:
        """Conch's name: the client says why it goes."""
        self._over = self._over or "the client said goodbye"
        self._ended = True
        if self._relay is not None:
            self._relay.leave()
        self._close(self._over)
        self._linger()

    def hang_up(self) -> None:
        """See L{ModernTransport.hang_up}; a client in the middle of sending is heard out, so that it reads why."""
        # a producer that is paused would keep the connection open
        self.transport.unregisterProducer()
        half = getattr(self.transport, "loseWriteConnection", None)
        if self.session is None or half is None:
            self.transport.loseConnection()
            return
        # the kernel takes back what was sent, if the connection is closed with something unread
        half()
        self.transport.resumeProducing()

    def _linger(self) -> None:
        """The socket goes, even if the client reads nothing more."""
        # a producer that is paused would keep it open for good
        self.transport.unregisterProducer()
        if self._linger_call is None:
            self._linger_call = self.clock.callLater(LINGER, self.transport.abortConnection)

    def peer_error(self, error: PeerError) -> None:
        """See L{ModernTransport.peer_error}."""
        self.finish(error, str(error))

    def finish(self, error: BaseException | None, why: str) -> None:
        """Tell the client of C{error} and end."""
        if self._over:
            return
        self._over = why or "ended"
        if isinstance(error, PeerError):
            fields = {"peer": self.peer.address, "session": self.session, "protocol": "ssh", "what": str(error)}
            self._worker.event("peer.error", fields)
        elif isinstance(error, TargetError):
            self._worker.event("target.error", {"session": self.session, "target": self._target, "what": str(error)})
        self.sendDisconnect(_reason(error), _text(error, why).encode("utf-8", "replace"))
        self._close(self._over)
        self._linger()

    _target = ""

    def _close(self, why: str) -> None:
        """The session is over: everything of it is given back. Runs once."""
        self._logged_in()
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.close(why)

    def _logged_in(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        self._plugin.unproven.known(self)
        self._login.leave()

    # -- who it is ---------------------------------------------------------------------------------------------

    def service_named(self, name: bytes) -> Any:
        """The service that a client may ask for now; None for any other."""
        if name != Authentication.name or self.service is not None:
            return None
        return lambda: Authentication(lambda: self.peer, self._admit, self._admitted, self._not_admitted, self._login)

    def _admit(self, user: str, proof: Proof) -> Deferred[Relay | Visit]:
        return Deferred.fromCoroutine(self._open(user, proof))

    async def _open(self, user: str, proof: Proof) -> Relay | Visit:
        if self._jump is not None:
            target, outer = self._jump
            return await self._session(target, outer, user, proof)
        login, target = named(user)
        known = self._worker.policy.targets().get(target)
        if known is None or known.protocol != "ssh":
            return await self._visit(target, proof)
        try:
            return await self._session(target, None, login, proof)
        except AuthenticationFailed:
            raise
        except Denied:
            if self._relay is not None:
                raise
            # as for one that is not there: who may not have it does not learn that it is
            return await self._visit(target, proof)

    async def _visit(self, target: str, proof: Proof) -> Visit:
        held: Pass = await self._worker.lobby.enter(proof)
        hint = "ask whoever runs this gateway for an allow rule, or check the spelling of the name before the @"
        refusal = Refusal(f"no target called {target!r} is open to {held.identity.name}", (), hint)
        relay = Visit(self, self._plugin, held, refusal.line)
        self._still_there(relay)
        self._relay = relay
        return relay

    async def _session(self, target: str, outer: Identity | None, login: str, proof: Proof) -> Relay:
        self._target = target
        admission: Admission = await self._worker.sessions.admit(proof, target, "ssh")
        relay = Relay(self, self._plugin, admission, login or admission.target.username)
        self._still_there(relay)
        self._relay = relay
        # how long the host may take is the other leg's to bound, and its fault
        self._logged_in()
        self.session, self.identified = admission.session, (admission.session, admission.token)
        inner = admission.identity
        if outer is not None and (inner.name, inner.act) != (outer.name, outer.act):
            raise Denied(
                f"the way here was {outer.name}'s, and this is {inner.name}",
                hint="prove the same identity to the gateway and to the target",
            )
        await relay.open()
        return relay

    def _still_there(self, relay: Relay | Visit) -> None:
        if self._over:
            relay.close(self._over)
            raise Unavailable("the client left before the session began")

    def _not_admitted(self, error: BaseException) -> None:
        if not isinstance(error, HoopdError):
            self.log.failure("a session could not be opened", Failure(error))
        self.finish(error, f"not opened: {error}")

    def _admitted(self, relay: Relay | Visit) -> None:
        self._logged_in()
        if not self._over:
            self.setService(ClientMessages(relay))
            relay.begin()

    # -- what the worker calls ---------------------------------------------------------------------------------

    def cancel(self) -> None:
        """There are no CancelRequests in SSH."""

    def broken(self) -> None:
        """Break glass has begun or ended somewhere."""
        if isinstance(self._relay, Relay):
            self._relay.broken()

    def end(self, why: str) -> None:
        """The session ends now: revoked, unknown to a new broker, or the gateway stops."""
        self.finish(None, why)


class ClientMessages(SSHService):
    """Hands the connection protocol's messages over."""

    name = b"ssh-connection"

    def __init__(self, relay: Relay | Visit) -> None:
        self._relay = relay

    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        """Conch's name."""
        self._relay.client_message(messageNum, packet)


def _reason(error: BaseException | None) -> int:
    """The code of DISCONNECT (RFC 4253 section 11.1)."""
    if isinstance(error, PeerError):
        return int(conch.DISCONNECT_PROTOCOL_ERROR)
    if isinstance(error, Denied):
        return int(conch.DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE)
    return int(conch.DISCONNECT_BY_APPLICATION)


def _text(error: BaseException | None, why: str) -> str:
    """What the person at the client's end reads."""
    if error is None:
        return f"hoopd ends this session: {visible(why)}"
    if not isinstance(error, HoopdError):
        return "hoopd: the gateway met an error of its own; its log says more"
    hint = getattr(error, "hint", "")
    rules = getattr(error, "rules", ())
    parts = [f"hoopd: {visible(str(error))}"]
    if rules:
        parts.append(f"[rule {', '.join(rules)}]")
    if hint:
        parts.append(f"({visible(hint)})")
    return " ".join(parts)
