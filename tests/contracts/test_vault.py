"""What every ICredentialVault does, run against all of them: secrets, and one exchange a grant."""

from __future__ import annotations

import hashlib
from typing import Any

from attrs import evolve
from twisted.internet.defer import execute
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from hoopd.errors import Denied, HoopdError, TargetError
from hoopd.interfaces import ICredentialVault
from hoopd.protocols.postgres import scram
from hoopd.secret import Secret
from hoopd.store.memory import MemoryStore
from hoopd.values import Grant, ScramServerFirst, Target, TargetTls
from hoopd.vault.certificates import channel_binding
from hoopd.vault.envelope import MasterKey
from hoopd.vault.master import Supplied
from hoopd.vault.memory import MemoryVault
from hoopd.vault.tables import MIGRATIONS
from hoopd.vault.vault import Vault
from tests.vault.chains import NOW, make

PASSWORD = b"app-5ecret"
ROOT = make("root", ca=True)
LEAF = make("db", ROOT, names=("db.example",))
FALSE = make("db", make("root", ca=True), names=("db.example",))
TARGET = Target(
    "orders",
    "postgres",
    "db.example",
    5432,
    credential="orders-app",
    username="app",
    tls=TargetTls("verify-full", ROOT.pem),
)
PLAIN = evolve(TARGET, tls=TargetTls("off"))


class FixedSource:
    """A master key source in memory: each rotation counts one up."""

    description = "a fixed key"

    def __init__(self) -> None:
        self.number = 1

    def _key(self) -> MasterKey:
        return MasterKey(Secret(bytes([self.number]) * 32))

    def supplied(self, derivation: str) -> tuple[MasterKey, ...]:
        return (self._key(),)

    def first(self) -> Supplied:
        return Supplied(self._key())

    def successor(self, present: MasterKey) -> Supplied:
        self.number += 1
        return Supplied(self._key())

    def settle(self, present: MasterKey) -> None:
        """Nothing was left."""


def grant(session: str = "s1", target: str = "orders", token: str = "t" * 32, life: float = 60.0) -> Grant:
    return Grant(session, target, "user:ann", NOW, NOW + life, Secret(token))


def server(binding: bytes | None = None, password: bytes = PASSWORD, iterations: int = 4096) -> scram.ScramServer:
    return scram.ScramServer(password, b"salt" * 4, b"server-nonce", iterations, binding)


class Contract:
    """Subclasses give C{make(clock)}."""

    def make(self, clock: Clock) -> Any:
        raise NotImplementedError

    async def ready(self: Any) -> Any:
        self.clock = Clock()
        self.clock.advance(NOW)
        vault = self.make(self.clock)
        await vault.put("orders-app", Secret(PASSWORD), "user:root")
        return vault

    async def test_provides_the_interface(self: Any) -> None:
        verifyObject(ICredentialVault, await self.ready())

    # -- secrets ------------------------------------------------------------------------------------------------

    async def test_put_list_replace_remove(self: Any) -> None:
        vault = await self.ready()
        first = await vault.put("b", Secret("1"), "user:root")
        self.assertEqual((first.name, first.version, first.created_at, first.created_by), ("b", 1, NOW, "user:root"))
        second = await vault.put("b", Secret("2"), "user:eve")
        self.assertEqual(second.version, 2)
        self.assertEqual([entry.name for entry in await vault.entries()], ["b", "orders-app"])
        await vault.remove("b", "user:root")
        self.assertEqual([entry.name for entry in await vault.entries()], ["orders-app"])
        with self.assertRaises(KeyError):
            await vault.remove("b", "user:root")

    async def test_what_cannot_be_kept(self: Any) -> None:
        vault = await self.ready()
        for name in ("", "a b", "internal:x", "../x", "ä", "x" * 129, "a\nb"):
            with self.assertRaises(ValueError):
                await vault.put(name, Secret("x"), "user:root")
        for value in (b"", b"x" * 65537):
            with self.assertRaises(ValueError) as caught:
                await vault.put("x", Secret(value), "user:root")
            self.assertNotIn("xxx", str(caught.exception))

    async def test_rotation_rewraps_everything(self: Any) -> None:
        vault = await self.ready()
        internal = await vault.internal("ledger-seed")
        (before,) = await vault.entries()
        self.assertEqual(await vault.rotate_master_key("user:root"), 2)
        (after,) = await vault.entries()
        self.assertNotEqual(before.master_key, after.master_key)
        self.assertEqual(evolve(after, master_key=before.master_key), before)
        self.assertEqual(await vault.check(), [])
        self.assertEqual(await vault.internal("ledger-seed"), internal)
        await self.exchange(vault, PLAIN, grant(), server())

    async def test_internal_keys(self: Any) -> None:
        vault = await self.ready()
        seed = await vault.internal("ledger-seed")
        self.assertEqual(len(seed), 32)
        self.assertEqual(await vault.internal("ledger-seed"), seed)
        self.assertNotEqual(await vault.internal("mask-key"), seed)
        self.assertEqual([entry.name for entry in await vault.entries()], ["orders-app"])
        with self.assertRaises(KeyError):
            await vault.remove("internal:ledger-seed", "user:root")

    async def test_internal_keys_are_no_targets_credential(self: Any) -> None:
        vault = await self.ready()
        await vault.internal("ledger-seed")
        weak = evolve(PLAIN, credential="internal:ledger-seed", host="127.0.0.1", weak_authentication=("cleartext",))
        vault.register_grant(grant())
        with self.assertRaises(TargetError):
            await vault.weak_answer(grant(), weak, "cleartext", b"")

    # -- challenges ---------------------------------------------------------------------------------------------

    async def exchange(self: Any, vault: Any, target: Target, held: Grant, other: scram.ScramServer) -> None:
        vault.register_grant(held)
        certificates = () if target.tls.mode == "off" else (LEAF.der, ROOT.der)
        offer = ScramServerFirst(other.mechanisms, certificates, "ignored")
        mechanism, first = await vault.start_challenge(held, target, offer)
        final = await vault.continue_challenge(held, other.first(mechanism, first))
        await vault.finish_challenge(held, other.final(final))

    async def test_scram(self: Any) -> None:
        vault = await self.ready()
        await self.exchange(vault, PLAIN, grant(token="a"), server())
        await self.exchange(vault, TARGET, grant(token="b"), server())

    async def test_scram_plus_is_bound_to_the_certificate(self: Any) -> None:
        vault = await self.ready()
        await self.exchange(vault, TARGET, grant(token="a"), server(channel_binding(LEAF.der)))
        with self.assertRaisesRegex(HoopdError, "binding does not match"):
            await self.exchange(vault, TARGET, grant(token="b"), server(channel_binding(FALSE.der)))

    async def test_a_false_certificate_gets_nothing(self: Any) -> None:
        vault = await self.ready()
        for number, certificates in enumerate(((FALSE.der,), (), (b"junk",))):
            held = grant(token=str(number))
            vault.register_grant(held)
            with self.assertRaises(TargetError):
                await vault.start_challenge(held, TARGET, ScramServerFirst(("SCRAM-SHA-256",), certificates))
            with self.assertRaises(Denied):
                await vault.continue_challenge(held, b"r=x,s=YQ==,i=4096")

    async def test_a_server_without_scram(self: Any) -> None:
        vault = await self.ready()
        vault.register_grant(grant())
        with self.assertRaisesRegex(TargetError, "no SCRAM-SHA-256"):
            await vault.start_challenge(
                grant(), PLAIN, ScramServerFirst(("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS"))
            )

    async def test_a_server_that_does_not_know_the_password(self: Any) -> None:
        vault = await self.ready()
        with self.assertRaisesRegex(HoopdError, "wrong proof"):
            await self.exchange(vault, PLAIN, grant(token="a"), server(password=b"another"))
        held = grant(token="b")
        vault.register_grant(held)
        other = server()
        mechanism, first = await vault.start_challenge(held, PLAIN, ScramServerFirst(other.mechanisms))
        await vault.continue_challenge(held, other.first(mechanism, first))
        with self.assertRaises(TargetError) as caught:
            await vault.finish_challenge(held, b"v=" + b"A" * 43 + b"=")
        self.assertNotIn("5ecret", str(caught.exception))

    async def test_absurd_iterations(self: Any) -> None:
        vault = await self.ready()
        for token, count in (("a", 1), ("b", 4095), ("c", 1_000_001)):
            with self.assertRaisesRegex(TargetError, "iteration"):
                await self.exchange(vault, PLAIN, grant(token=token), server(iterations=count))

    async def test_one_exchange_a_grant(self: Any) -> None:
        vault = await self.ready()
        held = grant()
        await self.exchange(vault, PLAIN, held, server())
        offer = ScramServerFirst(("SCRAM-SHA-256",))
        with self.assertRaisesRegex(Denied, "spent"):
            await vault.start_challenge(held, PLAIN, offer)
        for late in (
            vault.continue_challenge(held, b"r=x,s=YQ==,i=4096"),
            vault.finish_challenge(held, b"v="),
            vault.weak_answer(held, evolve(PLAIN, weak_authentication=("md5",)), "md5", b"salt"),
        ):
            with self.assertRaises(Denied):
                await late

    async def test_one_answer_an_exchange(self: Any) -> None:
        vault = await self.ready()
        held = grant()
        vault.register_grant(held)
        other = server()
        mechanism, first = await vault.start_challenge(held, PLAIN, ScramServerFirst(other.mechanisms))
        message = other.first(mechanism, first)
        await vault.continue_challenge(held, message)
        # a second salt would be a second chance to have the password tried against something
        with self.assertRaises(TargetError):
            await vault.continue_challenge(held, message.replace(b"i=4096", b"i=5000"))

    async def test_two_grants_of_a_session(self: Any) -> None:
        vault = await self.ready()
        await self.exchange(vault, PLAIN, grant(token="a"), server())
        await self.exchange(vault, PLAIN, grant(token="b"), server())

    async def test_grants_that_are_not_good(self: Any) -> None:
        vault = await self.ready()
        vault.register_grant(grant())
        offer = ScramServerFirst(("SCRAM-SHA-256",))
        for bad in (grant(token="x" * 32), grant(token=""), grant(session="s2"), grant(target="payroll")):
            with self.assertRaises(Denied):
                await vault.start_challenge(bad, PLAIN, offer)
        with self.assertRaisesRegex(Denied, "another target"):
            await vault.start_challenge(grant(), evolve(PLAIN, name="payroll"), offer)
        # the bearer cannot prolong it: its lifetime is the registered one
        self.clock.advance(60)
        with self.assertRaisesRegex(Denied, "lapsed"):
            await vault.start_challenge(grant(life=1000), PLAIN, offer)

    async def test_a_forgotten_session(self: Any) -> None:
        vault = await self.ready()
        held, other = grant(), server()
        vault.register_grant(held)
        vault.register_grant(grant(session="s2", token="other"))
        mechanism, first = await vault.start_challenge(held, PLAIN, ScramServerFirst(other.mechanisms))
        vault.forget_grant("s1")
        with self.assertRaises(Denied):
            await vault.continue_challenge(held, other.first(mechanism, first))
        await vault.start_challenge(grant(session="s2", token="other"), PLAIN, ScramServerFirst(other.mechanisms))

    async def test_no_credential(self: Any) -> None:
        vault = await self.ready()
        with self.assertRaisesRegex(TargetError, "no credential is stored for target orders"):
            await self.exchange(vault, evolve(PLAIN, credential="absent"), grant(), server())

    # -- weak methods -------------------------------------------------------------------------------------------

    async def test_md5_where_it_is_allowed(self: Any) -> None:
        vault = await self.ready()
        vault.register_grant(grant())
        answer = await vault.weak_answer(
            grant(), evolve(PLAIN, weak_authentication=("md5",)), "md5", b"\x01\x02\x03\x04"
        )
        inner = hashlib.md5(b"app-5ecretapp").hexdigest().encode()
        self.assertEqual(answer, b"md5" + hashlib.md5(inner + b"\x01\x02\x03\x04").hexdigest().encode())

    async def test_cleartext_where_it_is_allowed(self: Any) -> None:
        vault = await self.ready()
        allowed = evolve(TARGET, weak_authentication=("cleartext",))
        vault.register_grant(grant())
        self.assertEqual(await vault.weak_answer(grant(), allowed, "cleartext", b""), PASSWORD)
        with self.assertRaises(Denied):
            await vault.weak_answer(grant(), allowed, "cleartext", b"")

    async def test_weak_methods_where_they_are_not(self: Any) -> None:
        vault = await self.ready()
        vault.register_grant(grant())
        for target, method, salt in (
            (PLAIN, "md5", b"salt"),
            (TARGET, "cleartext", b""),
            (evolve(PLAIN, weak_authentication=("md5",)), "cleartext", b""),
            (evolve(PLAIN, weak_authentication=("gss",)), "gss", b""),
            (evolve(PLAIN, weak_authentication=("cleartext",)), "cleartext", b""),  # unencrypted, over the network
        ):
            with self.assertRaises(Denied):
                await vault.weak_answer(grant(), target, method, salt)
        with self.assertRaises(TargetError):
            await vault.weak_answer(grant(), evolve(PLAIN, weak_authentication=("md5",)), "md5", b"short")


class MemoryVaultTests(Contract, TestCase):
    def make(self, clock: Clock) -> Any:
        return MemoryVault(clock)


class VaultTests(Contract, TestCase):
    def make(self, clock: Clock) -> Any:
        return Vault(MemoryStore(MIGRATIONS), FixedSource(), "installation", clock, threads=execute)
