"""The start-up toward a target: encryption request, StartupMessage, authentication, up to ReadyForQuery.

A pure state machine: bytes in, events out. Not the answers to challenges, which the broker makes. The same code
opens users' sessions and the catalogue's connection. Specification: PostgreSQL documentation, "Message Flow",
Start-up, and "SASL Authentication".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from attrs import field, frozen

from hoopd.errors import PeerError, TargetError
from hoopd.protocols.postgres import backend
from hoopd.protocols.postgres.codec import HEADER_SIZE, INT32, Fields, Framer, message
from hoopd.protocols.postgres.frontend import PASSWORD
from hoopd.protocols.postgres.startup import CANCEL_REQUEST, SSL_REQUEST

#: before it is authenticated a server may send this much in one message; real ones send under 4 kB
MESSAGE_MAX = 64 * 1024

#: names and values of what a server reports are shorter
SHARED_MAX = 64

#: states in which it is our turn to speak: what the server sends meanwhile is looked at afterwards
_OUR_TURN = frozenset({"sasl-offered", "sasl-challenged", "sasl-finished", "weak"})


@frozen
class BeginTls:
    """The server agreed: begin TLS now."""


@frozen
class Sasl:
    """AuthenticationSASL."""

    mechanisms: tuple[str, ...]


@frozen
class SaslContinue:
    octets: bytes


@frozen
class SaslFinal:
    octets: bytes


@frozen
class Weak:
    """The server asks for C{"md5"} (with salt) or C{"cleartext"}."""

    method: str
    salt: bytes = b""


@frozen
class Ready:
    """The server awaits the first query.

    @ivar key: process id and secret as one, or None where the server gave none.
    @ivar rest: bytes that came behind, which belong to the session.
    """

    parameters: Mapping[bytes, bytes] = field(hash=False)
    key: bytes | None
    notices: tuple[bytes, ...]
    rest: bytes


Event = BeginTls | Sasl | SaslContinue | SaslFinal | Weak | Ready


def startup_message(settings: Mapping[str, str]) -> bytes:
    """Build a protocol 3.0 StartupMessage: older servers and poolers know nothing newer."""
    parts = [name.encode() + b"\0" + value.encode() + b"\0" for name, value in settings.items()]
    payload = INT32.pack(3 << 16) + b"".join(parts) + b"\0"
    return INT32.pack(len(payload) + 4) + payload


def cancel_request(key: bytes) -> bytes:
    """Build a CancelRequest for the target's own key."""
    return INT32.pack(len(key) + 8) + INT32.pack(CANCEL_REQUEST) + key


def ssl_request() -> bytes:
    return INT32.pack(8) + INT32.pack(SSL_REQUEST)


def _same(octets: bytes) -> bytes:
    """One object for all sessions that were told the same, as most are."""
    return _shared(octets) if len(octets) <= SHARED_MAX else octets


@lru_cache(256)
def _shared(octets: bytes) -> bytes:
    return octets


class TargetStartup:
    """One start-up toward a target.

    @param settings: what the StartupMessage says, C{user} and C{database} among it.
    @param tls: ask for TLS; a server that says no is refused.
    @param proof: the target has a credential: a server that lets us in without asking for it is not the one
        that was configured.
    """

    def __init__(self, settings: Mapping[str, str], tls: bool, proof: bool) -> None:
        self._settings = settings
        self._proof = proof
        self._state = "encryption" if tls else "authentication"
        self._framer = Framer()
        self._parameters: dict[bytes, bytes] = {}
        self._key: bytes | None = None
        self._notices: list[bytes] = []
        self._late: list[bytes] = []
        self.first = ssl_request() if tls else startup_message(settings)

    def encrypted(self) -> bytes:
        """TLS is up and the certificate was verified. @return: what to send first inside it."""
        self._state = "authentication"
        return startup_message(self._settings)

    def sasl_first(self, mechanism: str, octets: bytes) -> bytes:
        """@return: the SASLInitialResponse."""
        self._expect("sasl-offered", "sasl-first")
        return message(PASSWORD, mechanism.encode() + b"\0" + INT32.pack(len(octets)) + octets)

    def sasl_next(self, octets: bytes) -> bytes:
        """@return: the SASLResponse."""
        self._expect("sasl-challenged", "sasl-final")
        return message(PASSWORD, octets)

    def sasl_verified(self) -> None:
        """The server's signature was checked."""
        self._expect("sasl-finished", "proven")

    def password(self, octets: bytes) -> bytes:
        """@return: the PasswordMessage."""
        self._expect("weak", "proven")
        return message(PASSWORD, octets + b"\0")

    def _expect(self, state: str, then: str) -> None:
        if self._state != state:
            raise RuntimeError(f"start-up is in state {self._state}, not {state}")
        self._state = then

    def receive(self, chunk: bytes) -> list[Event]:
        """
        @return: at most one event. When it was answered, call again (with no bytes if none have come).
        @raise TargetError: the target refused us, or broke its protocol.
        """
        if self._state == "encryption":
            if chunk == b"S":
                self._state = "tls"
                return [BeginTls()]
            if chunk[:1] == b"S":
                raise TargetError("the target sent bytes before TLS began")
            raise TargetError("the target does not offer TLS, which its configuration demands")
        if self._state in _OUR_TURN:
            self._late.append(chunk)
            if sum(map(len, self._late)) > MESSAGE_MAX:
                raise TargetError("the target broke the protocol: bytes out of turn")
            return []
        if self._late:
            self._late.append(chunk)
            chunk, self._late = b"".join(self._late), []
        buffer = self._framer.take(chunk)
        at, size = 0, len(buffer)
        events: list[Event] = []
        needed = HEADER_SIZE
        while size - at >= HEADER_SIZE:
            length = INT32.unpack_from(buffer, at + 1)[0]
            if not 4 <= length <= MESSAGE_MAX:
                raise TargetError("the target broke the protocol: length of message")
            end = at + 1 + length
            if end > size:
                needed = 1 + length
                break
            kind, payload = buffer[at : at + 1], buffer[at + HEADER_SIZE : end]
            at = end
            needed = HEADER_SIZE
            try:
                event = self._message(kind, payload)
            except PeerError as error:
                raise TargetError(f"the target broke the protocol: {error}") from None
            if event == "ready":
                rest = buffer[at:]
                events.append(Ready(self._parameters, self._key, tuple(self._notices), rest))
                return events
            if event is not None and not isinstance(event, str):
                events.append(event)
                self._late.append(buffer[at:])
                return events
        self._framer.keep(buffer, at, needed)
        return events

    def _message(self, kind: bytes, payload: bytes) -> Event | str | None:
        if kind == backend.ERROR:
            fields = backend.parse_error(payload)
            text = fields.get("M", b"").decode("utf-8", "replace")
            code = fields.get("C", b"").decode("ascii", "replace")
            raise TargetError(f"the target refused the connection: {text} (SQLSTATE {code})")
        if kind == backend.NOTICE:
            if len(self._notices) < 16:
                self._notices.append(payload)
            return None
        if self._state == "started":
            return self._started(kind, payload)
        if kind == backend.AUTHENTICATION:
            return self._authentication(Fields(payload, "Authentication"))
        raise TargetError(f"the target broke the protocol: message {kind!r} during authentication")

    def _started(self, kind: bytes, payload: bytes) -> Event | str | None:
        if kind == backend.PARAMETER_STATUS:
            name, value = backend.parse_parameter_status(payload)
            # servers report about 14
            if len(self._parameters) < 100:
                self._parameters[_same(name)] = _same(value)
            return None
        if kind == backend.BACKEND_KEY:
            if not 8 <= len(payload) <= 4 + 256:
                raise TargetError("the target broke the protocol: BackendKeyData")
            self._key = payload
            return None
        if kind == backend.READY:
            return "ready"
        raise TargetError(f"the target broke the protocol: message {kind!r} before ReadyForQuery")

    def _authentication(self, fields: Fields) -> Event | None:
        code = fields.int32()
        if code == backend.AUTH_OK:
            if self._state != "proven" and (self._state != "authentication" or self._proof):
                raise TargetError("the target let us in without asking for the credential that is configured for it")
            self._state = "started"
            return None
        if self._state == "authentication":
            if code == backend.AUTH_SASL:
                self._state = "sasl-offered"
                names = [name.decode("ascii", "replace") for name in fields.rest().split(b"\0") if name]
                return Sasl(tuple(names))
            if code == backend.AUTH_MD5:
                self._state = "weak"
                return Weak("md5", fields.take(4))
            if code == backend.AUTH_CLEARTEXT:
                self._state = "weak"
                return Weak("cleartext")
        if code == backend.AUTH_SASL_CONTINUE and self._state == "sasl-first":
            self._state = "sasl-challenged"
            return SaslContinue(fields.rest())
        if code == backend.AUTH_SASL_FINAL and self._state == "sasl-final":
            self._state = "sasl-finished"
            return SaslFinal(fields.rest())
        raise TargetError(f"the target asks for an authentication method that is not served (code {code})")
