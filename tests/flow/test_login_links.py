"""Login links against slow, failing and hostile providers, floods, and workers that ask for what is not theirs."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from hoopd.audit.events import CATALOGUE
from hoopd.errors import Denied, Unavailable
from hoopd.flow.login_links import COOLING, LoginLinks
from hoopd.identity.device import MAX_LIFE
from hoopd.identity.values import DeviceAnswer
from hoopd.secret import Secret
from hoopd.values import LoginLink
from tests.contracts.test_login_links import ADDRESS, CONFIG, GRANTED, PENDING, REQUEST, Verifier
from tests.identity.issuer import NOW

SLOW = DeviceAnswer("slow_down", Secret(b""))


class LoginLinksTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.verifier = Verifier()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.secrets: list[Any] = []
        self.make()

    def make(self, **changes: Any) -> None:
        numbers = iter(range(1, 1000))
        self.links = LoginLinks(
            self.verifier,
            self.reveal,
            evolve(CONFIG, **changes),
            self.clock,
            lambda name, fields: self.events.append((name, fields)),
            lambda size: next(numbers).to_bytes(size, "big"),
        )

    def reveal(self, name: str) -> Deferred[Secret]:
        raise KeyError(name)

    def begin(self, address: str = ADDRESS, worker: str = "w1") -> LoginLink:
        return self.successResultOf(Deferred.fromCoroutine(self.links.begin(worker, "corp", address)))

    def refused(self, address: str, kind: Any = Denied) -> str:
        asked = Deferred.fromCoroutine(self.links.begin("w1", "corp", address))
        return str(self.failureResultOf(asked, kind).value)

    def wait(self, made: LoginLink, worker: str = "w1") -> Deferred[bool]:
        return Deferred.fromCoroutine(self.links.settled(worker, made.token))

    def outcomes(self) -> list[str]:
        return [fields["outcome"] for name, fields in self.events if name == "login.settled"]

    def polled(self, made: LoginLink, seconds: int) -> list[int]:
        """Wait on and on. @return: the seconds at which the provider was asked"""
        at, waiting = [], self.wait(made)
        for second in range(seconds):
            before = len(self.verifier.polls)
            self.clock.advance(1)
            if waiting.called and not self.failed(waiting):
                waiting = self.wait(made)
            at += [second + 1] * (len(self.verifier.polls) - before)
        waiting.addErrback(lambda _: None)
        return at

    def failed(self, waiting: Deferred[bool]) -> bool:
        results: list[Any] = []
        waiting.addBoth(results.append)
        return not isinstance(results[0], bool)

    # -- pace ---------------------------------------------------------------------------------------------------

    def test_the_providers_interval_is_kept(self) -> None:
        self.verifier.request = evolve(REQUEST, interval=7.0)
        self.assertEqual(self.polled(self.begin(), 30), [7, 14, 21, 28])

    def test_slow_down_adds_five_seconds_for_good(self) -> None:
        self.verifier.answers = [PENDING, SLOW, PENDING, SLOW, PENDING]
        self.assertEqual(self.polled(self.begin(), 65), [5, 10, 20, 30, 45, 60])

    def test_who_does_not_answer_is_asked_less(self) -> None:
        self.verifier.answers = [Unavailable("no route"), Unavailable("no route"), PENDING]
        self.assertEqual(self.polled(self.begin(), 60), [5, 15, 35, 55])

    def test_asking_early_gains_nothing(self) -> None:
        made = self.begin()
        self.clock.advance(60)
        # nobody waited so far: the first question is asked at once, the next at the interval
        self.assertEqual(self.polled(made, 11), [5, 10])
        self.assertEqual(len(self.verifier.polls), 3)

    def test_nobody_is_asked_while_nobody_waits(self) -> None:
        self.begin()
        self.clock.advance(300)
        self.assertEqual(self.verifier.polls, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_link_lapses_with_its_code(self) -> None:
        self.verifier.request = evolve(REQUEST, expires_in=8.0)
        made = self.begin()
        self.clock.advance(5)
        waiting = self.wait(made)
        self.clock.pump([1] * 3)
        self.failureResultOf(waiting, Denied)
        self.assertEqual((self.outcomes(), len(self.verifier.polls)), (["lapsed"], 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    # -- the client goes ----------------------------------------------------------------------------------------

    def test_an_answer_that_comes_for_nobody_is_forgotten(self) -> None:
        answer: Deferred[DeviceAnswer] = Deferred()
        self.verifier.answers = [answer]
        made = self.begin()
        self.clock.advance(5)
        waiting = self.wait(made)
        self.links.leave("w1", made.token)
        answer.callback(GRANTED)
        self.failureResultOf(waiting, Denied)
        self.assertIsNone(self.links.granted(made.token))
        self.assertEqual(self.outcomes(), ["left"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_worker_dies(self) -> None:
        mine, other = self.begin(), self.begin(worker="w2")
        waiting = self.wait(mine)
        self.links.worker_gone("w1")
        self.failureResultOf(waiting, Denied)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.verifier.answers = [GRANTED]
        self.clock.advance(5)
        self.assertIs(self.successResultOf(self.wait(other, "w2")), True)

    def test_another_worker_has_nothing_of_it(self) -> None:
        self.verifier.answers = [GRANTED]
        made = self.begin()
        self.failureResultOf(self.wait(made, "w2"), Denied)
        self.links.leave("w2", made.token)
        self.clock.advance(5)
        self.assertIs(self.successResultOf(self.wait(made)), True)

    def test_two_do_not_wait_for_one(self) -> None:
        made = self.begin()
        self.clock.advance(4)
        first = self.wait(made)
        self.failureResultOf(self.wait(made), Denied)
        self.verifier.answers = [GRANTED]
        self.clock.advance(1)
        self.assertIs(self.successResultOf(first), True)

    # -- floods -------------------------------------------------------------------------------------------------

    def test_one_address_has_so_many(self) -> None:
        made = [self.begin("2001:db8::1"), self.begin("2001:db8::2"), self.begin("2001:db8::ffff:3")]
        self.assertIn("from your address", self.refused("2001:db8::4"))
        self.begin("2001:db8:0:1::1")
        # leaving one makes no room at once: each was a request to the provider
        self.links.leave("w1", made[0].token)
        self.assertIn("from your address", self.refused("2001:db8::4"))
        self.clock.advance(COOLING)
        self.begin("2001:db8::4")

    def test_all_together_are_so_many(self) -> None:
        for number in range(5):
            self.begin(f"192.0.2.{number}")
        self.assertIn("too many login links are open", self.refused("198.51.100.1"))
        self.assertEqual(len(self.verifier.begun), 5)
        self.assertEqual(self.events[-1][0], "peer.limited")
        self.clock.advance(REQUEST.expires_in)
        self.begin("198.51.100.1")
        self.assertEqual(self.outcomes(), ["lapsed"] * 5)

    def test_who_logged_in_does_not_count(self) -> None:
        self.verifier.answers = [GRANTED]
        for _ in range(10):
            made = self.begin()
            self.clock.advance(5)
            self.successResultOf(self.wait(made))
            self.links.leave("w1", made.token)

    def test_those_that_are_being_made_count(self) -> None:
        self.verifier.request = Deferred()
        waiting = [Deferred.fromCoroutine(self.links.begin("w1", "corp", ADDRESS)) for _ in range(3)]
        self.refused(ADDRESS)
        self.verifier.request.errback(Unavailable("no"))
        for one in waiting[:1]:
            self.failureResultOf(one, Unavailable)
        self.verifier.request = REQUEST
        self.begin()
        for one in waiting[1:]:
            one.addErrback(lambda _: None)

    # -- what is told -------------------------------------------------------------------------------------------

    def test_each_is_told_once_and_says_no_secret(self) -> None:
        self.verifier.answers = [GRANTED]
        made = self.begin()
        self.clock.advance(5)
        self.successResultOf(self.wait(made))
        granted = self.links.granted(made.token)
        assert granted is not None
        self.assertEqual((granted.provider, granted.token), ("corp", GRANTED.token))
        self.links.judged(made.token, "user:priya", "")
        self.links.judged(made.token, "user:priya", "")
        self.links.leave("w1", made.token)
        self.assertEqual(
            self.events,
            [
                ("login.offered", {"provider": "corp", "peer": ADDRESS}),
                (
                    "login.settled",
                    {"provider": "corp", "peer": ADDRESS, "outcome": "proven", "identity": "user:priya", "why": ""},
                ),
            ],
        )
        for name, fields in self.events:
            self.assertLessEqual(set(fields), set(CATALOGUE[name]))
        self.assertNotIn("eyJ", repr(granted))

    def test_a_token_that_is_not_taken_stays_so(self) -> None:
        self.verifier.answers = [GRANTED]
        made = self.begin()
        self.clock.advance(5)
        self.successResultOf(self.wait(made))
        self.links.judged(made.token, "", "expired")
        self.assertIsNone(self.links.granted(made.token))
        self.assertEqual(self.outcomes(), ["refused"])

    # -- a verifier in wrong hands ------------------------------------------------------------------------------

    def test_what_the_verifier_says_is_looked_at_again(self) -> None:
        for changes in (
            {"link": "javascript:alert(1)"},
            {"link": "http://id.example/"},
            {"link": "https://id.example/\x1b[2J"},
            {"user_code": "\x1b[2J"},
            {"user_code": "ok\nToken: "},
        ):
            self.verifier.request = evolve(REQUEST, **changes)
            self.assertEqual(self.refused(ADDRESS, Unavailable), "the verifier's answer does not fit")

    def test_its_seconds_are_bounded_again(self) -> None:
        self.verifier.request = evolve(REQUEST, interval=-5.0, expires_in=1e12)
        made = self.begin()
        self.assertEqual(made.seconds, MAX_LIFE)
        self.assertEqual(self.polled(made, 3), [1, 2, 3])
