"""hoopctl's verbs about notices, in the broker."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from hoopd.ipc import wire
from hoopd.notices.rows import STATES
from hoopd.values import Identity

Arguments = Mapping[str, Any]


async def notify_list(administration: Any, caller: Identity, a: Arguments) -> Any:
    if a.get("state") not in (None, *STATES):
        raise ValueError(f"'state' is one of {', '.join(STATES)}")
    return _plain(await administration.notices.find(a.get("state"), a.get("channel")))


async def notify_test(administration: Any, caller: Identity, a: Arguments) -> Any:
    return _plain(await administration.notices.test(a["name"], caller.name, f"T-{secrets.token_hex(6)}"))


async def notify_retry(administration: Any, caller: Identity, a: Arguments) -> Any:
    return _plain(await administration.notices.retry(a["id"]))


def _plain(value: Any) -> Any:
    return wire.decode(wire.encode(value), Any)


ACTS: Mapping[str, Callable[[Any, Identity, Arguments], Awaitable[Any]]] = MappingProxyType(
    {"notify.list": notify_list, "notify.test": notify_test, "notify.retry": notify_retry}
)
