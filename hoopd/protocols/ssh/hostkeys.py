"""Host keys and host certificates as they come in a key exchange: read, and checked to have signed it.

Pure; not whether the key is the right one (pins, authorities, first use). Specification: RFC 4253 section 6.6, RFC 8332 and 8709,
OpenSSH's PROTOCOL.certkeys.
"""

from __future__ import annotations

import base64

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity
from twisted.conch.ssh.common import getNS
from twisted.conch.ssh.keys import Key

from hoopd.errors import PeerError

CERTIFICATE = b"-cert-v01@openssh.com"
#: NIST SP 800-131A: shorter ones have been given up
RSA_BITS_MIN = 2048

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def read(blob: bytes) -> tuple[PublicKey, SSHCertificate | None]:
    """
    @param blob: key or certificate in wire form.
    @return: the key, and the certificate around it if it is one.
    @raise PeerError: neither, or of a kind that is not taken.
    """
    kind = getNS(blob)[0]
    try:
        identity = load_ssh_public_identity(kind + b" " + base64.b64encode(blob))
    except Exception as problem:
        # cryptography raises ValueError, UnsupportedAlgorithm or TypeError, by what is wrong
        raise PeerError(f"unreadable host key: {problem}") from None
    certificate = identity if isinstance(identity, SSHCertificate) else None
    key = certificate.public_key() if certificate is not None else identity
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS_MIN:
        raise PeerError(f"an RSA key of {key.key_size} bits is too short")
    if not isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise PeerError("a host key of a kind that is not taken")
    return key, certificate


def check_signature(blob: bytes, algorithm: bytes, signature: bytes, signed: bytes) -> None:
    """
    @param algorithm: what was negotiated: the signature must be of it, not of an older one that the key could make too.
    @raise PeerError: it is not C{blob}'s signature of C{signed}.
    """
    wanted = algorithm.removesuffix(CERTIFICATE)
    key, certificate = read(blob)
    if (certificate is not None) != algorithm.endswith(CERTIFICATE):
        raise PeerError("the host key is not of the kind that was agreed upon")
    kind = getNS(signature)[0]
    family = b"ssh-rsa" if wanted.startswith(b"rsa-sha2-") else wanted
    conch = Key(key)
    if kind != wanted or conch.sshType() != family:
        raise PeerError("the host's signature is not of the algorithm that was agreed upon")
    try:
        good = conch.verify(signature, signed)
    except (InvalidSignature, ValueError):
        good = False
    if not good:
        raise PeerError("the host's signature is wrong")
