"""Login links of people who show no proof: who waits for whom to log in where, and what came of it; broker only.

The client's part of RFC 8628, but for its requests, which the verifier makes (L{hoopd.identity.device_requests}). A provider is asked only
while a worker waits in L{LoginLinks.settled}, at the provider's pace; so a client that is gone is asked for no more, and nothing
runs for it. Links are kept in memory: after a restart of the broker people connect again.

Bounds: so many links at once, and so many of one address. One that is left without a login counts for L{COOLING} more, so that
connecting and leaving over and over makes no flood of requests to the provider.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from hoopd.config.schema import IdentityConfig
from hoopd.errors import Denied, HoopdError, Unavailable
from hoopd.flow.admission import TOKEN_BYTES, digest
from hoopd.identity.device import MAX_INTERVAL, MAX_LIFE, MIN_INTERVAL, code_problem, link_problem
from hoopd.identity.pacing import origin
from hoopd.identity.values import DeviceAnswer, DeviceRequest
from hoopd.interfaces import ILoginLinks
from hoopd.secret import Secret
from hoopd.values import LoginLink

log = Logger()

#: seconds that one question of a worker takes at most, the provider's answer aside: a broker that stops waits for its answers
PATIENCE = 3.0
#: seconds for which a link that was left counts on: as long as a minute's failures do elsewhere
COOLING = 60.0
#: what slow_down adds (RFC 8628 section 3.5)
SLOWER = 5.0


@frozen
class Granted:
    """A provider's token, not verified."""

    provider: str
    token: Secret


@define(eq=False)
class _Link:
    """
    @ivar until: epoch seconds: when the provider forgets its code, or when it stops to count.
    @ivar next: epoch seconds: not asked before.
    @ivar over: why nobody will log in by it any more, or C{""}.
    @ivar token: what the provider gave, once somebody has logged in.
    """

    worker: str
    provider: str
    address: str
    request: DeviceRequest
    until: float
    next: float
    interval: float
    token: Secret | None = None
    over: str = ""
    told: bool = False
    asked: bool = False
    pause: Deferred[None] | None = None


@define(eq=False)
class LoginLinks:
    """
    @ivar verifier: L{hoopd.interfaces.IVerifier}.
    @ivar reveal: C{(name) -> Deferred[Secret]}: the vault's secrets of clients.
    @ivar clock: IReactorTime; its seconds are the epoch's.
    """

    verifier: Any
    reveal: Callable[[str], Any]
    config: IdentityConfig
    clock: Any
    event: Callable[[str, dict[str, Any]], None]
    randomness: Callable[[int], bytes]
    _links: dict[str, _Link] = field(factory=dict, init=False, repr=False)
    #: origins for which a link is being made
    _making: list[str] = field(factory=list, init=False, repr=False)

    # -- making ------------------------------------------------------------------------------------------------

    async def begin(self, worker: str, provider: str, address: str) -> LoginLink:
        """See L{ILoginLinks.begin}."""
        configured = self.config.oidc.get(provider)
        if configured is None or not configured.login_client:
            raise Denied(f"{provider[:64]} offers no login links")
        where = origin(address)
        self._room(where)
        self._making.append(where)
        try:
            request = await self.verifier.begin_device(provider, await self._secret(provider))
        except Unavailable as problem:
            log.warn("identity: {why}", why=str(problem)[:300])
            raise Unavailable("the identity provider makes no login link now") from None
        finally:
            self._making.remove(where)
        # the verifier reads hostile bytes: what it says is checked, as far as it can be
        if link_problem(request.link, configured.allow_http) or code_problem(request.user_code):
            raise Unavailable("the verifier's answer does not fit")
        now = self.clock.seconds()
        lives = min(max(request.expires_in, 0.0), MAX_LIFE)
        pace = min(max(request.interval, MIN_INTERVAL), MAX_INTERVAL)
        token = Secret(self.randomness(TOKEN_BYTES).hex())
        self._links[digest(token)] = _Link(worker, provider, address, request, now + lives, now + pace, pace)
        self.event("login.offered", {"provider": provider, "peer": address})
        return LoginLink(token, provider, request.link, request.user_code, lives)

    def _room(self, where: str) -> None:
        now = self.clock.seconds()
        for mark in [mark for mark, link in self._links.items() if link.until <= now]:
            self._settle(self._links.pop(mark), "lapsed")
        taken = [origin(link.address) for link in self._links.values()] + self._making
        if taken.count(where) >= self.config.login_links_address:
            raise self._limited(where, "login_links_address", "too many login links are open from your address")
        if len(taken) >= self.config.login_links:
            raise self._limited(where, "login_links", "too many login links are open")

    def _limited(self, where: str, limit: str, what: str) -> Denied:
        self.event("peer.limited", {"peer": where, "protocol": "ssh", "limit": limit, "what": what})
        return Denied(what, hint="try again in a minute")

    async def _secret(self, provider: str) -> Secret:
        name = self.config.oidc[provider].login_secret
        if not name:
            return Secret(b"")
        try:
            secret: Secret = await self.reveal(name)
        except KeyError:
            raise Unavailable(f"the vault has no secret {name} for login links: hoopctl vault put {name}") from None
        return secret

    # -- waiting -----------------------------------------------------------------------------------------------

    async def settled(self, worker: str, token: Secret) -> bool:
        """See L{ILoginLinks.settled}."""
        link = self._find(worker, token)
        if link.asked:
            raise Denied("somebody waits for this login already")
        link.asked = True
        try:
            return await self._wait(link, self.clock.seconds() + PATIENCE)
        finally:
            link.asked = False

    async def _wait(self, link: _Link, end: float) -> bool:
        while link.token is None and not link.over:
            now = self.clock.seconds()
            if now >= link.until:
                self._settle(link, "lapsed")
            elif now >= link.next:
                await self._ask(link)
            elif now >= end:
                return False
            else:
                await self._pause(link, min(link.next, link.until, end) - now)
        if link.over:
            raise Denied(link.over, hint="connect again for a new link")
        return True

    async def _pause(self, link: _Link, seconds: float) -> None:
        link.pause = deferLater(self.clock, seconds)
        try:
            await link.pause
        except CancelledError:
            if not link.over:
                raise
        finally:
            link.pause = None

    async def _ask(self, link: _Link) -> None:
        try:
            answer: DeviceAnswer = await self.verifier.poll_device(
                link.provider, link.request.code, await self._secret(link.provider)
            )
        except HoopdError as problem:
            # section 3.5: whoever does not answer is asked less
            link.interval = min(2 * link.interval, MAX_INTERVAL)
            log.info("identity: login link of {provider}: {why}", provider=link.provider, why=str(problem)[:300])
            answer = DeviceAnswer("pending", Secret(b""))
        if answer.state == "slow_down":
            link.interval += SLOWER
        link.next = self.clock.seconds() + link.interval
        if link.over:
            return  # left meanwhile: what came is nobody's
        if answer.state == "granted":
            link.token = answer.token
            # the code may lapse while what it brought is judged
            link.until = max(link.until, self.clock.seconds() + COOLING)
        elif answer.state == "denied":
            self._settle(link, "denied")
        elif answer.state == "expired":
            self._settle(link, "lapsed")
        elif answer.state == "failed":
            self._settle(link, "failed", answer.why[:64])

    # -- end ---------------------------------------------------------------------------------------------------

    def _settle(self, link: _Link, outcome: str, why: str = "", identity: str = "") -> None:
        """Nothing more comes of C{link}, unless somebody is proven by it. Told once."""
        if outcome != "proven":
            link.over = link.over or _WORDS[outcome]
        if not link.told:
            link.told = True
            about = {"provider": link.provider, "peer": link.address, "outcome": outcome}
            self.event("login.settled", {**about, "identity": identity or None, "why": why})

    def granted(self, token: Secret) -> Granted | None:
        """@return: what the provider gave, where somebody has logged in by the link of C{token}; else None."""
        link = self._links.get(digest(token))
        return None if link is None or link.token is None or link.over else Granted(link.provider, link.token)

    def judged(self, token: Secret, identity: str, why: str) -> None:
        """What the token of C{granted} came to: an identity's name, or why it was not taken."""
        link = self._links.get(digest(token))
        if link is not None:
            self._settle(link, "proven" if identity else "refused", why, identity)

    def leave(self, worker: str, token: Secret) -> None:
        """See L{ILoginLinks.leave}."""
        mark = digest(token)
        link = self._links.get(mark)
        if link is None or link.worker != worker:
            return
        if link.token is not None:
            # somebody has logged in: that was no idle request
            del self._links[mark]
        link.until = min(link.until, self.clock.seconds() + COOLING)
        link.token = None
        self._settle(link, "left")
        if link.pause is not None:
            link.pause.cancel()

    def worker_gone(self, worker: str) -> None:
        """Its clients are gone with it."""
        for mark in [mark for mark, link in self._links.items() if link.worker == worker]:
            link = self._links.pop(mark)
            link.token = None
            self._settle(link, "left")
            if link.pause is not None:
                link.pause.cancel()

    def _find(self, worker: str, token: Secret) -> _Link:
        link = self._links.get(digest(token))
        if link is None or link.worker != worker:
            raise Denied("the gateway does not know this login link any more", hint="connect again for a new one")
        return link


_WORDS = {
    "denied": "the login was refused at the identity provider",
    "lapsed": "the login link lapsed before anybody had logged in",
    "failed": "the identity provider broke off the login",
    "refused": "the login at the identity provider is not accepted here",
    "left": "the connection was left",
}


@implementer(ILoginLinks)
@define(eq=False)
class WorkerLinks:
    """One worker's view."""

    worker: str
    links: LoginLinks

    def begin(self, provider: str, address: str) -> Deferred[LoginLink]:
        return Deferred.fromCoroutine(self.links.begin(self.worker, provider, address))

    def settled(self, token: Secret) -> Deferred[bool]:
        return Deferred.fromCoroutine(self.links.settled(self.worker, token))

    def leave(self, token: Secret) -> Deferred[None]:
        async def work() -> None:
            self.links.leave(self.worker, token)

        return Deferred.fromCoroutine(work())
