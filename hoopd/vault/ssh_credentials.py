"""Signing in at SSH hosts in the place of workers; implements L{hoopd.interfaces.ISshCredentials}.

As with passwords (L{hoopd.vault.challenges}): a worker gets something to show and one signature, over nothing but the
authentication request of its own session for the account that was offered. A password leaves this process only for a target whose
configuration says that it takes nothing better.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from twisted.conch.ssh.keys import Key
from twisted.internet.defer import Deferred
from zope.interface import implementer

from hoopd.errors import Denied, PeerError, TargetError
from hoopd.interfaces import ISshCredentials
from hoopd.protocols.ssh import keys
from hoopd.protocols.ssh.messages import Reader
from hoopd.secret import Secret
from hoopd.values import Grant, SshOffer, Target
from hoopd.vault.ssh_authorities import Authorities
from hoopd.vault.ssh_hosts import HostKeys

#: a sign-in takes a second; a certificate that is stolen from a host's memory is worth nothing later
LIFETIME = 120.0

#: a gateway's own host certificate is renewed long before
HOST_LIFETIME = 24 * 3600.0

#: RFC 4252 section 7
_USERAUTH_REQUEST = 50


@define(eq=False)
class _Offered:
    """What was offered for a grant and has not been signed yet."""

    login: str
    offer: SshOffer
    key: Any
    expires_at: float


@implementer(ISshCredentials)
@define(eq=False)
class SshCredentials:
    """
    @ivar authorities: the gateway's own.
    @ivar vault: L{hoopd.vault.vault.Vault}: its grants and its secrets.
    @ivar clock: IReactorTime.
    @ivar entropy: C{(number of bytes) -> bytes}
    @ivar may_login: C{(session, target, login) -> bool}: whether policy has anything for its identity there.
    @ivar targets: C{() -> mapping of name to Target}, as they are now.
    @ivar own_keys: public host keys of the gateway's listeners, in wire form.
    """

    vault: Any
    authorities: Authorities
    hosts: HostKeys
    clock: Any
    entropy: Callable[[int], bytes]
    may_login: Callable[[str, Target, str], bool]
    targets: Callable[[], Mapping[str, Target]]
    own_keys: frozenset[bytes] = frozenset()
    _offered: dict[bytes, _Offered] = field(factory=dict, init=False, repr=False)

    def check_host(self, grant: Grant, target: Target, key: bytes) -> Deferred[None]:
        """See L{ISshCredentials.check_host}."""

        async def work() -> None:
            self.vault.check_grant(grant, target)
            await self.hosts.check(target, key, self.clock.seconds())

        return Deferred.fromCoroutine(work())

    def offer(self, grant: Grant, target: Target, login: str) -> Deferred[SshOffer]:
        """See L{ISshCredentials.offer}."""
        return Deferred.fromCoroutine(self._offer(grant, target, login))

    async def _offer(self, grant: Grant, target: Target, login: str) -> SshOffer:
        if not self.may_login(grant.session, target, login):
            raise Denied(
                f"the account {login!r} is not open at {target.name}",
                hint="name one that is, as login%target, or ask whoever runs this gateway for an allow rule",
            )
        self.vault.spend_grant(grant, target)
        method = target.ssh.sign_in
        if method == "certificate":
            key: Any = Ed25519PrivateKey.generate()
            serial = int.from_bytes(self.entropy(8), "big")
            name = f"hoopd {grant.identity} {grant.session}"
            certificate = self.authorities.signing("user").user(
                key.public_key(), (login,), name, serial, self.clock.seconds(), LIFETIME
            )
            kind, blob = certificate.public_bytes().split(b" ")[:2]
            offer = SshOffer("certificate", kind, base64.b64decode(blob))
        else:
            secret = await self._secret(target)
            if method == "password":
                return SshOffer("password", password=Secret(secret))
            key, offer = _of_key(target, secret)
        now = self.clock.seconds()
        for mark in [mark for mark, each in self._offered.items() if each.expires_at <= now]:
            del self._offered[mark]
        self._offered[_mark(grant)] = _Offered(login, offer, key, grant.expires_at)
        return offer

    async def _secret(self, target: Target) -> bytes:
        try:
            secret: bytes = await self.vault.reveal_for(target)
        except KeyError:
            raise TargetError(f"no credential is stored for target {target.name}") from None
        return secret

    def certify_host(self, key: bytes) -> Deferred[bytes]:
        """See L{ISshCredentials.certify_host}."""

        async def work() -> bytes:
            if key not in self.own_keys:
                raise Denied("that is none of the listener's host keys")
            names = sorted(name for name, target in self.targets().items() if target.protocol == "ssh")
            if not names:
                raise Denied("there is no SSH target to be certified for")
            serial = int.from_bytes(self.entropy(8), "big")
            certificate = self.authorities.signing("host").host(
                keys.read(key).key, names, "hoopd", serial, self.clock.seconds(), HOST_LIFETIME
            )
            return base64.b64decode(certificate.public_bytes().split(b" ")[1])

        return Deferred.fromCoroutine(work())

    def sign(self, grant: Grant, signed: bytes) -> Deferred[bytes]:
        """See L{ISshCredentials.sign}."""

        async def work() -> bytes:
            offered = self._offered.pop(_mark(grant), None)
            if offered is None or offered.expires_at <= self.clock.seconds():
                raise Denied("nothing is offered under this grant, or it was signed already")
            _check_request(offered, signed)
            signature: bytes = Key(offered.key).sign(signed, offered.offer.algorithm.partition(b"-cert-")[0])
            return signature

        return Deferred.fromCoroutine(work())


def _mark(grant: Grant) -> bytes:
    return hashlib.sha256(grant.token.reveal()).digest()


def _of_key(target: Target, secret: bytes) -> tuple[Any, SshOffer]:
    try:
        key = load_ssh_private_key(secret, None)
        public = Key(key).public()
    except Exception as error:
        # ValueError, TypeError, UnsupportedAlgorithm, BadKeyError, by what is wrong; none of them quotes the key
        raise TargetError(
            f"the vault holds no usable SSH key for target {target.name}: {type(error).__name__}"
        ) from None
    kind = public.sshType()
    return key, SshOffer("key", b"rsa-sha2-512" if kind == b"ssh-rsa" else kind, public.blob())


def _check_request(offered: _Offered, signed: bytes) -> None:
    """@raise Denied: C{signed} is anything else than the request that the offer was made for."""
    try:
        reader = Reader(signed)
        session = reader.string()
        number = reader.payload[reader.at]
        reader.at += 1
        user, service, method, flag = reader.string(), reader.string(), reader.string(), reader.flag()
        algorithm, blob = reader.string(), reader.string()
        reader.end()
    except (PeerError, IndexError):
        raise Denied("what is to be signed is no authentication request") from None
    said = (number, user, service, method, flag, algorithm, blob)
    offer = offered.offer
    wanted = (
        _USERAUTH_REQUEST, offered.login.encode(), b"ssh-connection", b"publickey", True, offer.algorithm, offer.blob,
    )  # fmt: skip
    # 32 octets: the hash of every key exchange that is left has so many, or more
    if said != wanted or len(session) < 32:
        raise Denied("what is to be signed is not the authentication request that was offered")
