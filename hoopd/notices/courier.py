"""Takes deliveries to their receivers: HTTP, SMTP, programs; the notifier process's whole work. Knows no channels.

A receiver gets bounded time, and nothing of what it says goes further than a status. No redirect is followed: a
redirected notice would go to whom nobody configured.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from OpenSSL import crypto
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.protocol import Protocol
from twisted.web.client import Agent, FileBodyProducer
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from hoopd.answers import UNREACHED, why_none
from hoopd.authorities import trusted, verifying
from hoopd.config.channels import url_problems
from hoopd.interfaces import INotifier
from hoopd.notices.bounded import BoundedEndpoint
from hoopd.notices.deliveries import Delivery, Mail, Outcome, Post, Run
from hoopd.notices.programs import run
from hoopd.notices.smtp import send

#: seconds for one request, from look-up to the answer's status
TIMEOUT = 5.0
#: the longest that a receiver may ask us to wait, seconds
RETRY_AFTER_MAX = 3600.0


@implementer(INotifier)
class Courier:
    """@param reactor: IReactorTCP, IReactorTime, IReactorProcess."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def deliver(self, delivery: Delivery) -> Deferred[Outcome]:
        """See L{INotifier.deliver}."""
        return Deferred.fromCoroutine(self._deliver(delivery))

    async def _deliver(self, delivery: Delivery) -> Outcome:
        if isinstance(delivery, Run):
            return await run(self._reactor, delivery)
        try:
            authorities = _text(delivery.authorities)
        except (OSError, ValueError, crypto.Error):
            return Outcome(False, f"{delivery.authorities} cannot be read by the notifier, or has no certificate")
        try:
            if isinstance(delivery, Mail):
                return await send(self._reactor, delivery, authorities)
            return await Deferred.fromCoroutine(self._post(delivery, authorities)).addTimeout(TIMEOUT, self._reactor)
        except UNREACHED as error:
            return Outcome(False, f"not reached: {why_none(error)[:200]}")

    async def _post(self, post: Post, authorities: str) -> Outcome:
        url = post.url.reveal().decode("ascii")
        problems = url_problems(url, post.allow_http)
        if problems:
            return Outcome(False, f"its URL {problems[0]}")
        agent = Agent.usingEndpointFactory(self._reactor, _Endpoints(self._reactor, authorities))
        headers = Headers({"user-agent": ["hoopd"]})
        for name, value in post.headers:
            headers.addRawHeader(name, value)
        response = await agent.request(b"POST", url.encode(), headers, FileBodyProducer(io.BytesIO(post.body)))
        response.deliverBody(Protocol())  # read, so that a polite server is not cut off, and thrown away
        if 200 <= response.code < 300:
            return Outcome(True, f"status {response.code}")
        return Outcome(False, f"status {response.code}", _retry_after(response.headers))


def _text(path: str) -> str:
    """@return: certificates that can be read, or nothing. A small local file: its reading is as quick as any other call."""
    found = Path(path).read_text() if path else ""
    if path and not trusted(found):
        raise ValueError("no certificate")
    return found


def _retry_after(headers: Headers) -> float | None:
    """RFC 9110 section 10.2.3, seconds; a date is not understood, and then our own pace holds."""
    for value in headers.getRawHeaders("retry-after", []):
        if value.isascii() and value.isdigit() and len(value) < 9:
            return min(float(value), RETRY_AFTER_MAX)
    return None


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """How a connection is made: TLS verified, what comes bounded."""

    def __init__(self, reactor: Any, authorities: str) -> None:
        self._reactor = reactor
        self._tls = verifying(authorities)

    def endpointForURI(self, uri: Any) -> BoundedEndpoint:
        endpoint: Any = HostnameEndpoint(self._reactor, uri.host, uri.port, timeout=TIMEOUT)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._tls.creatorForNetloc(uri.host, uri.port), endpoint)
        return BoundedEndpoint(endpoint, self._reactor, 2 * TIMEOUT)
