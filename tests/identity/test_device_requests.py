"""Asking providers for login links: what is sent, what is remembered, and how often one that fails is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from hoopd.config.schema import IdentityConfig
from hoopd.errors import Unavailable
from hoopd.identity.device import GRANT
from hoopd.identity.fetch import Answered
from hoopd.identity.oidc import DEFAULT_AGE, PAUSE
from hoopd.identity.verifier import Verifier
from hoopd.secret import Secret
from tests.identity.issuer import ISSUER, NOW, PROVIDER, Issuer
from tests.identity.test_device import GOOD

CODE = Secret("the device code")
NONE = Secret(b"")


class Web(Issuer):
    """@ivar answers: what forms get, in order; the last one again and again. @ivar posted: what was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.discovery = {
            "issuer": ISSUER,
            "jwks_uri": ISSUER + "/keys",
            "device_authorization_endpoint": ISSUER + "/device/auth",
            "token_endpoint": ISSUER + "/token",
        }
        self.answers: list[Any] = [(200, GOOD)]
        self.posted: list[tuple[str, Mapping[str, str], Any]] = []

    def post(self, url: str, form: Mapping[str, str], authorities: str, http: bool, client: Any) -> Deferred[Answered]:
        self.posted.append((url, dict(form), client))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            return fail(answer)
        status, body = answer
        return succeed(Answered(status, body if isinstance(body, bytes) else json.dumps(body).encode()))


class DeviceRequestsTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.web = Web()
        self.make()

    def make(self, **changes: Any) -> None:
        provider = evolve(PROVIDER, login_client="gateway", **changes)
        others = {"plain": evolve(PROVIDER, subject_prefix="p/")}
        self.verifier = Verifier(IdentityConfig(oidc={"corp": provider, **others}), self.web, self.clock)

    def begin(self, secret: Secret = NONE) -> Any:
        return self.successResultOf(self.verifier.begin_device("corp", secret))

    def poll(self, secret: Secret = NONE) -> Any:
        return self.successResultOf(self.verifier.poll_device("corp", CODE, secret))

    def refused(self, why: str, provider: str = "corp") -> None:
        error = self.failureResultOf(self.verifier.begin_device(provider, NONE), Unavailable)
        self.assertIn(why, str(error.value))

    # -- what is sent -------------------------------------------------------------------------------------------

    def test_a_public_client_says_its_name(self) -> None:
        self.assertEqual(self.begin().user_code, "WDJB-MJHT")
        self.web.answers = [(400, {"error": "authorization_pending"})]
        self.assertEqual(self.poll().state, "pending")
        device, token = self.web.posted
        self.assertEqual(device, (ISSUER + "/device/auth", {"scope": "openid", "client_id": "gateway"}, None))
        self.assertEqual(
            token,
            (
                ISSUER + "/token",
                {"grant_type": GRANT, "device_code": "the device code", "client_id": "gateway"},
                None,
            ),
        )

    def test_a_secret_goes_into_the_header(self) -> None:
        secret = Secret("s3cret")
        self.begin(secret)
        self.poll(secret)
        for _, form, client in self.web.posted:
            self.assertEqual(client, ("gateway", secret))
            self.assertNotIn("client_secret", form)

    def test_a_secret_goes_into_the_form_where_the_provider_says_so(self) -> None:
        self.web.discovery["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
        self.begin(Secret("s3cret"))
        ((_, form, client),) = self.web.posted
        self.assertEqual((form["client_id"], form["client_secret"], client), ("gateway", "s3cret", None))

    def test_scopes_are_the_configurations(self) -> None:
        self.make(login_scope="openid groups")
        self.begin()
        self.assertEqual(self.web.posted[0][1]["scope"], "openid groups")

    def test_which_token_is_the_proof(self) -> None:
        self.web.answers = [(200, {"id_token": "a.b.c", "access_token": "d.e.f"})]
        self.assertEqual(self.poll().token, Secret("a.b.c"))
        self.make(login_proof="access_token")
        self.assertEqual(self.poll().token, Secret("d.e.f"))

    # -- discovery ----------------------------------------------------------------------------------------------

    def test_addresses_are_kept_for_a_while(self) -> None:
        self.begin()
        self.poll()
        self.begin()
        self.assertEqual(self.web.rounds, 1)
        self.clock.advance(DEFAULT_AGE)
        self.begin()
        self.assertEqual(self.web.rounds, 2)

    def test_addresses_that_are_not_asked(self) -> None:
        for name in ("device_authorization_endpoint", "token_endpoint"):
            for wrong in (None, 7, "http://id.example/x", "javascript:x", "https://a@b/", "https://id.example/\n"):
                good = dict(self.web.discovery)
                self.web.discovery[name] = wrong
                self.refused(f"no acceptable {name}")
                self.web.discovery = good
                self.clock.advance(PAUSE)
        self.assertEqual(self.web.posted, [])

    def test_another_issuers_document(self) -> None:
        self.web.discovery["issuer"] = "https://evil.example"
        self.refused("another issuer")
        self.assertEqual(self.web.posted, [])

    # -- failures -----------------------------------------------------------------------------------------------

    def test_whatever_fails_is_left_alone_for_a_while(self) -> None:
        for answer, why in (
            ((400, {"error": "unauthorized_client"}), "status 400: unauthorized_client"),
            ((500, b"<html>\x1b[2J"), "status 500: an answer that is none of OAuth"),
            ((200, {**GOOD, "user_code": "\x1b[2J"}), "user_code cannot be used"),
            ((200, b"x" * 100_000), "Expecting value"),
            (Unavailable("id.example cannot be reached"), "cannot be reached"),
        ):
            self.web.answers = [answer]
            self.refused(why)
            asked = len(self.web.posted), self.web.rounds
            self.refused("a moment ago")
            self.assertEqual((len(self.web.posted), self.web.rounds), asked)
            self.clock.advance(PAUSE)
        self.web.answers = [(200, GOOD)]
        self.assertEqual(self.begin().user_code, "WDJB-MJHT")

    def test_who_offers_none(self) -> None:
        self.refused("offers no login links", "plain")
        self.refused("offers no login links", "nobody")
        self.assertEqual(self.web.fetched, [])

    def test_a_provider_out_of_order_may_be_asked_again(self) -> None:
        for status in (429, 500, 502, 302):
            self.web.answers = [(status, b"busy")]
            self.failureResultOf(self.verifier.poll_device("corp", CODE, NONE), Unavailable)
        self.web.answers = [(400, {"error": "slow_down"})]
        self.assertEqual(self.poll().state, "slow_down")
