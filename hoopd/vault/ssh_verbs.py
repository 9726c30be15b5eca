"""What hoopctl asks of the SSH side: the authority's key, and whose host keys are trusted (L{hoopd.administration})."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from hoopd.values import Identity

Arguments = Mapping[str, Any]


async def authority(administration: Any, caller: Identity, a: Arguments) -> Any:
    """The line that hosts trust users by (sshd_config(5), TrustedUserCAKeys)."""
    return {"user_authority": administration.ssh.authority.public}


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


ACTS = {"ssh.authority": authority, "ssh.hosts": hosts, "ssh.trust": trust, "ssh.distrust": distrust}
