"""hoopctl's verbs about the rules themselves, in the broker: what they would have done, and how they came to be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from hoopd.values import Identity

Arguments = Mapping[str, Any]


async def policy_observed(administration: Any, caller: Identity, a: Arguments) -> Any:
    policy = administration.policy()
    found = await administration.observed.find(a.get("since") or 0.0, a.get("target"), a.get("identity"))
    return {
        "found": found,
        "observing": {
            "targets": sorted(name for name, target in policy.targets().items() if target.mode == "observe"),
            "files": sorted(f"{file.name}.toml" for file in policy.files if file.mode == "observe"),
        },
    }


ACTS: Mapping[str, Callable[[Any, Identity, Arguments], Awaitable[Any]]] = MappingProxyType(
    {
        "policy.observed": policy_observed,
    }
)
