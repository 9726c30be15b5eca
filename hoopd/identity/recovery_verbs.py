"""hoopctl's verbs about recovery codes, in the broker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from hoopd.ipc import wire
from hoopd.values import Identity

Arguments = Mapping[str, Any]


async def create(administration: Any, caller: Identity, a: Arguments) -> Any:
    sheet, made = await administration.recovery.create(caller, 10 if a.get("count") is None else a["count"])
    return {"identity": caller.name, "sheet": sheet, "codes": made}


async def confirm(administration: Any, caller: Identity, a: Arguments) -> Any:
    return {"identity": await administration.recovery.confirm(a["id"], caller), "sheet": a["id"]}


async def sheets(administration: Any, caller: Identity, a: Arguments) -> Any:
    name = None if caller.duties & {"administrator", "auditor"} else caller.name
    return wire.decode(wire.encode(await administration.recovery.sheets(name)), Any)


async def void(administration: Any, caller: Identity, a: Arguments) -> Any:
    return {"identity": a["name"], "void": await administration.recovery.void(a["name"], caller)}


ACTS: Mapping[str, Callable[[Any, Identity, Arguments], Awaitable[Any]]] = MappingProxyType(
    {
        "recovery-codes.create": create,
        "recovery-codes.confirm": confirm,
        "recovery-codes.list": sheets,
        "recovery-codes.void": void,
    }
)
