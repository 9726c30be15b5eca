"""Asks providers for login links, and what became of them: the verifier's part of the device authorization grant.

RFC 8628 sections 3.1 and 3.4. Nothing is kept but the providers' addresses: the broker has the codes, paces the questions
(L{hoopd.flow.login_links}) and gives along the client's secret with each. After a provider failed to make a link it is
left alone for L{hoopd.identity.oidc.PAUSE}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define

from hoopd.config.schema import OidcProvider
from hoopd.errors import HoopdError, Unavailable
from hoopd.identity import device
from hoopd.identity.fetch import Answered, Web
from hoopd.identity.oidc import DEFAULT_AGE, PAUSE, discover, endpoint
from hoopd.identity.values import DeviceAnswer, DeviceRequest
from hoopd.secret import Secret

#: statuses that come with an OAuth error; any other is a provider out of order, which may be asked again
_ANSWERS = (200, 400, 401, 403)


@define
class _Addresses:
    """@ivar basic: the client's secret goes into a header (RFC 6749 section 2.3.1), not into the form."""

    device: str
    token: str
    basic: bool
    fresh_until: float


class DeviceRequests:
    """
    @param providers: those that offer login links.
    @param clock: IReactorTime.
    """

    def __init__(self, providers: Mapping[str, OidcProvider], fetch: Web, clock: Any) -> None:
        self._providers = providers
        self._fetch = fetch
        self._clock = clock
        self._addresses: dict[str, _Addresses] = {}
        self._not_before: dict[str, float] = {}

    async def begin(self, name: str, secret: Secret) -> DeviceRequest:
        """See L{hoopd.interfaces.IVerifier.begin_device}."""
        provider = self._provider(name)
        if self._clock.seconds() < self._not_before.get(name, 0.0):
            raise Unavailable(f"identity provider {name} made no login link a moment ago")
        try:
            where = await self._where(name, provider)
            answered = await self._ask(where.device, provider, where, secret, {"scope": provider.login_scope})
            if answered.status != 200:
                raise ValueError(f"status {answered.status}: {device.error_of(answered.body)}")
            return device.read_request(answered.body, provider.allow_http)
        except (HoopdError, ValueError) as problem:
            self._not_before[name] = self._clock.seconds() + PAUSE
            self._addresses.pop(name, None)
            raise Unavailable(f"identity provider {name} made no login link: {str(problem)[:200]}") from None

    async def poll(self, name: str, code: Secret, secret: Secret) -> DeviceAnswer:
        """See L{hoopd.interfaces.IVerifier.poll_device}."""
        provider = self._provider(name)
        try:
            where = await self._where(name, provider)
        except ValueError as problem:
            raise Unavailable(f"identity provider {name}: {str(problem)[:200]}") from None
        form = {"grant_type": device.GRANT, "device_code": code.reveal().decode("ascii")}
        answered = await self._ask(where.token, provider, where, secret, form)
        if answered.status not in _ANSWERS:
            raise Unavailable(f"identity provider {name} answered with status {answered.status}")
        return device.read_answer(answered.status, answered.body, provider.login_proof)

    def _provider(self, name: str) -> OidcProvider:
        if name not in self._providers:
            raise Unavailable(f"identity provider {name[:64]} offers no login links")
        return self._providers[name]

    async def _where(self, name: str, provider: OidcProvider) -> _Addresses:
        known = self._addresses.get(name)
        if known is not None and self._clock.seconds() < known.fresh_until:
            return known
        found = await discover(provider, self._fetch)
        methods = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        self._addresses[name] = _Addresses(
            endpoint(found, "device_authorization_endpoint", provider.allow_http),
            endpoint(found, "token_endpoint", provider.allow_http),
            not isinstance(methods, list) or "client_secret_basic" in methods,
            self._clock.seconds() + DEFAULT_AGE,
        )
        return self._addresses[name]

    async def _ask(
        self, url: str, provider: OidcProvider, where: _Addresses, secret: Secret, form: dict[str, str]
    ) -> Answered:
        client = None
        if secret and where.basic:
            client = (provider.login_client, secret)
        else:
            form["client_id"] = provider.login_client
            if secret:
                form["client_secret"] = secret.reveal().decode("utf-8", "replace")
        return await self._fetch.post(url, form, provider.authorities, provider.allow_http, client)
