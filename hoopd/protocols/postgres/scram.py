"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, both sides, as values; not the messages that carry them.

RFC 5802 and RFC 7677, channel binding C{tls-server-end-point} of RFC 5929, with PostgreSQL's habits (manual,
"SASL Authentication"): the user name within SCRAM is empty, since the startup packet names the user, and a password
that SASLprep refuses is used as it is. The client is what the vault answers targets with; the server is for tests.

The slow part, PBKDF2, is left to the caller: L{ScramClient.read_first} says with which salt and how often,
L{salted_password} does it (in a thread), L{ScramClient.final} takes the result.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import stringprep
import unicodedata
from typing import NoReturn

from attrs import define, field, frozen

from hoopd.errors import PeerError

PLAIN = "SCRAM-SHA-256"
PLUS = "SCRAM-SHA-256-PLUS"

#: RFC 7677 section 4: at least 4096; PostgreSQL's default
MIN_ITERATIONS = 4096
#: a server that asks for more wants our time: a million is 0.4 s of one core
MAX_ITERATIONS = 1_000_000
#: PostgreSQL's own messages are about 100 bytes; its salt is 16, its nonce 24 characters
MAX_MESSAGE = 4096
MAX_SALT = 1024
_BINDING = "tls-server-end-point"


@frozen
class Challenge:
    """What the server wants computed."""

    salt: bytes
    iterations: int


def prepare(password: bytes) -> bytes:
    """SASLprep (RFC 4013) as libpq does it: plain ASCII, invalid UTF-8 and refused strings stay as they are."""
    try:
        text = password.decode("utf-8")
    except UnicodeDecodeError:
        return password
    if text.isascii():
        return password
    mapped = "".join(
        " " if stringprep.in_table_c12(letter) else letter for letter in text if not stringprep.in_table_b1(letter)
    )
    normal = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    prohibited = (
        stringprep.in_table_c12,
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
        stringprep.in_table_a1,
    )
    if not normal or any(table(letter) for letter in normal for table in prohibited):
        return password
    if any(stringprep.in_table_d1(letter) for letter in normal):
        # RFC 3454 section 6: right-to-left text begins and ends so, and holds nothing left-to-right
        ends = stringprep.in_table_d1(normal[0]) and stringprep.in_table_d1(normal[-1])
        if not ends or any(stringprep.in_table_d2(letter) for letter in normal):
            return password
    return normal.encode()


def salted_password(password: bytes, challenge: Challenge) -> bytes:
    """C{Hi(Normalize(password), salt, i)}: 2 ms at 4096 iterations, and releases the interpreter lock."""
    return hashlib.pbkdf2_hmac("sha256", prepare(password), challenge.salt, challenge.iterations)


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _decode(text: bytes, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise PeerError(f"SCRAM: {what} is not base64") from None


def _attributes(message: bytes, names: str) -> list[bytes]:
    """Split C{a=…,b=…} into the values of exactly C{names}, in order; further extensions may follow (RFC 5802 5.1)."""
    if len(message) > MAX_MESSAGE:
        raise PeerError("SCRAM: message too long")
    parts = message.split(b",")
    if len(parts) < len(names):
        raise PeerError("SCRAM: message is not complete")
    values = []
    for name, part in zip(names, parts, strict=False):
        if not part.startswith(name.encode() + b"="):
            raise PeerError(f"SCRAM: {name}= expected")
        values.append(part[2:])
    return values


def _printable(nonce: bytes) -> bool:
    return bool(nonce) and all(0x21 <= octet <= 0x7E and octet != 0x2C for octet in nonce)


#: state to the one call that is legal in it
_NEXT = {"begun": "first", "first": "read_first", "challenged": "final", "answered": "read_final"}


@define
class ScramClient:
    """One exchange, seen from the client.

    @ivar nonce: fresh and unguessable: printable ASCII without comma; 24 characters are PostgreSQL's.
    @ivar binding: the C{tls-server-end-point} value; its presence makes this SCRAM-SHA-256-PLUS.
    @ivar tls: the connection is encrypted and we could have bound to it, but the server did not offer to; a server
        that did offer then knows that somebody cut its offer (RFC 5802 section 6, flag C{y}).
    """

    nonce: bytes
    binding: bytes | None = field(default=None, repr=False)
    tls: bool = False
    _state: str = field(default="begun", init=False)
    _bare: bytes = field(default=b"", init=False, repr=False)
    _server_first: bytes = field(default=b"", init=False, repr=False)
    _full_nonce: bytes = field(default=b"", init=False, repr=False)
    _signature: bytes = field(default=b"", init=False, repr=False)

    @property
    def mechanism(self) -> str:
        """Which mechanism to name in SASLInitialResponse."""
        return PLAIN if self.binding is None else PLUS

    @property
    def _header(self) -> bytes:
        if self.binding is not None:
            return b"p=" + _BINDING.encode() + b",,"
        return b"y,," if self.tls else b"n,,"

    def _step(self, call: str, state: str) -> None:
        if _NEXT.get(self._state) != call:
            raise PeerError(f"SCRAM: {call} is out of order after {self._state}")
        self._state = state

    def first(self) -> bytes:
        """@return: the client-first message."""
        if not _printable(self.nonce):
            raise ValueError("the nonce must be printable ASCII without comma")
        self._step("first", "first")
        self._bare = b"n=,r=" + self.nonce
        return self._header + self._bare

    def read_first(self, message: bytes) -> Challenge:
        """
        @param message: the server-first message.
        @return: what to compute.
        @raise PeerError: malformed, not an answer to our nonce, or absurd costs.
        """
        self._step("read_first", "broken")
        nonce, salt64, count = _attributes(message, "rsi")
        if not nonce.startswith(self.nonce) or len(nonce) <= len(self.nonce) or not _printable(nonce):
            raise PeerError("SCRAM: the nonce is not an answer to ours")
        salt = _decode(salt64, "salt")
        if not 1 <= len(salt) <= MAX_SALT:
            raise PeerError("SCRAM: salt of absurd size")
        if not count.isdigit() or len(count) > 7 or not MIN_ITERATIONS <= int(count) <= MAX_ITERATIONS:
            raise PeerError(f"SCRAM: iteration count is not within {MIN_ITERATIONS} to {MAX_ITERATIONS}")
        self._server_first, self._full_nonce = message, nonce
        self._state = "challenged"
        return Challenge(salt, int(count))

    def final(self, salted: bytes) -> bytes:
        """
        @param salted: L{salted_password} for the challenge.
        @return: the client-final message.
        """
        self._step("final", "answered")
        bound = base64.b64encode(self._header + (self.binding or b""))
        without_proof = b"c=" + bound + b",r=" + self._full_nonce
        auth = b",".join((self._bare, self._server_first, without_proof))
        client_key = _mac(salted, b"Client Key")
        proof = _xor(client_key, _mac(hashlib.sha256(client_key).digest(), auth))
        self._signature = _mac(_mac(salted, b"Server Key"), auth)
        return without_proof + b",p=" + base64.b64encode(proof)

    def read_final(self, message: bytes) -> None:
        """Check that the server knows the password too.

        @raise PeerError: it does not, or it refused ours.
        """
        self._step("read_final", "broken")
        if message.startswith(b"e="):
            raise PeerError("SCRAM: the server refused the proof")
        (signature,) = _attributes(message, "v")
        if not hmac.compare_digest(_decode(signature, "server signature"), self._signature):
            raise PeerError("SCRAM: wrong server signature: this server does not know the password")
        self._state = "done"


@define
class ScramServer:
    """One exchange, seen from the server, strict; for tests of the client and of what carries it.

    @ivar binding: what the server knows to be its certificate's hash, or None without TLS.
    """

    password: bytes = field(repr=False)
    salt: bytes
    nonce: bytes
    iterations: int = MIN_ITERATIONS
    binding: bytes | None = None
    _header: bytes = field(default=b"", init=False)
    _bare: bytes = field(default=b"", init=False)
    _first: bytes = field(default=b"", init=False)
    _full_nonce: bytes = field(default=b"", init=False)

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """What to offer."""
        return (PLAIN,) if self.binding is None else (PLUS, PLAIN)

    def _refuse(self, why: str) -> NoReturn:
        raise PeerError(f"SCRAM: {why}")

    def first(self, mechanism: str, message: bytes) -> bytes:
        """@return: server-first for C{message}, client-first under C{mechanism}."""
        parts = message.split(b",", 2)
        if len(parts) != 3 or parts[1]:
            self._refuse("malformed client-first")
        flag = parts[0]
        if flag == b"y" and self.binding is not None:
            self._refuse("the client thinks that no channel binding was offered: downgrade")
        if (mechanism == PLUS) != flag.startswith(b"p="):
            self._refuse("channel binding flag does not fit the mechanism")
        if flag.startswith(b"p=") and (flag != b"p=" + _BINDING.encode() or self.binding is None):
            self._refuse("channel binding type not offered")
        if flag not in (b"n", b"y") and not flag.startswith(b"p="):
            self._refuse("channel binding flag")
        self._header, self._bare = flag + b",,", parts[2]
        _user, client_nonce = _attributes(self._bare, "nr")
        if not _printable(client_nonce):
            self._refuse("nonce")
        self._full_nonce = client_nonce + self.nonce
        self._first = b"r=%b,s=%b,i=%d" % (self._full_nonce, base64.b64encode(self.salt), self.iterations)
        return self._first

    def final(self, message: bytes) -> bytes:
        """@return: server-final for C{message}, client-final. @raise PeerError: wrong proof or binding."""
        without_proof, mark, proof64 = message.rpartition(b",p=")
        bound, nonce = _attributes(without_proof, "cr")
        if not mark or nonce != self._full_nonce:
            self._refuse("nonce of client-final")
        expected = self._header + ((self.binding or b"") if self._header.startswith(b"p=") else b"")
        if _decode(bound, "channel binding") != expected:
            self._refuse("channel binding does not match")
        auth = b",".join((self._bare, self._first, without_proof))
        salted = salted_password(self.password, Challenge(self.salt, self.iterations))
        stored = hashlib.sha256(_mac(salted, b"Client Key")).digest()
        proof = _decode(proof64, "proof")
        if len(proof) != len(stored):
            self._refuse("proof of wrong size")
        if not hmac.compare_digest(hashlib.sha256(_xor(proof, _mac(stored, auth))).digest(), stored):
            self._refuse("wrong proof")
        return b"v=" + base64.b64encode(_mac(_mac(salted, b"Server Key"), auth))
