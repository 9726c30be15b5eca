"""Ways in besides a password, with stock clients on the whole gateway: certificates, OAUTHBEARER, TLS server names."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import psycopg
import pytest

from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer
from tests.integration.test_oidc import Provider

pytestmark = pytest.mark.integration

POLICY = """
targets = ["orders"]
mask.card = { columns = ["*.card_number"], show = "last4" }
allow.read = { who = ["agent:ci", "user:pki/priya", "user:tom"], do = ["read"] }
"""
MASKED = "SELECT card_number FROM customers WHERE id = 1"


def openssl(*words: str, cwd: Path) -> None:
    done = subprocess.run(["openssl", *words], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def authority(directory: Path, name: str) -> None:
    """Write C{name}.pem and C{name}.key."""
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key",
        "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}", cwd=directory,
    )  # fmt: skip


def client(directory: Path, subject: str, by: str) -> dict[str, str]:
    """A client's certificate. @return: libpq's parameters for it."""
    openssl(
        "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{subject}.{by}.key",
        "-out", "request", "-subj", f"/OU=eng/CN={subject}", cwd=directory,
    )  # fmt: skip
    (directory / "extensions").write_text("basicConstraints=critical,CA:FALSE\nextendedKeyUsage=clientAuth\n")
    openssl(
        "x509", "-req", "-in", "request", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial", "-days", "1",
        "-extfile", "extensions", "-out", f"{subject}.{by}.pem", cwd=directory,
    )  # fmt: skip
    return {"sslcert": str(directory / f"{subject}.{by}.pem"), "sslkey": str(directory / f"{subject}.{by}.key")}


class ProofTests(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        server = PostgresServer()
        self.server = server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)

    def gateway(self, settings: dict[str, dict[str, object]]) -> Gateway:
        gateway = Gateway(self.server, POLICY, settings=settings)
        made = gateway.__enter__()
        self.addCleanup(gateway.__exit__, None, None, None)
        return made

    def psql(self, gateway: Gateway, dsn: str, password: str = "") -> str:
        done = subprocess.run(
            ["psql", "-XAtw", "-d", dsn, "-c", MASKED],
            env={"PATH": "/usr/bin:/bin", "PGPASSWORD": password, "HOME": str(self.directory)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout.strip() or done.stderr

    def test_client_certificates_and_server_names(self) -> None:
        authority(self.directory, "ours")
        authority(self.directory, "theirs")
        gateway = self.gateway(
            {
                "identity.certificates.pki": {
                    "authorities": str(self.directory / "ours.pem"), "kind": "human", "subject": "common-name",
                    "groups": "organizational-unit", "subject_prefix": "pki/",
                },
                "listen.postgres": {"server_names": "{target}.db.example.org"},
            }
        )  # fmt: skip
        good = client(self.directory, "priya", "ours")
        # the certificate is the proof: no password is asked for, whatever user name libpq sends
        self.assertEqual(self.psql(gateway, gateway.dsn(user="app", **good)), "****1111")
        (opened,) = gateway.events("session.opened")
        self.assertEqual(opened["identity"], "user:pki/priya")
        # a stranger's counts as none: libpq is asked for a password and has none to give
        said = self.psql(gateway, gateway.dsn(user="priya", **client(self.directory, "priya", "theirs")))
        self.assertIn("fe_sendauth: no password supplied", said)
        # one that does not count does no harm to a password
        token = gateway.identity("user:tom")
        stray = client(self.directory, "tom", "theirs")
        self.assertEqual(self.psql(gateway, gateway.dsn(user="tom", **stray), token), "****1111")
        self.assertIn("authentication failed", self.psql(gateway, gateway.dsn(user="tom", **stray), "wrong password"))
        # one that is good and names nobody whom a rule lets in is told so; a disabled one gets nothing
        self.assertIn(
            "no target called", self.psql(gateway, gateway.dsn(user="x", **client(self.directory, "eve", "ours")))
        )
        gateway.hoopctl("identities", "disable", "user:pki/priya", "--why", "laptop stolen")
        self.assertIn("no password supplied", self.psql(gateway, gateway.dsn(user="app", **good)))

        # the target by TLS server name; libpq sends the user's name for a database that is not given
        def by_name(host: str, database: str) -> str:
            named = f"hostaddr=127.0.0.1 host={host} port={gateway.port} user=tom sslmode=verify-ca"
            return self.psql(gateway, f"{named} sslrootcert={gateway.authorities} {database}", token)

        self.assertEqual(by_name("orders.db.example.org", ""), "****1111")
        self.assertEqual(by_name("ORDERS.db.example.org", "dbname=orders"), "****1111")
        self.assertIn('relation "customers" does not exist', by_name("orders.db.example.org", "dbname=postgres"))
        self.assertIn("means target orders", by_name("orders.db.example.org", "dbname=billing/orders"))
        self.assertIn("no target called 'billing'", by_name("billing.db.example.org", "dbname=orders"))
        self.assertIn("no target called 'tom'", by_name("orders.example.org", ""))

    def test_oauthbearer_with_libpq_18(self) -> None:
        assert psycopg.pq.version() >= 180000, "psycopg's own libpq is older than 18: it has no OAUTHBEARER"
        provider = Provider(self.directory)
        self.addCleanup(provider.stop)
        gateway = self.gateway(
            {
                "identity.oidc.ci": {
                    "issuer": provider.issuer, "audience": ["hoopd"], "kind": "agent",
                    "authorities": str(provider.certificate),
                },
                "listen.postgres": {"oauth_provider": "ci", "oauth_scope": "do:read"},
            }
        )  # fmt: skip

        def client(token: str) -> str:
            words = [str(gateway.port), str(gateway.authorities), provider.issuer]
            done = subprocess.run(
                [sys.executable, str(Path(__file__).with_name("oauth_client.py")), *words],
                input=token, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            return done.stdout + done.stderr

        good = provider.token().decode()
        said = client(good)
        self.assertIn("('****1111',)", said)
        # libpq had no token at first, and learnt from us where it would get one
        self.assertIn(f"{provider.issuer}/.well-known/openid-configuration", said)
        self.assertIn("b'do:read'", said)
        head, body, signature = good.split(".")
        forged = f"{head}.{body}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
        self.assertIn("authentication failed", client(forged))
        # a password is no bearer token, even a right one
        gateway.identity("user:tom")
        self.assertIn("authentication failed", client("correct.horse.of.user.tom"))
        # the same token as password, for clients that know no OAUTHBEARER
        gateway.tokens["agent:ci"] = good
        self.assertEqual(gateway.psql("agent:ci", MASKED).stdout.strip(), "****1111")
