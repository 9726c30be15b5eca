"""Fetching, against real servers on loopback: TLS is verified, nothing is followed, everything has a bound."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, KeyPair, PrivateCertificate
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from hoopd.errors import ConfigError, Unavailable
from hoopd.identity import fetch as fetch_module
from hoopd.identity.fetch import Answered, HttpsFetch, max_age
from hoopd.identity.urls import acceptable
from hoopd.secret import Secret
from tests.integration.postgres import certificate
from tests.scratch import scratch


@pytest.mark.parametrize(
    "url", ["https://id.example", "https://id.example:8443/a?b", "https://[2001:db8::1]/", "HTTPS://id.example/"]
)
def test_https_is_acceptable(url: str) -> None:
    assert acceptable(url, allow_http=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/x", "http://[::1]/", "http://localhost:1/"])
def test_http_on_loopback_only_where_it_is_allowed(url: str) -> None:
    assert acceptable(url, allow_http=True)
    assert not acceptable(url, allow_http=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "https:///x",
        "http://id.example/",
        "http://10.0.0.1/",
        "http://localhost.evil.example/",
        "http://127.0.0.1.evil.example/",
        "http://2130706433/",
        "http://0.0.0.0/",
        "ftp://id.example",
        "file:///etc/passwd",
        "https://user:pw@id.example/",
        "https://@id.example/",
        "https://id.example/\r\nX: y",
        "https://id.example/a b",
        "https://id.example:99999/",
        "https://[::1",
        "https://ïd.example/",
        "//id.example",
    ],
)
def test_what_is_not_acceptable(url: str) -> None:
    assert not acceptable(url, allow_http=True)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", None),
        ("public", None),
        ("max-age=300", 300.0),
        ("public, Max-Age=300, must-revalidate", 300.0),
        ('max-age="60"', 60.0),
        ("s-maxage=5", None),
        ("no-store, max-age=300", 0.0),
        ("no-cache", 0.0),
        ("max-age=-1", None),
        ("max-age=" + "9" * 400, None),
    ],
)
def test_cache_control(header: str, seconds: float | None) -> None:
    found = max_age(header)
    if len(header) > 100:
        assert found is None or found <= 1e9
    else:
        assert found == seconds


class Page(Resource):
    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes] = []
        self.posted: list[tuple[bytes, Any, bytes]] = []

    def render_POST(self, request: Any) -> Any:
        self.posted.append((request.path, request.args, request.getHeader(b"Authorization")))
        if request.path != b"/form":
            return self.render_GET(request)
        request.setResponseCode(400)
        return b'{"error": "access_denied"}'

    def render_GET(self, request: Any) -> Any:
        self.seen.append(request.path)
        if request.path == b"/moved":
            request.redirect(b"/good")
            return b""
        if request.path == b"/large":
            for _ in range(40):
                request.write(b"x" * 10_000)
            return NOT_DONE_YET
        if request.path == b"/silent":
            return NOT_DONE_YET
        if request.path == b"/drip":
            request.write(b"x")
            return NOT_DONE_YET
        if request.path == b"/error":
            request.setResponseCode(500)
        request.setHeader("Cache-Control", "max-age=77")
        return b"{}"


class FetchTests(TestCase):
    def setUp(self) -> None:
        self.page = Page()
        self.site = Site(self.page)
        self.directory = scratch(self)
        self.fetch = HttpsFetch(reactor)

    def listen(self, tls: bool = False, hosts: tuple[str, ...] = ("localhost",), factory: Any = None) -> int:
        if tls:
            certificate_file, key_file = certificate(self.directory, hosts=hosts)
            self.authorities = str(certificate_file)
            loaded = Certificate.loadPEM(certificate_file.read_text())
            keys = KeyPair.load(key_file.read_bytes(), 1)
            options = PrivateCertificate.fromCertificateAndKeyPair(loaded, keys).options()
            port = reactor.listenSSL(0, factory or self.site, options, interface="127.0.0.1")  # type: ignore[attr-defined]
        else:
            port = reactor.listenTCP(0, factory or self.site, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def test_over_verified_tls(self) -> None:
        port = self.listen(tls=True)
        found = await self.fetch(f"https://localhost:{port}/good", self.authorities)
        self.assertEqual((found.body, found.max_age), (b"{}", 77.0))

    async def test_a_certificate_of_an_unknown_authority(self) -> None:
        port = self.listen(tls=True)
        with self.assertRaises(Unavailable):
            await self.fetch(f"https://localhost:{port}/good")
        self.assertEqual(self.page.seen, [])

    async def test_a_certificate_for_another_name(self) -> None:
        port = self.listen(tls=True, hosts=("elsewhere.example",))
        with self.assertRaises(Unavailable):
            await self.fetch(f"https://localhost:{port}/good", self.authorities)
        self.assertEqual(self.page.seen, [])

    async def test_a_form_over_verified_tls(self) -> None:
        port = self.listen(tls=True)
        url = f"https://localhost:{port}/form"
        client = ("a client", Secret("100% + s:cret"))
        found = await self.fetch.post(url, {"scope": "openid a&b"}, self.authorities, False, client)
        self.assertEqual(found, Answered(400, b'{"error": "access_denied"}'))
        ((path, arguments, authorization),) = self.page.posted
        self.assertEqual((path, arguments), (b"/form", {b"scope": [b"openid a&b"]}))
        # RFC 6749 section 2.3.1: each is form-encoded before
        self.assertEqual(base64.b64decode(authorization.split()[1]), b"a+client:100%25+%2B+s%3Acret")
        with self.assertRaises(Unavailable):
            await self.fetch.post(url, {}, "", False)
        with self.assertRaises(ConfigError):
            await self.fetch.post(f"http://127.0.0.1:{port}/form", {})
        self.assertEqual(len(self.page.posted), 1)

    async def test_a_form_is_sent_nowhere_else(self) -> None:
        port = self.listen()
        found = await self.fetch.post(f"http://127.0.0.1:{port}/moved", {"device_code": "x"}, "", True)
        self.assertEqual((found.status, [path for path, _, _ in self.page.posted]), (302, [b"/moved"]))

    async def test_an_answer_to_a_form_has_a_bound(self) -> None:
        port = self.listen()
        self.patch(fetch_module, "TIMEOUT", 0.2)
        for path, why in (("large", "too large"), ("silent", "in time")):
            with self.assertRaisesRegex(Unavailable, why):
                await self.fetch.post(f"http://127.0.0.1:{port}/{path}", {}, "", True)

    async def test_http_is_refused_before_anything_is_sent(self) -> None:
        port = self.listen()
        with self.assertRaises(ConfigError):
            await self.fetch(f"http://127.0.0.1:{port}/good")
        self.assertEqual(self.page.seen, [])
        await self.fetch(f"http://127.0.0.1:{port}/good", "", True)

    async def test_no_redirect_is_followed(self) -> None:
        port = self.listen()
        with self.assertRaisesRegex(Unavailable, "302"):
            await self.fetch(f"http://127.0.0.1:{port}/moved", "", True)
        self.assertEqual(self.page.seen, [b"/moved"])

    async def test_errors_size_and_silence(self) -> None:
        port = self.listen()
        self.patch(fetch_module, "TIMEOUT", 0.2)
        for path, why in (("error", "500"), ("large", "too large"), ("silent", "in time"), ("drip", "in time")):
            with self.assertRaisesRegex(Unavailable, why):
                await self.fetch(f"http://127.0.0.1:{port}/{path}", "", True)

    async def test_garbage_and_nobody(self) -> None:
        class Garbage(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.write(b"\x00\x01 no HTTP\r\n\r\n")
                self.transport.loseConnection()

        port = self.listen(factory=Factory.forProtocol(Garbage))
        with self.assertRaises(Unavailable):
            await self.fetch(f"http://127.0.0.1:{port}/", "", True)
        with self.assertRaises(Unavailable):
            await self.fetch("http://127.0.0.1:1/", "", True)

    async def test_authorities_that_cannot_be_read(self) -> None:
        with self.assertRaises(ConfigError):
            await self.fetch("https://localhost:1/", "/nonexistent/ca.pem")
