"""The vault on its store: what lies on disk, rows moved about, and rotations that are cut off anywhere."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, execute, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from hoopd.errors import ConfigError, Denied, TargetError, Unavailable
from hoopd.protocols.postgres.scram import ScramServer
from hoopd.secret import Secret
from hoopd.store.memory import MemoryStore
from hoopd.store.sqlite import SqliteStore
from hoopd.values import Grant, ScramServerFirst, Target, TargetTls
from hoopd.vault.envelope import EnvelopeError
from hoopd.vault.master import FileSource, PassphraseSource
from hoopd.vault.tables import MIGRATIONS
from hoopd.vault.vault import Vault
from tests.scratch import scratch

TARGET = Target(
    "t", "postgres", "127.0.0.1", 1, credential="a", tls=TargetTls("off"), weak_authentication=("cleartext",)
)


class Crash(Exception):
    """The process ends here."""


class VaultTests(TestCase):
    def setUp(self) -> None:
        self.directory = scratch(self)
        self.store = MemoryStore(MIGRATIONS)
        self.clock = Clock()
        self.grants = 0

    def vault(self, installation: str = "here", source: Any = None, store: Any = None) -> Vault:
        """A new process, as it were: everything but the store and the key file is forgotten."""
        source = source or FileSource(self.directory / "master")
        return Vault(store or self.store, source, installation, self.clock, threads=execute)

    async def value(self, vault: Vault, name: str = "a") -> bytes:
        self.grants += 1
        grant = Grant(f"s{self.grants}", "t", "user:x", 0, 1e12, Secret(f"token {self.grants}"))
        vault.register_grant(grant)
        target = Target(
            **{**{f: getattr(TARGET, f) for f in TARGET.__slots__ if f != "__weakref__"}, "credential": name}
        )
        return await vault.weak_answer(grant, target, "cleartext", b"")

    async def sql(self, statement: str, *args: Any) -> Any:
        return await self.store.transact(lambda tx: tx.execute(statement, args))

    async def test_what_is_given_out_is_of_the_kind_that_is_asked_for(self) -> None:
        vault = self.vault()
        for name in ("a", "login/corp", "notify/chat"):
            await vault.put(name, Secret(f"of {name}"), "user:x")
        self.assertEqual(await vault.reveal_login("login/corp"), Secret("of login/corp"))
        self.assertEqual(await vault.reveal_channel("notify/chat"), Secret("of notify/chat"))
        for reveal, name in (
            (vault.reveal_login, "a"),
            (vault.reveal_login, "notify/chat"),
            (vault.reveal_login, "login/none"),
            (vault.reveal_channel, "a"),
            (vault.reveal_channel, "login/corp"),
        ):
            with self.assertRaises(KeyError):
                await reveal(name)

    async def test_values_survive_a_restart(self) -> None:
        await self.vault().put("a", Secret("one"), "user:x")
        seed = await self.vault().internal("seed")
        again = self.vault()
        self.assertEqual(await self.value(again), b"one")
        self.assertEqual(await again.internal("seed"), seed)

    async def test_nothing_lies_in_clear_on_disk(self) -> None:
        store = SqliteStore(str(self.directory / "store"), reactor)
        self.addCleanup(store.close)
        await store.migrate(MIGRATIONS)
        vault = self.vault(store=store)
        await vault.put("a", Secret("plain-text-secret"), "user:x")
        seed = await vault.internal("seed")
        key = FileSource(self.directory / "master").supplied("")[0].key.reveal()
        await store.close()
        kept = b"".join(path.read_bytes() for path in self.directory.glob("store*"))
        self.assertIn(b"user:x", kept)
        for secret in (b"plain-text-secret", seed, key):
            self.assertNotIn(secret, kept)

    async def test_rows_that_changed_places_do_not_open(self) -> None:
        vault = self.vault()
        await vault.put("a", Secret("mine"), "user:x")
        await vault.put("b", Secret("theirs"), "user:x")
        await self.sql(
            "UPDATE vault_secrets SET wrapped = (SELECT wrapped FROM vault_secrets WHERE name = 'b'), "
            "sealed = (SELECT sealed FROM vault_secrets WHERE name = 'b') WHERE name = 'a'"
        )
        with self.assertRaises(Unavailable) as caught:
            await self.value(vault)
        self.assertNotIn("theirs", str(caught.exception))
        (problem,) = await vault.check()
        self.assertIn("secret a does not open", problem)

    async def test_an_older_version_or_another_installation_does_not_open(self) -> None:
        vault = self.vault()
        await vault.put("a", Secret("old"), "user:x")
        ((wrapped, sealed),) = await self.sql("SELECT wrapped, sealed FROM vault_secrets")
        await vault.put("a", Secret("new"), "user:x")
        await self.sql("UPDATE vault_secrets SET wrapped = ?, sealed = ?", wrapped, sealed)
        with self.assertRaises(Unavailable):
            await self.value(vault)
        await vault.put("a", Secret("newer"), "user:x")
        with self.assertRaises(Unavailable):
            await self.value(self.vault("elsewhere"))

    async def test_an_internal_key_is_never_made_anew_over_a_damaged_one(self) -> None:
        await self.vault().internal("seed")
        await self.sql("UPDATE vault_secrets SET sealed = x'0102'")
        with self.assertRaises(EnvelopeError):
            await self.vault().internal("seed")

    async def test_a_missing_or_foreign_master_key(self) -> None:
        await self.vault().put("a", Secret("one"), "user:x")
        path = self.directory / "master"
        path.rename(self.directory / "kept")
        with self.assertRaisesRegex(ConfigError, "cannot be read"):
            await self.vault().unlock()
        self.assertFalse(path.exists())
        path.write_bytes(b"k" * 32)
        path.chmod(0o600)
        with self.assertRaisesRegex(ConfigError, "not the master key of this vault"):
            await self.vault().unlock()
        (problem,) = await self.vault().check()
        self.assertIn("not the master key", problem)
        # and once the right one is back, the same process goes on
        vault = self.vault()
        with self.assertRaises(ConfigError):
            await vault.unlock()
        (self.directory / "kept").rename(path)
        self.assertEqual(await self.value(vault), b"one")

    async def test_rotation_changes_the_file_and_the_old_key_opens_nothing(self) -> None:
        vault = self.vault()
        await vault.put("a", Secret("one"), "user:x")
        old = (self.directory / "master").read_bytes()
        self.assertEqual(await vault.rotate_master_key("user:x"), 1)
        self.assertEqual(len((self.directory / "master").read_text().splitlines()), 1)
        self.assertEqual(await self.value(vault), b"one")
        self.assertEqual(await self.value(self.vault()), b"one")
        (self.directory / "master").write_bytes(old)
        with self.assertRaises(ConfigError):
            await self.vault().unlock()

    async def test_rotation_cut_off_after_each_step(self) -> None:
        """Whatever was on disk when the process died opens again, and leaves one key."""
        for step in ("successor", "transact", "settle"):
            vault = self.vault()
            await vault.put("a", Secret("one"), "user:x")
            self.cut(vault, step)
            with self.assertRaises(Crash):
                await vault.rotate_master_key("user:x")
            again = self.vault()
            self.assertEqual(await self.value(again), b"one", step)
            self.assertEqual(await again.check(), [], step)
            self.assertEqual(len((self.directory / "master").read_text().splitlines()), 1, step)
            self.assertEqual(await again.rotate_master_key("user:x"), 1, step)

    def cut(self, vault: Vault, step: str) -> None:
        """Die right after C{step} took effect on disk."""
        source: Any = vault._source

        class Cut:
            description = "cut"

            def __getattr__(self, name: str) -> Any:
                def call(*arguments: Any) -> Any:
                    result = getattr(source, name)(*arguments)
                    if name == step:
                        raise Crash
                    return result

                return call

        vault._source = Cut()
        if step == "transact":
            store, calls = vault._store, []

            class Dying:
                def transact(self, work: Any) -> Any:
                    calls.append(work)
                    done = store.transact(work)
                    # put's unlock and write are over; the first is the look, the second the re-wrapping
                    return done if len(calls) < 2 else done.addCallback(lambda _: fail(Crash()))

            vault._store = Dying()

    async def test_a_commit_without_an_answer_loses_no_key(self) -> None:
        """The re-wrapping may have reached the disk although the store said it failed."""
        vault = self.vault()
        await vault.put("a", Secret("one"), "user:x")
        store, calls = vault._store, []

        class Mute:
            def transact(self, work: Any) -> Any:
                calls.append(work)
                done = store.transact(work)
                return done.addCallback(lambda _: fail(Unavailable("?"))) if len(calls) == 2 else done

        vault._store = Mute()
        with self.assertRaises(Unavailable):
            await vault.rotate_master_key("user:x")
        for _ in range(2):
            with self.assertRaisesRegex(Unavailable, "restart"):
                await vault.rotate_master_key("user:x")
        with self.assertRaisesRegex(Unavailable, "restart"):
            await vault.put("b", Secret("two"), "user:x")
        self.assertEqual(await self.value(self.vault()), b"one")

    async def test_rotation_that_cannot_write_changes_nothing(self) -> None:
        vault = self.vault()
        await vault.put("a", Secret("one"), "user:x")
        before = (self.directory / "master").read_bytes()
        (self.directory / ".master.writing").mkdir()
        with self.assertRaisesRegex(ConfigError, "cannot be replaced"):
            await vault.rotate_master_key("user:x")
        self.assertEqual((self.directory / "master").read_bytes(), before)
        self.assertEqual(await self.value(self.vault()), b"one")

    async def test_a_damaged_secret_stops_the_rotation(self) -> None:
        vault = self.vault()
        await vault.put("a", Secret("one"), "user:x")
        await vault.put("b", Secret("two"), "user:x")
        await self.sql("UPDATE vault_secrets SET wrapped = x'00' WHERE name = 'b'")
        with self.assertRaises(EnvelopeError):
            await vault.rotate_master_key("user:x")
        self.assertEqual(await self.value(self.vault()), b"one")

    async def test_puts_during_a_rotation_wait_for_it(self) -> None:
        vault = self.vault()
        await vault.put("a", Secret("one"), "user:x")
        held: list[tuple[Deferred[Any], Any]] = []

        def slow(call: Any, *arguments: Any) -> Deferred[Any]:
            held.append((Deferred(), lambda: call(*arguments)))
            return held[-1][0]

        vault._threads = slow
        rotation = vault.rotate_master_key("user:x")
        put = vault.put("b", Secret("two"), "user:x")
        while held:
            self.assertFalse(put.called)
            deferred, call = held.pop(0)
            deferred.callback(call())
        await rotation
        await put
        again = self.vault()
        self.assertEqual(await again.check(), [])
        self.assertEqual(await self.value(again, "b"), b"two")

    async def test_a_session_that_ends_while_its_answer_is_computed(self) -> None:
        vault = self.vault()
        await vault.put("a", Secret("one"), "user:x")
        grant = Grant("s", "t", "user:x", 0, 1e12, Secret("token"))
        vault.register_grant(grant)
        server = ScramServer(b"one", b"salt" * 4, b"nonce")
        mechanism, first = await vault.start_challenge(grant, TARGET, ScramServerFirst(server.mechanisms))
        held: Deferred[bytes] = Deferred()
        vault._challenges.threads = lambda *arguments: held
        asked = vault.continue_challenge(grant, server.first(mechanism, first))
        vault.forget_grant("s")
        held.callback(b"\0" * 32)
        with self.assertRaises(Denied):
            await asked

    async def test_passphrases(self) -> None:
        path = self.directory / "phrase"
        path.write_text("correct horse battery staple")
        path.chmod(0o600)
        vault = self.vault(source=PassphraseSource(path))
        await vault.put("a", Secret("one"), "user:x")
        (self.directory / "phrase.new").write_text("another horse altogether")
        (self.directory / "phrase.new").chmod(0o600)
        self.assertEqual(await vault.rotate_master_key("user:x"), 1)
        (self.directory / "phrase.new").rename(path)
        self.assertEqual(await self.value(self.vault(source=PassphraseSource(path))), b"one")

    async def test_no_secret_of_that_name(self) -> None:
        with self.assertRaises(TargetError):
            await self.value(self.vault(), "absent")
