"""The keys of one OpenID provider: discovery, caching, rotation and outages; no judgement of tokens.

OpenID Connect Discovery 1.0 section 4. Keys are fetched when they are first needed, again when they are older than the
provider's Cache-Control allows, and when a token names a key that is not among them; all that at most once in
L{PAUSE}, whoever asks and however often, so a flood of invented key ids costs one fetch. While the provider is away,
keys go on for L{OUTAGE}; after that nothing of it is believed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from hoopd.config.schema import OidcProvider
from hoopd.errors import AuthenticationFailed, HoopdError, Unavailable
from hoopd.identity import jwt
from hoopd.identity.fetch import Fetched
from hoopd.identity.urls import acceptable

log = Logger()

#: seconds between two fetches from one provider: how long a key made just after a fetch is unknown here
PAUSE = 10.0
#: bounds on the provider's max-age: no fetch for each token, and a withdrawn key is gone within the hour
MIN_AGE, MAX_AGE = 60.0, 3600.0
#: where the provider says nothing
DEFAULT_AGE = 600.0
#: seconds since the last good fetch that keys are believed while the provider does not answer: people can go on
#: working through an incident there, and keys withdrawn meanwhile are ours for so long at most
OUTAGE = 4 * 3600.0

Fetch = Callable[[str, str, bool], Deferred[Fetched]]


async def discover(provider: OidcProvider, fetch: Fetch) -> dict[str, Any]:
    """
    @return: the provider's discovery document.
    @raise ValueError: it is none of this provider's. @raise HoopdError: see L{hoopd.identity.fetch.HttpsFetch}.
    """
    where = provider.issuer.rstrip("/") + "/.well-known/openid-configuration"
    found = jwt.strict_json((await fetch(where, provider.authorities, provider.allow_http)).body)
    if found.get("issuer") != provider.issuer:
        raise ValueError("its discovery document names another issuer")
    return found


def endpoint(found: dict[str, Any], name: str, allow_http: bool) -> str:
    """@return: an address that a discovery document names. @raise ValueError: it does not, or not one that is asked."""
    uri = found.get(name)
    if not isinstance(uri, str) or not acceptable(uri, allow_http):
        raise ValueError(f"its discovery document has no acceptable {name}")
    return uri


class ProviderKeys:
    """
    @param name: the provider's name in the configuration.
    @param fetch: L{hoopd.identity.fetch.HttpsFetch}, or a double.
    @param clock: IReactorTime.
    """

    def __init__(self, name: str, provider: OidcProvider, fetch: Fetch, clock: Any) -> None:
        self._name = name
        self._provider = provider
        self._fetch = fetch
        self._clock = clock
        self._keys: tuple[jwt.PublicKey, ...] = ()
        self._fetched_at = 0.0
        self._fresh_until = 0.0
        self._not_before = 0.0
        self._waiting: list[Deferred[None]] | None = None
        self._away = False

    async def find(self, algorithm: str, kid: str) -> jwt.PublicKey:
        """
        @raise AuthenticationFailed: the provider has no such key.
        @raise Unavailable: its keys are not known, and it does not answer.
        """
        if self._clock.seconds() >= self._fresh_until:
            await self._refresh()
        key = jwt.choose(self._believed(), algorithm, kid)
        if key is None:
            await self._refresh()
            key = jwt.choose(self._believed(), algorithm, kid)
        if key is not None:
            return key
        if self._away:
            raise Unavailable(f"identity provider {self._name} is away, and the token's key is not among those known")
        raise AuthenticationFailed("signed with an unknown key")

    async def again(self) -> None:
        """A token that names no key did not verify: perhaps the key was replaced."""
        await self._refresh()

    def _believed(self) -> tuple[jwt.PublicKey, ...]:
        if not self._keys or self._clock.seconds() - self._fetched_at > OUTAGE:
            raise Unavailable(f"identity provider {self._name} is away, and its keys are not known")
        return self._keys

    async def _refresh(self) -> None:
        """Fetch, unless that was tried a moment ago; never fails: what it brought is seen in the state."""
        if self._waiting is None:
            if self._clock.seconds() < self._not_before:
                return
            self._not_before = self._clock.seconds() + PAUSE
            self._waiting = []
            Deferred.fromCoroutine(self._attempt()).addErrback(
                lambda failure: log.failure("identity: provider {name}", failure, name=self._name)
            )
        # it may be over already; else wait beside everybody else, so that no one's impatience cancels it for all
        if self._waiting is not None:
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            await turn

    async def _attempt(self) -> None:
        try:
            await self._load()
            self._away = False
        except (HoopdError, ValueError) as error:
            self._away = True
            # the provider's words may be in it: one line, cut
            why = str(error)[:200]
            log.warn("identity: keys of provider {name} cannot be fetched: {why}", name=self._name, why=why)
        finally:
            waiting, self._waiting = self._waiting or [], None
            for turn in waiting:
                if not turn.called:
                    turn.callback(None)

    async def _load(self) -> None:
        found = await discover(self._provider, self._fetch)
        uri = endpoint(found, "jwks_uri", self._provider.allow_http)
        answer = await self._fetch(uri, self._provider.authorities, self._provider.allow_http)
        keys = jwt.read_keys(answer.body)
        now = self._clock.seconds()
        age = DEFAULT_AGE if answer.max_age is None else answer.max_age
        self._keys, self._fetched_at = keys, now
        self._fresh_until = now + min(max(age, MIN_AGE), MAX_AGE)
