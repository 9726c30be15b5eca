"""The login link of one connection: made when it is asked for, waited for, and left with the connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from hoopd.errors import Unavailable
from hoopd.values import LoginLink


class Login:
    """
    @param worker: L{hoopd.interfaces.IWorker}
    @param address: the client's.
    @param given: C{(seconds)}: the connection has so long from now on: for the person to log in, and then for the session to open.
    @ivar providers: names of those that offer links.
    @ivar link: the one that is shown, or None. There is one a connection at most.
    @ivar seconds: how long there is to log in by it.
    @ivar used: somebody has logged in by it.
    """

    log = Logger()

    def __init__(self, worker: Any, address: str, given: Callable[[float], None]) -> None:
        self._links = worker.login_links
        self._most: float = worker.config.login_link_timeout
        self._address = address
        self._after: float = worker.config.login_timeout
        self._given = given
        self._left = self.used = False
        self.providers: tuple[str, ...] = worker.login_providers
        self.link: LoginLink | None = None
        self.seconds = 0.0

    def begin(self, provider: str) -> Deferred[LoginLink]:
        """@return: Deferred of L{LoginLink}. @raise Denied, Unavailable: see L{ILoginLinks.begin}."""
        return Deferred.fromCoroutine(self._begin(provider))

    async def _begin(self, provider: str) -> LoginLink:
        made: LoginLink = await self._links.begin(provider, self._address)
        if self._left:
            self._let_go(made)
            raise Unavailable("the client left before the link was made")
        self.link = made
        self.seconds = min(self._most, made.seconds)
        self._given(self.seconds)
        return made

    def settled(self) -> Deferred[LoginLink]:
        """@return: Deferred of the link, once somebody has logged in by it. @raise Denied: nobody will."""
        return Deferred.fromCoroutine(self._settled())

    async def _settled(self) -> LoginLink:
        made = self.link
        assert made is not None
        while not await self._links.settled(made.token):
            if self._left:
                raise Unavailable("the client left before it had logged in")
        self.used = True
        if not self._left:
            self._given(self._after)
        return made

    def leave(self) -> None:
        """No link is wanted any more: the client is proven, or gone. May be called again."""
        self._left = True
        made, self.link = self.link, None
        if made is not None:
            self._let_go(made)

    def _let_go(self, made: LoginLink) -> None:
        left = self._links.leave(made.token)
        left.addErrback(lambda failure: self.log.debug("not left: {why}", why=failure.getErrorMessage()))
