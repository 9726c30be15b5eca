"""How the gateway is, on one screen: what is wrong comes first."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from hoopd.ctl.connection import Gateway
from hoopd.ctl.printing import as_json, moment, pairs, print_json, span, table
from hoopd.display import visible


def _ago(seconds: float | None) -> str:
    return "never" if seconds is None else f"{span(max(0.0, time.time() - seconds))} ago"


_PROCESSES = (
    ("PROCESS", lambda one: one["name"]),
    ("PID", lambda one: str(one["pid"])),
    ("USER", lambda one: one["user"] or "-"),
    ("PHASE", lambda one: one["phase"]),
    ("UP", lambda one: span(max(0.0, time.time() - one["started"]))),
    ("RESTARTS", lambda one: str(one["restarts"])),
    ("GENERATION", lambda one: str(one["generation"])),
)


@click.command("status")
@as_json
@click.pass_obj
def command(gateway: Gateway, json_: bool) -> None:
    """Say how the gateway is; administrators and auditors see processes, record, space, and what is wrong."""
    found = gateway.call("status")
    if json_:
        print_json(found)
        return
    for problem in found.get("problems", ()):
        click.echo(visible(f"WRONG: {problem}"))
    policy = found["policy"]
    if "policy_since" in found:
        policy += f" since {moment(found['policy_since'])}"
    waiting = str(found["pending"])
    if found.get("oldest_pending"):
        waiting += f", the oldest since {span(max(0.0, time.time() - found['oldest_pending']))}"
    sessions = str(found["sessions"])
    if found.get("targets"):
        sessions += ": " + ", ".join(f"{count} on {name}" for name, count in sorted(found["targets"].items()))
    pairs(
        [
            ("hoopd", found["version"]),
            ("policy", policy),
            ("running sessions", sessions),
            ("waiting for approval", waiting),
            *(_record(found["ledger"]) if "ledger" in found else ()),
            ("exported credentials", _exports(found["exports"]) if found.get("exports") else ""),
            ("free space", _space(found["space"]) if "space" in found else ""),
        ]
    )
    if "processes" in found:
        click.echo()
        table(_PROCESSES, found["processes"], "the supervisor does not answer")


def _record(ledger: Mapping[str, Any]) -> list[tuple[str, str]]:
    signed = f"{ledger['signed']} of {ledger['leaves']} leaves, {_ago(ledger['signed_at'])}"
    witnesses = "; ".join(
        one["place"] + (f", {one['behind']} behind" if one["behind"] else "") for one in ledger["witnesses"]
    )
    return [("ledger", ledger["origin"]), ("checkpoint", signed), ("witnesses", witnesses or "none")]


def _exports(exports: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(f"{one['credential']} ({one['id']}) since {moment(one['made_at'])}" for one in exports)


def _space(space: Mapping[str, Any]) -> str:
    if space["free"] is None:
        return f"unknown at {space['path']}"
    return f"{space['free'] / 2**30:.1f} of {space['size'] / 2**30:.1f} GiB at {space['path']}"
