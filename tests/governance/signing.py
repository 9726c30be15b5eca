"""People who sign, without ssh-keygen: keys and SSHSIG signatures of every kind, security keys too."""

from __future__ import annotations

import base64
import hashlib
import struct
from functools import cached_property, lru_cache
from typing import Any

from attrs import define
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hoopd.governance.manifest import NAMESPACE

CURVES = {
    "nistp256": (ec.SECP256R1(), hashes.SHA256()),
    "nistp384": (ec.SECP384R1(), hashes.SHA384()),
    "nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
KINDS = ("ed25519", "rsa", *CURVES, "sk-ed25519", "sk-nistp256")


def string(octets: bytes | str) -> bytes:
    octets = octets.encode() if isinstance(octets, str) else octets
    return struct.pack(">I", len(octets)) + octets


def integer(value: int) -> bytes:
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


@lru_cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """Made once: it takes long."""
    return rsa.generate_private_key(65537, bits)


@define(eq=False, slots=False)
class Person:
    """@ivar kind: one of L{KINDS}. @ivar touched: flags of a security key."""

    name: str
    kind: str = "ed25519"
    touched: int = 1
    application: str = "ssh:"

    @cached_property
    def _private(self) -> Any:
        if self.kind.endswith("ed25519"):
            return ed25519.Ed25519PrivateKey.generate()
        if self.kind == "rsa":
            return rsa_key()
        return ec.generate_private_key(CURVES[self.kind.removeprefix("sk-")][0])

    @property
    def type(self) -> str:
        return {
            "ed25519": "ssh-ed25519",
            "rsa": "ssh-rsa",
            "sk-ed25519": "sk-ssh-ed25519@openssh.com",
            "sk-nistp256": "sk-ecdsa-sha2-nistp256@openssh.com",
        }.get(self.kind, f"ecdsa-sha2-{self.kind}")

    @property
    def public(self) -> bytes:
        key = self._private.public_key()
        if self.kind == "rsa":
            numbers = key.public_numbers()
            return string(self.type) + integer(numbers.e) + integer(numbers.n)
        if self.kind.endswith("ed25519"):
            octets = string(key.public_bytes(Encoding.Raw, PublicFormat.Raw))
        else:
            point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            octets = string(self.kind.removeprefix("sk-")) + string(point)
        return string(self.type) + octets + (string(self.application) if self.kind.startswith("sk-") else b"")

    def line(self, options: str = "") -> str:
        """Of allowed_signers."""
        return " ".join(filter(None, (self.name, options, self.type, base64.b64encode(self.public).decode())))

    def sign(self, text: str, namespace: str = NAMESPACE, algorithm: str = "sha512") -> str:
        """@return: the armoured signature."""
        digest = hashlib.new(algorithm, text.encode()).digest()
        signed = b"SSHSIG" + b"".join(map(string, (namespace, b"", algorithm, digest)))
        body = self.public, namespace.encode(), b"", algorithm.encode(), self._made(signed)
        return armoured(b"SSHSIG" + struct.pack(">I", 1) + b"".join(map(string, body)))

    def _made(self, signed: bytes) -> bytes:
        rest = b""
        if self.kind.startswith("sk-"):
            rest = struct.pack(">BI", self.touched, 7)
            signed = hashlib.sha256(self.application.encode()).digest() + rest + hashlib.sha256(signed).digest()
        if self.kind == "rsa":
            made = self._private.sign(signed, padding.PKCS1v15(), hashes.SHA512())
            return string("rsa-sha2-512") + string(made)
        if self.kind.endswith("ed25519"):
            return string(self.type) + string(self._private.sign(signed)) + rest
        made = self._private.sign(signed, ec.ECDSA(CURVES[self.kind.removeprefix("sk-")][1]))
        r, s = decode_dss_signature(made)
        return string(self.type) + string(integer(r) + integer(s)) + rest


def armoured(octets: bytes) -> str:
    text = base64.b64encode(octets).decode()
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----"]) + "\n"


def octets(signature: str) -> bytes:
    return base64.b64decode("".join(signature.splitlines()[1:-1]))
