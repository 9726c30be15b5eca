"""Public keys and signatures as C{ssh-keygen -Y sign} makes them: read and checked, nothing signed; pure.

OpenSSH's PROTOCOL.sshsig, PROTOCOL.u2f for security keys, RFC 4251 section 5 for the encoding, which is read strictly:
one key has one encoding, so that it cannot pass for two. Who may sign is L{hoopd.governance.signers}'s.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Callable, Mapping

from attrs import frozen
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_MAGIC = b"SSHSIG"
#: an RSA 16384 key and its signature have under 5 kB; larger keys only cost time
ARMOUR_MAX = 16 * 1024
#: RSA keys below are within reach of patient attackers (NIST SP 800-131A); above, one check takes long
RSA_MIN, RSA_MAX = 2048, 16384
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_CURVES: Mapping[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "nistp256": (ec.SECP256R1(), hashes.SHA256()),
    "nistp384": (ec.SECP384R1(), hashes.SHA384()),
    "nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
_RSA: Mapping[str, hashes.HashAlgorithm] = {"rsa-sha2-256": hashes.SHA256(), "rsa-sha2-512": hashes.SHA512()}
_SK_ED25519, _SK_ECDSA = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"
#: flag of a security key's signature: somebody touched it
_PRESENT = 0x01


class SignatureError(Exception):
    """Not a good key or signature; the text says why, for people."""


class Wire:
    """SSH's binary encoding, read from the front."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def take(self, count: int) -> bytes:
        taken = self._octets[self._at : self._at + count]
        if len(taken) < count:
            raise SignatureError("it is cut short")
        self._at += count
        return taken

    def number(self) -> int:
        return int(struct.unpack(">I", self.take(4))[0])

    def string(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        try:
            return self.string().decode("ascii")
        except UnicodeDecodeError:
            raise SignatureError("a name in it is no ASCII") from None

    def positive(self) -> int:
        octets = self.string()
        value = int.from_bytes(octets, "big", signed=True)
        if value <= 0 or octets != value.to_bytes(value.bit_length() // 8 + 1, "big"):
            raise SignatureError("a number in it is not positive, or not in its one encoding")
        return value

    def end(self) -> None:
        if self._at != len(self._octets):
            raise SignatureError("something follows its end")


def _string(octets: bytes) -> bytes:
    return struct.pack(">I", len(octets)) + octets


#: given the algorithm's name, the signature, what follows it, and the octets that were signed
_Check = Callable[[str, bytes, Wire, bytes], None]


@frozen(eq=False)
class PublicKey:
    """A key that may be used. @ivar octets: its encoding, which tells it from every other. @ivar kind: its type."""

    octets: bytes
    kind: str
    _check: _Check

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen -l shows it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.octets).digest()).decode().rstrip("=")

    @classmethod
    def parse(cls, octets: bytes) -> PublicKey:
        """@raise SignatureError: no key, or one that is not taken."""
        wire = Wire(octets)
        kind = wire.text()
        if kind not in _KINDS:
            raise SignatureError(f"keys of type {kind[:60]!r} are not taken: {', '.join(_KINDS)} are")
        try:
            check = _KINDS[kind](wire)
        except (ValueError, UnsupportedAlgorithm) as problem:
            raise SignatureError(f"it is no usable key: {problem}") from None
        wire.end()
        return cls(octets, kind, check)

    def check(self, blob: bytes, signed: bytes) -> None:
        """@param blob: algorithm and signature. @raise SignatureError: C{signed} was not signed by it."""
        wire = Wire(blob)
        algorithm, made = wire.text(), wire.string()
        try:
            self._check(algorithm, made, wire, signed)
        except InvalidSignature:
            raise SignatureError(
                "it is not a signature of this text: something was changed after it was made"
            ) from None
        wire.end()


def _ed25519(wire: Wire) -> _Check:
    key = ed25519.Ed25519PublicKey.from_public_bytes(wire.string())

    def check(algorithm: str, made: bytes, rest: Wire, signed: bytes) -> None:
        _same("ssh-ed25519", algorithm)
        key.verify(made, signed)

    return check


def _rsa(wire: Wire) -> _Check:
    exponent, modulus = wire.positive(), wire.positive()
    bits = modulus.bit_length()
    if not RSA_MIN <= bits <= RSA_MAX:
        raise SignatureError(f"an RSA key of {bits} bits is not taken: {RSA_MIN} to {RSA_MAX} are")
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()

    def check(algorithm: str, made: bytes, rest: Wire, signed: bytes) -> None:
        if algorithm not in _RSA:
            raise SignatureError(f"RSA signs by {' or '.join(_RSA)}, not by {algorithm[:60]!r}")
        key.verify(made, signed, padding.PKCS1v15(), _RSA[algorithm])

    return check


def _point(wire: Wire, curve: str) -> ec.EllipticCurvePublicKey:
    named, point = wire.text(), wire.string()
    if named != curve or not point.startswith(b"\x04"):
        raise SignatureError("its curve is another one than its type says, or its point is compressed")
    return ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[curve][0], point)


def _ecdsa_verify(key: ec.EllipticCurvePublicKey, curve: str, made: bytes, signed: bytes) -> None:
    parts = Wire(made)
    r, s = parts.positive(), parts.positive()
    parts.end()
    key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(_CURVES[curve][1]))


def _ecdsa(curve: str) -> Callable[[Wire], _Check]:
    def read(wire: Wire) -> _Check:
        key = _point(wire, curve)

        def check(algorithm: str, made: bytes, rest: Wire, signed: bytes) -> None:
            _same(f"ecdsa-sha2-{curve}", algorithm)
            _ecdsa_verify(key, curve, made, signed)

        return check

    return read


def _sk_ed25519(wire: Wire) -> _Check:
    key = ed25519.Ed25519PublicKey.from_public_bytes(wire.string())
    application = wire.string()

    def check(algorithm: str, made: bytes, rest: Wire, signed: bytes) -> None:
        _same(_SK_ED25519, algorithm)
        key.verify(made, _touched(application, rest, signed))

    return check


def _sk_ecdsa(wire: Wire) -> _Check:
    key = _point(wire, "nistp256")
    application = wire.string()

    def check(algorithm: str, made: bytes, rest: Wire, signed: bytes) -> None:
        _same(_SK_ECDSA, algorithm)
        _ecdsa_verify(key, "nistp256", made, _touched(application, rest, signed))

    return check


def _touched(application: bytes, rest: Wire, signed: bytes) -> bytes:
    """What a security key signs: the application, whether it was touched, its counter, and the digest."""
    flags, counter = rest.take(1), rest.take(4)
    if not flags[0] & _PRESENT:
        raise SignatureError("nobody touched the security key")
    return hashlib.sha256(application).digest() + flags + counter + hashlib.sha256(signed).digest()


def _same(kind: str, algorithm: str) -> None:
    if kind != algorithm:
        raise SignatureError(f"a key of type {kind} does not sign by {algorithm[:60]!r}")


_KINDS: Mapping[str, Callable[[Wire], _Check]] = {
    "ssh-ed25519": _ed25519,
    "ssh-rsa": _rsa,
    **{f"ecdsa-sha2-{curve}": _ecdsa(curve) for curve in _CURVES},
    _SK_ED25519: _sk_ed25519,
    _SK_ECDSA: _sk_ecdsa,
}


@frozen
class Signature:
    """One signature, not checked yet. @ivar key: the signer's public key, as the signature says itself."""

    key: PublicKey
    namespace: str
    hash: str
    blob: bytes

    @classmethod
    def parse(cls, armoured: str) -> Signature:
        """@raise SignatureError"""
        if len(armoured) > ARMOUR_MAX:
            raise SignatureError("it is no SSH signature: too long")
        lines = [line.strip() for line in armoured.strip().splitlines()]
        if len(lines) < 3 or (lines[0], lines[-1]) != (_BEGIN, _END):
            raise SignatureError("it is no SSH signature")
        try:
            wire = Wire(base64.b64decode("".join(lines[1:-1]), validate=True))
        except (binascii.Error, ValueError):
            raise SignatureError("it is no SSH signature: not base64") from None
        if wire.take(len(_MAGIC)) != _MAGIC or wire.number() != 1:
            raise SignatureError("it is no SSH signature of version 1")
        key, namespace = wire.string(), wire.text()
        wire.string()  # reserved: to be ignored, and no part of what was signed
        name, blob = wire.text(), wire.string()
        wire.end()
        if name not in _HASHES:
            raise SignatureError(f"its hash {name[:40]!r} is not known: {' and '.join(_HASHES)} are")
        return cls(PublicKey.parse(key), namespace, name, blob)

    def check(self, message: bytes) -> None:
        """Whether the key really signed C{message}, for the namespace that it names. @raise SignatureError"""
        digest = _HASHES[self.hash](message).digest()
        parts = (self.namespace.encode(), b"", self.hash.encode(), digest)
        self.key.check(self.blob, _MAGIC + b"".join(map(_string, parts)))
