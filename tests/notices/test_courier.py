"""Posting to real servers on loopback: TLS is verified, nothing is followed, everything has a bound."""

from __future__ import annotations

import os
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from hoopd.interfaces import INotifier
from hoopd.notices import courier
from hoopd.notices.courier import Courier
from hoopd.notices.deliveries import Mail, Outcome, Post, Run
from hoopd.secret import Secret
from tests.integration.postgres import certificate, free_port
from tests.notices.receivers import HttpReceiver
from tests.scratch import scratch


class Raw(Protocol):
    """Says C{said}, over and over where C{again} is set; never ends the connection itself."""

    said = b""
    again = False
    ended: Deferred[None]

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        if self.again:
            self.transport.registerProducer(self, False)  # type: ignore[arg-type]
        else:
            self.transport.write(self.said)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.again = False
        if not self.ended.called:
            self.ended.callback(None)

    def resumeProducing(self) -> None:
        assert self.transport is not None
        self.transport.write(self.said)

    def stopProducing(self) -> None:
        self.again = False


class CourierTests(TestCase):
    def setUp(self) -> None:
        self.directory = scratch(self)
        self.courier = Courier(reactor)
        #: that the connection of L{raw} ended
        self.ended: Deferred[None] = Deferred()

    def receiver(self, tls: bool = True) -> HttpReceiver:
        made = HttpReceiver(self.directory, time.monotonic, tls)
        self.addCleanup(made.stop)
        return made

    def raw(self, said: bytes, again: bool = False) -> str:
        factory: Any = Factory.forProtocol(type("Said", (Raw,), {"said": said, "again": again, "ended": self.ended}))
        factory.noisy = False
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        return f"http://127.0.0.1:{port.getHost().port}/"

    async def post(self, url: str, authorities: str = "", allow_http: bool = True) -> Outcome:
        headers = (("content-type", "application/json"), ("webhook-id", "msg_a"))
        return await self.courier.deliver(Post(Secret(url), headers, b'{"a": "b"}', authorities, allow_http))

    def test_the_interface(self) -> None:
        verifyObject(INotifier, self.courier)

    async def test_over_verified_tls(self) -> None:
        receiver = self.receiver()
        self.assertEqual(await self.post(f"{receiver.url}/x?y=z", receiver.authorities), Outcome(True, "status 200"))
        (got,) = receiver.got
        self.assertEqual((got.path, got.body), ("/x?y=z", b'{"a": "b"}'))
        self.assertEqual((got.headers["webhook-id"], got.headers["user-agent"]), ("msg_a", "hoopd"))

    async def test_a_certificate_of_an_unknown_authority_or_for_another_name(self) -> None:
        receiver = self.receiver()
        found = await self.post(f"{receiver.url}/")
        self.assertFalse(found.delivered)
        self.assertIn("certificate", found.detail)
        other, _ = certificate(self.directory, "other")
        self.assertFalse((await self.post(f"{receiver.url}/", str(other))).delivered)
        self.assertTrue((await self.post(f"{receiver.url}/", receiver.authorities)).delivered)
        self.assertFalse((await self.post(f"https://127.0.0.2:{receiver.port}/", receiver.authorities)).delivered)
        self.assertEqual(len(receiver.got), 1)

    async def test_no_redirect_is_followed(self) -> None:
        receiver, elsewhere = self.receiver(False), self.receiver(False)
        for status in (301, 302, 303, 307, 308):
            receiver.answer = lambda path, status=status: (status, {"location": f"{elsewhere.url}/"})  # type: ignore[misc]
            self.assertEqual(await self.post(receiver.url), Outcome(False, f"status {status}"))
        self.assertEqual((len(receiver.got), elsewhere.got), (5, []))

    async def test_what_a_receiver_asks_for(self) -> None:
        receiver = self.receiver(False)
        for value, seconds in (("7", 7.0), ("999999", 3600.0), ("soon", None), ("-1", None), ("9" * 50, None)):
            receiver.answer = lambda path, value=value: (429, {"retry-after": value})  # type: ignore[misc]
            self.assertEqual(await self.post(receiver.url), Outcome(False, "status 429", seconds))

    async def test_every_good_status_will_do(self) -> None:
        receiver = self.receiver(False)
        for status in (200, 201, 202):
            receiver.answer = lambda path, status=status: (status, {})  # type: ignore[misc]
            self.assertTrue((await self.post(receiver.url)).delivered)

    async def test_nothing_of_what_a_receiver_says_is_in_the_outcome(self) -> None:
        found = await self.post(self.raw(b"HTTP/1.1 500 s3cret\r\nx: s3cret\r\ncontent-length: 6\r\n\r\ns3cret"))
        self.assertEqual(found, Outcome(False, "status 500"))
        for said in (
            b"s3cret\r\n\r\n",
            b"HTTP/1.1 s3cret\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ns3cret\r\n\r\n",
            b"\x00\xff\r\n",
        ):
            self.patch(courier, "TIMEOUT", 0.5)
            found = await self.post(self.raw(said))
            self.assertFalse(found.delivered and said.startswith(b"s"), found)
            self.assertNotIn("s3cret", found.detail)

    async def test_urls_that_are_not_posted_to(self) -> None:
        receiver = self.receiver(False)
        plain = await self.post(f"{receiver.url}/", allow_http=False)
        self.assertIn("must be https", plain.detail)
        for url in ("http://10.0.0.1/", "ftp://localhost/", "https://u:s3cret@localhost/", "", "http://[::1"):
            found = await self.post(url)
            self.assertFalse(found.delivered)
            self.assertNotIn("s3cret", found.detail)
        self.assertEqual(receiver.got, [])

    async def test_nobody_there_and_a_silent_one(self) -> None:
        self.assertIn("not reached", (await self.post(f"http://127.0.0.1:{free_port()}/")).detail)
        self.patch(courier, "TIMEOUT", 0.3)
        self.assertEqual((await self.post(self.raw(b""))).detail, "not reached: no answer in time")
        self.assertEqual((await self.post(self.raw(b"HTTP/1.1 200 OK\r\n"))).detail, "not reached: no answer in time")

    async def test_headers_or_interim_answers_without_end(self) -> None:
        began = time.monotonic()
        for said in (b"x: y\r\n" * 100, b"HTTP/1.1 100 Continue\r\n\r\n" * 100, b"x" * 1000):
            found = await self.post(self.raw(said, again=True))
            self.assertFalse(found.delivered, found)
        self.assertLess(time.monotonic() - began, 3 * courier.TIMEOUT, "it is the size that ends them")

    async def test_a_body_without_end_is_delivered_and_cut_at_its_size(self) -> None:
        url = self.raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10_000, again=True)
        self.assertTrue((await self.post(url)).delivered)
        await self.ended

    async def test_a_body_that_trickles_is_cut_in_time(self) -> None:
        self.patch(courier, "TIMEOUT", 0.2)
        self.assertTrue((await self.post(self.raw(b"HTTP/1.1 200 OK\r\n\r\nx"))).delivered)
        await self.ended

    async def test_authorities_that_cannot_be_read(self) -> None:
        missing = self.directory / "missing.pem"
        found = await self.post("https://localhost:1/", str(missing))
        self.assertEqual(found.detail, f"{missing} cannot be read by the notifier, or has no certificate")
        receiver = self.receiver()
        for text in ("", "no certificate", "-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n"):
            missing.write_text(text)
            self.assertIn("has no certificate", (await self.post(f"{receiver.url}/", str(missing))).detail)
        missing.write_bytes(b"\xff")
        self.assertIn("cannot be read", (await self.post(f"{receiver.url}/", str(missing))).detail)
        self.assertEqual(receiver.got, [])

    async def test_the_other_two_ways(self) -> None:
        run = Run(("/bin/false",), b"{}", 5.0, 1 << 28)
        self.assertEqual((await self.courier.deliver(run)).detail, "exit status 1")
        mail = Mail("127.0.0.1", free_port(), "off", "", Secret(b""), "a@x.example", ("b@x.example",), b"x\r\n")
        self.assertIn("not reached", (await self.courier.deliver(mail)).detail)
        self.assertEqual(os.listdir(self.directory), [])
