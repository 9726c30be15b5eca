"""Tokens of a real OpenID provider (npm oidc-provider), over TLS: verified, rotated, and believed while it is away."""

from __future__ import annotations

import base64
import json
import shutil
import ssl
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import execute
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from hoopd.config.schema import IdentityConfig, OidcProvider
from hoopd.errors import AuthenticationFailed, Unavailable
from hoopd.identity.fetch import HttpsFetch
from hoopd.identity.oidc import MAX_AGE, OUTAGE, PAUSE
from hoopd.identity.provider import Identities
from hoopd.identity.tables import MIGRATIONS
from hoopd.identity.verifier import Verifier
from hoopd.secret import Secret
from hoopd.store.memory import MemoryStore
from hoopd.values import Peer, Proof
from tests.integration.postgres import certificate, free_port
from tests.scratch import scratch

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent / "oidc"


def install() -> None:
    """Install the provider as package-lock.json says, once. @raise RuntimeError: it cannot be."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise RuntimeError(f"{program} is not installed, and the OpenID provider for tests needs it")
    lock = HERE / "package-lock.json"
    marker = HERE / "node_modules" / ".installed-for-hoopd"
    if not marker.exists() or marker.read_bytes() != lock.read_bytes():
        done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=HERE, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"npm ci failed:\n{done.stderr}")
        marker.write_bytes(lock.read_bytes())


class Provider:
    """The provider's process."""

    def __init__(self, directory: Path) -> None:
        install()
        self.port = free_port()
        self.issuer = f"https://localhost:{self.port}"
        self.certificate, self.key = certificate(directory)
        self.process = subprocess.Popen(
            ["node", "provider.mjs", str(self.port), str(self.certificate.absolute()), str(self.key.absolute())],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._expect("listening")

    def _expect(self, word: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(word):
                return line.strip()
        assert self.process.stderr is not None
        raise RuntimeError(f"the OpenID provider did not say {word!r}:\n{self.process.stderr.read()}")

    def rotate(self) -> None:
        self._order("rotate", "rotated")

    def life(self, seconds: float) -> None:
        """How long login links live that are made from now on."""
        self._order(f"life {seconds}", "set")

    def polls(self) -> int:
        """How often a token was asked for."""
        return int(self._order("polls", "polls ").split()[1])

    def _order(self, line: str, done: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self._expect(done)

    def stop(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        self.process.wait(60)

    def token(self, resource: str = "urn:hoopd", scope: str = "do:read target:orders-*") -> bytes:
        """A client_credentials access token. Blocks."""
        form = {"grant_type": "client_credentials", "resource": resource, "scope": scope}
        request = urllib.request.Request(
            self.issuer + "/token",
            urllib.parse.urlencode(form).encode(),
            {"Authorization": "Basic " + base64.b64encode(b"ci:ci-secret").decode()},
        )
        context = ssl.create_default_context(cafile=str(self.certificate))
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            return str(json.load(answer)["access_token"]).encode()


class OidcTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.provider = Provider(scratch(self))
        self.addCleanup(self.provider.stop)
        self.config = IdentityConfig(
            oidc={
                "ci": OidcProvider(
                    issuer=self.provider.issuer,
                    audience=("hoopd",),
                    kind="agent",
                    scopes_claim="scope",
                    authorities=str(self.provider.certificate),
                )
            }
        )
        # time is ours, so that hours pass at once; tokens are made now
        self.clock = Clock()
        self.clock.advance(time.time())
        self.verifier = Verifier(self.config, HttpsFetch(reactor), self.clock)

    async def token(self, *arguments: Any) -> Secret:
        return Secret(await deferToThread(self.provider.token, *arguments))

    async def test_a_service_becomes_an_agent(self) -> None:
        identities = Identities(MemoryStore(MIGRATIONS), self.verifier, self.config, self.clock, b"p" * 32, execute)
        for resource in ("urn:hoopd", "urn:hoopd:ec", "urn:hoopd:ed"):
            proof = Proof("postgres", await self.token(resource), Peer("192.0.2.1", 1, encrypted=True))
            found = await identities.authenticate(proof)
            self.assertEqual((found.name, found.kind), ("agent:ci", "agent"))
            self.assertEqual(found.groups, {"deployers"})
            self.assertEqual(found.scopes, ("do:read", "target:orders-*"))
            self.assertEqual(found.proof, f"oidc:{self.provider.issuer}")

    async def test_tokens_for_others_and_changed_ones(self) -> None:
        good = await self.token()
        await self.verifier.verify(good)
        header, payload, signature = good.reveal().split(b".")
        text = base64.urlsafe_b64decode(payload + b"==").replace(b'"ci"', b'"root"')
        forged = b".".join((header, base64.urlsafe_b64encode(text).rstrip(b"="), signature))
        for bad in (Secret(forged), await self.token("urn:elsewhere")):
            with self.assertRaises(AuthenticationFailed):
                await self.verifier.verify(bad)

    async def test_rotation(self) -> None:
        old = await self.token()
        await self.verifier.verify(old)
        await deferToThread(self.provider.rotate)
        new = await self.token()
        self.clock.advance(PAUSE)
        await self.verifier.verify(new)
        with self.assertRaises(AuthenticationFailed):
            await self.verifier.verify(old)

    async def test_outage(self) -> None:
        token = await self.token()
        await self.verifier.verify(token)
        await deferToThread(self.provider.process.kill)
        await deferToThread(self.provider.process.wait, 10)
        # the token lives for six hours; the keys are stale after one at most, and are believed for four
        self.clock.advance(MAX_AGE + 1)
        await self.verifier.verify(token)
        stranger = Verifier(self.config, HttpsFetch(reactor), self.clock)
        with self.assertRaises(Unavailable):
            await stranger.verify(token)
        self.clock.advance(OUTAGE - MAX_AGE)
        with self.assertRaises(Unavailable):
            await self.verifier.verify(token)

    async def test_a_provider_whose_certificate_is_not_trusted(self) -> None:
        untrusting = {"ci": evolve(self.config.oidc["ci"], authorities="")}
        stranger = Verifier(IdentityConfig(oidc=untrusting), HttpsFetch(reactor), self.clock)
        with self.assertRaises(Unavailable):
            await stranger.verify(await self.token())
