"""The answering of targets in the place of workers: one exchange a grant; not the keeping of secrets.

A worker relays what the target says and gets back what to say; the password stays in this process. A grant is known
here only because the broker registered it, is compared in constant time, opens one target, once, until it lapses.
The certificate chain that the worker relays is judged here again (L{hoopd.vault.certificates}), and bound to the
exchange wherever the target offers SCRAM-SHA-256-PLUS, so that even a fallen worker cannot relay an exchange with
the true target to one of its own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
from collections.abc import Callable
from typing import Any

from attrs import define, field

from hoopd.errors import Denied, PeerError, TargetError
from hoopd.protocols.postgres import scram
from hoopd.values import Grant, ScramServerFirst, Target
from hoopd.vault import certificates

#: 18 bytes are 24 characters, which is what PostgreSQL itself uses
_NONCE_BYTES = 18


@define(eq=False)
class _Held:
    """A registered grant and what became of it."""

    grant: Grant
    target: Target | None = None
    spent: bool = False
    client: scram.ScramClient | None = None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@define(eq=False)
class Challenges:
    """
    @ivar reveal: C{(secret name) -> awaitable of bytes}; fails with L{KeyError} for an unknown one.
    @ivar clock: IReactorTime.
    @ivar threads: C{(callable, *arguments) -> Deferred}: runs what is slow away from the reactor.
    @ivar entropy: C{(number of bytes) -> bytes}
    """

    reveal: Callable[[str], Any]
    clock: Any
    threads: Callable[..., Any]
    entropy: Callable[[int], bytes]
    _held: dict[bytes, _Held] = field(factory=dict, init=False, repr=False)

    # -- grants, as the broker makes them ----------------------------------------------------------------------

    def register(self, grant: Grant) -> None:
        """From now on C{grant} may be spent. Lapsed ones are forgotten on the way."""
        now = self.clock.seconds()
        for mark in [mark for mark, held in self._held.items() if held.grant.expires_at <= now]:
            del self._held[mark]
        self._held[self._mark(grant)] = _Held(grant)

    def forget(self, session: str) -> None:
        """Whatever grants C{session} had, they are void."""
        for mark in [mark for mark, held in self._held.items() if held.grant.session == session]:
            del self._held[mark]

    @staticmethod
    def _mark(grant: Grant) -> bytes:
        # looked up by hash: the time of a dictionary look-up then tells nothing about the token
        return hashlib.sha256(grant.token.reveal()).digest()

    def _find(self, grant: Grant) -> _Held:
        held = self._held.get(self._mark(grant))
        if (
            held is None
            or held.grant.token != grant.token
            or not hmac.compare_digest(held.grant.session.encode(), grant.session.encode())
            or held.grant.target != grant.target
        ):
            raise Denied("the grant is not valid")
        if held.grant.expires_at <= self.clock.seconds():
            raise Denied("the grant has lapsed")
        return held

    def check(self, grant: Grant, target: Target) -> None:
        """@raise Denied: unknown, lapsed, or for another target."""
        self._for(grant, target)

    def spend(self, grant: Grant, target: Target) -> None:
        """Its one exchange is under way. @raise Denied: as L{check}, or spent already"""
        self._spend(grant, target)

    def _for(self, grant: Grant, target: Target) -> _Held:
        held = self._find(grant)
        if held.grant.target != target.name:
            raise Denied("the grant is for another target")
        return held

    def _spend(self, grant: Grant, target: Target) -> _Held:
        held = self._for(grant, target)
        if held.spent:
            raise Denied("the grant is spent")
        held.spent = True
        held.target = target
        return held

    # -- SCRAM -------------------------------------------------------------------------------------------------

    def start(self, grant: Grant, target: Target, offer: ScramServerFirst) -> tuple[str, bytes]:
        """See L{hoopd.interfaces.ICredentialVault.start_challenge}; C{offer.server_name} is not believed."""
        held = self._spend(grant, target)
        binding = None
        encrypted = target.tls.mode != "off"
        if encrypted:
            certificates.verify(target, offer.certificates, self.clock.seconds())
            if scram.PLUS in offer.mechanisms:
                binding = certificates.channel_binding(offer.certificates[0])
        if binding is None and scram.PLAIN not in offer.mechanisms:
            raise TargetError(f"target {target.name} offers no SCRAM-SHA-256")
        # flag y would accuse a server that did offer PLUS; there we cannot bind (Ed25519), and say n
        could_bind = encrypted and scram.PLUS not in offer.mechanisms
        nonce = base64.b64encode(self.entropy(_NONCE_BYTES))
        held.client = scram.ScramClient(nonce, binding, tls=could_bind)
        return held.client.mechanism, held.client.first()

    async def proceed(self, grant: Grant, server_first: bytes) -> bytes:
        """See L{hoopd.interfaces.ICredentialVault.continue_challenge}."""
        held, client, target = self._exchange(grant)
        challenge = self._of(target, client.read_first, server_first)
        password = await self._password(target)
        salted = await self.threads(scram.salted_password, password, challenge)
        if self._find(grant) is not held:
            raise Denied("the grant is not valid")
        return client.final(salted)

    def finish(self, grant: Grant, server_final: bytes) -> None:
        """See L{hoopd.interfaces.ICredentialVault.finish_challenge}."""
        held, client, target = self._exchange(grant)
        held.client = None
        self._of(target, client.read_final, server_final)

    def _exchange(self, grant: Grant) -> tuple[_Held, scram.ScramClient, Target]:
        held = self._find(grant)
        if held.client is None or held.target is None:
            raise Denied("no exchange of this grant is under way")
        return held, held.client, held.target

    @staticmethod
    def _of(target: Target, call: Callable[[bytes], Any], message: bytes) -> Any:
        try:
            return call(message)
        except PeerError as error:
            raise TargetError(f"authentication at target {target.name} failed: {error}") from None

    # -- md5 and cleartext -------------------------------------------------------------------------------------

    async def weak(self, grant: Grant, target: Target, method: str, salt: bytes) -> bytes:
        """See L{hoopd.interfaces.ICredentialVault.weak_answer}. The certificate is not seen here: the worker's
        own verification is all there is, which is one of the reasons that these methods are weak."""
        self._find(grant)
        if method not in ("md5", "cleartext") or method not in target.weak_authentication:
            raise Denied(
                f"target {target.name} asks for the password by {method[:16]!r}, which is not allowed for it",
                hint="let the target ask for scram-sha-256, or set weak_authentication",
            )
        if method == "cleartext" and target.tls.mode == "off" and not _is_loopback(target.host):
            raise Denied("a password is not sent in clear over an unencrypted connection")
        if method == "md5" and len(salt) != 4:
            raise TargetError(f"target {target.name} sent a malformed salt")
        self._spend(grant, target)
        password = await self._password(target)
        if method == "cleartext":
            return password
        inner = hashlib.md5(password + target.username.encode(), usedforsecurity=False).hexdigest()
        return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()

    async def _password(self, target: Target) -> bytes:
        try:
            password: bytes = await self.reveal(target.credential)
        except KeyError:
            raise TargetError(f"no credential is stored for target {target.name}") from None
        return password
