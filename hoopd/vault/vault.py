"""The vault of the broker: secrets sealed in the store, opened here only; implements ICredentialVault.

Targets' secrets are listed by name; the installation's own keys (ledger signing, approval digests, mask hashes,
token pepper) are kept alike under a reserved prefix, made at their first use, and never listed. Values are in memory
only while they are used. What changes secrets is serialised, and each change checks in its own transaction that the
master key it sealed with is still the vault's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from zope.interface import implementer

from hoopd.config.channels import SECRETS
from hoopd.config.schema import LOGIN_SECRETS
from hoopd.errors import ConfigError, Unavailable
from hoopd.interfaces import ICredentialVault
from hoopd.secret import Secret
from hoopd.store.connection import Transaction
from hoopd.values import Grant, ScramServerFirst, SecretEntry, Target
from hoopd.vault.challenges import Challenges
from hoopd.vault.envelope import (
    KEY_BYTES,
    NONCE_BYTES,
    Envelope,
    EnvelopeError,
    MasterKey,
    Place,
    rewrap,
    seal,
    unseal,
)
from hoopd.vault.master import MasterSource, Supplied

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@+-]{0,127}")
#: no name of a target's secret can have a colon
_INTERNAL = "internal:"
#: a password, a key, a kubeconfig with certificates; larger is no secret but a file
MAX_SECRET = 64 * 1024

_T = TypeVar("_T")
log = Logger()


def valid_name(name: str) -> str:
    """@return: C{name}. @raise ValueError: it cannot name a secret."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name[:140]!r} cannot name a secret: letters, digits and . _ / @ + -, beginning with a letter or digit"
        )
    return name


def valid_value(secret: Secret) -> Secret:
    """@return: C{secret}. @raise ValueError: empty or too large."""
    if not 0 < len(secret.reveal()) <= MAX_SECRET:
        raise ValueError(f"a secret has 1 to {MAX_SECRET} bytes")
    return secret


@implementer(ICredentialVault)
class Vault:
    """
    @param store: L{hoopd.interfaces.IStore} with L{hoopd.vault.tables}.
    @param master: where the master key comes from.
    @param installation: id of this installation, bound into every secret.
    @param clock: IReactorTime; its seconds are the epoch's.
    @param threads: C{(callable, *arguments) -> Deferred}.
    @param entropy: C{(number of bytes) -> bytes}, cryptographic.
    """

    def __init__(
        self,
        store: Any,
        master: MasterSource,
        installation: str,
        clock: Any,
        threads: Callable[..., Any] = deferToThread,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._store = store
        self._source = master
        self._installation = installation
        self._clock = clock
        self._threads = threads
        self._entropy = entropy
        self._lock: DeferredLock = DeferredLock()
        self._present: MasterKey | None = None
        self._keys: dict[str, MasterKey] = {}
        self._challenges = Challenges(self._reveal_target, clock, threads, entropy)

    # -- the master key ----------------------------------------------------------------------------------------

    def unlock(self) -> Deferred[str]:
        """Find the master key; every other call does so too when it has to.

        @return: Deferred of the key's id.
        @raise ConfigError: missing, unsafe, or not the key of this vault.
        """
        return self._alone(self._unlock)

    def _alone(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return self._lock.run(lambda: Deferred.fromCoroutine(work(*arguments)))

    async def _unlock(self) -> str:
        if self._present is not None:
            return self._present.id
        rows = await self._store.transact(
            lambda tx: tx.execute("SELECT id, derivation FROM vault_master_keys WHERE retired_at IS NULL")
        )
        if rows:
            wanted, derivation = rows[0]
            keys = await self._threads(self._source.supplied, derivation)
            present = next((key for key in keys if key.id == wanted), None)
            if present is None:
                raise ConfigError(
                    f"{self._source.description} is not the master key of this vault, which is {wanted}",
                    key="vault.master_key",
                    suggestion="supply the key that the secrets were sealed with, or restore both from one backup",
                )
            await self._settle(present)
        else:
            first: Supplied = await self._threads(self._source.first)
            present = first.key
            await self._store.transact(lambda tx: self._name_key(tx, first, "first start"))
        self._keys = {present.id: present}
        self._present = present
        return present.id

    async def _settle(self, present: MasterKey) -> None:
        try:
            await self._threads(self._source.settle, present)
        except OSError as error:
            # the vault opens all the same: what is left behind is a spare key, and the next start tries again
            log.warn("vault: {source} still holds a retired key: {why}", source=self._source.description, why=error)

    def _name_key(self, tx: Transaction, supplied: Supplied, by: str) -> None:
        now = self._clock.seconds()
        tx.execute("UPDATE vault_master_keys SET retired_at = ? WHERE retired_at IS NULL", (now,))
        # a credential that was taken back into use is a key seen before
        tx.execute(
            "INSERT INTO vault_master_keys (id, derivation, created_at, created_by) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET retired_at = NULL",
            (supplied.key.id, supplied.derivation, now, by),
        )

    def rotate_master_key(self, by: str) -> Deferred[int]:
        """See L{ICredentialVault.rotate_master_key}; L{hoopd.vault.master} says why a crash loses nothing.

        @raise ConfigError: the source has no new key to give.
        @raise EnvelopeError: a secret does not open; nothing was changed.
        """
        return self._alone(self._rotate, by)

    async def _rotate(self, by: str) -> int:
        await self._unlock()
        old = self._present
        assert old is not None  # _unlock raised otherwise
        # the store's word first: a rotation whose commit got no answer may have happened, and its key is then needed
        await self._store.transact(lambda tx: self._still(tx, old))
        new: Supplied = await self._threads(self._source.successor, old)
        self._keys[new.key.id] = new.key

        def work(tx: Transaction) -> int:
            self._still(tx, old)
            self._name_key(tx, new, by)
            rows = tx.execute("SELECT name, version, wrapped FROM vault_secrets")
            for name, version, wrapped in rows:
                place = Place(self._installation, name, version)
                again = rewrap(old, new.key, place, wrapped, self._entropy(NONCE_BYTES))
                tx.execute(
                    "UPDATE vault_secrets SET wrapped = ?, master_key = ? WHERE name = ?", (again, new.key.id, name)
                )
            return len(rows)

        # if this fails both keys stay supplied, and the next start keeps the one that the store then names
        count: int = await self._store.transact(work)
        self._present = new.key
        await self._settle(new.key)
        self._keys = {new.key.id: new.key}
        return count

    @staticmethod
    def _still(tx: Transaction, present: MasterKey) -> None:
        if tx.execute("SELECT id FROM vault_master_keys WHERE retired_at IS NULL") != [(present.id,)]:
            raise Unavailable("the vault's master key was changed by another process: restart the broker")

    # -- secrets of targets ------------------------------------------------------------------------------------

    def put(self, name: str, secret: Secret, by: str) -> Deferred[SecretEntry]:
        """See L{ICredentialVault.put}. @raise ValueError: name or value cannot be kept."""
        return self._alone(self._put, name, secret, by)

    async def _put(self, name: str, secret: Secret, by: str) -> SecretEntry:
        valid_name(name)
        value = valid_value(secret).reveal()
        await self._unlock()
        entry: SecretEntry = await self._store.transact(lambda tx: self._write(tx, name, value, by))
        return entry

    def _write(self, tx: Transaction, name: str, value: bytes, by: str) -> SecretEntry:
        master = self._present
        assert master is not None  # callers unlock first
        self._still(tx, master)
        rows = tx.execute("SELECT version FROM vault_secrets WHERE name = ?", (name,))
        version = rows[0][0] + 1 if rows else 1
        nonces = (self._entropy(NONCE_BYTES), self._entropy(NONCE_BYTES))
        envelope = seal(master, Place(self._installation, name, version), value, self._entropy(KEY_BYTES), nonces)
        entry = SecretEntry(name, version, self._clock.seconds(), by, master.id)
        tx.execute("DELETE FROM vault_secrets WHERE name = ?", (name,))
        tx.execute(
            "INSERT INTO vault_secrets (name, version, master_key, wrapped, sealed, created_at, created_by) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (name, version, master.id, envelope.wrapped, envelope.sealed, entry.created_at, by),
        )
        return entry

    def entries(self) -> Deferred[list[SecretEntry]]:
        """See L{ICredentialVault.entries}."""

        def work(tx: Transaction) -> list[SecretEntry]:
            rows = tx.execute(
                "SELECT name, version, created_at, created_by, master_key FROM vault_secrets "
                "WHERE substr(name, 1, ?) <> ? ORDER BY name",
                (len(_INTERNAL), _INTERNAL),
            )
            return [SecretEntry(*row) for row in rows]

        result: Deferred[list[SecretEntry]] = self._store.transact(work)
        return result

    def remove(self, name: str, by: str) -> Deferred[None]:
        """See L{ICredentialVault.remove}."""
        return self._alone(self._remove, name)

    async def _remove(self, name: str) -> None:
        def work(tx: Transaction) -> None:
            if name.startswith(_INTERNAL) or not tx.execute(
                "DELETE FROM vault_secrets WHERE name = ? RETURNING name", (name,)
            ):
                raise KeyError(name)

        await self._store.transact(work)

    def check(self) -> Deferred[list[str]]:
        """See L{ICredentialVault.check}; the installation's own keys are opened as well."""
        return self._alone(self._check)

    async def _check(self) -> list[str]:
        try:
            await self._unlock()
        except ConfigError as error:
            return [str(error)]
        rows = await self._store.transact(
            lambda tx: tx.execute("SELECT name, version, master_key, wrapped, sealed FROM vault_secrets ORDER BY name")
        )
        problems = []
        for row in rows:
            try:
                self._open(*row)
            except EnvelopeError as error:
                problems.append(str(error))
        return problems

    def _open(self, name: str, version: int, master_key: str, wrapped: bytes, sealed: bytes) -> bytes:
        key = self._keys.get(master_key)
        if key is None:
            raise EnvelopeError(f"secret {name} is sealed with master key {master_key}, which is not here")
        return unseal(key, Place(self._installation, name, version), Envelope(wrapped, sealed))

    # -- opening -----------------------------------------------------------------------------------------------

    def reveal_channel(self, name: str) -> Deferred[Secret]:
        """The secret of a channel of notices; broker only, and no target's is given out so.

        @return: Deferred of L{Secret}. @raise KeyError: no such secret, or not one of a channel.
        @raise Unavailable: it does not open.
        """
        return self._reveal_named(name, SECRETS)

    def reveal_login(self, name: str) -> Deferred[Secret]:
        """The secret of a client for login links; otherwise as L{reveal_channel}."""
        return self._reveal_named(name, LOGIN_SECRETS)

    def _reveal_named(self, name: str, kind: str) -> Deferred[Secret]:
        async def revealed() -> Secret:
            if not name.startswith(kind):
                raise KeyError(name)
            return Secret(await self._reveal_target(name))

        return Deferred.fromCoroutine(revealed())

    async def _reveal_target(self, name: str) -> bytes:
        _, value = await self._opened(name)
        return value

    async def _opened(self, name: str) -> tuple[int, bytes]:
        if not _NAME.fullmatch(name):
            raise KeyError(name)
        if self._present is None:
            await self.unlock()
        rows = await self._store.transact(lambda tx: self._row(tx, name))
        if not rows:
            raise KeyError(name)
        try:
            return rows[0][1], self._open(*rows[0])
        except EnvelopeError as error:
            raise Unavailable(f"the vault cannot answer: {error}") from None

    def use(self, name: str, work: Callable[[int, bytes], _T]) -> Deferred[_T]:
        """Call C{work} with version and value of the secret C{name}, to seal or compare it; it keeps neither.

        @return: Deferred of what C{work} returns. @raise KeyError: no such name. @raise Unavailable: it does not open.
        """

        async def used() -> _T:
            return work(*await self._opened(name))

        return Deferred.fromCoroutine(used())

    @staticmethod
    def _row(tx: Transaction, name: str) -> list[tuple[Any, ...]]:
        return tx.execute(
            "SELECT name, version, master_key, wrapped, sealed FROM vault_secrets WHERE name = ?", (name,)
        )

    def internal(self, name: str) -> Deferred[bytes]:
        """A random 32-byte key of the installation itself, made when it is first asked for.

        @param name: such as C{"ledger-seed"}.
        @return: Deferred of bytes; the same for ever, across rotations.
        @raise EnvelopeError: it does not open. It is never made anew over a damaged one.
        """
        return self._alone(self._internal, _INTERNAL + valid_name(name))

    async def _internal(self, name: str) -> bytes:
        await self._unlock()

        def work(tx: Transaction) -> bytes:
            rows = self._row(tx, name)
            if rows:
                return self._open(*rows[0])
            value = self._entropy(32)
            self._write(tx, name, value, "hoopd")
            return value

        value: bytes = await self._store.transact(work)
        return value

    # -- answering ---------------------------------------------------------------------------------------------

    def register_grant(self, grant: Grant) -> None:
        """The broker made C{grant}: its bearer may have one exchange."""
        self._challenges.register(grant)

    def forget_grant(self, session: str) -> None:
        """C{session} is over: its grants are void."""
        self._challenges.forget(session)

    def check_grant(self, grant: Grant, target: Target) -> None:
        """@raise Denied: unknown, lapsed, or for another target."""
        self._challenges.check(grant, target)

    def spend_grant(self, grant: Grant, target: Target) -> None:
        """Its one exchange is had elsewhere (L{hoopd.vault.ssh_credentials}). @raise Denied: as L{check_grant}, or spent"""
        self._challenges.spend(grant, target)

    async def reveal_for(self, target: Target) -> bytes:
        """The target's secret; for the broker's own use. @raise KeyError: nothing is stored. @raise Unavailable"""
        return await self._reveal_target(target.credential)

    def start_challenge(self, grant: Grant, target: Target, offer: ScramServerFirst) -> Deferred[tuple[str, bytes]]:
        """See L{ICredentialVault.start_challenge}."""
        return _attempt(self._challenges.start, grant, target, offer)

    def continue_challenge(self, grant: Grant, server_first: bytes) -> Deferred[bytes]:
        """See L{ICredentialVault.continue_challenge}."""
        return Deferred.fromCoroutine(self._challenges.proceed(grant, server_first))

    def finish_challenge(self, grant: Grant, server_final: bytes) -> Deferred[None]:
        """See L{ICredentialVault.finish_challenge}."""
        return _attempt(self._challenges.finish, grant, server_final)

    def weak_answer(self, grant: Grant, target: Target, method: str, salt: bytes) -> Deferred[bytes]:
        """See L{ICredentialVault.weak_answer}."""
        return Deferred.fromCoroutine(self._challenges.weak(grant, target, method, salt))


def _attempt(call: Callable[..., _T], *arguments: Any) -> Deferred[_T]:
    async def attempt() -> _T:
        return call(*arguments)

    return Deferred.fromCoroutine(attempt())
