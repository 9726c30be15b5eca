"""The first administrator: a one-time token in a file that only the installing user can read.

While no local identity can administer, a token lies in C{state/bootstrap-token} (mode 0600), for a day; each start
of the broker makes a new one if it has lapsed. Whoever presents it becomes the first administrator, once: check,
use and the new identity are one transaction.
"""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from hoopd.identity import duties as duty_rules
from hoopd.identity import tokens
from hoopd.identity.directory import administrators, insert, valid_duties
from hoopd.identity.names import split_name
from hoopd.identity.provider import refusal
from hoopd.identity.values import IssuedToken
from hoopd.secret import Secret
from hoopd.store.connection import Transaction

log = Logger()

PREFIX = "hoopdboot_"
#: seconds: the installing person is there now; who comes back later restarts the broker
LIFETIME = 86400.0


def first_duties(conflicts: duty_rules.Conflicts) -> tuple[str, ...]:
    """What the first administrator may do: fill the vault too, unless the configuration keeps those two apart."""
    both = ("administrator", "vault")
    return ("administrator",) if duty_rules.clashes(both, conflicts) else both


class Bootstrap:
    """
    @param store: L{hoopd.interfaces.IStore} with L{hoopd.identity.tables}.
    @param path: the token's file.
    @param clock: IReactorTime; its seconds are the epoch's.
    @param pepper: as for L{hoopd.identity.directory.Directory}.
    @param token_lifetime: seconds that the first administrator's token lives.
    @param conflicts: duties that exclude each other.
    """

    def __init__(
        self,
        store: Any,
        path: Path,
        clock: Any,
        pepper: bytes,
        token_lifetime: float = 30 * 86400.0,
        entropy: Callable[[int], bytes] = os.urandom,
        conflicts: duty_rules.Conflicts = (),
    ) -> None:
        self._store = store
        self._conflicts = conflicts
        self._path = Path(path)
        self._clock = clock
        self._pepper = pepper
        self._token_lifetime = token_lifetime
        self._entropy = entropy

    def ensure(self) -> Deferred[bool]:
        """At the broker's start: make the token if it is needed, remove it if it is not.

        @return: Deferred of whether there is no administrator yet.
        @raise OSError: the file cannot be written.
        """
        return Deferred.fromCoroutine(self._ensure())

    async def _ensure(self) -> bool:
        now = self._clock.seconds()
        fresh = PREFIX + base64.urlsafe_b64encode(self._entropy(32)).decode().rstrip("=")
        lying = self._digest(self._lying())

        def work(tx: Transaction) -> str:
            if administrators(tx, self._conflicts):
                tx.execute("DELETE FROM bootstrap_token")
                return "not needed"
            rows = tx.execute("SELECT digest, expires_at FROM bootstrap_token")
            if rows and rows[0][1] > now and hmac.compare_digest(rows[0][0], lying):
                return "there"
            tx.execute("DELETE FROM bootstrap_token")
            row = (self._digest(fresh.encode()), now + LIFETIME)
            tx.execute("INSERT INTO bootstrap_token (single, digest, expires_at) VALUES (1, ?, ?)", row)
            return "made"

        outcome = await self._store.transact(work)
        if outcome == "not needed":
            self._path.unlink(missing_ok=True)
            return False
        if outcome == "made":
            # after the digest: if we die in between, the next start finds that they do not fit and makes a new pair
            self._write(fresh)
            log.info("identity: no administrator yet; the one-time token is in {path}", path=str(self._path))
        return True

    def _digest(self, token: bytes) -> str:
        return tokens.digest(self._pepper, "bootstrap", token)

    def _lying(self) -> bytes:
        try:
            return self._path.read_bytes()[:200].strip()
        except OSError:
            return b""

    def _write(self, token: str) -> None:
        beside = self._path.with_name(f".{self._path.name}.writing")
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(token.encode() + b"\n")
        os.rename(beside, self._path)

    def consume(self, token: Secret, name: str) -> Deferred[tuple[IssuedToken, Secret]]:
        """Become the first administrator.

        @param name: C{"user:priya"}: a new identity. Not one there is already, whose tokens may be in any hands.
        @return: Deferred of an issued token's entry and the token.
        @raise AuthenticationFailed: not the token, spent, lapsed, or there is an administrator.
        @raise ValueError: C{name} is taken or no person's; the token is not spent.
        """
        return Deferred.fromCoroutine(self._consume(token, name))

    async def _consume(self, token: Secret, name: str) -> tuple[IssuedToken, Secret]:
        now = self._clock.seconds()
        given = self._digest(token.reveal().strip())
        id, secret = tokens.make_token(self._entropy)
        first = IssuedToken(
            id,
            name,
            scopes=None,
            act=None,
            description="first administrator",
            created_at=now,
            created_by="bootstrap",
            expires_at=now + self._token_lifetime,
            revoked_at=None,
            last_used_at=None,
        )

        def work(tx: Transaction) -> None:
            rows = tx.execute("SELECT digest, expires_at FROM bootstrap_token")
            kept, expires_at = rows[0] if rows else ("0" * len(given), 0.0)
            if not hmac.compare_digest(kept, given) or expires_at <= now or administrators(tx, self._conflicts):
                raise refusal()
            if split_name(name)[0] != "human":
                raise ValueError("the first administrator is a person: user:NAME")
            duties = valid_duties(first_duties(self._conflicts), "human", self._conflicts)
            insert(tx, name, (), duties, "bootstrap", now)
            tokens.insert(tx, first, tokens.digest(self._pepper, "token", secret.reveal()))
            tx.execute("DELETE FROM bootstrap_token")

        await self._store.transact(work)
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            log.warn("identity: the spent one-time token stays in {path}: {why}", path=str(self._path), why=error)
        return first, secret
