"""Fetching a provider's documents over HTTPS; bounded in size and time, and nothing of them is parsed here.

Runs in the verifier process. No redirect is followed: neither discovery nor key sets need one, and one that led
elsewhere would make the other host the provider.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.web.client import Agent
from twisted.web.http_headers import Headers

from hoopd.answers import UNREACHED, Body, why_none
from hoopd.authorities import verifying
from hoopd.errors import ConfigError, Unavailable

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


def acceptable(url: str, allow_http: bool) -> bool:
    """@return: whether C{url} may be fetched: https, or with C{allow_http} http to this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or not url.isascii() or not url.isprintable() or " " in url:
        return False
    if parts.scheme == "https":
        return True
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return parts.scheme == "http" and allow_http and local


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

    async def _fetch(self, url: str, authorities: str, allow_http: bool) -> Fetched:
        if not acceptable(url, allow_http):
            raise ConfigError(f"{url[:200]!r} is not fetched: https only (http on loopback with allow_http)")
        client = HTTPClient(self._agent_for(authorities))
        whole = Deferred.fromCoroutine(self._whole(client, url)).addTimeout(TIMEOUT, self._reactor)
        try:
            return await whole
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
    async def _whole(client: HTTPClient, url: str) -> Fetched:
        accept = Headers({"Accept": ["application/json"]})
        response = await client.get(url, allow_redirects=False, unbuffered=True, headers=accept)
        body = Body(MAX_BODY)
        response.deliverBody(body)
        content = await body.done
        if response.code != 200:
            raise Unavailable(f"{urlsplit(url).hostname} answered with status {response.code}")
        return Fetched(content, max_age(",".join(response.headers.getRawHeaders("cache-control", []))))
