"""psql with a token of a real OpenID provider as password, through the whole gateway: verifier process and all."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer
from tests.integration.test_oidc import Provider

POLICY = """
targets = ["orders"]
mask.card = { columns = ["*.card_number"], show = "last4" }
allow.deploy = { who = ["agent:ci"], do = ["read", "write"] }
"""


class OidcGatewayTests(unittest.TestCase):
    def test_an_agent_signs_in_by_its_providers_token(self) -> None:
        with tempfile.TemporaryDirectory() as name, PostgresServer() as server:
            provider = Provider(Path(name))
            self.addCleanup(provider.stop)
            settings = {
                "identity.oidc.ci": {
                    "issuer": provider.issuer,
                    "audience": ["hoopd"],
                    "kind": "agent",
                    "scopes_claim": "scope",
                    "authorities": str(provider.certificate),
                }
            }
            with Gateway(server, POLICY, settings=settings) as gateway:
                good = provider.token(scope="do:read target:orders").decode()
                gateway.tokens["agent:ci"] = good
                read = gateway.psql("agent:ci", "SELECT card_number FROM customers WHERE id = 1")
                self.assertEqual((read.stdout.strip(), read.stderr), ("****1111", ""))
                written = gateway.psql("agent:ci", "UPDATE orders SET note = 'x'")
                self.assertIn("the token's scopes leave out update", written.stderr)
                head, body, signature = good.split(".")
                gateway.tokens["agent:ci"] = (
                    f"{head}.{body}.{'A' + signature[1:] if signature[0] != 'A' else 'B' + signature[1:]}"
                )
                forged = gateway.psql("agent:ci", "SELECT 1")
                self.assertIn("authentication failed", forged.stderr.lower())
                gateway.tokens["agent:ci"] = good
                gateway.hoopctl("identities", "disable", "agent:ci", "--why", "stolen")
                locked = gateway.psql("agent:ci", "SELECT 1")
                self.assertNotEqual(locked.returncode, 0)
