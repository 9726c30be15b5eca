"""Mail to a real server (aiosmtpd): STARTTLS, TLS, accounts; and to hostile ones."""

from __future__ import annotations

import email
import email.policy
import time
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from hoopd.notices import mail, smtp
from hoopd.notices.courier import Courier
from hoopd.notices.deliveries import Mail, Outcome
from hoopd.secret import Secret
from tests.integration.postgres import free_port
from tests.notices.parts import HELD
from tests.notices.receivers import MailReceiver
from tests.scratch import scratch

TO = ("ops@example.com", "lea@example.com")
PASSWORD = "smtp-passw0rd"


class Script(Protocol):
    """Answers each line that comes with the next of C{answers}; C{greeting} at first."""

    answers: tuple[bytes, ...] = ()
    greeting = b"220 here\r\n"
    ended: Deferred[bytes]

    def connectionMade(self) -> None:
        assert self.transport is not None
        self._left = list(self.answers)
        self._heard = b""
        self.transport.write(self.greeting)

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self._heard += data
        for _ in range(data.count(b"\r\n")):
            if self._left:
                self.transport.write(self._left.pop(0))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(self._heard)


class SmtpTests(TestCase):
    def setUp(self) -> None:
        self.directory = scratch(self)
        self.courier = Courier(reactor)
        self.ended: Deferred[bytes] = Deferred()

    def receiver(self, tls: str = "starttls", hosts: tuple[str, ...] = ("localhost",)) -> MailReceiver:
        made = MailReceiver(self.directory, tls, hosts)
        self.addCleanup(made.stop)
        return made

    def order(self, receiver: MailReceiver, tls: str = "starttls", **other: Any) -> Mail:
        message = mail.message(HELD, "msg_a", "hoopd@example.com", TO)
        made = Mail(
            "localhost", receiver.port, tls, "hoopd", Secret(PASSWORD), "hoopd@example.com", TO, message,
            receiver.authorities,
        )  # fmt: skip
        return evolve(made, **other)

    async def hostile(self, *answers: bytes, greeting: bytes = Script.greeting, **other: Any) -> tuple[Outcome, bytes]:
        """@return: what came of it, and all that was said to the server."""
        words = {"answers": answers, "greeting": greeting, "ended": self.ended}
        factory: Any = Factory.forProtocol(type("Scripted", (Script,), words))
        factory.noisy = False
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        order = Mail(
            "127.0.0.1", port.getHost().port, "starttls", "hoopd", Secret(PASSWORD), "h@example.com", TO, b"x\r\n"
        )
        found = await self.courier.deliver(evolve(order, **other))
        return found, await self.ended

    async def test_starttls_and_account(self) -> None:
        receiver = self.receiver()
        self.assertEqual(await self.courier.deliver(self.order(receiver)), Outcome(True, "taken by the server"))
        (letter,) = receiver.letters
        self.assertEqual((letter.sender, letter.recipients), ("hoopd@example.com", TO))
        self.assertEqual((letter.account, letter.tls), (b"hoopd", True))
        parsed = email.message_from_bytes(letter.content, policy=email.policy.default)
        self.assertEqual(parsed["subject"], "[hoopd] priya waits")
        self.assertIn("An operation waits for approval.", str(parsed.get_content()))

    async def test_tls_from_the_start(self) -> None:
        receiver = self.receiver("tls")
        found = await self.courier.deliver(self.order(receiver, "tls"))
        self.assertEqual(found, Outcome(True, "taken by the server"))
        self.assertEqual([(each.account, each.tls) for each in receiver.letters], [(b"hoopd", True)])

    async def test_without_tls_on_loopback(self) -> None:
        receiver = self.receiver("off")
        order = self.order(receiver, "off", username="", password=Secret(b""), authorities="")
        self.assertEqual(await self.courier.deliver(order), Outcome(True, "taken by the server"))

    async def test_lines_that_begin_with_a_full_stop(self) -> None:
        receiver = self.receiver("off")
        # at every place of the chunks that are sent, 16 KiB each
        message = b".Subject: x\r\n\r\n.\r\n..a\r\n.b\r\n" + b".\r\n" * 20_000 + b"x" * 7 + b"\r\n.\r\n" * 9000
        order = self.order(receiver, "off", username="", message=message, authorities="")
        self.assertEqual(await self.courier.deliver(order), Outcome(True, "taken by the server"))
        self.assertEqual(receiver.letters[0].content, message)

    async def test_a_wrong_password(self) -> None:
        receiver = self.receiver()
        found = await self.courier.deliver(self.order(receiver, password=Secret("s3cret")))
        self.assertEqual((found.delivered, found.detail), (False, "the server refused user name and password (535)"))
        self.assertEqual(receiver.letters, [])

    async def test_certificates_of_others(self) -> None:
        for tls in ("starttls", "tls"):
            receiver = self.receiver(tls, ("mail.example",))
            for other in ({"authorities": ""}, {}):
                found = await self.courier.deliver(self.order(receiver, tls, **other))
                self.assertFalse(found.delivered)
                self.assertNotIn(PASSWORD, found.detail)
                self.assertIn("TLS", found.detail)
            self.assertEqual(receiver.letters, [])

    async def test_recipients_that_are_not_taken(self) -> None:
        receiver = self.receiver()
        receiver.refused = {TO[0]}
        self.assertEqual(await self.courier.deliver(self.order(receiver)), Outcome(True, "taken for 1 of 2 recipients"))
        receiver.refused = set(TO)
        found = await self.courier.deliver(self.order(receiver))
        self.assertEqual((found.delivered, found.detail), (False, "the server did not take it (550)"))

    async def test_no_password_to_a_server_without_starttls(self) -> None:
        found, heard = await self.hostile(b"250-here\r\n250 AUTH PLAIN LOGIN\r\n", b"235 in\r\n")
        self.assertEqual((found.delivered, found.detail), (False, "the server offers no STARTTLS"))
        self.assertNotIn(b"AUTH", heard)

    async def test_no_mail_to_a_server_without_accounts_where_one_is_wanted(self) -> None:
        receiver = self.receiver("off")
        found = await self.courier.deliver(self.order(receiver, "off", authorities=""))
        # aiosmtpd offers AUTH without TLS here as told; a server that offers none is told nothing
        self.assertTrue(found.delivered)
        found, heard = await self.hostile(b"250-here\r\n250 SIZE\r\n", tls="off")
        self.assertEqual((found.delivered, found.detail), (False, "the server offers no way to sign in"))
        self.assertNotIn(b"MAIL", heard)

    async def test_answers_pushed_in_before_tls_are_not_taken_for_the_server_s(self) -> None:
        found, heard = await self.hostile(b"250-here\r\n250 STARTTLS\r\n", b"220 go\r\n250-evil\r\n250 AUTH LOGIN\r\n")
        self.assertEqual((found.delivered, found.detail), (False, "STARTTLS failed"))
        self.assertNotIn(b"AUTH", heard)

    async def test_garbage_and_silence(self) -> None:
        self.patch(smtp, "TIMEOUT", 0.5)
        for greeting, answers in (
            (b"", ()),
            (b"\x00\xff\r\n", ()),
            (b"554 s3cret\r\n", ()),
            (b"220-s3cret\r\n" * 5000, ()),
            (b"x" * 100_000, ()),
            (b"220 x\r\n", (b"s3cret\r\n",)),
            (b"220 x\r\n", (b"421 s3cret\r\n",)),
        ):
            self.ended = Deferred()
            found, _ = await self.hostile(*answers, greeting=greeting)
            self.assertFalse(found.delivered, greeting[:20])
            self.assertNotIn("s3cret", found.detail)

    async def test_nobody_there(self) -> None:
        order = Mail("127.0.0.1", free_port(), "off", "", Secret(b""), "a@example.com", TO, b"x\r\n")
        began = time.monotonic()
        self.assertIn("not reached", (await self.courier.deliver(order)).detail)
        self.assertLess(time.monotonic() - began, 60)
