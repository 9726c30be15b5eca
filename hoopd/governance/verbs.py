"""hoopctl's verbs about the rules themselves, in the broker: what they would have done, and how they came to be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from hoopd.governance.changes import Change, difference
from hoopd.ipc import wire
from hoopd.values import Identity

Arguments = Mapping[str, Any]


def shown(change: Change) -> dict[str, Any]:
    """C{change} as JSON for people and programs."""
    return {**wire.decode(wire.encode(change), Any), "people": list(change.people)}


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


async def policy_history(administration: Any, caller: Identity, a: Arguments) -> Any:
    return [shown(change) for change in await administration.rule_sets.history(a.get("before"))]


async def policy_diff(administration: Any, caller: Identity, a: Arguments) -> Any:
    to, after = await administration.rule_sets.files(a.get("to"))
    wanted = a.get("since")
    since, before = await administration.rule_sets.files(max(0, to - 1) if wanted is None else wanted)
    return {"since": since, "to": to, "diff": difference(before, after)}


async def policy_files(administration: Any, caller: Identity, a: Arguments) -> Any:
    number, files = await administration.rule_sets.files(a.get("number"))
    return {"number": number, "files": files}


async def policy_confirm(administration: Any, caller: Identity, a: Arguments) -> Any:
    return shown(await administration.rule_sets.confirm(a["number"], caller, a["reason"]))


ACTS: Mapping[str, Callable[[Any, Identity, Arguments], Awaitable[Any]]] = MappingProxyType(
    {
        "policy.observed": policy_observed,
        "policy.history": policy_history,
        "policy.diff": policy_diff,
        "policy.files": policy_files,
        "policy.confirm": policy_confirm,
    }
)
