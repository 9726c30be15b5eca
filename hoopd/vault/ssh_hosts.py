"""Whose host keys are good: the configured ones, those that an administrator trusted, and what authorities certify.

There is no trust on first use by itself: a host that nobody has vouched for is refused with its fingerprint, and an
administrator who trusts it does so by name, on record. Specification: OpenSSH's PROTOCOL.certkeys; sshd(8), SSH_KNOWN_HOSTS.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography.hazmat.primitives.serialization import SSHCertificate, SSHCertificateType

from hoopd.config.schema import Listener
from hoopd.errors import PeerError, TargetError
from hoopd.protocols.ssh import keys
from hoopd.store.connection import Transaction
from hoopd.store.schema import Migration
from hoopd.values import Target

MIGRATIONS: tuple[Migration, ...] = (
    (
        "ssh-hosts-1",
        """
        CREATE TABLE ssh_host_keys (
            target TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            trusted_at REAL NOT NULL,
            trusted_by TEXT NOT NULL,
            PRIMARY KEY (target, fingerprint)
        );
        """,
    ),
)

_AUTHORITY = "@cert-authority"


@frozen
class TrustedHost:
    """One key that an administrator vouched for."""

    target: str
    fingerprint: str
    trusted_at: float
    trusted_by: str


def own_keys(listeners: Mapping[str, Listener]) -> frozenset[bytes]:
    """The public host keys of the gateway's own listeners, in wire form, from the .pub files beside the private ones."""
    paths = [path for listener in listeners.values() for path in listener.host_keys]
    return frozenset(keys.parse(Path(path + ".pub").read_text()).blob for path in paths)


def problem(line: str) -> str:
    """What is wrong with a line of C{host_keys}, or C{""}."""
    try:
        _pin(line)
    except (ValueError, PeerError) as error:
        return str(error) or "is no key"
    return ""


def _pin(line: str) -> tuple[bool, bytes]:
    """@return: whether it is an authority's; the key in wire form. @raise ValueError, PeerError: it is none"""
    words = line.split()
    authority = bool(words) and words[0] == _AUTHORITY
    words = words[1:] if authority else words
    if len(words) < 2:
        raise ValueError("must be a kind and a key, as ssh-keyscan prints them behind the name")
    blob = base64.b64decode(words[1], validate=True)
    keys.read(blob)
    return authority, blob


class HostKeys:
    """
    @param store: L{hoopd.interfaces.IStore} with L{MIGRATIONS}.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    async def check(self, target: Target, blob: bytes, now: float) -> None:
        """@param blob: what the host showed. @raise TargetError: it is not good for C{target}; says why and what to do"""
        try:
            shown = keys.read(blob)
        except PeerError as error:
            raise TargetError(f"target {target.name}: {error}") from None
        pins = [_pin(line) for line in target.ssh.host_keys]
        authorities = {pin for authority, pin in pins if authority}
        why = "" if shown.certificate is None else _certified(target, shown.certificate, authorities, now)
        if shown.certificate is not None:
            if not why:
                return
            if keys.issuer(shown.certificate) in authorities:
                raise TargetError(f"target {target.name} showed a host certificate that is not good: {why}")
        # where nobody knows who made a certificate, what counts is the key that it is around, as for ssh
        if shown.plain in [pin for authority, pin in pins if not authority]:
            return
        trusted = await self._store.transact(lambda tx: _trusted(tx, target.name))
        mark = shown.fingerprint
        if mark in [each.fingerprint for each in trusted]:
            return
        if why and authorities:
            raise TargetError(f"target {target.name} showed a host certificate that is not good: {why}")
        known = [keys.fingerprint(pin) for authority, pin in pins if not authority] + [
            each.fingerprint for each in trusted
        ]
        if known:
            raise TargetError(
                f"the host key of target {target.name} has CHANGED: it is {mark} now, and was {', '.join(known)}. "
                "Somebody may be in between, or the host was set up anew. An administrator who has checked it at the host "
                f"runs: hoopctl ssh trust {target.name} {mark}"
            )
        raise TargetError(
            f"nobody has vouched for the host key of target {target.name}, which is {mark}. An administrator who has "
            f"checked it at the host runs: hoopctl ssh trust {target.name} {mark}"
        )

    async def trust(self, target: str, key: str, by: str, now: float) -> TrustedHost:
        """@param key: its fingerprint. @raise ValueError: it is none"""
        if not key.startswith("SHA256:") or len(key) != 50:
            raise ValueError("a fingerprint is written SHA256: and 43 letters and digits, as ssh-keygen -l shows it")
        made = TrustedHost(target, key, now, by)
        row = (target, key, now, by)
        sql = "INSERT INTO ssh_host_keys VALUES (?, ?, ?, ?) ON CONFLICT (target, fingerprint) DO NOTHING"
        await self._store.transact(lambda tx: tx.execute(sql, row))
        return made

    async def distrust(self, target: str, key: str) -> None:
        """@raise KeyError: it was not trusted"""
        sql = "DELETE FROM ssh_host_keys WHERE target = ? AND fingerprint = ? RETURNING target"
        if not await self._store.transact(lambda tx: tx.execute(sql, (target, key))):
            raise KeyError(key)

    async def trusted(self, target: str = "") -> list[TrustedHost]:
        """@param target: of this one alone; C{""} is all"""
        found: list[TrustedHost] = await self._store.transact(lambda tx: _trusted(tx, target))
        return found


def _trusted(tx: Transaction, target: str) -> list[TrustedHost]:
    sql = "SELECT target, fingerprint, trusted_at, trusted_by FROM ssh_host_keys"
    where, arguments = (" WHERE target = ?", (target,)) if target else ("", ())
    return [TrustedHost(*row) for row in tx.execute(sql + where + " ORDER BY target, trusted_at", arguments)]


def _certified(target: Target, certificate: SSHCertificate, authorities: set[bytes], now: float) -> str:
    """Why a certificate is not good for C{target}, or C{""}."""
    problem = keys.certificate_problem(certificate, authorities, SSHCertificateType.HOST, now)
    host = target.host.lower()
    names = [name.decode("utf-8", "replace").lower() for name in certificate.valid_principals]
    if not problem and not any(_names(name, host) for name in names):
        return f"it does not name {target.host}"
    return problem


def _names(principal: str, host: str) -> bool:
    """Whether a principal, which may have C{*} and C{?} as those of ssh, means C{host}; a C{[} is itself."""
    return fnmatchcase(host, principal.replace("[", "[[]"))
