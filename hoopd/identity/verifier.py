"""What the verifier process runs: other people's tokens, checked against other people's keys; implements IVerifier.

It parses what strangers and providers send, so it holds nothing: no store, no vault, no policy. The broker maps
what it returns (L{hoopd.identity.mapping}).
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from hoopd.config.schema import IdentityConfig, OidcProvider
from hoopd.errors import AuthenticationFailed, ConfigError
from hoopd.identity import jwt
from hoopd.identity.device_requests import DeviceRequests
from hoopd.identity.fetch import Web
from hoopd.identity.oidc import ProviderKeys
from hoopd.identity.urls import acceptable
from hoopd.identity.values import DeviceAnswer, DeviceRequest, VerifiedToken
from hoopd.interfaces import IVerifier
from hoopd.secret import Secret


def check_provider(name: str, provider: OidcProvider) -> None:
    """@raise ConfigError: a provider whose tokens could not, or must not, be believed."""
    where = f"identity.oidc.{name}"
    if not acceptable(provider.issuer, provider.allow_http):
        raise ConfigError(
            "not an https URL",
            key=f"{where}.issuer",
            suggestion="http is for loopback with allow_http, in tests and demonstrations",
        )
    if not provider.audience or not all(provider.audience):
        raise ConfigError("no audience", key=f"{where}.audience", suggestion="the client id or resource of hoopd")
    for algorithm in provider.algorithms:
        if algorithm not in jwt.ALGORITHMS:
            raise ConfigError(
                f"{algorithm!r} is not accepted",
                key=f"{where}.algorithms",
                suggestion=", ".join(jwt.ALGORITHMS),
            )
    if not provider.algorithms:
        raise ConfigError("no algorithm", key=f"{where}.algorithms")


@implementer(IVerifier)
class Verifier:
    """
    @param fetch: L{hoopd.identity.fetch.HttpsFetch}, or a double.
    @param clock: IReactorTime; its seconds are the epoch's.
    @raise ConfigError: see L{check_provider}.
    """

    def __init__(self, config: IdentityConfig, fetch: Web, clock: Any) -> None:
        self._clock = clock
        offering = {name: each for name, each in config.oidc.items() if each.login_client}
        self._devices = DeviceRequests(offering, fetch, clock)
        self._providers: list[tuple[str, OidcProvider, ProviderKeys]] = []
        for name, provider in config.oidc.items():
            check_provider(name, provider)
            self._providers.append((name, provider, ProviderKeys(name, provider, fetch, clock)))

    def verify(self, token: Secret) -> Deferred[VerifiedToken]:
        """See L{IVerifier.verify}."""
        return Deferred.fromCoroutine(self._verify(token.reveal()))

    def begin_device(self, provider: str, secret: Secret) -> Deferred[DeviceRequest]:
        """See L{IVerifier.begin_device}."""
        return Deferred.fromCoroutine(self._devices.begin(provider, secret))

    def poll_device(self, provider: str, code: Secret, secret: Secret) -> Deferred[DeviceAnswer]:
        """See L{IVerifier.poll_device}."""
        return Deferred.fromCoroutine(self._devices.poll(provider, code, secret))

    async def _verify(self, text: bytes) -> VerifiedToken:
        token = jwt.read(text)
        name, provider, keys = self._provider(token)
        if token.algorithm not in provider.algorithms:
            raise AuthenticationFailed(f"algorithm {token.algorithm[:32]!r} is not accepted")
        # first what costs nothing, so that strangers' stale tokens do not make us fetch
        jwt.check_claims(token, provider, self._clock.seconds())
        key = await keys.find(token.algorithm, token.kid)
        try:
            jwt.verify_signature(token, key)
        except AuthenticationFailed:
            if token.kid:
                raise
            await keys.again()
            jwt.verify_signature(token, await keys.find(token.algorithm, token.kid))
        # again: fetching takes time
        expires_at = jwt.check_claims(token, provider, self._clock.seconds())
        return VerifiedToken(name, provider.issuer, dict(token.claims), float(expires_at))

    def _provider(self, token: jwt.Unverified) -> tuple[str, OidcProvider, ProviderKeys]:
        """The provider that the token says it is from: only its keys, audiences and algorithms count from here on."""
        ours = [one for one in self._providers if one[1].issuer == token.claims.get("iss")]
        if not ours:
            raise AuthenticationFailed("from an unknown issuer")
        audience = token.claims.get("aud")
        listed = audience if isinstance(audience, list) else [audience]
        for one in ours:
            # two providers may share an issuer, for people and for agents, told apart by audience
            if any(value in one[1].audience for value in listed if isinstance(value, str)):
                return one
        return ours[0]
