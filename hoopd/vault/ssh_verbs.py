"""What hoopctl asks of the SSH side: authorities, keys and certificates of people, trusted host keys (L{hoopd.administration})."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from hoopd.values import Identity
from hoopd.vault.ssh_authorities import KINDS

Arguments = Mapping[str, Any]


async def authorities(administration: Any, caller: Identity, a: Arguments) -> Any:
    """Keys of one authority, those that others should trust. @raise ValueError: no such authority"""
    if a["kind"] not in KINDS:
        raise ValueError(f"no such authority: {', '.join(KINDS)}")
    return [attrs.asdict(each) for each in administration.ssh.authorities.generations(a["kind"])]


async def rotate(administration: Any, caller: Identity, a: Arguments) -> Any:
    """One step of a rotation."""
    done = await administration.ssh.authorities.rotate(a["kind"], a["step"], caller.name)
    return [attrs.asdict(each) for each in done]


async def certify(administration: Any, caller: Identity, a: Arguments) -> Any:
    """A certificate for whoever asks, on the proof that they ask with."""
    entry, certificate = await administration.ssh_keys.certify(
        caller, a["key"], a.get("lifetime"), a.get("description") or ""
    )
    told = {"key": entry.id, "identity": entry.identity, "fingerprint": entry.fingerprint, "expires": entry.expires_at}
    administration.event("ssh.certified", {**told, "by": caller.name})
    return {"entry": attrs.asdict(entry), "certificate": certificate}


async def keys(administration: Any, caller: Identity, a: Arguments) -> Any:
    """Keys and certificates: one's own, or as administrator anybody's."""
    wanted = a.get("name") or ""
    if wanted != caller.name and "administrator" not in caller.duties:
        wanted = caller.name
    return [attrs.asdict(each) for each in await administration.ssh_keys.find(wanted)]


async def add_key(administration: Any, caller: Identity, a: Arguments) -> Any:
    """Register a public key."""
    entry = await administration.ssh_keys.register(
        caller, a.get("name") or caller.name, a["key"], a.get("lifetime"), a.get("description") or ""
    )
    told = {"key": entry.id, "identity": entry.identity, "fingerprint": entry.fingerprint, "expires": entry.expires_at}
    administration.event("ssh.key-added", {**told, "by": caller.name})
    return attrs.asdict(entry)


async def revoke_key(administration: Any, caller: Identity, a: Arguments) -> Any:
    """End a key or certificate."""
    entry = await administration.ssh_keys.revoke(caller, a["id"])
    administration.event("ssh.key-revoked", {"key": entry.id, "identity": entry.identity, "by": caller.name})
    return attrs.asdict(entry)


async def hosts(administration: Any, caller: Identity, a: Arguments) -> Any:
    """Keys that administrators vouched for."""
    return [attrs.asdict(each) for each in await administration.ssh.hosts.trusted(a.get("target") or "")]


async def trust(administration: Any, caller: Identity, a: Arguments) -> Any:
    """Vouch for a host key. @raise KeyError: no such target"""
    target = administration.policy().targets()[a["target"]]
    if target.protocol != "ssh":
        raise ValueError(f"{target.name} is no SSH host")
    now = administration.clock.seconds()
    made = await administration.ssh.hosts.trust(target.name, a["fingerprint"], caller.name, now)
    return attrs.asdict(made)


async def distrust(administration: Any, caller: Identity, a: Arguments) -> Any:
    """Take it back. @raise KeyError: nobody vouched for it"""
    await administration.ssh.hosts.distrust(a["target"], a["fingerprint"])
    return {"target": a["target"], "fingerprint": a["fingerprint"]}


ACTS = {
    "ssh.authorities": authorities,
    "ssh.rotate": rotate,
    "ssh.certify": certify,
    "ssh.keys": keys,
    "ssh.add-key": add_key,
    "ssh.revoke-key": revoke_key,
    "ssh.hosts": hosts,
    "ssh.trust": trust,
    "ssh.distrust": distrust,
}
