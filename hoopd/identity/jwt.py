"""JSON Web Tokens of OpenID providers: reading, keys, signature and claims; pure, fetches nothing.

RFC 7515, 7517, 7519, 9068 and OpenID Connect Core 3.1.3.7; the signature itself is joserfc's. A token is hostile until its
signature holds: its size is bounded before anything is parsed, JSON with doubled names is refused (two readers would see
two tokens), and of its header only C{alg}, C{kid}, C{typ} and C{crit} are read. C{kid} is a name within the
provider's own keys and nothing else; C{jku}, C{x5u}, C{jwk} and C{x5c} say where an attacker's keys are and are not
looked at.
"""

from __future__ import annotations

import base64
import json
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from attrs import field, frozen
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.errors import SecurityWarning as JoseWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

from hoopd.config.schema import OidcProvider
from hoopd.errors import AuthenticationFailed

#: proxies cap headers at 8 or 16 KiB, so tokens that anybody uses are smaller
MAX_TOKEN = 16 * 1024
#: algorithm to the key type and curves it takes; neither none nor HMAC can ever be configured
ALGORITHMS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    **{f"{family}{bits}": ("RSA", ()) for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", ("P-256",)),
    "ES384": ("EC", ("P-384",)),
    "ES512": ("EC", ("P-521",)),
    "EdDSA": ("OKP", ("Ed25519", "Ed448")),
    "Ed25519": ("OKP", ("Ed25519",)),
}
#: NIST SP 800-57: smaller moduli are broken or soon will be; larger ones cost verifying time
MIN_RSA, MAX_RSA = 2048, 8192
#: providers publish two to ten
MAX_KEYS = 100
#: the year 9999: no number of seconds beyond it is a time
_END_OF_TIME = 253_402_300_799
_TYPES = ("jwt", "at+jwt", "application/jwt", "application/at+jwt")
_COMPACT = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


def _fail(why: str) -> NoReturn:
    raise AuthenticationFailed(why)


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("doubled name")
    return result


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def strict_json(text: bytes) -> dict[str, Any]:
    """@return: the object. @raise ValueError: not JSON in UTF-8, not an object, doubled names, NaN, too deep."""
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_no_twins, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _segment(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


@frozen
class Unverified:
    """A token that has been read and not believed."""

    token: bytes = field(repr=False)
    algorithm: str
    #: C{""} where the token names no key
    kid: str
    type: str
    claims: Mapping[str, Any] = field(repr=False)
    payload: bytes = field(repr=False)


def read(token: bytes) -> Unverified:
    """@raise AuthenticationFailed: it is not a token that we would look at further; the text is for the log."""
    if len(token) > MAX_TOKEN:
        _fail("token too large")
    found = _COMPACT.fullmatch(token)
    if found is None:
        _fail("not a compact JWT")
    try:
        header = strict_json(_segment(found.group(1)))
        payload = _segment(found.group(2))
        claims = strict_json(payload)
    except ValueError as error:
        _fail(f"malformed token: {error}")
    if "crit" in header or "b64" in header or "enc" in header:
        _fail("the token demands an extension that is not known here")
    algorithm, kid, type = header.get("alg"), header.get("kid", ""), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or not isinstance(kid, str) or not isinstance(type, str):
        _fail("malformed token header")
    if algorithm not in ALGORITHMS:
        _fail(f"algorithm {algorithm[:32]!r} is not accepted")
    if type.lower() not in _TYPES:
        # a logout token, a DPoP proof or a security event is signed by the same provider and proves nobody
        _fail(f"token of type {type[:64]!r}")
    return Unverified(token, algorithm, kid, type.lower(), claims, payload)


# -- keys ---------------------------------------------------------------------------------------------------------


@frozen
class PublicKey:
    """One key of a provider's set."""

    kid: str
    type: str
    curve: str
    #: what the provider restricts it to, or C{""}
    algorithm: str
    key: Any = field(repr=False)


def _public_key(entry: Mapping[str, Any]) -> PublicKey | None:
    """@return: the key, or None if it is not one that signs tokens, or is too weak."""
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    parameters = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}.get(str(entry.get("kty")))
    if parameters is None or not all(isinstance(entry.get(name), str) for name in parameters):
        return None
    kid, algorithm = entry.get("kid", ""), entry.get("alg", "")
    if not isinstance(kid, str) or not isinstance(algorithm, str):
        return None
    kty = str(entry["kty"])
    # only the public parameters: a set that leaks private ones does not make them ours
    material: dict[str, Any] = {"kty": kty, **{name: entry[name] for name in parameters}}
    try:
        key: Any
        if kty == "RSA":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", JoseWarning)  # small ones are passed over below
                key = RSAKey.import_key(material)
            if not MIN_RSA <= key.public_key.key_size <= MAX_RSA:
                return None
        else:
            key = (ECKey if kty == "EC" else OKPKey).import_key(material)
            _ = key.public_key  # the point is read only now
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return PublicKey(kid, kty, str(entry.get("crv", "")), algorithm, key)


def read_keys(document: bytes) -> tuple[PublicKey, ...]:
    """
    @param document: a JWK set (RFC 7517 section 5); what is unknown in it is passed over, as the RFC has it.
    @raise ValueError: it is none, or has no key that could be used.
    """
    entries = strict_json(document).get("keys")
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError("not a JWK set")
    keys = [_public_key(entry) for entry in entries if isinstance(entry, dict)]
    usable = tuple(key for key in keys if key is not None)
    if not usable:
        raise ValueError("no usable key in the JWK set")
    return usable


def choose(keys: Iterable[PublicKey], algorithm: str, kid: str) -> PublicKey | None:
    """@return: the key that C{algorithm} and C{kid} mean, or None: there is none, or several without a C{kid}."""
    type, curves = ALGORITHMS[algorithm]
    fitting = [
        key
        for key in keys
        if key.type == type
        and (not curves or key.curve in curves)
        and key.algorithm in ("", algorithm)
        and (not kid or key.kid == kid)
    ]
    return fitting[0] if len(fitting) == 1 else None


def verify_signature(token: Unverified, key: PublicKey) -> None:
    """@raise AuthenticationFailed: C{key} did not sign it."""
    registry = jws.JWSRegistry(algorithms=[token.algorithm], strict_check_header=False)
    registry.max_header_length = registry.max_payload_length = MAX_TOKEN
    try:
        with warnings.catch_warnings():
            # the name EdDSA is deprecated (RFC 9864), and what most providers write
            warnings.simplefilter("ignore", JoseWarning)
            verified = jws.deserialize_compact(token.token, key.key, registry=registry)
    except (JoseError, ValueError, TypeError, KeyError):
        _fail("bad signature")
    if verified.payload != token.payload:
        _fail("the payload reads in two ways")


# -- claims -------------------------------------------------------------------------------------------------------


def _time(claims: Mapping[str, Any], name: str) -> int | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if type(value) is not int or not 0 < value < _END_OF_TIME:
        _fail(f"{name} is not a time")
    return value


def _audience(token: Unverified, provider: OidcProvider) -> None:
    value = token.claims.get("aud")
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        _fail("no audience")
    if not set(listed) & set(provider.audience):
        _fail("for another audience")
    party = token.claims.get("azp")
    if party is not None and not isinstance(party, str):
        _fail("azp is not a string")
    # OpenID Connect Core 3.1.3.7 (4, 5). An access token of RFC 9068 says it is one, and has no such claim.
    if len(listed) > 1 and "at+jwt" not in token.type and party not in provider.audience:
        _fail("for several audiences, and the party it was issued to is not one of ours")


def check_claims(token: Unverified, provider: OidcProvider, now: float) -> int:
    """
    @param now: epoch seconds.
    @return: when the token expires.
    @raise AuthenticationFailed: issuer, audience, times, or a token that is no bearer's.
    """
    claims = token.claims
    if claims.get("iss") != provider.issuer:
        _fail("another issuer")
    _audience(token, provider)
    expires, begins, issued = (_time(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is None:
        _fail("no expiry")
    if expires + provider.leeway <= now:
        _fail("expired")
    if begins is not None and begins - provider.leeway > now:
        _fail("not valid yet")
    if issued is not None and issued - provider.leeway > now:
        _fail("issued in the future")
    if "cnf" in claims:
        # bound to a key that the sender would have to prove (RFC 7800, DPoP, mTLS): worthless as a bearer token
        _fail("bound to a key, which a password cannot prove")
    if "events" in claims:
        _fail("a security event or logout token")
    return expires
