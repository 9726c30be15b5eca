"""Proof in, identity out: what the broker asks before anything else; implements IIdentityProvider.

The kind of proof is told by its shape: an issued token (L{hoopd.identity.tokens}), a JWT for the verifier, or else a
password. A token names its identity itself: the name that the client claims (a database user, often) counts for
passwords only. Whatever is wrong, the answer is one and the same, and takes about as long.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredLock, DeferredSemaphore
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from zope.interface import implementer

from hoopd.config.schema import IdentityConfig
from hoopd.errors import AuthenticationFailed, ConfigError, Unavailable
from hoopd.identity import certificates, duties, recovery_codes, tokens
from hoopd.identity import scopes as scope_rules
from hoopd.identity.directory import Directory, find
from hoopd.identity.issuers import Issuers
from hoopd.identity.mapping import identity_of
from hoopd.identity.pacing import Pacing, origin
from hoopd.identity.passwords import MAX_LENGTH, NOBODY, verify_password
from hoopd.identity.recovery import PREFIX as RECOVERY_PREFIX
from hoopd.identity.recovery import Recovery
from hoopd.identity.ssh_keys import SshKeys
from hoopd.identity.values import LocalIdentity, VerifiedToken
from hoopd.interfaces import IIdentityProvider
from hoopd.secret import Secret
from hoopd.store.connection import Transaction
from hoopd.values import Identity, Peer, Proof

log = Logger()

#: three base64url parts; the first is a JSON object, so it begins with C{eyJ} ('{"') unless there is white space in it
_JWT = re.compile(rb"ey[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
#: Argon2 runs at once: each takes 64 MiB and a core
_AT_ONCE = 2
#: passwords that wait for their turn: at 10 a second more than 100 would wait past any client's timeout
_WAITING = 100
#: proofs of one name from one address that wait for each other: a connection pool has a few dozen
_WAITING_PAIR = 50


#: what the proof of whoever came by a login link ends with, in the record
BY_LINK = "by login link"


def refusal() -> AuthenticationFailed:
    """The one answer to every proof that does not hold."""
    return AuthenticationFailed("authentication failed")


def _local(peer: Peer) -> bool:
    if peer.encrypted:
        return True
    try:
        return ipaddress.ip_address(peer.address.partition("%")[0]).is_loopback
    except ValueError:
        return False


@implementer(IIdentityProvider)
class Identities(Directory):
    """
    @param verifier: L{hoopd.interfaces.IVerifier}, the process that reads other people's tokens.
    @raise ConfigError: two providers whose subjects would have the same names.

    For the other parameters see L{Directory}.
    """

    def __init__(
        self,
        store: Any,
        verifier: Any,
        config: IdentityConfig,
        clock: Any,
        pepper: bytes,
        threads: Callable[..., Any] = deferToThread,
        entropy: Callable[[int], bytes] = os.urandom,
        conflicts: duties.Conflicts = (),
    ) -> None:
        super().__init__(store, config, clock, pepper, threads, entropy, conflicts)
        check_providers(config)
        self._verifier = verifier
        self._issuers = Issuers(config.certificates)
        #: set by whoever composes the broker: L{hoopd.identity.ssh_keys.SshKeys}
        self.ssh_keys: SshKeys | None = None
        #: set by whoever composes the broker: L{hoopd.identity.recovery.Recovery}
        self.recovery: Recovery | None = None
        #: set by whoever composes the broker: L{hoopd.flow.login_links.LoginLinks}
        self.login_links: Any = None
        self._pacing = Pacing(config.failures_per_minute)
        self._turns: dict[tuple[str, str], DeferredLock] = {}
        self._slots = DeferredSemaphore(_AT_ONCE)

    def authenticate(self, proof: Proof) -> Deferred[Identity]:
        """See L{IIdentityProvider.authenticate}."""
        return Deferred.fromCoroutine(self._authenticate(proof))

    async def _authenticate(self, proof: Proof) -> Identity:
        if proof.method == "certificate":
            return await self._by_certificate(proof)
        if proof.method == "ssh":
            return await self._by_ssh_key(proof)
        if proof.method == "link":
            return await self._by_link(proof)
        secret = proof.secret.reveal()
        if not secret or not _local(proof.peer):
            raise self._refused(proof, "no secret" if not secret else "in clear, and not from loopback")
        if secret.startswith(RECOVERY_PREFIX) and self.recovery is not None:
            identity, why = await self.recovery.by_token(secret)
            if identity is not None:
                identity = duties.parted(identity, identity.duties, self._conflicts)
        elif secret.startswith(tokens.PREFIX):
            identity, why = await self._by_token(secret)
        elif _JWT.fullmatch(secret):
            identity, why = await self._by_jwt(proof.secret)
        elif proof.method == "bearer":
            identity, why = None, "a bearer token was expected"
        else:
            return await self._by_password(proof, secret)
        if identity is None:
            # tokens cannot be guessed: what is slowed is the noise, after the look; good ones never wait
            self._pacing.failed(proof.peer.address, "", self._clock.seconds())
            await self._pause(self._pacing.pause_address(proof.peer.address, self._clock.seconds()))
            raise self._refused(proof, why)
        return identity

    def _refused(self, proof: Proof, why: str) -> AuthenticationFailed:
        log.info(
            "identity: proof of {claimed!r} from {address} refused: {why}",
            claimed=proof.claimed[:128],
            address=proof.peer.address,
            why=why,
        )
        return refusal()

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            await deferLater(self._clock, seconds)

    # -- issued tokens -----------------------------------------------------------------------------------------

    async def _by_token(self, secret: bytes) -> tuple[Identity | None, str]:
        id = tokens.token_id(secret)
        if id is None:
            return None, "malformed token"
        now = self._clock.seconds()
        wanted = tokens.digest(self._pepper, "token", secret)
        bearer, why = await self._store.transact(lambda tx: tokens.bearer(tx, id, wanted, now))
        if bearer is None:
            return None, why
        token = bearer.token
        identity = Identity(
            subject=bearer.subject,
            kind=bearer.kind,
            groups=bearer.groups,
            scopes=token.scopes,
            duties=scope_rules.duties(bearer.duties, token.scopes),
            act=token.act,
            proof=f"token:{token.id}",
            proven_at=now,
            expires_at=token.expires_at,
        )
        return duties.parted(identity, bearer.duties, self._conflicts), ""

    # -- OpenID Connect ----------------------------------------------------------------------------------------

    async def _by_jwt(self, secret: Secret, of: str | None = None) -> tuple[Identity | None, str]:
        """@param of: the one provider whose token it may be; None is any."""
        now = self._clock.seconds()
        try:
            verified: VerifiedToken = await self._verifier.verify(secret)
            provider = self._config.oidc.get(verified.provider)
            if provider is None or provider.issuer != verified.issuer or verified.expires_at + provider.leeway <= now:
                # the verifier reads hostile bytes: what it says of who spoke is checked, as far as it can be
                return None, "the verifier's answer does not fit the configuration"
            if of is not None and verified.provider != of:
                return None, f"a token for {verified.provider}"
            identity = identity_of(verified, provider, now, self._conflicts)
        except AuthenticationFailed as error:
            return None, error.why
        why = await self._not_ours(identity.name)
        return (None, why) if why else (identity, "")

    async def _by_link(self, proof: Proof) -> Identity:
        """Somebody who has logged in by a link: what the provider gave is judged as if they had brought it themselves."""
        links = self.login_links
        granted = None if links is None else links.granted(proof.secret)
        if granted is None:
            raise self._refused(proof, "no login by that link")
        identity, why = await self._by_jwt(granted.token, granted.provider)
        links.judged(proof.secret, identity.name if identity else "", why)
        if identity is None:
            raise self._refused(proof, f"login link of {granted.provider}: {why}")
        return evolve(identity, proof=f"{identity.proof} {BY_LINK}")

    async def _not_ours(self, name: str) -> str:
        """Why an identity that somebody else vouches for is not taken, or C{""}."""
        locked, local = await self._store.transact(lambda tx: (_locked(tx, name), _is_local(tx, name)))
        if locked:
            return f"{name} is disabled"
        if local:
            # two people behind one name: policy and record could not tell them apart
            return f"{name} is a local identity's name; give its provider or issuer a subject_prefix"
        return ""

    # -- certificates ------------------------------------------------------------------------------------------

    async def _by_certificate(self, proof: Proof) -> Identity:
        try:
            if not proof.peer.encrypted:
                raise AuthenticationFailed("a certificate without TLS")
            identity = certificates.identity_of(proof.certificates, self._issuers.known(), self._clock.seconds())
            why = await self._not_ours(identity.name)
        except AuthenticationFailed as error:
            why = error.why
        if why:
            raise self._refused(proof, why)
        return duties.parted(identity, identity.duties, self._conflicts)

    # -- SSH keys ----------------------------------------------------------------------------------------------

    async def _by_ssh_key(self, proof: Proof) -> Identity:
        identity, why = None, "no SSH keys are kept here"
        if self.ssh_keys is not None and proof.ssh is not None:
            identity, why = await self.ssh_keys.prove(proof.ssh)
        if identity is None:
            raise self._refused(proof, why)
        return identity

    # -- passwords ---------------------------------------------------------------------------------------------

    async def _by_password(self, proof: Proof, password: bytes) -> Identity:
        if self.recovery is not None and recovery_codes.shaped(password):
            recovery, address = self.recovery, proof.peer.address
            used = await self._paced(proof, lambda: recovery.use(proof.claimed, password, address))
            return duties.parted(used, used.duties, self._conflicts)
        return await self._paced(proof, lambda: self._check_password(proof.claimed, password))

    async def _paced(self, proof: Proof, check: Callable[[], Awaitable[tuple[Identity | None, str]]]) -> Identity:
        """What C{check} says of a secret that could be guessed: slower after each failure, one at a time."""
        pair = (origin(proof.peer.address), proof.claimed)
        turn = self._turns.setdefault(pair, DeferredLock())
        if len(turn.waiting) >= _WAITING_PAIR:
            raise self._refused(proof, "too many proofs of this name from this address at once")
        await turn.acquire()
        try:
            # one at a time for a pair: guesses made all at once would each find no failure before them
            await self._pause(self._pacing.pause(*_who(proof), self._clock.seconds()))
            identity, why = await check()
            if identity is None:
                self._pacing.failed(*_who(proof), self._clock.seconds())
                raise self._refused(proof, why)
            self._pacing.succeeded(*_who(proof))
            return identity
        finally:
            turn.release()
            if not turn.locked and not turn.waiting:
                self._turns.pop(pair, None)

    async def _check_password(self, claimed: str, password: bytes) -> tuple[Identity | None, str]:
        if len(password) > MAX_LENGTH:
            return None, "too long"
        name = claimed if claimed.startswith("user:") else f"user:{claimed}"
        found, stored, locked = await self._store.transact(lambda tx: _with_password(tx, name))
        if len(self._slots.waiting) >= _WAITING:
            raise Unavailable("too many people sign in at once: try again")
        good = await self._slots.run(self._threads, verify_password, password, stored or NOBODY)
        if found is None or stored is None:
            return None, "unknown name, or no password"
        if not good:
            return None, "wrong password"
        if locked:
            return None, "disabled"
        identity = Identity(
            subject=found.subject,
            kind="human",
            groups=frozenset(found.groups),
            duties=frozenset(found.duties),
            proof="password",
            proven_at=self._clock.seconds(),
        )
        return duties.parted(identity, identity.duties, self._conflicts), ""


def _who(proof: Proof) -> tuple[str, str]:
    return proof.peer.address, proof.claimed


def _is_local(tx: Transaction, name: str) -> bool:
    return bool(tx.execute("SELECT 1 FROM identities WHERE name = ?", (name,)))


def _locked(tx: Transaction, name: str) -> bool:
    return bool(tx.execute("SELECT 1 FROM identity_locks WHERE name = ?", (name,)))


def _with_password(tx: Transaction, name: str) -> tuple[LocalIdentity | None, str | None, bool]:
    rows = tx.execute("SELECT password FROM identities WHERE name = ? AND kind = 'human'", (name,))
    if not rows:
        return None, None, False
    return find(tx, name), rows[0][0], _locked(tx, name)


def check_providers(config: IdentityConfig) -> None:
    """@raise ConfigError: two could each prove the same name: who is whom would depend on which answered."""
    seen: dict[tuple[str, str], str] = {}
    vouching = [("oidc", name, each.kind, each.subject_prefix) for name, each in config.oidc.items()]
    vouching += [("certificates", name, each.kind, each.subject_prefix) for name, each in config.certificates.items()]
    for table, name, kind, prefix in vouching:
        if (kind, prefix) in seen:
            raise ConfigError(
                f"subjects of {seen[kind, prefix]} and {table}.{name} cannot be told apart",
                key=f"identity.{table}.{name}.subject_prefix",
                suggestion=f'subject_prefix = "{name}/"',
            )
        seen[kind, prefix] = f"{table}.{name}"
