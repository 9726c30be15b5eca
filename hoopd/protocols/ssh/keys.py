"""SSH public keys and certificates as they come over the wire: read, and checked to have signed something.

Pure; not whether a key is somebody's (pins, authorities, registered keys). Specification: RFC 4253 section 6.6, RFC 8332 and 8709,
OpenSSH's PROTOCOL.certkeys and PROTOCOL.u2f.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection

from attrs import frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)
from twisted.conch.ssh.keys import Key

from hoopd.errors import PeerError
from hoopd.protocols.ssh import messages
from hoopd.protocols.ssh.messages import Reader

CERTIFICATE = b"-cert-v01@openssh.com"
#: NIST SP 800-131A: shorter ones have been given up
RSA_BITS_MIN = 2048
#: a certificate with hundreds of principals
BLOB_MAX = 32 * 1024

_SK = {b"sk-ssh-ed25519@openssh.com": b"ssh-ed25519", b"sk-ecdsa-sha2-nistp256@openssh.com": b"ecdsa-sha2-nistp256"}
_SK_CERTIFICATES = {
    b"sk-ssh-ed25519" + CERTIFICATE: b"sk-ssh-ed25519@openssh.com",
    b"sk-ecdsa-sha2-nistp256" + CERTIFICATE: b"sk-ecdsa-sha2-nistp256@openssh.com",
}
#: PROTOCOL.u2f: somebody touched it
_TOUCHED = 0x01

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@frozen
class Shown:
    """A key, or a certificate around one.

    @ivar kind: as its wire form says.
    @ivar application: of a key on a security token; None for others.
    """

    kind: bytes
    key: PublicKey
    blob: bytes
    certificate: SSHCertificate | None = None
    application: bytes | None = None

    @property
    def fingerprint(self) -> str:
        """Of the key, whether or not a certificate is around it, as OpenSSH shows it."""
        return fingerprint(self.blob if self.certificate is None else self.plain)

    @property
    def plain(self) -> bytes:
        """The key in wire form, without the certificate."""
        own = self.key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split(b" ")[1]
        blob = base64.b64decode(own)
        if self.application is None:
            return blob
        reader = Reader(blob)
        family = reader.string()
        kind = next(name for name, own in _SK.items() if own == family)
        return messages.string(kind) + reader.rest() + messages.string(self.application)


def fingerprint(blob: bytes) -> str:
    """As OpenSSH shows it: C{SHA256:…} without padding."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def kind(algorithm: bytes) -> bytes:
    """The kind of key, or of certificate, that signs with C{algorithm} (RFC 8332)."""
    if not algorithm.startswith(b"rsa-sha2-"):
        return algorithm
    return b"ssh-rsa" + (CERTIFICATE if algorithm.endswith(CERTIFICATE) else b"")


def line(blob: bytes) -> str:
    """A key or certificate as authorized_keys and .pub files have it, without comment."""
    return f"{Reader(blob).string().decode('ascii', 'replace')} {base64.b64encode(blob).decode()}"


def parse(text: str) -> Shown:
    """@param text: a line as .pub files have it. @raise PeerError: it is none"""
    words = text.split()
    try:
        return read(base64.b64decode(words[1], validate=True))
    except (IndexError, ValueError):
        raise PeerError("is no public key: a kind and a key, as .pub files have them") from None


def read(blob: bytes) -> Shown:
    """
    @param blob: key or certificate in wire form.
    @raise PeerError: neither, or of a kind that is not taken.
    """
    if len(blob) > BLOB_MAX:
        raise PeerError("a key or certificate of that size is none")
    kind = Reader(blob).string()
    try:
        identity = load_ssh_public_identity(kind + b" " + base64.b64encode(blob))
    except Exception as problem:
        # cryptography raises ValueError, UnsupportedAlgorithm or TypeError, by what is wrong
        raise PeerError(f"unreadable key: {problem}") from None
    certificate = identity if isinstance(identity, SSHCertificate) else None
    key = certificate.public_key() if certificate is not None else identity
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS_MIN:
        raise PeerError(f"an RSA key of {key.key_size} bits is too short")
    if not isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise PeerError("a key of a kind that is not taken")
    return Shown(kind, key, blob, certificate, _application(kind, blob))


def _application(kind: bytes, blob: bytes) -> bytes | None:
    certified = kind in _SK_CERTIFICATES
    family = _SK.get(_SK_CERTIFICATES.get(kind, kind))
    if family is None:
        return None
    reader = Reader(blob)
    # kind; a certificate's nonce; a curve's name; the key
    for _ in range(2 + certified + family.startswith(b"ecdsa")):
        reader.string()
    return reader.string()


def issuer(certificate: SSHCertificate) -> bytes:
    """The key that made it, in wire form."""
    shown = certificate.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return base64.b64decode(shown.split(b" ")[1])


def certificate_problem(
    certificate: SSHCertificate, authorities: Collection[bytes], kind: SSHCertificateType, now: float
) -> str:
    """Why a certificate is not good, or C{""}; whom it names is the caller's to check.

    @param authorities: keys that may have made it, in wire form.
    @param now: seconds since the epoch.
    """
    if issuer(certificate) not in authorities:
        return "it is of an authority that is not trusted for that"
    try:
        certificate.verify_cert_signature()
    except InvalidSignature:
        return "its signature is wrong"
    if certificate.type is not kind:
        return "it is of another kind"
    if not certificate.valid_after <= now < certificate.valid_before:
        return "it is not valid now"
    if certificate.critical_options:
        return "it has critical options that are not known here"
    return ""


def check_signature(blob: bytes, algorithm: bytes, signature: bytes, signed: bytes) -> Shown:
    """
    @param algorithm: what was agreed upon: the signature must be of it, not of an older one that the key could make too.
    @return: whose signature it is.
    @raise PeerError: it is not C{blob}'s signature of C{signed}.
    """
    shown = read(blob)
    wanted = _SK_CERTIFICATES.get(algorithm, algorithm.removesuffix(CERTIFICATE))
    if (shown.certificate is not None) != algorithm.endswith(CERTIFICATE):
        raise PeerError("the key is not of the kind that was agreed upon")
    reader = Reader(signature)
    kind = reader.string()
    family = b"ssh-rsa" if wanted.startswith(b"rsa-sha2-") else wanted
    if kind != wanted or Reader(shown.plain).string() != family:
        raise PeerError("the signature is not of the algorithm that was agreed upon")
    if shown.application is not None:
        signature, signed = _unwrapped(shown.application, reader, _SK[kind], signed)
    try:
        good = Key(shown.key).verify(signature, signed)
    except (InvalidSignature, ValueError):
        good = False
    if not good:
        raise PeerError("the signature is wrong")
    return shown


def _unwrapped(application: bytes, reader: Reader, family: bytes, signed: bytes) -> tuple[bytes, bytes]:
    """A security token's signature: what it signed, and the plain signature in it (PROTOCOL.u2f, "SSH U2F Signatures")."""
    raw = reader.string()
    rest = reader.rest()
    if len(rest) != 5:
        raise PeerError("a security token's signature without flags and counter")
    if not rest[0] & _TOUCHED:
        raise PeerError("nobody touched the security token")
    said = hashlib.sha256(application).digest() + rest + hashlib.sha256(signed).digest()
    return messages.string(family) + messages.string(raw), said
