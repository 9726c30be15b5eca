"""The first administrator: once, by whoever can read one file."""

from __future__ import annotations

import stat
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import DeferredList, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from hoopd.config.schema import IdentityConfig
from hoopd.errors import AuthenticationFailed
from hoopd.identity.bootstrap import LIFETIME, Bootstrap
from hoopd.identity.directory import Directory
from hoopd.identity.provider import Identities
from hoopd.identity.tables import MIGRATIONS
from hoopd.secret import Secret
from hoopd.store.memory import MemoryStore
from hoopd.store.sqlite import SqliteStore
from hoopd.values import Peer, Proof
from tests.scratch import scratch


class BootstrapTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.path = scratch(self) / "bootstrap-token"
        self.store: Any = MemoryStore(MIGRATIONS)
        self.directory = Directory(self.store, IdentityConfig(), self.clock, b"p" * 32, threads=execute)

    def bootstrap(self) -> Bootstrap:
        return Bootstrap(self.store, self.path, self.clock, b"p" * 32)

    def start(self) -> bool:
        """The broker starts."""
        return bool(self.successResultOf(self.bootstrap().ensure()))

    def lying(self) -> Secret:
        return Secret(self.path.read_bytes())

    def refused(self, token: Any, name: str = "user:eve") -> None:
        self.failureResultOf(self.bootstrap().consume(Secret(token), name), AuthenticationFailed)

    def test_once(self) -> None:
        self.assertTrue(self.start())
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        token = self.lying()
        entry, issued = self.successResultOf(self.bootstrap().consume(token, "user:ann"))
        self.assertEqual(entry.identity, "user:ann")
        self.assertFalse(self.path.exists())
        (ann,) = self.successResultOf(self.directory.identities())
        self.assertEqual((ann.name, ann.duties), ("user:ann", ("administrator", "user", "vault")))
        self.refused(token.reveal())
        self.assertFalse(self.start())
        self.assertFalse(self.path.exists())
        identities = Identities(self.store, None, IdentityConfig(), self.clock, b"p" * 32, threads=execute)
        proof = Proof("", issued, Peer("127.0.0.1", 1, encrypted=False))
        self.assertIn("administrator", self.successResultOf(identities.authenticate(proof)).duties)

    def test_a_restart_keeps_the_token_that_lies_there(self) -> None:
        self.start()
        token = self.lying()
        self.clock.advance(LIFETIME - 1)
        self.start()
        self.assertEqual(self.lying(), token)

    def test_lapsed(self) -> None:
        self.start()
        token = self.lying()
        self.clock.advance(LIFETIME)
        self.refused(token.reveal())
        self.start()
        self.assertNotEqual(self.lying(), token)
        self.refused(token.reveal())
        self.successResultOf(self.bootstrap().consume(self.lying(), "user:ann"))

    def test_a_file_that_is_gone_or_changed(self) -> None:
        for damage in (self.path.unlink, lambda: self.path.write_text("something else")):
            self.start()
            token = self.lying()
            damage()
            self.start()
            self.assertNotEqual(self.lying(), token)
            self.refused(token.reveal())

    def test_wrong_tokens(self) -> None:
        self.refused(b"before there is one")
        self.start()
        for wrong in (b"", b"hoopdboot_", self.lying().reveal()[:-2], b"0" * 64):
            self.refused(wrong)
        self.successResultOf(self.bootstrap().consume(self.lying(), "user:ann"))

    def test_names_that_do_not_spend_it(self) -> None:
        self.start()
        self.successResultOf(self.directory.add("user:taken", "x"))
        for name in ("agent:ci", "ann", "user:A", "user:taken"):
            self.failureResultOf(self.bootstrap().consume(self.lying(), name), ValueError)
        self.successResultOf(self.bootstrap().consume(self.lying(), "user:ann"))

    def test_not_while_there_is_an_administrator(self) -> None:
        self.start()
        token = self.lying()
        self.successResultOf(self.directory.add("user:root", "x", duties=["administrator"]))
        self.refused(token.reveal())
        self.assertFalse(self.start())
        self.assertFalse(self.path.exists())

    def test_again_when_the_last_administrator_is_disabled(self) -> None:
        self.successResultOf(self.directory.add("user:root", "x", duties=["administrator"]))
        self.assertFalse(self.start())
        self.successResultOf(self.directory.disable("user:root", "x"))
        self.assertTrue(self.start())

    async def test_a_race_has_one_winner(self) -> None:
        self.store = SqliteStore(str(scratch(self) / "store"), reactor)
        self.addCleanup(self.store.close)
        await self.store.migrate(MIGRATIONS)
        await self.bootstrap().ensure()
        token = self.lying()
        results = await DeferredList(
            [self.bootstrap().consume(token, f"user:u{n}") for n in range(20)], consumeErrors=True
        )
        self.assertEqual(sum(good for good, _ in results), 1)
        rows = await self.store.transact(lambda tx: tx.execute("SELECT name FROM identities"))
        self.assertEqual(len(rows), 1)
