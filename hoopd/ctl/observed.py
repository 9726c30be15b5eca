"""C{hoopctl policy observed}: what enforcement would have done where policy only observes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from hoopd.ctl.connection import Gateway
from hoopd.ctl.printing import Moment, as_json, moment, print_json
from hoopd.display import visible

_WOULD = {"deny": "would be refused", "hold": "would be held", "mask": "would be masked"}


def _who(one: Mapping[str, Any]) -> str:
    return one["identity"] + (f" for {one['act']}" if one["act"] else "")


def _next(observing: Mapping[str, Any]) -> str:
    places = [f'targets.{name} (mode = "observe" in targets.d/)' for name in observing["targets"]]
    places += [f'policies.d/{name} (mode = "observe")' for name in observing["files"]]
    if not places:
        return 'Nothing is observed now: what is above is enforced since mode = "observe" was taken away.'
    return f'To enforce: write mode = "enforce" in {"; ".join(places)}, then hoopctl reload.'


@click.command("observed")
@click.option("--since", type=Moment(), default="7d", show_default=True, help="Such as 7d (ago) or 2026-11-21 (UTC).")
@click.option("--target", help="Only on this target.")
@click.option("--identity", help="Only this one's: user:priya.")
@as_json
@click.pass_obj
def command(gateway: Gateway, since: float, target: str | None, identity: str | None, json_: bool) -> None:
    """List what would have been refused, held or masked where policy only observes, by rule and identity.

    It is counted as recordings are sealed, some seconds after it happened, and kept for 90 days.
    """
    answer = gateway.call("policy.observed", since=since, target=target, identity=identity)
    if json_:
        print_json(answer)
        return
    found = answer["found"]
    if not found:
        click.echo(f"nothing since {moment(since)} would have been refused, held or masked", err=True)
    for one in found:
        rule = one["rule"] or "no rule that allows it"
        times = "once" if one["count"] == 1 else f"{one['count']} times"
        click.echo(visible(f"{rule}: {times} {_WOULD[one['outcome']]}: {_who(one)} on {one['target']}"))
        click.echo(f"    first {moment(one['first'])}, last {moment(one['last'])}")
        if one["why"]:
            click.echo(visible(f"    why: {one['why']}"))
        for statement in one["statements"]:
            click.echo(visible(f"    {statement['count']:>6} × {statement['text']}"))
        if one["others"]:
            click.echo(f"           and {one['others']} other kinds of statements")
        example = one["example"]
        where = f"{example['session']} operation {example['operation']}"
        click.echo(visible(f"    such as {where}: {' '.join(example['text'].split())}"))
    click.echo(visible(_next(answer["observing"])))
