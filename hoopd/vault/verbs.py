"""hoopctl's verbs about the vault, in the broker: what goes in, and whether it opens; nothing comes out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from hoopd.ipc import wire
from hoopd.secret import Secret
from hoopd.values import Identity

Arguments = Mapping[str, Any]


def _plain(value: Any) -> Any:
    return wire.decode(wire.encode(value), Any)


async def put(administration: Any, caller: Identity, a: Arguments) -> Any:
    entry = await administration.vault.put(a["name"], Secret(a["value"]), caller.name)
    administration.event("vault.put", {"secret": entry.name, "by": caller.name, "version": entry.version})
    # another value settles what was exported of the old one
    await administration.exports.compare(caller.name)
    return _plain(entry)


async def entries(administration: Any, caller: Identity, a: Arguments) -> Any:
    return _plain(await administration.vault.entries())


async def remove(administration: Any, caller: Identity, a: Arguments) -> Any:
    await administration.vault.remove(a["name"], caller.name)
    administration.event("vault.removed", {"secret": a["name"], "by": caller.name})
    return {"name": a["name"]}


async def rotate_key(administration: Any, caller: Identity, a: Arguments) -> Any:
    secrets = await administration.vault.rotate_master_key(caller.name)
    administration.event("vault.rotated", {"by": caller.name, "secrets": secrets})
    return {"secrets": secrets}


async def check(administration: Any, caller: Identity, a: Arguments) -> Any:
    problems = await administration.vault.check()
    exports = [] if problems else await administration.exports.compare(caller.name)
    return {"problems": [*problems, *await administration.exports.problems()], "exports": _plain(exports)}


ACTS: Mapping[str, Callable[[Any, Identity, Arguments], Awaitable[Any]]] = MappingProxyType(
    {
        "vault.put": put,
        "vault.list": entries,
        "vault.remove": remove,
        "vault.rotate-key": rotate_key,
        "vault.check": check,
    }
)
