"""Whose certificate is believed, and what an exchange is bound to."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from hoopd.errors import ConfigError, TargetError
from hoopd.values import Target, TargetTls
from hoopd.vault.certificates import channel_binding, verify
from tests.vault.chains import NOW, Pair, make

ROOT = make("root", ca=True)
OTHER = make("root", ca=True)
MIDDLE = make("middle", ROOT, ca=True, sign_certificates=True)
LEAF = make("db", MIDDLE, names=("db.example", "10.0.0.7", "::1"))


def target(
    host: str = "db.example", mode: Any = "verify-full", server_name: str | None = None, trust: Any = ROOT
) -> Target:
    return Target("orders", "postgres", host, 5432, tls=TargetTls(mode, trust.pem, server_name))


def check(target: Target, *chain: Pair, now: float = NOW) -> None:
    verify(target, [one.der for one in chain], now)


def test_good_chains() -> None:
    check(target(), LEAF, MIDDLE)
    check(target("DB.Example."), LEAF, MIDDLE)
    check(target("10.0.0.7"), LEAF, MIDDLE)
    check(target("::1"), LEAF, MIDDLE)
    check(target("10.9.9.9", server_name="db.example"), LEAF, MIDDLE)
    check(target("elsewhere", "verify-ca"), LEAF, MIDDLE)
    check(target("any", "verify-ca"), make("nameless", ROOT))
    wild = make("wild", ROOT, names=("*.example",))
    check(target("db.example"), wild)
    own = make("own", ca=True, names=("db.example",))
    check(target(trust=own), own)


@pytest.mark.parametrize(
    ("wanted", "chain", "now"),
    [
        (target("other.example"), (LEAF, MIDDLE), NOW),
        (target("db.example.evil"), (LEAF, MIDDLE), NOW),
        (target("10.0.0.8"), (LEAF, MIDDLE), NOW),
        (target("10.0.0.7", server_name="other"), (LEAF, MIDDLE), NOW),
        (target(), (LEAF,), NOW),  # the authority in the middle is missing
        (target(trust=OTHER), (LEAF, MIDDLE), NOW),  # same name, another key
        (target("any", "verify-ca", trust=OTHER), (LEAF, MIDDLE), NOW),
        (target(), (LEAF, MIDDLE), NOW + 2 * 86400),
        (target("any", "verify-ca"), (LEAF, MIDDLE), NOW + 2 * 86400),
        (target(), (LEAF, MIDDLE), NOW - 7200),
        (target(), (make("db", ROOT),), NOW),  # no name but the common one
        (target(), (make("x", make("leaf", ROOT), names=("db.example",)), make("leaf", ROOT)), NOW),
        (target(), (make("x", ROOT, names=("db.example",), usage=ExtendedKeyUsageOID.CLIENT_AUTH),), NOW),
        (target("x", "verify-ca"), (make("x", ROOT, usage=ExtendedKeyUsageOID.CLIENT_AUTH),), NOW),
        (target("sub.db.example"), (make("w", ROOT, names=("*.example",)),), NOW),
        (target(), (), NOW),
        (target(), (LEAF,) * 11, NOW),
    ],
)
def test_chains_that_must_be_refused(wanted: Target, chain: tuple[Pair, ...], now: float) -> None:
    with pytest.raises(TargetError):
        check(wanted, *chain, now=now)


def test_an_authority_that_may_not_sign() -> None:
    middle = make("middle", ROOT, ca=True, sign_certificates=False)
    for mode in ("verify-full", "verify-ca"):
        with pytest.raises(TargetError):
            check(target(mode=mode), make("db", middle, names=("db.example",)), middle)


def test_bytes_that_are_no_certificate() -> None:
    damaged = bytearray(LEAF.der)
    damaged[-1] ^= 1
    for chain in ([b""], [b"\x30\x80"], [bytes(damaged), MIDDLE.der], [LEAF.der, b"x"]):
        with pytest.raises(TargetError):
            verify(target(), chain, NOW)


def test_authorities_that_are_none() -> None:
    broken = Target("t", "postgres", "h", 1, tls=TargetTls("verify-full", "no PEM"))
    with pytest.raises(ConfigError):
        verify(broken, [LEAF.der], NOW)


def test_the_systems_authorities_do_not_know_us() -> None:
    public = Target("t", "postgres", "db.example", 1)
    with pytest.raises(TargetError):
        verify(public, [LEAF.der, MIDDLE.der], NOW)


def test_channel_binding_uses_the_signatures_hash() -> None:
    assert channel_binding(LEAF.der) == hashlib.sha256(LEAF.der).digest()
    long = make("x", ROOT, algorithm=hashes.SHA384())
    assert channel_binding(long.der) == hashlib.sha384(long.der).digest()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    rsa512 = make("x", key=key, algorithm=hashes.SHA512())
    assert channel_binding(rsa512.der) == hashlib.sha512(rsa512.der).digest()
    assert channel_binding(make("x", key=ed25519.Ed25519PrivateKey.generate()).der) is None
