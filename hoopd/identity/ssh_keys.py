"""SSH keys and certificates that prove an identity: registered, issued, shown, revoked. Broker only.

A key is registered for a local identity, whose groups are ours to know; anybody who is proven may have a certificate made, which
stands for that proof as it was, for hours: groups and scopes as they were then. Either is good until it is revoked, and the
sessions that rest on it end with it. What is shown is checked here wholly: signature, issuer, times. Specification: RFC 4252 section
7; OpenSSH's PROTOCOL.certkeys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from attrs import frozen
from cryptography.hazmat.primitives.serialization import SSHCertificateType

from hoopd.errors import Denied, PeerError
from hoopd.identity import duties as duty_rules
from hoopd.identity import scopes as scope_rules
from hoopd.identity.directory import find
from hoopd.identity.names import split_name
from hoopd.ipc import wire
from hoopd.protocols.ssh import keys
from hoopd.protocols.ssh.messages import Reader
from hoopd.store.connection import Transaction
from hoopd.store.schema import Migration
from hoopd.values import Identity, SshSignature

MIGRATIONS: tuple[Migration, ...] = (
    (
        "ssh-keys-1",
        """
        CREATE TABLE ssh_keys (
            id TEXT PRIMARY KEY,
            identity TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            serial TEXT NOT NULL,
            proven TEXT,
            description TEXT NOT NULL,
            created_at REAL NOT NULL,
            created_by TEXT NOT NULL,
            expires_at REAL NOT NULL,
            revoked_at REAL,
            revoked_by TEXT,
            last_used_at REAL,
            UNIQUE (fingerprint, serial)
        );
        CREATE INDEX ssh_keys_identity ON ssh_keys (identity);
        """,
    ),
)

#: a working day; who comes back in the morning proves who they are
CERTIFICATE_LIFETIME = 12 * 3600.0
CERTIFICATE_LIFETIME_MAX = 24 * 3600.0
#: its use is noted this often, not at each connection
NOTE_USE_EVERY = 60.0

_COLUMNS = (
    "id, identity, fingerprint, serial, description, created_at, created_by, expires_at, revoked_at, last_used_at"
)


@frozen
class SshKey:
    """One key or certificate as lists show it. @ivar serial: of a certificate; C{""} for a registered key"""

    id: str
    identity: str
    fingerprint: str
    serial: str
    description: str
    created_at: float
    created_by: str
    expires_at: float
    revoked_at: float | None = None
    last_used_at: float | None = None


class SshKeys:
    """
    @param store: L{hoopd.interfaces.IStore} with L{MIGRATIONS}.
    @param authorities: L{hoopd.vault.ssh_authorities.Authorities}.
    @param clock: IReactorTime.
    @param entropy: C{(number of bytes) -> bytes}
    @param conflicts: duties that exclude each other.
    @param lifetime_max: seconds that a registered key may be good.
    @param revoked: C{(identity, id, why)}: called when a key is, once that is on disk.
    """

    def __init__(
        self,
        store: Any,
        authorities: Any,
        clock: Any,
        entropy: Callable[[int], bytes],
        lifetime_max: float,
        revoked: Callable[[str, str, str], None],
        conflicts: duty_rules.Conflicts = (),
    ) -> None:
        self._store = store
        self._authorities = authorities
        self._clock = clock
        self._entropy = entropy
        self._lifetime_max = lifetime_max
        self._revoked = revoked
        self._conflicts = conflicts

    # -- making ------------------------------------------------------------------------------------------------

    async def register(
        self, caller: Identity, name: str, line: str, lifetime: float | None, description: str
    ) -> SshKey:
        """Register a public key for the local identity C{name}: one's own, or as administrator an agent's.

        @param line: as .pub files have it.
        @raise Denied: not entitled. @raise KeyError: no such local identity. @raise ValueError: no key, or registered already
        """
        shown = _parsed(line)
        if shown.certificate is not None:
            raise ValueError("that is a certificate: register the key itself")
        life = self._lifetime_max if lifetime is None else lifetime
        if not 0 < life <= self._lifetime_max:
            raise ValueError(f"a key is good for more than 0 and at most {self._lifetime_max:.0f} seconds")
        _check_entitled(caller, name)
        now = self._clock.seconds()
        made = self._entry(name, shown.fingerprint, "", description, caller.name, now, now + life)

        def work(tx: Transaction) -> SshKey:
            try:
                find(tx, name)
            except KeyError:
                raise KeyError(
                    f"{name} is no identity of this gateway, so its groups are not known without its provider: "
                    "use hoopctl ssh cert"
                ) from None
            if tx.execute("SELECT 1 FROM ssh_keys WHERE fingerprint = ? AND serial = ''", (shown.fingerprint,)):
                # whose it was stays on record: the same key cannot become somebody else's
                raise ValueError(f"{shown.fingerprint} has been registered already")
            _insert(tx, made, None)
            return made

        registered: SshKey = await self._store.transact(work)
        return registered

    async def certify(
        self, caller: Identity, line: str, lifetime: float | None, description: str
    ) -> tuple[SshKey, str]:
        """Make a certificate for whoever asks, on the proof that they ask with; never good for longer than that.

        @return: its entry, and the certificate as -cert.pub files have it.
        @raise ValueError: no key, or an impossible lifetime. @raise Denied: the proof is a certificate of this kind itself
        """
        if caller.proof.startswith("ssh:"):
            raise Denied("a certificate is not made on a certificate", hint="sign in with a token, or at the provider")
        shown = _parsed(line)
        if shown.application is not None:
            raise ValueError("keys on security tokens are registered, not certified: hoopctl ssh keys add")
        life = CERTIFICATE_LIFETIME if lifetime is None else lifetime
        if not 0 < life <= CERTIFICATE_LIFETIME_MAX:
            raise ValueError(
                f"a certificate is good for more than 0 and at most {CERTIFICATE_LIFETIME_MAX:.0f} seconds"
            )
        now = self._clock.seconds()
        until = min(now + life, caller.expires_at or now + life)
        if until <= now:
            raise Denied("the proof has lapsed")
        serial = int.from_bytes(self._entropy(8), "big")
        made = self._entry(caller.name, shown.fingerprint, str(serial), description, caller.name, now, until)
        certificate = self._authorities.signing("client").user(
            shown.key, (caller.name,), f"{caller.name} {made.id}", serial, now, until - now, ()
        )
        proven = attrs.evolve(caller, claims={})
        await self._store.transact(lambda tx: _insert(tx, made, wire.encode(proven).decode()))
        return made, certificate.public_bytes().decode()

    def _entry(
        self, identity: str, fingerprint: str, serial: str, description: str, by: str, now: float, until: float
    ) -> SshKey:
        if len(description) > 200:
            raise ValueError("a description has at most 200 characters")
        return SshKey(self._entropy(5).hex(), identity, fingerprint, serial, description, now, by, until)

    # -- looking and ending ------------------------------------------------------------------------------------

    async def find(self, identity: str = "") -> list[SshKey]:
        """@param identity: of this one alone; C{""} is all"""
        where, arguments = (" WHERE identity = ?", (identity,)) if identity else ("", ())
        sql = f"SELECT {_COLUMNS} FROM ssh_keys{where} ORDER BY created_at"
        rows = await self._store.transact(lambda tx: tx.execute(sql, arguments))
        return [SshKey(*row) for row in rows]

    async def revoke(self, caller: Identity, id: str) -> SshKey:
        """End a key or certificate now, and the sessions that rest on it. @raise KeyError: unknown. @raise Denied"""

        def work(tx: Transaction) -> SshKey:
            rows = tx.execute(f"SELECT {_COLUMNS} FROM ssh_keys WHERE id = ?", (id,))
            if not rows:
                raise KeyError(id)
            found = SshKey(*rows[0])
            if found.identity != caller.name and "administrator" not in caller.duties:
                raise KeyError(id)  # whose ids there are is nobody else's business
            now = self._clock.seconds()
            tx.execute(
                "UPDATE ssh_keys SET revoked_at = ?, revoked_by = ? WHERE id = ? AND revoked_at IS NULL",
                (now, caller.name, id),
            )
            return attrs.evolve(found, revoked_at=found.revoked_at or now)

        ended: SshKey = await self._store.transact(work)
        self._revoked(ended.identity, ended.id, "its SSH key was revoked")
        return ended

    async def made_on(self, identity: str, token: str) -> list[str]:
        """@return: ids of the certificates that rest on the token with this id"""
        rows = await self._store.transact(
            lambda tx: tx.execute(
                "SELECT id, proven FROM ssh_keys WHERE identity = ? AND proven IS NOT NULL", (identity,)
            )
        )
        return [id for id, proven in rows if wire.decode(proven.encode(), Identity).proof == f"token:{token}"]

    # -- proving -----------------------------------------------------------------------------------------------

    async def prove(self, signature: SshSignature) -> tuple[Identity | None, str]:
        """@return: who it is, and C{""}; or None and why not, for the log."""
        try:
            shown = keys.check_signature(signature.blob, signature.algorithm, signature.signature, signature.signed)
            _check_request(signature)
        except PeerError as error:
            return None, str(error)
        now, serial = self._clock.seconds(), ""
        if shown.certificate is not None:
            ours = [keys.parse(one.public).blob for one in self._authorities.generations("client")]
            why = keys.certificate_problem(shown.certificate, ours, SSHCertificateType.USER, now)
            if why:
                return None, f"a certificate is no proof: {why}"
            serial = str(shown.certificate.serial)
        answer: tuple[Identity | None, str] = await self._store.transact(
            lambda tx: _bearer(tx, shown.fingerprint, serial, now, self._conflicts)
        )
        return answer


def _parsed(line: str) -> keys.Shown:
    try:
        return keys.parse(line)
    except PeerError as error:
        raise ValueError(str(error)) from None


def _check_entitled(caller: Identity, name: str) -> None:
    """One's own, with nothing narrowed; agents' as administrator."""
    if name == caller.name:
        if caller.scopes is not None or caller.proof.startswith("ssh:"):
            raise Denied("a key would be wider than the proof that it is registered with", hint="sign in by password")
        return
    kind, _ = split_name(name)
    if kind != "agent" or "administrator" not in caller.duties:
        raise Denied("people register their own keys; administrators register those of agents")


def _check_request(signature: SshSignature) -> None:
    """@raise PeerError: what was signed is no authentication request that names this very key."""
    reader = Reader(signature.signed)
    session = reader.string()
    number = reader.payload[reader.at : reader.at + 1]
    reader.at += 1
    reader.string()
    service, method, flag = reader.string(), reader.string(), reader.flag()
    algorithm, blob = reader.string(), reader.string()
    reader.end()
    said = (number, service, method, flag, algorithm, blob)
    wanted = (b"\x32", b"ssh-connection", b"publickey", True, signature.algorithm, signature.blob)
    if said != wanted or len(session) < 32:
        raise PeerError("what was signed is no authentication request for this key")


def _insert(tx: Transaction, made: SshKey, proven: str | None) -> None:
    tx.execute(
        "INSERT INTO ssh_keys (id, identity, fingerprint, serial, proven, description, created_at, created_by, "
        "expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            made.id, made.identity, made.fingerprint, made.serial, proven, made.description, made.created_at,
            made.created_by, made.expires_at,
        ),
    )  # fmt: skip


def _bearer(
    tx: Transaction, fingerprint: str, serial: str, now: float, conflicts: duty_rules.Conflicts
) -> tuple[Identity | None, str]:
    rows = tx.execute(
        f"SELECT {_COLUMNS}, proven FROM ssh_keys WHERE fingerprint = ? AND serial = ?", (fingerprint, serial)
    )
    if not rows:
        return None, f"{fingerprint} is not registered" if not serial else f"certificate {serial} is not known"
    entry, proven = SshKey(*rows[0][:10]), rows[0][10]
    if entry.revoked_at is not None:
        return None, f"SSH key {entry.id} is revoked"
    if entry.expires_at <= now:
        return None, f"SSH key {entry.id} has expired"
    if tx.execute("SELECT 1 FROM identity_locks WHERE name = ?", (entry.identity,)):
        return None, f"{entry.identity} is disabled"
    identity = wire.decode(proven.encode(), Identity) if proven is not None else None
    if identity is not None:
        why = _lapsed(tx, identity)
        if why:
            return None, why
    identity = _as_now(tx, entry.identity, identity)
    if entry.last_used_at is None or not 0 <= now - entry.last_used_at < NOTE_USE_EVERY:
        tx.execute("UPDATE ssh_keys SET last_used_at = ? WHERE id = ?", (now, entry.id))
    identity = attrs.evolve(identity, proof=f"ssh:{entry.id}", proven_at=now, expires_at=entry.expires_at)
    return duty_rules.parted(identity, identity.duties, conflicts), ""


def _lapsed(tx: Transaction, identity: Identity) -> str:
    """Why the proof that a certificate was made on counts no more, or C{""}."""
    kind, _, id = identity.proof.partition(":")
    if kind != "token":
        return ""
    rows: Sequence[tuple[Any, ...]] = tx.execute("SELECT revoked_at FROM tokens WHERE id = ?", (id,))
    return f"token {id}, which it was made on, is revoked" if not rows or rows[0][0] is not None else ""


def _as_now(tx: Transaction, name: str, proven: Identity | None) -> Identity:
    """A local identity has its groups and duties of now, under the scopes that were proven; others are as proven."""
    try:
        found = find(tx, name)
    except KeyError:
        if proven is None:
            raise
        return proven
    made = proven or Identity(found.subject, found.kind)
    duties = scope_rules.duties(frozenset(found.duties), made.scopes)
    return attrs.evolve(made, groups=frozenset(found.groups), duties=duties)
