"""Keys and certificates over the wire: what signed what, and when a certificate is good."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, SSHCertificateType
from hypothesis import given
from hypothesis import strategies as st
from twisted.conch.ssh.keys import Key

from hoopd.errors import PeerError
from hoopd.protocols.ssh import keys
from hoopd.protocols.ssh.messages import string
from hoopd.vault.ssh_authority import SshAuthority

NOW = 1_800_000_000.0
ED = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
OURS, THEIRS = SshAuthority(bytes(32)), SshAuthority(bytes([1]) * 32)


def blob_of(private: Any) -> bytes:
    return bytes(Key(private).public().blob())


def trusted(authority: SshAuthority) -> list[bytes]:
    return [keys.parse(authority.public).blob]


def host(authority: SshAuthority = OURS, now: float = NOW, names: Sequence[str] = ("web1",)) -> bytes:
    made = authority.host(ED.public_key(), names, "hoopd", 7, now, 3600)
    return base64.b64decode(made.public_bytes().split(b" ")[1])


@pytest.mark.parametrize(
    ("private", "algorithm"),
    [(ED, b"ssh-ed25519"), (EC, b"ecdsa-sha2-nistp256"), (RSA, b"rsa-sha2-256"), (RSA, b"rsa-sha2-512")],
)
def test_a_signature_is_that_of_its_key_and_algorithm(private: Any, algorithm: bytes) -> None:
    signature = Key(private).sign(b"said", algorithm)
    assert keys.check_signature(blob_of(private), algorithm, signature, b"said").certificate is None
    with pytest.raises(PeerError, match="wrong"):
        keys.check_signature(blob_of(private), algorithm, signature, b"said otherwise")
    other = b"rsa-sha2-512" if algorithm != b"rsa-sha2-512" else b"rsa-sha2-256"
    with pytest.raises(PeerError):
        keys.check_signature(blob_of(private), other, signature, b"said")


def test_a_signature_with_sha1_is_none_though_the_key_could_make_it() -> None:
    old = Key(RSA).sign(b"said", b"ssh-rsa")
    for algorithm in (b"rsa-sha2-256", b"rsa-sha2-512"):
        with pytest.raises(PeerError, match="algorithm"):
            keys.check_signature(blob_of(RSA), algorithm, old, b"said")


def test_short_keys_and_other_kinds_are_not_taken() -> None:
    with pytest.raises(PeerError, match="too short"):
        keys.read(blob_of(rsa.generate_private_key(65537, 1024)))
    with pytest.raises(PeerError):
        keys.read(string(b"ssh-dss") + string(b"\1") * 4)
    with pytest.raises(PeerError, match="size"):
        keys.read(bytes(keys.BLOB_MAX + 1))


def security_token(flags: int) -> tuple[bytes, bytes]:
    """A key on a security token (OpenSSH's PROTOCOL.u2f) and its signature of C{said}, as one would make it."""
    public = ED.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    blob = string(b"sk-ssh-ed25519@openssh.com") + string(public) + string(b"ssh:")
    rest = bytes((flags,)) + (5).to_bytes(4, "big")
    raw = ED.sign(hashlib.sha256(b"ssh:").digest() + rest + hashlib.sha256(b"said").digest())
    return blob, string(b"sk-ssh-ed25519@openssh.com") + string(raw) + rest


def test_keys_on_security_tokens_count_where_somebody_touched_them() -> None:
    blob, signature = security_token(flags=1)
    shown = keys.check_signature(blob, b"sk-ssh-ed25519@openssh.com", signature, b"said")
    assert (shown.application, shown.plain, shown.fingerprint) == (b"ssh:", blob, keys.fingerprint(blob))
    with pytest.raises(PeerError, match="wrong"):
        keys.check_signature(blob, b"sk-ssh-ed25519@openssh.com", signature, b"else")
    blob, signature = security_token(flags=0)
    with pytest.raises(PeerError, match="touched"):
        keys.check_signature(blob, b"sk-ssh-ed25519@openssh.com", signature, b"said")


def test_a_certificate_signs_as_its_key_and_is_told_from_it() -> None:
    certified, signature = host(), Key(ED).sign(b"said")
    algorithm = b"ssh-ed25519" + keys.CERTIFICATE
    shown = keys.check_signature(certified, algorithm, signature, b"said")
    assert shown.fingerprint == keys.fingerprint(blob_of(ED))
    for blob, said in ((certified, b"ssh-ed25519"), (blob_of(ED), algorithm)):
        with pytest.raises(PeerError, match="agreed upon"):
            keys.check_signature(blob, said, signature, b"said")


def test_when_a_certificate_is_good() -> None:
    def problem(blob: bytes, kind: SSHCertificateType = SSHCertificateType.HOST, now: float = NOW) -> str:
        certificate = keys.read(blob).certificate
        assert certificate is not None
        return keys.certificate_problem(certificate, trusted(OURS), kind, now)

    assert problem(host()) == ""
    assert "authority" in problem(host(THEIRS))
    assert "another kind" in problem(host(), SSHCertificateType.USER)
    assert "not valid now" in problem(host(), now=NOW + 3601)
    assert "not valid now" in problem(host(now=NOW + 3600))
    changed = bytearray(host(names=("web1",)))
    changed[changed.index(b"web1")] ^= 1
    assert "signature" in problem(bytes(changed))


def test_a_certificate_without_names_is_not_made() -> None:
    with pytest.raises(ValueError, match="everyone"):
        OURS.user(ED.public_key(), (), "x", 1, NOW, 60)


@given(st.binary(max_size=200), st.integers(0, 300))
def test_hostile_blobs_are_a_peers_fault(noise: bytes, at: int) -> None:
    good = host()
    for blob in (noise, good[:at] + noise, string(b"ssh-ed25519") + noise):
        try:
            keys.check_signature(blob, b"ssh-ed25519", noise, b"said")
        except PeerError:
            continue
        raise AssertionError("nobody can have signed that")
