"""An OpenID provider in memory: keys, tokens, documents, and switches for everything that can go wrong."""

from __future__ import annotations

import base64
import json
import warnings
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from twisted.internet.defer import Deferred, fail, succeed

from hoopd.config.schema import OidcProvider
from hoopd.errors import Unavailable
from hoopd.identity.fetch import Fetched

NOW = 1_800_000_000
ISSUER = "https://id.example"
PROVIDER = OidcProvider(issuer=ISSUER, audience=("hoopd",))

# made once: RSA keys take a while
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
RSA_2 = RSAKey.generate_key(2048, {"kid": "rsa-2"})
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that it is weak is the point
    WEAK_RSA = RSAKey.generate_key(1024, {"kid": "weak"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
EC_384 = ECKey.generate_key("P-384", {"kid": "ec-384"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
HMAC = OctKey.generate_key(256, {"kid": "hmac"})

CLAIMS = {"iss": ISSUER, "aud": "hoopd", "sub": "priya", "exp": NOW + 300, "iat": NOW, "groups": ["eng"]}


def public(*keys: Any) -> list[dict[str, Any]]:
    """@return: the public JWKs of C{keys}."""
    return [key.as_dict(private=False) for key in keys]


def b64(value: Any) -> bytes:
    """Base64url of C{value}, as JSON unless it is bytes."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def sign(claims: Any = None, key: Any = RSA, alg: str = "RS256", **header: Any) -> bytes:
    """A token; C{claims} may be bytes, C{header} adds to alg and kid (None removes)."""
    wanted = {k: v for k, v in {"alg": alg, "kid": key.kid, **header}.items() if v is not None}
    payload = claims if isinstance(claims, bytes) else json.dumps(CLAIMS if claims is None else claims).encode()
    message = b64(wanted) + b"." + b64(payload)
    model = jws.JWSRegistry.algorithms[alg]
    return message + b"." + b64(model.sign(message, key))


def claims(**changes: Any) -> dict[str, Any]:
    """The good claims, changed; None removes one."""
    return {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}


class Issuer:
    """Stands in for L{hoopd.identity.fetch.HttpsFetch}.

    @ivar fetched: URLs asked for.
    @ivar away: nothing answers.
    @ivar silent: answers wait in C{held}.
    """

    def __init__(self, *keys: Any) -> None:
        self.keys: list[dict[str, Any]] = public(*(keys or (RSA, EC, ED)))
        self.discovery: Any = {"issuer": ISSUER, "jwks_uri": ISSUER + "/keys"}
        self.max_age: float | None = None
        self.fetched: list[str] = []
        self.away = False
        self.silent = False
        self.held: list[Deferred[Fetched]] = []

    @property
    def rounds(self) -> int:
        """How often discovery was fetched."""
        return sum(url.endswith("openid-configuration") for url in self.fetched)

    def __call__(self, url: str, authorities: str = "", allow_http: bool = False) -> Deferred[Fetched]:
        self.fetched.append(url)
        if self.away:
            return fail(Unavailable("no route"))
        if self.silent:
            self.held.append(Deferred())
            return self.held[-1]
        body = self.discovery if url.endswith("openid-configuration") else {"keys": self.keys}
        return succeed(Fetched(body if isinstance(body, bytes) else json.dumps(body).encode(), self.max_age))
