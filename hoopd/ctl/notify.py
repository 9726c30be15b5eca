"""Notices on their way: what waits, what was given up, and whether a channel works."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from hoopd.ctl.connection import Gateway
from hoopd.ctl.failures import Failure
from hoopd.ctl.printing import as_json, moment, print_json, table
from hoopd.display import visible

_STATES = ("waiting", "delivered", "given-up")

_COLUMNS = (
    ("ID", lambda one: one["id"]),
    ("STATE", lambda one: one["state"]),
    ("CHANNEL", lambda one: one["channel"]),
    ("NOTICE", lambda one: one["kind"]),
    ("ABOUT", lambda one: one["subject"]),
    ("POSTED", lambda one: moment(one["posted_at"])),
    ("TRIES", lambda one: str(one["attempts"])),
    ("LAST", lambda one: one["outcome"] or "-"),
)


@click.group("notify")
def command() -> None:
    """What approvers and officers are told, and whether it reaches them."""


@command.command("list")
@click.option("--state", type=click.Choice(_STATES), help="Only these.")
@click.option("--channel", help="Only of this channel.")
@as_json
@click.pass_obj
def list_(gateway: Gateway, state: str | None, channel: str | None, json_: bool) -> None:
    """List notices, newest first."""
    found = gateway.call("notify.list", state=state, channel=channel)
    if json_:
        print_json(found)
    else:
        table(_COLUMNS, found, "no notices")


@command.command("test")
@click.argument("channel")
@as_json
@click.pass_obj
def test(gateway: Gateway, channel: str, json_: bool) -> None:
    """Send CHANNEL a notice that says it is a test, and say what came of it."""
    _told(gateway.call("notify.test", name=channel), json_)


@command.command("retry")
@click.argument("id")
@as_json
@click.pass_obj
def retry(gateway: Gateway, id: str, json_: bool) -> None:
    """Try the notice ID now; its receiver sees the same key as before."""
    _told(gateway.call("notify.retry", id=id), json_)


def _told(entry: Mapping[str, Any], json_: bool) -> None:
    if json_:
        print_json(entry)
    if entry["state"] != "delivered":
        left = f"it is tried again until {moment(entry['give_up_at'])}" if entry["state"] == "waiting" else "given up"
        raise Failure(f"{entry['channel']} was not told: {entry['outcome'] or 'no answer yet'}", [], left)
    if not json_:
        click.echo(visible(f"{entry['channel']} was told ({entry['outcome']}); {entry['id']}"))
