"""Fetching a provider's documents, and asking it, over HTTPS; bounded in size and time, and nothing of it is parsed here.

Runs in the verifier process. No redirect is followed: neither discovery nor key sets need one, and one that led
elsewhere would make the other host the provider.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote_plus, urlsplit

from attrs import frozen
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.web.client import Agent
from twisted.web.http_headers import Headers

from hoopd.answers import UNREACHED, Body, why_none
from hoopd.authorities import verifying
from hoopd.errors import ConfigError, Unavailable
from hoopd.identity.urls import acceptable
from hoopd.secret import Secret

#: the largest published key sets have some 20 KiB
MAX_BODY = 256 * 1024
#: seconds for one document, from look-up to last byte: half of what the broker waits for the verifier
TIMEOUT = 5.0


@frozen
class Fetched:
    """A document as it came."""

    body: bytes
    #: what Cache-Control says, seconds, or None
    max_age: float | None


@frozen
class Answered:
    """An answer to a form, as it came."""

    status: int
    body: bytes


class Web(Protocol):
    """What L{HttpsFetch} is, and its doubles."""

    def __call__(self, url: str, authorities: str, allow_http: bool, /) -> Deferred[Fetched]: ...

    def post(
        self,
        url: str,
        form: Mapping[str, str],
        authorities: str,
        allow_http: bool,
        client: tuple[str, Secret] | None,
        /,
    ) -> Deferred[Answered]: ...


def max_age(header: str) -> float | None:
    """@return: seconds that Cache-Control allows, 0 for no-store and no-cache, None if it says nothing."""
    lower = header.lower()
    if "no-store" in lower or "no-cache" in lower:
        return 0.0
    found = re.search(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,9})", lower)
    return float(found.group(1)) if found else None


class HttpsFetch:
    """
    @param reactor: IReactorTCP, IReactorTime.
    @param agent: C{(PEM text of authorities or "") -> IAgent}; the default verifies TLS with them, or the system's.
    """

    def __init__(self, reactor: Any, agent: Callable[[str], Any] | None = None) -> None:
        self._reactor = reactor
        self._agent = agent or self._verifying
        self._agents: dict[str, Any] = {}

    def _verifying(self, authorities: str) -> Any:
        return Agent(self._reactor, contextFactory=verifying(authorities), connectTimeout=TIMEOUT)

    def __call__(self, url: str, authorities: str = "", allow_http: bool = False) -> Deferred[Fetched]:
        """
        @param authorities: path of a PEM file, or C{""}.
        @return: Deferred of L{Fetched}.
        @raise Unavailable: no good answer: unreachable, slow, too large, another status than 200.
        @raise ConfigError: C{url} may not be fetched, or C{authorities} cannot be read.
        """
        return Deferred.fromCoroutine(self._fetch(url, authorities, allow_http))

    def post(
        self,
        url: str,
        form: Mapping[str, str],
        authorities: str = "",
        allow_http: bool = False,
        client: tuple[str, Secret] | None = None,
    ) -> Deferred[Answered]:
        """Send a form.

        @param client: id and secret for HTTP Basic as OAuth has it (RFC 6749 section 2.3.1), or None.
        @return: Deferred of L{Answered}, whatever its status.
        @raise Unavailable, ConfigError: as for a document.
        """
        return Deferred.fromCoroutine(self._post(url, form, authorities, allow_http, client))

    async def _fetch(self, url: str, authorities: str, allow_http: bool) -> Fetched:
        status, headers, body = await self._bounded("GET", url, authorities, allow_http)
        if status != 200:
            raise Unavailable(f"{urlsplit(url).hostname} answered with status {status}")
        return Fetched(body, max_age(",".join(headers.getRawHeaders("cache-control", []))))

    async def _post(
        self, url: str, form: Mapping[str, str], authorities: str, allow_http: bool, client: tuple[str, Secret] | None
    ) -> Answered:
        more = {} if client is None else {"Authorization": _basic(*client)}
        status, _, body = await self._bounded("POST", url, authorities, allow_http, dict(form), more)
        return Answered(status, body)

    async def _bounded(
        self, method: str, url: str, authorities: str, allow_http: bool, form: Any = None, more: Any = None
    ) -> tuple[int, Headers, bytes]:
        if not acceptable(url, allow_http):
            raise ConfigError(f"{url[:200]!r} is not fetched: https only (http on loopback with allow_http)")
        client = HTTPClient(self._agent_for(authorities))
        headers = Headers({"Accept": ["application/json"], **{name: [value] for name, value in (more or {}).items()}})
        whole = Deferred.fromCoroutine(self._whole(client, method, url, headers, form))
        try:
            return await whole.addTimeout(TIMEOUT, self._reactor)
        except UNREACHED as error:
            raise Unavailable(f"{urlsplit(url).hostname} cannot be reached: {why_none(error)[:200]}") from None

    def _agent_for(self, authorities: str) -> Any:
        if authorities not in self._agents:
            try:
                text = Path(authorities).read_text() if authorities else ""
            except OSError as error:
                raise ConfigError(f"cannot be read: {error.strerror}", authorities) from None
            self._agents[authorities] = self._agent(text)
        return self._agents[authorities]

    @staticmethod
    async def _whole(
        client: HTTPClient, method: str, url: str, headers: Headers, form: dict[str, str] | None
    ) -> tuple[int, Headers, bytes]:
        response = await client.request(method, url, data=form, allow_redirects=False, unbuffered=True, headers=headers)
        body = Body(MAX_BODY)
        response.deliverBody(body)
        return response.code, response.headers, await body.done


def _basic(id: str, secret: Secret) -> str:
    pair = f"{quote_plus(id)}:{quote_plus(secret.reveal())}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
