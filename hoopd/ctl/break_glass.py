"""Break glass from a shell: opening, closing, and the review that each use must have."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from hoopd.ctl.connection import Gateway
from hoopd.ctl.printing import as_json, moment, pairs, print_json, span, table, words
from hoopd.display import visible


def _left(use: Mapping[str, Any]) -> str:
    if use["state"] == "open":
        return f"{span(max(0.0, use['opening']['until'] - time.time()))} left"
    if use["state"] == "to review":
        return f"due in {span(max(0.0, use['review_due'] - time.time()))}"
    return f"since {moment(use['review_due'])}" if use["state"] == "overdue" else use["verdict"]


_COLUMNS = (
    ("ID", lambda one: one["id"]),
    ("STATE", lambda one: one["state"]),
    ("", _left),
    ("IDENTITY", lambda one: one["opening"]["identity"]),
    ("TARGET", lambda one: one["opening"]["target"]),
    ("OPENED", lambda one: moment(one["opening"]["opened_at"])),
    ("PASSED", lambda one: str(one["skipped"])),
    ("REASON", lambda one: _short(one["opening"]["reason"])),
)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 50 else line[:49] + "…"


@click.group("break-glass")
def command() -> None:
    """Go past holds in an emergency: recorded, told to others, and reviewed afterwards."""


@command.command("open")
@click.argument("target")
@click.option("--reason", prompt="Reason", help="What is broken; others are told at once. Asked for if left out.")
@as_json
@click.pass_obj
def open_(gateway: Gateway, target: str, reason: str, json_: bool) -> None:
    """Break glass on TARGET, for all your sessions there; in psql: SET hoopd.break_glass = 'reason'."""
    use = gateway.call("break-glass.open", target=target, reason=reason)
    if json_:
        print_json(use)
        return
    opening = use["opening"]
    click.echo(f"{use['id']}: {words(opening['skip'])} are skipped on {target} until {moment(opening['until'])}")
    click.echo(f"close it when you are done: hoopctl break-glass close {use['id']}", err=True)


@command.command("close")
@click.argument("id")
@click.option("--reason", default="", help="Why, if it is not yours.")
@as_json
@click.pass_obj
def close(gateway: Gateway, id: str, reason: str, json_: bool) -> None:
    """End ID now."""
    use = gateway.call("break-glass.close", id=id, reason=reason or None)
    if json_:
        print_json(use)
    else:
        click.echo(f"{id} has ended; to be reviewed until {moment(use['review_due'])}")


@command.command("list")
@click.option("--target", help="Only on this target.")
@as_json
@click.pass_obj
def list_(gateway: Gateway, target: str | None, json_: bool) -> None:
    """List uses, newest first: yours, those you may review, and for auditors and administrators all."""
    found = gateway.call("break-glass.list", target=target)
    if json_:
        print_json(found)
    else:
        table(_COLUMNS, found, "nobody has broken glass")


@command.command("show")
@click.argument("id")
@as_json
@click.pass_obj
def show(gateway: Gateway, id: str, json_: bool) -> None:
    """Show one use whole. What was run under it is in the recordings of its sessions."""
    use = gateway.call("break-glass.show", id=id)
    if json_:
        print_json(use)
        return
    opening = use["opening"]
    reviewers = [*use["review_by"], *(["auditors"] if use["auditors"] else [])]
    pairs(
        [
            ("use", f"{use['id']}: {use['state']}, {_left(use)}"),
            ("identity", opening["identity"] + (f" on behalf of {opening['act']}" if opening["act"] else "")),
            ("reason", opening["reason"]),
            ("target", opening["target"]),
            ("rule", f"{opening['rule']}; skips {words(opening['skip'])}"),
            ("opened", moment(opening["opened_at"])),
            ("until", moment(opening["until"])),
            ("ended", f"{moment(use['ended_at'])} by {use['ended_by']}: {use['ended_why']}" if use["ended_at"] else ""),
            ("let pass", str(use["skipped"])),
            ("review by", f"{words(reviewers)}, until {moment(use['review_due'])}"),
            ("reviewed", f"{moment(use['reviewed_at'])} by {use['reviewed_by']}" if use["reviewed_at"] else ""),
            ("verdict", use["verdict"]),
        ]
    )
    if use["findings"]:
        click.echo("\n" + visible(use["findings"], keep="\n\t"))


@command.command("review")
@click.argument("id")
@click.option("--verdict", type=click.Choice(["ok", "misuse"]), required=True)
@click.option("--findings", prompt="Findings", help="What you found; kept for ever. Asked for if left out.")
@as_json
@click.pass_obj
def review(gateway: Gateway, id: str, verdict: str, findings: str, json_: bool) -> None:
    """Close the review of ID: look at it first, and at its sessions' recordings. Nobody reviews their own."""
    use = gateway.call("break-glass.review", id=id, verdict=verdict, findings=findings)
    if json_:
        print_json(use)
    else:
        click.echo(f"{id} of {use['opening']['identity']} is reviewed: {verdict}")
