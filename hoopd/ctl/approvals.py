"""What waits for approval, and deciding it. An approver sees the whole text, with nothing hidden in it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, get_args

import click

from hoopd.approvals.words import rows, warnings
from hoopd.ctl.connection import Gateway
from hoopd.ctl.printing import Duration, as_json, moment, pairs, print_json, span, table, words
from hoopd.display import visible
from hoopd.values import ApprovalState

#: how often --watch looks: people decide in minutes
WATCH_EVERY = 2.0

_STATES: tuple[str, ...] = get_args(ApprovalState)


def _left(approval: Mapping[str, Any]) -> str:
    until = {
        "pending": approval["deadline"],
        "approved": approval["claim_by"],
        "granted": approval["until"],
    }.get(approval["state"])
    return "-" if until is None else span(max(0.0, until - time.time()))


def _first_line(approval: Mapping[str, Any]) -> str:
    # what is hidden is made visible first: some of it counts as space
    line = " ".join(visible(approval["redacted"], keep="\n\t").split())
    return line if len(line) <= 60 else line[:59] + "…"


_COLUMNS = (
    ("ID", lambda one: one["id"]),
    ("STATE", lambda one: one["state"]),
    ("LEFT", _left),
    ("REQUESTER", lambda one: one["requester"]),
    ("TARGET", lambda one: one["target"]),
    ("STATEMENT", _first_line),
)


@click.group("approvals")
def command() -> None:
    """Operations that wait for approval."""


@command.command("list")
@click.option("--state", type=click.Choice(_STATES), help="Only these.")
@click.option("--all", "all_", is_flag=True, help="The decided ones too.")
@click.option("--target", help="Only on this target.")
@click.option("--watch", is_flag=True, help="Go on, and print what comes; until Ctrl-C.")
@as_json
@click.pass_obj
def list_(gateway: Gateway, state: str | None, all_: bool, target: str | None, watch: bool, json_: bool) -> None:
    """List what waits, newest first; for approvers and auditors everybody's, for others their own.

    --state granted lists the grants in force; --all also each of their uses, such as A-7KQ2M9/3.
    """
    wanted = state or (None if all_ else "pending")
    found = gateway.call("approvals.list", state=wanted, target=target)
    if json_ and not watch:
        print_json(found)
        return
    table(_COLUMNS, found, "nothing waits for approval")
    known = {(one["id"], one["revision"]) for one in found}
    while watch:
        time.sleep(WATCH_EVERY)
        found = gateway.call("approvals.list", state=wanted, target=target)
        fresh = [one for one in found if (one["id"], one["revision"]) not in known]
        if fresh:
            table(_COLUMNS, fresh, "")
        known |= {(one["id"], one["revision"]) for one in fresh}


@command.command("show")
@click.argument("id")
@as_json
@click.pass_obj
def show(gateway: Gateway, id: str, json_: bool) -> None:
    """Show one request whole: who, where, what exactly, why, and who has said what."""
    found = gateway.call("approvals.show", id=id)
    if json_:
        print_json(found)
    else:
        _print(found)


def _print(found: Mapping[str, Any]) -> None:
    pairs(
        [
            ("request", f"{found['id']}: {found['state']}" + (f", {_left(found)} left" if _left(found) != "-" else "")),
            ("requester", found["requester"] + (f" on behalf of {found['act']}" if found["act"] else "")),
            ("their reason", found["reason"] or "(none given)"),
            ("target", found["target"]),
            ("session", found["session"]),
            ("does", f"{words(found['classes'])}; touches {words(found['objects'])}"),
            ("rows", rows(found)),
            ("mind", "; ".join(warnings(found))),
            ("asked", moment(found["requested_at"])),
            ("lapses", moment(found["deadline"])),
            ("claim by", moment(found["claim_by"]) if found["claim_by"] else ""),
            ("settled", moment(found["settled_at"]) if found["settled_at"] else ""),
            ("outcome", found["outcome"]),
            ("reaches", _reach(found)),
            ("used", f"{found['uses']} times" if found["scope"] != "once" or found["uses"] else ""),
            ("use of", found["grant"]),
            ("granted", "; ".join(found["beside"])),
        ]
    )
    for terms in found["holds"]:
        why = f": {terms['why']}" if terms["why"] else ""
        click.echo(visible(f"held by {terms['rule']}, {terms['quorum']} of {' or '.join(terms['by'])}{why}"))
    click.echo("\nstatement:")
    # whole, with every invisible character written out: what is read is what is approved
    for line in visible(found["redacted"], keep="\n\t").split("\n"):
        click.echo(f"  | {line}")
    for vote in found["votes"]:
        word = "yes" if vote["approve"] else "no"
        click.echo(visible(f"\n{word} by {vote['identity']} at {moment(vote['at'])}: {vote['reason']}", keep="\n"))


def _reach(found: Mapping[str, Any]) -> str:
    """How far a yes reaches, as asked or as granted."""
    if found["kind"] == "statements":
        return f"{len(found['steps'])} statements, in this order, each once, in one session"
    until = f", until {moment(found['until'])}" if found["until"] else ""
    if found["scope"] == "once":
        return ""
    if found["scope"] == "session":
        return f"like statements of session {found['session']}{until}"
    lasts = f" for {span(found['lasts'])} from approval" if found["lasts"] and not until else ""
    return f"{'what is named above' if found['kind'] == 'window' else 'like statements'}{lasts}{until}"


def _decide(gateway: Gateway, verb: str, id: str, reason: str, json_: bool, **more: Any) -> None:
    if not reason.strip():
        raise click.UsageError("--reason is empty: say why, for the requester and for the record")
    found = gateway.call(verb, id=id, reason=reason, **more)
    if json_:
        print_json(found)
        return
    state = found["state"]
    if state == "pending":
        click.echo(f"{id}: your word is kept; more people must agree before it runs")
    elif state == "granted":
        until = f", until {moment(found['until'])}" if found["until"] else ""
        what = "its statements, each once" if found["kind"] == "statements" else f"what it covers ({found['scope']})"
        click.echo(f"{id}: {state}; {found['requester']} may run {what}{until}")
    elif verb == "approvals.approve":
        click.echo(f"{id}: {state}; {found['requester']} may run it once, until {moment(found['claim_by'])}")
    else:
        click.echo(f"{id}: {state}; {found['requester']} is told why")


@command.command("approve")
@click.argument("id")
@click.option("--reason", prompt="Reason", help="Why; kept for ever. Asked for if left out.")
@click.option(
    "--scope",
    type=click.Choice(("once", "session", "window")),
    help="How far: one run; the same rules, kinds of statement and relations in its session, or for a time.",
)
@click.option("--for", "lasts", type=Duration(), help="How long a window or session grant lasts, from now: 30m.")
@click.option("--max-rows", type=click.IntRange(min=0), help="Rows that it may touch: with more it is rolled back.")
@as_json
@click.pass_obj
def approve(
    gateway: Gateway, id: str, reason: str, scope: str | None, lasts: float | None, max_rows: int | None, json_: bool
) -> None:
    """Say yes to ID. Look at it first: hoopctl approvals show ID."""
    _decide(gateway, "approvals.approve", id, reason, json_, scope=scope, lasts=lasts, max_rows=max_rows)


@command.command("deny")
@click.argument("id")
@click.option("--reason", prompt="Reason", help="Why; the requester is told. Asked for if left out.")
@as_json
@click.pass_obj
def deny(gateway: Gateway, id: str, reason: str, json_: bool) -> None:
    """Say no to ID."""
    _decide(gateway, "approvals.deny", id, reason, json_)


@command.command("revoke")
@click.argument("id")
@click.option("--reason", prompt="Reason", help="Why; kept for ever. Asked for if left out.")
@as_json
@click.pass_obj
def revoke(gateway: Gateway, id: str, reason: str, json_: bool) -> None:
    """Take back a yes to ID: nothing begins under it any more. What has begun goes on; hoopctl sessions shows it."""
    if not reason.strip():
        raise click.UsageError("--reason is empty: say why, for the requester and for the record")
    found = gateway.call("approvals.revoke", id=id, reason=reason)
    if json_:
        print_json(found)
    else:
        click.echo(f"{id}: {found['state']}, after {found['uses']} uses")
