"""SASL OAUTHBEARER, the server's side (RFC 7628) as PostgreSQL carries it (documentation, "SASL Authentication").

Pure: messages in, a token or an answer out. Not the token's verification. A client without a token gets the discovery
document's address (RFC 7628, section 3.2.2) and comes back with one, on this connection or another.
"""

from __future__ import annotations

import json
import re

from attrs import frozen

from hoopd.errors import PeerError
from hoopd.protocols.postgres.codec import Fields
from hoopd.secret import Secret

MECHANISM = b"OAUTHBEARER"
#: AuthenticationSASL's list: one name, then the empty one that ends it
OFFER = MECHANISM + b"\0\0"
#: what a client sends after our error answer, to let us fail the exchange (RFC 7628, section 3.2.3)
ABANDON = b"\x01"

_TOKEN = re.compile(rb"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750, section 2.1: b64token


@frozen
class Discovery:
    """Where a client that has no token finds how to get one. @ivar scope: words it should ask for."""

    issuer: str
    scope: str

    def answer(self) -> bytes:
        """What is sent in AuthenticationSASLContinue when there is no good token."""
        url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
        said = {"status": "invalid_token", "openid-configuration": url, "scope": self.scope}
        return json.dumps(said).encode()


def initial(payload: bytes) -> Secret | None:
    """Read a SASLInitialResponse.

    @param payload: of the C{p} message.
    @return: the token, or None where the client asks for discovery.
    @raise PeerError: another mechanism, or malformed.
    """
    fields = Fields(payload, "SASLInitialResponse")
    mechanism = fields.string()
    if mechanism != MECHANISM:
        raise PeerError("the client chose a SASL mechanism that was not offered")
    response = fields.value()
    fields.done()
    if response is None:
        raise PeerError("OAUTHBEARER needs an initial response")
    return token(response)


def token(response: bytes) -> Secret | None:
    """The token in a client response C{n,,^Aauth=Bearer TOKEN^A^A} (RFC 7628, section 3.1)."""
    header, kvsep, rest = response.partition(b"\x01")
    if not kvsep or header.startswith(b"p="):
        raise PeerError("malformed OAUTHBEARER message: channel binding is not part of it")
    if header not in (b"n,,", b"y,,"):
        # RFC 5801 section 4: an authorization identity would be a second name to believe
        raise PeerError("malformed OAUTHBEARER message: no authorization identity is taken")
    *pairs, last, end = rest.split(b"\x01") if rest.endswith(b"\x01") else (rest, b"")
    if last or end:
        raise PeerError("malformed OAUTHBEARER message: it does not end")
    given: dict[bytes, bytes] = {}
    for pair in pairs:
        key, equals, value = pair.partition(b"=")
        if not equals or not key.isalpha() or key in given:
            raise PeerError("malformed OAUTHBEARER message: not key=value, or twice")
        given[key] = value
    auth = given.get(b"auth")
    if auth is None:
        raise PeerError("malformed OAUTHBEARER message: no auth value")
    if not auth:
        return None
    scheme, _, word = auth.partition(b" ")
    word = word.strip(b" ")
    if scheme.lower() != b"bearer" or not _TOKEN.fullmatch(word):
        raise PeerError("malformed OAUTHBEARER message: no bearer token")
    return Secret(word)
