"""What every IIdentityProvider does, over every store: proofs in, identities out, one answer to all that fail."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from hoopd.config.schema import IdentityConfig
from hoopd.errors import AuthenticationFailed, Unavailable
from hoopd.flow.login_links import Granted
from hoopd.identity.provider import Identities
from hoopd.identity.tables import MIGRATIONS
from hoopd.identity.verifier import Verifier
from hoopd.interfaces import IIdentityProvider
from hoopd.secret import Secret
from hoopd.store.memory import MemoryStore
from hoopd.store.sqlite import SqliteStore
from hoopd.values import Identity, Peer, Proof
from tests.identity.issuer import NOW, PROVIDER, RSA_2, Issuer, claims, sign

PEER = Peer("192.0.2.1", 5000, encrypted=True)
ADMIN = Identity("root", "human", duties=frozenset({"user", "administrator"}), proof="password")
PASSWORD = Secret("correct horse battery")


class Links:
    """Login links of which one, C{"the link"}, has brought a token. @ivar told: what it came to."""

    def __init__(self, token: bytes = b"", provider: str = "corp") -> None:
        self.granted_token, self.provider = Secret(token or sign()), provider
        self.told: list[tuple[str, str]] = []

    def granted(self, token: Secret) -> Granted | None:
        return Granted(self.provider, self.granted_token) if token == Secret("the link") else None

    def judged(self, token: Secret, identity: str, why: str) -> None:
        self.told.append((identity, why))


class Contract:
    """Subclasses give C{make_store()}."""

    def make_store(self) -> Any:
        raise NotImplementedError

    async def ready(self: Any, **changes: Any) -> Any:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.issuer = Issuer()
        config = evolve(IdentityConfig(oidc={"corp": PROVIDER}), **changes)
        store = self.make_store()
        self.addCleanup(store.close)
        await store.migrate(MIGRATIONS)
        counter = itertools.count(1)
        identities = Identities(
            store,
            Verifier(config, self.issuer, self.clock),
            config,
            self.clock,
            b"pepper" * 5,
            threads=execute,
            entropy=lambda size: next(counter).to_bytes(4, "big") * (size // 4) + b"\0" * (size % 4),
        )
        await identities.add("user:ann", "user:root", ["eng"], ["approver"])
        await identities.set_password("user:ann", PASSWORD, "user:root")
        await identities.add("agent:ci", "user:root", ["ci"])
        return identities

    def prove(self: Any, identities: Any, secret: Any, claimed: str = "", peer: Peer = PEER) -> Deferred[Identity]:
        value = secret if isinstance(secret, Secret) else Secret(secret)
        return identities.authenticate(Proof(claimed, value, peer))

    async def refused(self: Any, identities: Any, secret: Any, claimed: str = "", peer: Peer = PEER) -> None:
        with self.assertRaises(AuthenticationFailed) as caught:
            asked = self.prove(identities, secret, claimed, peer)
            for _ in range(20):
                self.clock.advance(1)  # whatever pauses there are
            await asked
        self.assertEqual(
            (str(caught.exception), caught.exception.rules, caught.exception.hint), ("authentication failed", (), "")
        )

    async def test_provides_the_interface(self: Any) -> None:
        verifyObject(IIdentityProvider, await self.ready())

    async def test_password(self: Any) -> None:
        identities = await self.ready()
        for claimed in ("ann", "user:ann"):
            found = await self.prove(identities, PASSWORD, claimed)
            self.assertEqual(
                (found.name, found.kind, found.proof, found.proven_at), ("user:ann", "human", "password", NOW)
            )
            self.assertEqual(found.groups, {"eng"})
            self.assertEqual(found.duties, {"user", "approver"})

    async def test_issued_token(self: Any) -> None:
        identities = await self.ready()
        entry, token = await identities.issue(ADMIN, "agent:ci", scopes=["do:read"], act="user:ann")
        # a token names its bearer itself: what the client claims (a database role) does not matter
        for claimed in ("", "postgres", "ann"):
            found = await self.prove(identities, token, claimed)
            self.assertEqual((found.name, found.kind, found.proof), ("agent:ci", "agent", f"token:{entry.id}"))
            self.assertEqual((found.scopes, found.act, found.groups), (("do:read",), "user:ann", {"ci"}))
            self.assertEqual(found.expires_at, entry.expires_at)

    async def test_jwt(self: Any) -> None:
        identities = await self.ready()
        found = await self.prove(identities, sign(), "whoever")
        self.assertEqual((found.name, found.proof), ("user:priya", "oidc:https://id.example"))

    async def test_login_link(self: Any) -> None:
        identities = await self.ready()
        links = identities.login_links = Links()
        asked = Proof("whoever", Secret("the link"), PEER, "link")
        found = await identities.authenticate(asked)
        self.assertEqual((found.name, found.kind, found.groups), ("user:priya", "human", {"eng"}))
        self.assertEqual(found.proof, "oidc:https://id.example by login link")
        # as often as the connection needs it
        self.assertEqual(await identities.authenticate(asked), found)
        self.assertEqual(links.told, [("user:priya", "")] * 2)

    async def test_a_login_link_is_judged_as_a_token_that_was_brought(self: Any) -> None:
        for wrong, why in (
            (sign(claims(exp=NOW - 100)), "expired"),
            (sign(claims(aud="other")), "for another audience"),
            (sign(key=RSA_2, kid="rsa"), "bad signature"),
            (b"no token", "not a compact JWT"),
        ):
            identities = await self.ready()
            links = identities.login_links = Links(wrong)
            with self.assertRaises(AuthenticationFailed) as caught:
                await identities.authenticate(Proof("", Secret("the link"), PEER, "link"))
            self.assertEqual(str(caught.exception), "authentication failed")
            ((name, said),) = links.told
            self.assertEqual(name, "")
            self.assertIn(why, said)

    async def test_a_login_link_takes_no_other_providers_token(self: Any) -> None:
        identities = await self.ready()
        links = identities.login_links = Links(provider="partners")
        with self.assertRaises(AuthenticationFailed):
            await identities.authenticate(Proof("", Secret("the link"), PEER, "link"))
        self.assertEqual(links.told, [("", "a token for corp")])

    async def test_a_login_link_by_which_nobody_logged_in(self: Any) -> None:
        identities = await self.ready()
        for links in (None, Links()):
            identities.login_links = links
            with self.assertRaises(AuthenticationFailed):
                await identities.authenticate(Proof("", Secret("another"), PEER, "link"))
        # nor is its token one of another kind
        await self.refused(identities, "the link")

    async def test_a_disabled_identity_does_not_come_by_link(self: Any) -> None:
        identities = await self.ready()
        identities.login_links = Links()
        await identities.disable("user:priya", "user:root", "left")
        with self.assertRaises(AuthenticationFailed):
            await identities.authenticate(Proof("", Secret("the link"), PEER, "link"))

    async def test_a_provider_cannot_prove_a_local_identitys_name(self: Any) -> None:
        identities = await self.ready()
        await self.prove(identities, sign())
        await identities.add("user:priya", "user:root")
        await self.refused(identities, sign())

    async def test_all_that_fails_looks_the_same(self: Any) -> None:
        identities = await self.ready()
        entry, token = await identities.issue(ADMIN, "agent:ci")
        gone, revoked = await identities.issue(ADMIN, "agent:ci")
        await identities.revoke(ADMIN, gone.id)
        bad = token.reveal()[:-1] + (b"A" if token.reveal()[-1:] != b"A" else b"B")
        for number, (secret, claimed) in enumerate(
            [
                ("wrong password", "ann"),
                ("", "ann"),
                (PASSWORD, "nobody"),
                (PASSWORD, ""),
                (PASSWORD, "ci"),
                (PASSWORD, "agent:ci"),
                (PASSWORD, "Ann"),
                (PASSWORD, "ann\0"),
                ("x" * 5000, "ann"),
                (bad, "ci"),
                (revoked, "ci"),
                ("hoopd_", ""),
                ("hoopd_" + entry.id, ""),
                (b"hoopd_\xff\xff", ""),
                (sign(key=RSA_2, kid="rsa"), "priya"),
                (sign(claims(exp=NOW - 100)), "priya"),
                (sign(claims(sub="a\nb")), "priya"),
            ]
        ):
            await self.refused(identities, secret, claimed, Peer(f"198.51.100.{number}", 1, encrypted=True))

    async def test_in_clear_only_from_loopback(self: Any) -> None:
        identities = await self.ready()
        for address in ("192.0.2.1", "10.0.0.1", "::2", "", "localhost", "127.0.0.1.evil"):
            await self.refused(identities, PASSWORD, "ann", Peer(address, 1, encrypted=False))
        for address in ("127.0.0.1", "::1"):
            await self.prove(identities, PASSWORD, "ann", Peer(address, 1, encrypted=False))

    async def test_expiry(self: Any) -> None:
        identities = await self.ready()
        _, token = await identities.issue(ADMIN, "agent:ci", lifetime=100)
        self.clock.advance(99)
        await self.prove(identities, token)
        self.clock.advance(1)
        await self.refused(identities, token)

    async def test_disabled_whatever_the_proof(self: Any) -> None:
        identities = await self.ready()
        _, token = await identities.issue(ADMIN, "agent:ci")
        for name in ("user:ann", "agent:ci", "user:priya"):
            await identities.disable(name, "user:root", "left")
        await self.refused(identities, PASSWORD, "ann")
        await self.refused(identities, token)
        await self.refused(identities, sign())
        for name in ("user:ann", "agent:ci", "user:priya"):
            await identities.enable(name, "user:root")
        await self.prove(identities, PASSWORD, "ann", Peer("198.51.100.1", 1, encrypted=True))
        await self.prove(identities, token)
        await self.prove(identities, sign(claims(exp=int(self.clock.seconds()) + 300)))

    async def test_changes_are_effective_at_once(self: Any) -> None:
        identities = await self.ready()
        _, token = await identities.issue(ADMIN, "agent:ci")
        await identities.set_groups("agent:ci", ["other"], "user:root")
        self.assertEqual((await self.prove(identities, token)).groups, {"other"})
        await identities.set_password("user:ann", Secret("another long one"), "user:root")
        await self.refused(identities, PASSWORD, "ann")
        await identities.set_password("user:ann", None, "user:root")
        await self.refused(identities, "another long one", "ann")

    async def test_an_unavailable_provider_is_not_a_bad_proof(self: Any) -> None:
        identities = await self.ready()
        self.issuer.away = True
        with self.assertRaises(Unavailable):
            await self.prove(identities, sign())

    async def test_scopes_take_duties_away(self: Any) -> None:
        identities = await self.ready()
        ann = await self.prove(identities, PASSWORD, "ann")
        for scopes, duties in (
            (None, {"user", "approver"}),
            (["do:read"], {"user"}),
            (["duty:approver"], {"user", "approver"}),
        ):
            _, token = await identities.issue(ann, "user:ann", scopes=scopes)
            self.assertEqual((await self.prove(identities, token)).duties, duties)


class MemoryIdentitiesTests(Contract, TestCase):
    def make_store(self) -> Any:
        return MemoryStore()


class SqliteIdentitiesTests(Contract, TestCase):
    def make_store(self) -> Any:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return SqliteStore(str(Path(directory.name) / "store"), reactor)
