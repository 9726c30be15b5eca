"""What every ILoginLinks keeps to, over a scripted provider; tests/ipc runs the same across the socketpair."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from hoopd.config.schema import IdentityConfig
from hoopd.errors import Denied, Unavailable
from hoopd.flow.login_links import LoginLinks, WorkerLinks
from hoopd.identity.values import DeviceAnswer, DeviceRequest
from hoopd.interfaces import ILoginLinks
from hoopd.secret import Secret
from tests.identity.issuer import NOW, PROVIDER

CONFIG = IdentityConfig(
    oidc={"corp": evolve(PROVIDER, login_client="gateway"), "plain": evolve(PROVIDER, subject_prefix="p/")},
    login_links=5,
    login_links_address=3,
)
REQUEST = DeviceRequest(Secret("device code"), "WDJB-MJHT", "https://id.example/device", 600.0, 5.0)
PENDING = DeviceAnswer("pending", Secret(b""))
GRANTED = DeviceAnswer("granted", Secret("eyJ.a.b"))
ADDRESS = "192.0.2.1"


class Verifier:
    """@ivar request, answers: what the provider says; an error, a Deferred, or in order. @ivar polls: codes asked for."""

    def __init__(self) -> None:
        self.request: Any = REQUEST
        self.answers: list[Any] = [PENDING]
        self.begun: list[tuple[str, Secret]] = []
        self.polls: list[Secret] = []

    def begin_device(self, provider: str, secret: Secret) -> Deferred[DeviceRequest]:
        self.begun.append((provider, secret))
        return _said(self.request)

    def poll_device(self, provider: str, code: Secret, secret: Secret) -> Deferred[DeviceAnswer]:
        self.polls.append(code)
        return _said(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])


def _said(answer: Any) -> Deferred[Any]:
    if isinstance(answer, Exception):
        return fail(answer)
    return answer if isinstance(answer, Deferred) else succeed(answer)


class Contract:
    """Subclasses give C{make()}: L{ILoginLinks} of the worker C{"w1"} around C{self.home}, and C{turn()}."""

    def make(self) -> Any:
        raise NotImplementedError

    def turn(self) -> Deferred[None]:
        """Whatever is on its way arrives."""
        raise NotImplementedError

    def setUp(self: Any) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.verifier = Verifier()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.vault: dict[str, Secret] = {}
        self.numbers = iter(range(1, 1000))
        self.home = LoginLinks(
            self.verifier,
            self.reveal,
            CONFIG,
            self.clock,
            lambda name, fields: self.events.append((name, fields)),
            lambda size: next(self.numbers).to_bytes(size, "big"),
        )
        self.links = self.make()

    def reveal(self: Any, name: str) -> Deferred[Secret]:
        return succeed(self.vault[name]) if name in self.vault else fail(KeyError(name))

    async def advance(self: Any, seconds: float) -> None:
        await self.turn()
        for _ in range(int(seconds)):
            self.clock.advance(1)
            await self.turn()

    async def test_provides_the_interface(self: Any) -> None:
        verifyObject(ILoginLinks, self.links)

    async def test_somebody_logs_in(self: Any) -> None:
        made = await self.links.begin("corp", ADDRESS)
        self.assertEqual(
            (made.provider, made.link, made.code, made.seconds),
            ("corp", "https://id.example/device", "WDJB-MJHT", 600.0),
        )
        waiting = self.links.settled(made.token)
        await self.advance(4)
        self.assertIs(await waiting, False)
        self.assertEqual(self.verifier.polls, [], "not before the provider's interval")
        waiting = self.links.settled(made.token)
        await self.advance(1)
        self.assertEqual(self.verifier.polls, [REQUEST.code])
        self.verifier.answers = [GRANTED]
        await self.advance(3)
        self.assertIs(await waiting, False)
        waiting = self.links.settled(made.token)
        await self.advance(2)
        self.assertIs(await waiting, True)
        # and it stays so, for whoever asks again
        self.assertIs(await self.links.settled(made.token), True)
        await self.links.leave(made.token)
        with self.assertRaises(Denied):
            await self.links.settled(made.token)

    async def test_who_waits_long_is_told_to_ask_again(self: Any) -> None:
        made = await self.links.begin("corp", ADDRESS)
        for _ in range(6):
            waiting = self.links.settled(made.token)
            await self.advance(4)
            self.assertIs(await waiting, False)
        self.assertEqual(len(self.verifier.polls), 4)

    async def test_nobody_will_log_in(self: Any) -> None:
        for state, why in (("denied", "refused at"), ("expired", "lapsed"), ("failed", "broke off")):
            self.verifier.answers = [DeviceAnswer(state, Secret(b""))]
            made = await self.links.begin("corp", ADDRESS)
            await self.advance(4)
            waiting = self.links.settled(made.token)
            await self.advance(1)
            with self.assertRaisesRegex(Denied, why):
                await waiting
            with self.assertRaisesRegex(Denied, why):
                await self.links.settled(made.token)

    async def test_a_link_is_left(self: Any) -> None:
        made = await self.links.begin("corp", ADDRESS)
        await self.advance(6)
        waiting = self.links.settled(made.token)
        await self.advance(1)
        polls = len(self.verifier.polls)
        await self.links.leave(made.token)
        with self.assertRaises(Denied):
            await waiting
        await self.advance(100)
        self.assertEqual(len(self.verifier.polls), polls)

    async def test_what_nobody_made_is_not_known(self: Any) -> None:
        with self.assertRaisesRegex(Denied, "does not know"):
            await self.links.settled(Secret("made up"))
        await self.links.leave(Secret("made up"))

    async def test_who_offers_no_links(self: Any) -> None:
        for name in ("plain", "nobody"):
            with self.assertRaisesRegex(Denied, "offers no login links"):
                await self.links.begin(name, ADDRESS)
        self.assertEqual(self.verifier.begun, [])

    async def test_a_provider_that_makes_none(self: Any) -> None:
        self.verifier.request = Unavailable("status 500 of id.example")
        with self.assertRaisesRegex(Unavailable, "^the identity provider makes no login link now$"):
            await self.links.begin("corp", ADDRESS)


class LocalLoginLinksTests(Contract, TestCase):
    def make(self) -> Any:
        return WorkerLinks("w1", self.home)  # type: ignore[attr-defined]

    def turn(self) -> Deferred[None]:
        return succeed(None)
