"""The verifier against a provider that rotates, sulks, lies and is flooded."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from hoopd.config.schema import IdentityConfig, OidcProvider
from hoopd.errors import AuthenticationFailed, ConfigError, Unavailable
from hoopd.identity.oidc import OUTAGE, PAUSE
from hoopd.identity.values import VerifiedToken
from hoopd.identity.verifier import Verifier
from hoopd.interfaces import IVerifier
from hoopd.secret import Secret
from tests.identity.issuer import CLAIMS, EC, ED, ISSUER, NOW, PROVIDER, RSA, RSA_2, Issuer, claims, public, sign


class VerifierTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.issuer = Issuer()
        self.verifier = self.make()

    def make(self, **providers: OidcProvider) -> Verifier:
        return Verifier(IdentityConfig(oidc=providers or {"corp": PROVIDER}), self.issuer, self.clock)

    def ask(self, token: bytes) -> Deferred[VerifiedToken]:
        return self.verifier.verify(Secret(token))

    def good(self, token: bytes) -> VerifiedToken:
        return self.successResultOf(self.ask(token))

    def bad(self, token: bytes, kind: Any = AuthenticationFailed) -> Any:
        return self.failureResultOf(self.ask(token), kind)

    def live(self, **changes: Any) -> dict[str, Any]:
        return claims(exp=int(self.clock.seconds()) + 300, **changes)

    # -- what it says -------------------------------------------------------------------------------------------

    def test_provides_the_interface(self) -> None:
        verifyObject(IVerifier, self.verifier)

    def test_a_good_token(self) -> None:
        for token in (sign(), sign(key=EC, alg="ES256"), sign(key=ED, alg="EdDSA")):
            self.assertEqual(self.good(token), VerifiedToken("corp", ISSUER, CLAIMS, NOW + 300.0))
        self.assertEqual(self.issuer.fetched, [ISSUER + "/.well-known/openid-configuration", ISSUER + "/keys"])

    def test_an_algorithm_that_is_not_pinned(self) -> None:
        self.bad(sign(alg="RS512"))
        self.verifier = self.make(corp=evolve(PROVIDER, algorithms=("ES256",)))
        self.bad(sign())
        self.good(sign(key=EC, alg="ES256"))
        self.assertEqual(self.issuer.rounds, 1)

    def test_strangers_tokens_cost_no_fetch(self) -> None:
        for token in (
            b"x",
            sign(claims(iss="https://evil.example")),
            sign(claims(exp=NOW - 100)),
            sign(claims(aud="other")),
            sign(alg="PS512"),
        ):
            self.bad(token)
        self.assertEqual(self.issuer.fetched, [])

    def test_an_issuer_with_a_slash(self) -> None:
        slash = evolve(PROVIDER, issuer=ISSUER + "/")
        self.verifier = self.make(corp=slash)
        self.issuer.discovery = {"issuer": ISSUER + "/", "jwks_uri": ISSUER + "/keys"}
        self.bad(sign())
        self.good(sign(claims(iss=ISSUER + "/")))
        self.assertEqual(self.issuer.fetched[0], ISSUER + "/.well-known/openid-configuration")

    def test_one_providers_key_does_not_sign_for_another(self) -> None:
        other = evolve(PROVIDER, issuer="https://other.example", subject_prefix="o/")
        mine, yours = Issuer(RSA), Issuer(RSA_2)
        yours.discovery = {"issuer": "https://other.example", "jwks_uri": "https://other.example/keys"}

        def fetch(url: str, *terms: Any) -> Any:
            return (yours if "other.example" in url else mine)(url, *terms)

        self.verifier = Verifier(IdentityConfig(oidc={"corp": PROVIDER, "other": other}), fetch, self.clock)
        self.assertEqual(self.good(sign()).provider, "corp")
        self.assertEqual(self.good(sign(claims(iss="https://other.example"), RSA_2)).provider, "other")
        self.bad(sign(claims(iss="https://other.example"), RSA))
        self.bad(sign(claims(iss="https://other.example"), RSA, kid="rsa-2"))
        self.bad(sign(key=RSA_2, kid="rsa"))

    def test_one_issuer_for_people_and_agents_told_apart_by_audience(self) -> None:
        agents = evolve(PROVIDER, audience=("hoopd-ci",), kind="agent")
        self.verifier = self.make(corp=PROVIDER, ci=agents)
        self.assertEqual(self.good(sign()).provider, "corp")
        self.assertEqual(self.good(sign(claims(aud="hoopd-ci"))).provider, "ci")

    # -- rotation -----------------------------------------------------------------------------------------------

    def test_an_unknown_key_id_is_looked_up_once(self) -> None:
        self.good(sign())
        self.issuer.keys = public(RSA_2)
        self.clock.advance(PAUSE)
        self.good(sign(self.live(), RSA_2))
        self.assertEqual(self.issuer.rounds, 2)
        self.bad(sign(self.live(), RSA))  # the old key is gone with the same fetch

    def test_a_flood_of_unknown_key_ids_costs_one_fetch(self) -> None:
        self.good(sign())
        for number in range(500):
            self.bad(sign(kid=f"flood-{number}"))
        self.assertEqual(self.issuer.rounds, 1)
        self.clock.advance(PAUSE)
        for number in range(500):
            self.bad(sign(kid=f"flood-{number}"))
        self.assertEqual(self.issuer.rounds, 2)
        self.good(sign())

    def test_a_flood_while_a_fetch_is_under_way_waits_for_it(self) -> None:
        self.issuer.silent = True
        asked = [self.ask(sign()) for _ in range(50)]
        self.assertEqual(len(self.issuer.held), 1)
        asked[0].addErrback(lambda failure: None)
        asked[0].cancel()  # one client that gives up does not cancel it for the others
        self.issuer.silent = False
        self.issuer.held[0].callback(self.successResultOf(self.issuer(ISSUER + "/.well-known/openid-configuration")))
        for one in asked[1:]:
            self.successResultOf(one)

    def test_a_replaced_key_without_ids(self) -> None:
        bare = [{**key, "kid": ""} for key in public(RSA)]
        self.issuer.keys = bare
        self.good(sign(kid=None))
        self.issuer.keys = [{**key, "kid": ""} for key in public(RSA_2)]
        self.bad(sign(key=RSA_2, kid=None))
        self.clock.advance(PAUSE)
        self.good(sign(self.live(), RSA_2, kid=None))
        self.assertEqual(self.issuer.rounds, 2)

    def test_a_withdrawn_key_is_gone_when_the_cache_is_old(self) -> None:
        self.good(sign())
        self.issuer.keys = public(RSA_2)
        self.clock.advance(599)
        self.good(sign(self.live()))
        self.clock.advance(1)
        self.bad(sign(self.live()))

    def test_max_age_has_bounds(self) -> None:
        for max_age, fresh, stale in ((0.0, 59, 60), (300.0, 299, 300), (1e9, 3599, 3600), (None, 599, 600)):
            self.issuer = Issuer()
            self.issuer.max_age = max_age
            self.verifier = self.make()
            self.good(sign(self.live()))
            self.clock.advance(fresh)
            self.good(sign(self.live()))
            self.assertEqual(self.issuer.rounds, 1, max_age)
            self.clock.advance(stale - fresh)
            self.good(sign(self.live()))
            self.assertEqual(self.issuer.rounds, 2, max_age)

    # -- outage -------------------------------------------------------------------------------------------------

    def test_cached_keys_go_on_for_the_stated_time(self) -> None:
        self.good(sign())
        self.issuer.away = True
        self.clock.advance(OUTAGE)
        self.good(sign(self.live()))
        self.clock.advance(1)
        self.bad(sign(self.live()), Unavailable)
        self.issuer.away = False
        self.clock.advance(PAUSE)
        self.good(sign(self.live()))

    def test_a_provider_that_was_never_there(self) -> None:
        self.issuer.away = True
        for _ in range(20):
            self.bad(sign(), Unavailable)
        self.assertEqual(len(self.issuer.fetched), 1)

    def test_an_unknown_key_during_an_outage_is_not_called_a_bad_proof(self) -> None:
        self.good(sign())
        self.issuer.away = True
        self.clock.advance(PAUSE)
        self.bad(sign(self.live(), RSA_2), Unavailable)
        self.good(sign(self.live()))

    def test_documents_that_are_not_believed(self) -> None:
        for discovery in (
            {"issuer": ISSUER + "/", "jwks_uri": ISSUER + "/keys"},
            {"issuer": "https://evil.example", "jwks_uri": ISSUER + "/keys"},
            {"jwks_uri": ISSUER + "/keys"},
            {"issuer": ISSUER},
            {"issuer": ISSUER, "jwks_uri": "http://id.example/keys"},
            {"issuer": ISSUER, "jwks_uri": "http://127.0.0.1/keys"},
            {"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"},
            {"issuer": ISSUER, "jwks_uri": ["https://id.example/keys"]},
            [],
            b"<html>",
            b'{"issuer":"https://id.example","issuer":"https://id.example","jwks_uri":"https://id.example/keys"}',
        ):
            self.issuer = Issuer()
            self.issuer.discovery = discovery
            self.verifier = self.make()
            self.bad(sign(), Unavailable)

    def test_a_broken_answer_keeps_the_keys_there_are(self) -> None:
        self.good(sign())
        self.issuer.keys = []
        self.clock.advance(700)
        self.good(sign(self.live()))

    # -- configuration ------------------------------------------------------------------------------------------

    def test_providers_that_are_not_configured_so(self) -> None:
        for changes in (
            {"issuer": "http://id.example"},
            {"issuer": "http://id.example", "allow_http": True},
            {"issuer": "http://127.0.0.1:8080"},
            {"issuer": "id.example"},
            {"issuer": "https://user@id.example"},
            {"issuer": "https://"},
            {"audience": ()},
            {"audience": ("",)},
            {"algorithms": ()},
            {"algorithms": ("none",)},
            {"algorithms": ("RS256", "HS256")},
        ):
            with self.assertRaises(ConfigError, msg=str(changes)):
                self.make(corp=evolve(PROVIDER, **changes))
        self.make(corp=evolve(PROVIDER, issuer="http://127.0.0.1:8080", allow_http=True))
        self.make(corp=evolve(PROVIDER, issuer="http://[::1]:8080/realm", allow_http=True))
