"""Slowing, equal effort, suspicion towards the verifier, and what is noted of use."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from hoopd.config.schema import IdentityConfig
from hoopd.errors import AuthenticationFailed, ConfigError, Unavailable
from hoopd.identity import provider as provider_module
from hoopd.identity.passwords import verify_password
from hoopd.identity.provider import Identities, check_providers
from hoopd.identity.tables import MIGRATIONS
from hoopd.identity.values import VerifiedToken
from hoopd.secret import Secret
from hoopd.store.memory import MemoryStore
from hoopd.values import Identity, Peer, Proof
from tests.identity.issuer import ISSUER, NOW, PROVIDER, claims, sign

ADMIN = Identity("root", "human", duties=frozenset({"user", "administrator"}), proof="password")
GOOD = "correct horse battery"


class Says:
    """A verifier that says what it is told."""

    def __init__(self) -> None:
        self.answer = VerifiedToken("corp", ISSUER, claims(), NOW + 300.0)

    def verify(self, token: Secret) -> Deferred[VerifiedToken]:
        return succeed(self.answer)


class ProviderTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.verifier = Says()
        self.hashes: list[str] = []
        self.store = MemoryStore(MIGRATIONS)
        config = IdentityConfig(oidc={"corp": PROVIDER})
        self.identities = Identities(self.store, self.verifier, config, self.clock, b"p" * 32, self.threads)
        self.held: list[Any] | None = None
        self.successResultOf(self.identities.add("user:ann", "user:root"))
        self.successResultOf(self.identities.set_password("user:ann", Secret(GOOD), "user:root"))
        self.successResultOf(self.identities.add("agent:ci", "user:root"))

    def threads(self, call: Any, *arguments: Any) -> Deferred[Any]:
        """Fast Argon2: the right password is known, but which hash was tried is noted."""
        if call is not verify_password:
            return execute(call, *arguments)
        password, stored = arguments
        self.hashes.append(stored)
        if self.held is not None:
            self.held.append(Deferred())
            return self.held[-1]
        return succeed(password == GOOD.encode() and stored != provider_module.NOBODY)

    def ask(self, secret: Any, claimed: str = "ann", address: str = "192.0.2.1") -> Deferred[Identity]:
        return self.identities.authenticate(Proof(claimed, Secret(secret), Peer(address, 1, encrypted=True)))

    def bad(self, asked: Deferred[Identity]) -> None:
        self.clock.pump([1.0] * 10)
        self.failureResultOf(asked, AuthenticationFailed)

    # -- effort -------------------------------------------------------------------------------------------------

    def test_unknown_names_cost_as_much_as_known_ones(self) -> None:
        for claimed in ("ann", "nobody", "ci", "agent:ci", "", "user:"):
            self.hashes.clear()
            self.bad(self.ask("wrong", claimed))
            self.assertEqual(len(self.hashes), 1, claimed)
            self.assertEqual(self.hashes[0].split("$")[:4], provider_module.NOBODY.split("$")[:4])

    def test_a_disabled_identity_costs_as_much(self) -> None:
        self.successResultOf(self.identities.disable("user:ann", "user:root"))
        self.bad(self.ask(GOOD))
        self.assertEqual(len(self.hashes), 1)

    def test_argon2_runs_twice_at_once_and_no_more(self) -> None:
        self.held = []
        asked = [self.ask(GOOD, address=f"192.0.2.{n}") for n in range(20)]
        self.assertEqual(len(self.held), 2)
        for number in range(20):
            self.held[number].callback(True)
        for one in asked:
            self.successResultOf(one)

    def test_a_crowd_is_told_to_come_back(self) -> None:
        self.held = []
        asked = [self.ask(GOOD, address=f"10.0.{n // 250}.{n % 250}") for n in range(200)]
        told = [one for one in asked if one.called]
        self.assertEqual(len(told), 98)
        for one in told:
            self.failureResultOf(one, Unavailable)
        for one in asked:
            one.addErrback(lambda failure: None)

    # -- slowing ------------------------------------------------------------------------------------------------

    def test_guessing_is_slowed(self) -> None:
        for _ in range(12):
            self.bad(self.ask("wrong"))
        late = self.ask(GOOD)
        self.assertNoResult(late)
        self.clock.advance(7.9)
        self.assertNoResult(late)
        self.clock.advance(0.1)
        self.successResultOf(late)
        # and is forgiven
        self.successResultOf(self.ask(GOOD))

    def test_the_innocent_are_not_slowed(self) -> None:
        self.successResultOf(self.identities.add("user:bob", "user:root"))
        self.successResultOf(self.identities.set_password("user:bob", Secret(GOOD), "user:root"))
        _, token = self.successResultOf(self.identities.issue(ADMIN, "agent:ci"))
        for _ in range(12):
            self.bad(self.ask("wrong"))
        self.successResultOf(self.ask(GOOD, address="198.51.100.7"))
        self.successResultOf(self.ask(GOOD, "bob"))
        self.successResultOf(self.ask(token.reveal()))
        self.successResultOf(self.ask(sign()))

    def test_guesses_made_at_once_wait_for_each_other(self) -> None:
        asked = [self.ask("wrong") for _ in range(10)]
        self.assertLessEqual(len(self.hashes), 4)
        self.clock.pump([0.25] * 200)
        for one in asked:
            self.failureResultOf(one, AuthenticationFailed)
        self.assertEqual(self.identities._turns, {})

    def test_a_pool_that_connects_at_once_is_not_slowed(self) -> None:
        for one in [self.ask(GOOD) for _ in range(40)]:
            self.successResultOf(one)

    def test_a_queue_has_an_end(self) -> None:
        for _ in range(12):
            self.bad(self.ask("wrong"))
        asked = [self.ask("wrong") for _ in range(100)]
        self.assertEqual(sum(one.called for one in asked), 49)
        for one in asked:
            one.addErrback(lambda failure: failure.trap(AuthenticationFailed))
        self.clock.pump([8.0] * 60)
        self.assertTrue(all(one.called for one in asked))

    def test_noise_of_bad_tokens_is_slowed(self) -> None:
        asked = [self.ask(b"hoopd_nonsense") for _ in range(40)]
        self.assertTrue(asked[0].called)
        self.assertNoResult(asked[-1])
        for one in asked:
            one.addErrback(lambda failure: failure.trap(AuthenticationFailed))
        self.clock.pump([1.0] * 10)
        self.assertTrue(asked[-1].called)

    # -- the verifier is not believed further than need be --------------------------------------------------------

    def test_answers_of_the_verifier_that_do_not_fit(self) -> None:
        self.successResultOf(self.ask(sign()))
        good = self.verifier.answer
        for number, wrong in enumerate(
            (
                evolve(good, provider="other"),
                evolve(good, issuer="https://evil.example"),
                evolve(good, expires_at=NOW - 1000.0),
                evolve(good, claims={}),
            )
        ):
            self.verifier.answer = wrong
            self.bad(self.ask(sign(), address=f"198.51.100.{number}"))

    # -- notes --------------------------------------------------------------------------------------------------

    def test_use_is_noted_once_a_minute(self) -> None:
        entry, token = self.successResultOf(self.identities.issue(ADMIN, "agent:ci"))
        noted = []
        for pause in (0, 30, 29, 1, 59, 1):
            self.clock.advance(pause)
            self.successResultOf(self.ask(token.reveal()))
            (now,) = self.successResultOf(self.identities.tokens("agent:ci"))
            noted.append((now.last_used_at or 0) - NOW)
        self.assertEqual(noted, [0, 0, 0, 60, 60, 120])
        self.assertEqual(now.id, entry.id)

    def test_tokens_and_passwords_are_kept_as_hashes(self) -> None:
        _, token = self.successResultOf(self.identities.issue(ADMIN, "agent:ci"))
        secret = token.reveal().split(b"_", 2)[2].decode()
        self.assertGreaterEqual(len(secret), 43)
        dump = repr(
            self.successResultOf(
                self.store.transact(
                    lambda tx: tx.execute("SELECT * FROM tokens") + tx.execute("SELECT * FROM identities")
                )
            )
        )
        self.assertIn("agent:ci", dump)
        self.assertNotIn(secret, dump)
        self.assertNotIn(GOOD, dump)
        # and another pepper makes another digest: the store alone proves nothing
        other = Identities(self.store, self.verifier, IdentityConfig(), self.clock, b"q" * 32, self.threads)
        asked = other.authenticate(Proof("", token, Peer("192.0.2.1", 1, encrypted=True)))
        self.failureResultOf(asked, AuthenticationFailed)

    def test_providers_whose_subjects_would_be_mixed_up(self) -> None:
        other = evolve(PROVIDER, issuer="https://other.example")
        with self.assertRaisesRegex(ConfigError, "cannot be told apart"):
            check_providers(IdentityConfig(oidc={"a": PROVIDER, "b": other}))
        check_providers(IdentityConfig(oidc={"a": PROVIDER, "b": evolve(other, subject_prefix="b/")}))
        check_providers(IdentityConfig(oidc={"a": PROVIDER, "b": evolve(other, kind="agent")}))
