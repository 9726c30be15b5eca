"""hoopctl's verbs about break glass, in the broker; who may do what is L{hoopd.breakglass.service}'s to say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from hoopd.breakglass.values import Use
from hoopd.ipc import wire
from hoopd.values import Identity

Arguments = Mapping[str, Any]


def shown(use: Use, now: float) -> dict[str, Any]:
    """C{use} as JSON for people and programs, with the state that it is in."""
    if use.ended_at is None and now < use.opening.until:
        state = "open"
    elif use.reviewed_at is not None:
        state = "reviewed"
    else:
        state = "overdue" if use.overdue(now) else "to review"
    return {"id": use.id, "state": state, **wire.decode(wire.encode(use), Any)}


async def break_open(administration: Any, caller: Identity, a: Arguments) -> Any:
    use = await administration.break_glass.open(caller, a["target"], a["reason"])
    return shown(use, administration.clock.seconds())


async def break_close(administration: Any, caller: Identity, a: Arguments) -> Any:
    use = await administration.break_glass.close(a["id"], caller, a.get("reason") or "")
    return shown(use, administration.clock.seconds())


async def break_list(administration: Any, caller: Identity, a: Arguments) -> Any:
    now = administration.clock.seconds()
    return [shown(use, now) for use in await administration.break_glass.find(caller, a.get("target"))]


async def break_show(administration: Any, caller: Identity, a: Arguments) -> Any:
    return shown(await administration.break_glass.show(a["id"], caller), administration.clock.seconds())


async def break_review(administration: Any, caller: Identity, a: Arguments) -> Any:
    use = await administration.break_glass.review(a["id"], caller, a["verdict"], a["findings"])
    return shown(use, administration.clock.seconds())


ACTS: Mapping[str, Callable[[Any, Identity, Arguments], Awaitable[Any]]] = MappingProxyType(
    {
        "break-glass.open": break_open,
        "break-glass.close": break_close,
        "break-glass.list": break_list,
        "break-glass.show": break_show,
        "break-glass.review": break_review,
    }
)
