"""Reading tokens, keys and claims: everything that looks like a token and is none."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest
from attrs import evolve
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.errors import AuthenticationFailed
from hoopd.identity import jwt
from tests.identity.issuer import (
    CLAIMS,
    EC,
    EC_384,
    ED,
    HMAC,
    NOW,
    PROVIDER,
    RSA,
    RSA_2,
    WEAK_RSA,
    b64,
    claims,
    public,
    sign,
)


def keys(*which: Any) -> tuple[jwt.PublicKey, ...]:
    return jwt.read_keys(json.dumps({"keys": public(*which)}).encode())


KEYS = keys(RSA, EC, ED)


def verify(token: bytes, provider: Any = PROVIDER, now: float = NOW, known: Any = KEYS) -> int:
    """What the verifier does with keys at hand."""
    read = jwt.read(token)
    expires = jwt.check_claims(read, provider, now)
    key = jwt.choose(known, read.algorithm, read.kid)
    if key is None:
        raise AuthenticationFailed("no key")
    jwt.verify_signature(read, key)
    return expires


@pytest.mark.parametrize(
    "token",
    [
        sign(),
        sign(alg="PS256"),
        sign(key=EC, alg="ES256"),
        sign(key=ED, alg="EdDSA"),
        sign(key=ED, alg="Ed25519"),
        sign(typ="at+jwt"),
        sign(typ="JWT"),
        sign(typ="application/AT+JWT"),
        sign(claims(aud=["hoopd"])),
        sign(claims(aud=["hoopd", "other"], azp="hoopd")),
        sign(claims(aud=["hoopd", "other"]), typ="at+jwt"),
        sign(claims(azp="some-client")),
    ],
)
def test_good_tokens(token: bytes) -> None:
    assert verify(token) == NOW + 300


def test_a_changed_payload_or_signature() -> None:
    header, payload, signature = sign().split(b".")
    other = b64(claims(sub="root"))
    for token in (
        b".".join((header, other, signature)),
        b".".join((header, payload, signature[:-4])),
        b".".join((header, payload, b64(b"\0" * 256))),
        b".".join((header, payload, b"A")),
        sign(key=RSA_2, kid="rsa"),
    ):
        with pytest.raises(AuthenticationFailed):
            verify(token)


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"..",
        b"a.b.c",
        sign() + b".x",
        sign() + b"\n",
        b" " + sign(),
        sign().replace(b".", b"=.", 1),
        sign().rpartition(b".")[0] + b".",
        b64({"alg": "none"}) + b"." + b64(CLAIMS) + b".AA",
        sign(b"[]"),
        sign(b"null"),
        sign(b"{} {}"),
        sign(b'{"sub": NaN}'),
        sign(b'{"exp": Infinity}'),
        sign(b"\xff\xfe{}"),
        sign(b"[" * 10_000),
        sign(b'{"a":' * 3000),
        sign(b'{"iss":"https://id.example","iss":"https://id.example"}'),
        sign(b'{"a":{"b":1,"b":2}}'),
        sign(b'{"a":' + b"9" * 5000 + b"}"),
        sign(crit=["b64"], b64=False),
        sign(crit=[]),
        sign(crit=["exp"], exp=1),
        sign(b64=False),
        sign(kid=7),
        sign(kid=["rsa"]),
        sign(typ=1),
        sign(typ="logout+jwt"),
        sign(typ="dpop+jwt"),
        sign(typ="secevent+jwt"),
        b64(b'{"alg":"RS256","alg":"none"}') + sign()[sign().index(b".") :],
        sign(claims(padding="x" * 17_000)),
        b"a" * (1024 * 1024),
    ],
)
def test_what_is_not_even_read(token: bytes) -> None:
    with pytest.raises(AuthenticationFailed):
        jwt.read(token)


def test_none_and_hmac_with_the_public_key() -> None:
    pem = RSA.public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for algorithm in ("none", "None", "NONE", "HS256", "HS512", "", "RS1"):
        assert algorithm not in jwt.ALGORITHMS
        with pytest.raises(AuthenticationFailed, match="algorithm"):
            jwt.read(b64({"alg": algorithm, "kid": "rsa"}) + b"." + b64(CLAIMS) + b".AAAA")
    message = b64({"alg": "HS256", "kid": "rsa"}) + b"." + b64(CLAIMS)
    with pytest.raises(AuthenticationFailed, match="algorithm"):
        jwt.read(message + b"." + b64(hmac.digest(pem, message, "sha256")))


def test_the_key_type_must_fit_the_algorithm() -> None:
    assert jwt.choose(KEYS, "ES256", "rsa") is None
    assert jwt.choose(KEYS, "RS256", "ec") is None
    assert jwt.choose(keys(EC_384), "ES256", "ec-384") is None
    restricted = json.dumps({"keys": [{**public(RSA)[0], "alg": "PS256"}]}).encode()
    assert jwt.choose(jwt.read_keys(restricted), "RS256", "rsa") is None
    assert jwt.choose(jwt.read_keys(restricted), "PS256", "rsa") is not None


def test_kid_is_a_name_among_the_providers_keys_and_nothing_else() -> None:
    for kid in ("../../../../dev/null", "/etc/passwd", "' OR 1=1 --", "https://evil.example/keys", "RSA", "rsa\0"):
        assert jwt.choose(KEYS, "RS256", kid) is None
    assert jwt.choose(keys(RSA), "RS256", "") is not None
    assert jwt.choose(keys(RSA, RSA_2), "RS256", "") is None
    # two keys of one name: neither, rather than the first
    twins = jwt.read_keys(json.dumps({"keys": [*public(RSA), {**public(RSA_2)[0], "kid": "rsa"}]}).encode())
    assert jwt.choose(twins, "RS256", "rsa") is None


def test_keys_that_a_token_brings_along_are_not_looked_at() -> None:
    evil = public(RSA_2)[0]
    for header in (
        {"jwk": evil},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/chain"},
        {"x5c": ["MIIB"]},
    ):
        with pytest.raises(AuthenticationFailed):
            verify(sign(key=RSA_2, kid="rsa", **header))
        # and are no hindrance in a good one
        if "x5c" not in header:
            verify(sign(**header))


def test_keys_that_are_passed_over() -> None:
    good = public(RSA)[0]
    for bad in (
        public(WEAK_RSA)[0],
        HMAC.as_dict(),
        {**good, "use": "enc"},
        {**good, "key_ops": ["encrypt"]},
        {**good, "key_ops": "verify"},
        {**good, "n": 5},
        {**good, "n": "!!"},
        {**good, "kid": 5},
        {**good, "alg": []},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-1", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        {"kty": "OKP", "crv": "X25519", "x": base64.urlsafe_b64encode(b"x" * 32).decode().rstrip("=")},
        {"kty": "what"},
        {},
    ):
        found = jwt.read_keys(json.dumps({"keys": [bad, {**good, "kid": "good"}, 7, None]}).encode())
        fitting = [key for key in found if any(jwt.choose([key], alg, key.kid) for alg in jwt.ALGORITHMS)]
        assert [key.kid for key in fitting] == ["good"], bad


def test_a_leaked_private_key_is_not_kept() -> None:
    (key,) = jwt.read_keys(json.dumps({"keys": [RSA.as_dict(private=True)]}).encode())
    assert not key.key.is_private


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[]}', b'{"keys":[{}]}', b'{"keys":[],"keys":[]}', b"<html>"],
)
def test_documents_that_are_no_key_sets(document: bytes) -> None:
    with pytest.raises(ValueError):
        jwt.read_keys(document)


def test_a_key_set_without_end() -> None:
    with pytest.raises(ValueError):
        jwt.read_keys(json.dumps({"keys": public(RSA) * 101}).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://id.example/"},
        {"iss": "https://ID.example"},
        {"iss": "http://id.example"},
        {"iss": ["https://id.example"]},
        {"iss": None},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": []},
        {"aud": None},
        {"aud": 7},
        {"aud": ["hoopd", 7]},
        {"aud": {"hoopd": 1}},
        {"aud": "HOOPD"},
        {"aud": "hoopd other"},
        {"aud": ["hoopd", "other"]},
        {"aud": ["hoopd", "other"], "azp": "other"},
        {"azp": ["hoopd"]},
        {"exp": None},
        {"exp": str(NOW + 300)},
        {"exp": NOW + 300.5},
        {"exp": True},
        {"exp": [NOW + 300]},
        {"exp": 10**18},
        {"exp": 10**400},
        {"exp": -1},
        {"exp": 0},
        {"exp": NOW - 60},
        {"nbf": NOW + 60},
        {"nbf": True},
        {"nbf": "now"},
        {"nbf": 1.5},
        {"iat": NOW + 60},
        {"iat": 10**30},
        {"iat": False},
        {"cnf": {"jkt": "x"}},
        {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
    ],
)
def test_claims_that_must_be_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(AuthenticationFailed):
        verify(sign(claims(**changes)))


def test_leeway_ends_where_it_says() -> None:
    exact = evolve(PROVIDER, leeway=30.0)
    verify(sign(claims(exp=NOW - 29)), exact)
    verify(sign(claims(nbf=NOW + 30, iat=NOW + 30)), exact)
    for late in ({"exp": NOW - 30}, {"nbf": NOW + 31}, {"iat": NOW + 31}):
        with pytest.raises(AuthenticationFailed):
            verify(sign(claims(**late)), exact)


def test_a_null_claim_is_not_an_absent_one() -> None:
    with pytest.raises(AuthenticationFailed):
        verify(sign(json.dumps({**CLAIMS, "nbf": None}).encode()))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_raise_authentication_failed_only(noise: bytes, kept: int) -> None:
    for token in (noise, sign()[:kept] + noise, b64(noise) + b"." + b64(noise) + b"." + b64(noise)):
        with pytest.raises(AuthenticationFailed):
            verify(token)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "azp", "cnf"]), _json)
def test_any_value_of_a_claim_is_judged_without_a_fault(name: str, value: Any) -> None:
    token = jwt.Unverified(b"", "RS256", "", "jwt", {**CLAIMS, name: value}, b"")
    try:
        assert isinstance(jwt.check_claims(token, PROVIDER, NOW), int)
    except AuthenticationFailed:
        return


@settings(max_examples=60, deadline=None)
@given(_json)
def test_any_key_set_is_read_or_refused(value: Any) -> None:
    for document in (value, {"keys": value}, {"keys": [value]}, {"keys": [{**public(EC)[0], "x": value}]}):
        try:
            jwt.read_keys(json.dumps(document).encode())
        except ValueError:
            continue
