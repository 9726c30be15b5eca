"""hoopctl's verbs about officers' keys and emergency exports, in the broker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from hoopd.ipc import wire
from hoopd.values import Identity

Arguments = Mapping[str, Any]


def _plain(value: Any) -> Any:
    return wire.decode(wire.encode(value), Any)


async def register(administration: Any, caller: Identity, a: Arguments) -> Any:
    return _plain(await administration.officers.register(caller, a["recipient"]))


async def keys(administration: Any, caller: Identity, a: Arguments) -> Any:
    return _plain(await administration.officers.keys())


async def remove(administration: Any, caller: Identity, a: Arguments) -> Any:
    await administration.officers.remove(a["name"], caller)
    return {"name": a["name"]}


async def export(administration: Any, caller: Identity, a: Arguments) -> Any:
    made, file = await administration.exports.export(caller, a["target"], a["officers"], a["reason"])
    return {**_plain(made), "file": file}


async def exports(administration: Any, caller: Identity, a: Arguments) -> Any:
    return _plain(await administration.exports.find())


async def opened(administration: Any, caller: Identity, a: Arguments) -> Any:
    return _plain(await administration.exports.opened(a["id"], caller, a["reason"]))


async def close(administration: Any, caller: Identity, a: Arguments) -> Any:
    return _plain(await administration.exports.close(a["id"], caller, a["reason"]))


ACTS: Mapping[str, Callable[[Any, Identity, Arguments], Awaitable[Any]]] = MappingProxyType(
    {
        "officer-keys.set": register,
        "officer-keys.list": keys,
        "officer-keys.remove": remove,
        "vault.export": export,
        "vault.exports": exports,
        "vault.export-opened": opened,
        "vault.export-close": close,
    }
)
