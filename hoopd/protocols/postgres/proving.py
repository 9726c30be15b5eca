"""How a client is asked for its secret, and how it gives it: a password in clear inside TLS, or SASL OAUTHBEARER.

A pure state machine: bytes in; a secret, bytes to answer, or a failure out. Not the proof's verification. Specification:
PostgreSQL documentation, "Message Flow" (Start-up) and "SASL Authentication"; L{hoopd.protocols.postgres.oauthbearer}.
"""

from __future__ import annotations

from hoopd.errors import AuthenticationFailed, PeerError
from hoopd.protocols.postgres import backend, oauthbearer
from hoopd.protocols.postgres.codec import INT32
from hoopd.protocols.postgres.oauthbearer import Discovery
from hoopd.secret import Secret

#: a PasswordMessage: JWTs with many groups reach 16 kB
MESSAGE_MAX = 64 * 1024


class Proving:
    """One client's turn to prove itself.

    @param kind: C{"password"} or C{"oauth"}.
    @param discovery: for clients that bring no token; OAUTHBEARER needs it.
    """

    def __init__(self, kind: str, discovery: Discovery | None) -> None:
        if kind == "oauth" and discovery is None:
            raise ValueError("OAUTHBEARER needs an address for clients without a token")
        self._discovery = discovery if kind == "oauth" else None
        self._buffer = b""
        self._abandoned = False

    @property
    def bearer(self) -> bool:
        """Whether a token is asked for, and nothing else will do."""
        return self._discovery is not None

    def request(self) -> bytes:
        """What asks the client."""
        if self._discovery is not None:
            return backend.authentication(backend.AUTH_SASL, oauthbearer.OFFER)
        return backend.authentication(backend.AUTH_CLEARTEXT)

    def receive(self, chunk: bytes) -> Secret | bytes | None:
        """
        @return: the secret; or bytes that answer the client; or None: more must come.
        @raise PeerError: not the message that was asked for.
        @raise AuthenticationFailed: the client has heard why its token, or the lack of one, ends the exchange.
        """
        self._buffer += chunk
        if self._buffer[:1] != b"p":
            raise PeerError("a password was expected")
        if len(self._buffer) < 5:
            return None
        length = INT32.unpack_from(self._buffer, 1)[0]
        if not 5 <= length <= MESSAGE_MAX:
            raise PeerError("invalid length of password message")
        if len(self._buffer) < length + 1:
            return None
        if len(self._buffer) > length + 1:
            raise PeerError("malformed password message")
        payload, self._buffer = self._buffer[5:], b""
        if self._discovery is None:
            if payload.find(b"\0") != len(payload) - 1:
                raise PeerError("malformed password message")
            return Secret(payload[:-1])
        if self._abandoned:
            if payload != oauthbearer.ABANDON:
                raise PeerError("malformed OAUTHBEARER message after its failure")
            raise AuthenticationFailed("authentication failed")
        return oauthbearer.initial(payload) or self.rejected()

    def rejected(self) -> bytes:
        """Tell a client that its token is not good, or missing; it answers once more (RFC 7628, section 3.2.3)."""
        assert self._discovery is not None
        self._abandoned = True
        return backend.authentication(backend.AUTH_SASL_CONTINUE, self._discovery.answer())
