"""Who is at the client's end: the authentication protocol's server side; the proof itself is the broker's to judge.

Keys and certificates are shown by signature (RFC 4252 section 7), which the broker checks; tokens and passwords come by
keyboard-interactive (RFC 4256), which also shows a login link to those who have none (L{hoopd.protocols.ssh.interactive}),
or as a password (RFC 4252 section 8). Every well-formed key is worth a signature: whether one is
registered is told to nobody who cannot sign with it. Names and services are as RFC 4252 section 5 has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from twisted.conch.ssh.service import SSHService
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopd.errors import AuthenticationFailed, Denied, HoopdError, PeerError, Unavailable
from hoopd.protocols.ssh import interactive, messages
from hoopd.protocols.ssh.interactive import INFO_REQUEST, Meant, Question
from hoopd.protocols.ssh.login import Login
from hoopd.protocols.ssh.messages import Reader
from hoopd.secret import Secret
from hoopd.values import LoginLink, Peer, Proof, SshSignature

REQUEST = 50
FAILURE = 51
SUCCESS = 52
BANNER = 53
INFO_RESPONSE = 61
PK_OK = 60

#: an agent may hold a dozen keys, each of which is asked about and then signed with
ATTEMPTS_MAX = 30
#: a name with account, target and separators
USER_MAX = 512
SECRET_MAX = 16 * 1024

METHODS = b"publickey,keyboard-interactive,password"

#: what a client may sign with: SHA-1 and DSA are no proof any more
_PLAIN = (
    b"ssh-ed25519",
    b"ecdsa-sha2-nistp256",
    b"ecdsa-sha2-nistp384",
    b"ecdsa-sha2-nistp521",
    b"rsa-sha2-256",
    b"rsa-sha2-512",
)
_TOUCHED = (b"sk-ssh-ed25519", b"sk-ecdsa-sha2-nistp256")
ALGORITHMS = frozenset(
    (
        *_PLAIN,
        *(name + b"@openssh.com" for name in _TOUCHED),
        *(name + b"-cert-v01@openssh.com" for name in (*_PLAIN, *_TOUCHED)),
    )
)


class Authentication(SSHService):
    """
    @ivar admit: C{(user: str, Proof) -> Deferred}: fires once the session may begin; fails with AuthenticationFailed
        (another proof may be tried) or anything else (the connection ends).
    @ivar login: L{hoopd.protocols.ssh.login.Login}: this connection's way to a login link.
    @ivar admitted: called with what C{admit} gave, after the client has been told.
    @ivar ended: C{(error)}: the connection cannot go on.
    """

    name = b"ssh-userauth"
    log = Logger()
    transport: Any

    def __init__(
        self,
        peer: Callable[[], Peer],
        admit: Callable[[str, Proof], Deferred[Any]],
        admitted: Callable[[Any], None],
        ended: Callable[[BaseException], None],
        login: Login,
    ) -> None:
        self._peer = peer
        self._admit = admit
        self._admitted = admitted
        self._ended = ended
        self._user: bytes | None = None
        self._attempts = 0
        self._busy = False
        self._done = False
        self._stopped = False
        self._login = login
        #: what the client was asked by keyboard-interactive, and has not answered
        self._asked: Question | None = None

    def serviceStopped(self) -> None:
        """Conch's name: the connection is lost, or goes on to its next part."""
        self._stopped = True

    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        """Conch's name: one message of the client."""
        if self._done:
            # section 5.3: requests after the success are ignored
            return
        if self._busy:
            raise PeerError("an authentication request before the last was answered")
        if messageNum == REQUEST:
            self._request(Reader(packet))
        elif messageNum == INFO_RESPONSE and self._asked is not None:
            self._responded(Reader(packet))
        else:
            raise PeerError(f"message {messageNum} is none of authentication")

    def _request(self, reader: Reader) -> None:
        user, service, method = reader.string(), reader.string(), reader.string()
        if service != b"ssh-connection":
            raise PeerError("only ssh-connection is served")
        if len(user) > USER_MAX:
            raise PeerError("the user's name is too long")
        if self._user is None:
            self._user = user
        elif user != self._user:
            # as OpenSSH: one connection, one name
            raise PeerError("the user's name changed during authentication")
        self._asked = None
        self._attempts += 1
        if self._attempts > ATTEMPTS_MAX:
            raise PeerError("too many authentication attempts")
        attempt = _METHODS.get(method)
        if attempt is None:
            # "none" asks what there is
            self._failed()
            return
        attempt(self, reader)

    # -- methods -----------------------------------------------------------------------------------------------

    def _publickey(self, reader: Reader) -> None:
        signed, algorithm, blob = reader.flag(), reader.string(), reader.string()
        if algorithm not in ALGORITHMS:
            self._failed()
            return
        if not signed:
            reader.end()
            self.transport.sendPacket(PK_OK, messages.string(algorithm) + messages.string(blob))
            return
        before = reader.at
        signature = reader.string()
        reader.end()
        # section 7: what is signed is the session's identifier and the request as it came, up to the signature
        assert self.transport.sessionID is not None
        said = messages.string(self.transport.sessionID) + bytes((REQUEST,)) + reader.payload[:before]
        self._prove("ssh", Secret(b""), SshSignature(blob, algorithm, signature, said))

    def _password(self, reader: Reader) -> None:
        if reader.flag():
            raise PeerError("passwords are not changed here")
        self._prove_secret(reader.string())

    def _interactive(self, reader: Reader) -> None:
        login = self._login
        if login.link is not None:
            self._ask(interactive.link(login.link, login.seconds))
        elif len(login.providers) > 1:
            self._ask(interactive.choice(login.providers))
        elif login.providers:
            self._begin_login(login.providers[0])
        else:
            self._ask(interactive.token())

    def _ask(self, question: Question) -> None:
        if self._stopped:
            return
        self._asked = question
        self.transport.sendPacket(INFO_REQUEST, question.payload)

    def _responded(self, reader: Reader) -> None:
        assert self._asked is not None
        question, self._asked = self._asked, None
        answers = reader.number()
        if answers != question.prompts:
            self._failed()
            return
        answer = reader.string() if answers else b""
        meant = question.meant(answer)
        if meant is Meant.PROOF:
            self._prove_secret(answer)
        elif meant is Meant.LOGGED_IN:
            assert self._login.link is not None
            self._ask(interactive.waiting(self._login.link))
        elif meant is Meant.WAITS:
            self._busy = True
            self._login.settled().addCallbacks(self._logged_in, self._not_logged_in).addErrback(self._broke)
        else:
            self._begin_login(meant)

    # -- login link --------------------------------------------------------------------------------------------

    def _begin_login(self, provider: str) -> None:
        self._busy = True
        self._login.begin(provider).addCallbacks(self._link_made, self._no_link).addErrback(self._broke)

    def _link_made(self, link: LoginLink) -> None:
        self._busy = False
        self._ask(interactive.link(link, self._login.seconds))

    def _no_link(self, failure: Failure) -> None:
        # people with a token go on as if no link were offered
        failure.trap(Denied, Unavailable)
        self._busy = False
        self._ask(interactive.token(failure.getErrorMessage()))

    def _logged_in(self, link: LoginLink) -> None:
        self._prove("link", link.token)

    def _not_logged_in(self, failure: Failure) -> None:
        failure.trap(HoopdError)
        self._ended(failure.value or RuntimeError("no cause"))

    def _prove_secret(self, secret: bytes) -> None:
        if len(secret) > SECRET_MAX:
            raise PeerError("a password of that length is none")
        self._prove("bearer", Secret(secret))

    # -- outcome -----------------------------------------------------------------------------------------------

    def _prove(
        self, method: Literal["ssh", "bearer", "link"], secret: Secret, shown: SshSignature | None = None
    ) -> None:
        assert self._user is not None
        try:
            user = self._user.decode()
        except UnicodeDecodeError:
            self._failed()
            return
        self._busy = True
        proof = Proof("", secret, self._peer(), method, ssh=shown)
        admitted = self._admit(user, proof)
        admitted.addCallbacks(self._succeeded, self._not_admitted, errbackArgs=(method,)).addErrback(self._broke)

    def _succeeded(self, session: Any) -> None:
        self._busy, self._done = False, True
        self.transport.sendPacket(SUCCESS, b"")
        self._admitted(session)

    def _not_admitted(self, failure: Failure, method: str) -> None:
        self._busy = False
        if failure.check(AuthenticationFailed):
            if method == "link":
                # another try would end as this one did
                hint = "whoever runs it finds why in its log"
                self._ended(Denied("your login is not accepted by this gateway", hint=hint))
            else:
                self._failed()
            return
        self._ended(failure.value or RuntimeError("no cause"))

    def _broke(self, failure: Failure) -> None:
        if not failure.check(HoopdError):
            self.log.failure("authentication failed by a mistake of ours", failure)
        self._ended(failure.value or RuntimeError("no cause"))

    def _failed(self) -> None:
        self.transport.sendPacket(FAILURE, messages.string(METHODS) + messages.flag(False))


_METHODS: dict[bytes, Callable[[Authentication, Reader], None]] = {
    b"publickey": Authentication._publickey,
    b"keyboard-interactive": Authentication._interactive,
    b"password": Authentication._password,
}
