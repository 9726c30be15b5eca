"""A vault that forgets, with the same answers as the real one; for tests, never for a gateway."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred, execute, fail, succeed
from zope.interface import implementer

from hoopd.interfaces import ICredentialVault
from hoopd.secret import Secret
from hoopd.values import Grant, ScramServerFirst, SecretEntry, Target
from hoopd.vault.challenges import Challenges
from hoopd.vault.vault import valid_name, valid_value

_T = TypeVar("_T")


@implementer(ICredentialVault)
class MemoryVault:
    """
    @param clock: IReactorTime.
    @param entropy: C{(number of bytes) -> bytes}
    """

    def __init__(self, clock: Any, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._clock = clock
        self._entropy = entropy
        self._secrets: dict[str, tuple[SecretEntry, Secret]] = {}
        self._internal: dict[str, bytes] = {}
        self._rotations = 0
        self._challenges = Challenges(self._reveal, clock, execute, entropy)

    async def _reveal(self, name: str) -> bytes:
        return self._secrets[name][1].reveal()

    def put(self, name: str, secret: Secret, by: str) -> Deferred[SecretEntry]:
        """See L{ICredentialVault.put}."""
        try:
            valid_name(name)
            valid_value(secret)
        except ValueError as error:
            return fail(error)
        version = self._secrets[name][0].version + 1 if name in self._secrets else 1
        entry = SecretEntry(name, version, self._clock.seconds(), by, self._master_key)
        self._secrets[name] = (entry, secret)
        return succeed(entry)

    @property
    def _master_key(self) -> str:
        return f"mk-{self._rotations}"

    def entries(self) -> Deferred[list[SecretEntry]]:
        """See L{ICredentialVault.entries}."""
        return succeed([self._secrets[name][0] for name in sorted(self._secrets)])

    def remove(self, name: str, by: str) -> Deferred[None]:
        """See L{ICredentialVault.remove}."""
        if name not in self._secrets:
            return fail(KeyError(name))
        del self._secrets[name]
        return succeed(None)

    def rotate_master_key(self, by: str) -> Deferred[int]:
        """See L{ICredentialVault.rotate_master_key}."""
        self._rotations += 1
        for name, (entry, secret) in list(self._secrets.items()):
            self._secrets[name] = (evolve(entry, master_key=self._master_key), secret)
        return succeed(len(self._secrets) + len(self._internal))

    def check(self) -> Deferred[list[str]]:
        """See L{ICredentialVault.check}."""
        return succeed([])

    def internal(self, name: str) -> Deferred[bytes]:
        """See L{hoopd.vault.vault.Vault.internal}."""
        return succeed(self._internal.setdefault(valid_name(name), self._entropy(32)))

    def use(self, name: str, work: Callable[[int, bytes], _T]) -> Deferred[_T]:
        """See L{hoopd.vault.vault.Vault.use}."""
        return execute(lambda: work(self._secrets[name][0].version, self._secrets[name][1].reveal()))

    def register_grant(self, grant: Grant) -> None:
        """See L{hoopd.vault.vault.Vault.register_grant}."""
        self._challenges.register(grant)

    def forget_grant(self, session: str) -> None:
        """See L{hoopd.vault.vault.Vault.forget_grant}."""
        self._challenges.forget(session)

    def start_challenge(self, grant: Grant, target: Target, offer: ScramServerFirst) -> Deferred[tuple[str, bytes]]:
        """See L{ICredentialVault.start_challenge}."""
        return execute(self._challenges.start, grant, target, offer)

    def continue_challenge(self, grant: Grant, server_first: bytes) -> Deferred[bytes]:
        """See L{ICredentialVault.continue_challenge}."""
        return Deferred.fromCoroutine(self._challenges.proceed(grant, server_first))

    def finish_challenge(self, grant: Grant, server_final: bytes) -> Deferred[None]:
        """See L{ICredentialVault.finish_challenge}."""
        return execute(self._challenges.finish, grant, server_final)

    def weak_answer(self, grant: Grant, target: Target, method: str, salt: bytes) -> Deferred[bytes]:
        """See L{ICredentialVault.weak_answer}."""
        return Deferred.fromCoroutine(self._challenges.weak(grant, target, method, salt))
