"""Recovery codes: sheets made beforehand, for the night on which the identity provider is dead."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from hoopd.ctl.connection import Gateway
from hoopd.ctl.printing import as_json, moment, print_json, table, words


def _state(one: Mapping[str, Any]) -> str:
    if not one["remaining"]:
        return "used up"
    if one["lapses_at"] <= time.time():
        return "lapsed"
    return f"confirmed by {one['confirmed_by']}" if one["confirmed_by"] else "to confirm"


_COLUMNS = (
    ("SHEET", lambda one: one["id"]),
    ("IDENTITY", lambda one: one["identity"]),
    ("STATE", _state),
    ("REMAINING", lambda one: str(one["remaining"])),
    ("USED", lambda one: str(one["used"])),
    ("LAST USED", lambda one: moment(one["last_used_at"])),
    ("GROUPS", lambda one: words(one["groups"])),
    ("DUTIES", lambda one: words(one["duties"])),
    ("MADE", lambda one: moment(one["created_at"])),
    ("LAPSES", lambda one: moment(one["lapses_at"])),
)


@click.group("recovery-codes")
def command() -> None:
    """One-use proofs of officers, for when the identity provider is away."""


@command.command("create")
@click.option("--count", type=int, default=10, show_default=True)
@as_json
@click.pass_obj
def create(gateway: Gateway, count: int, json_: bool) -> None:
    """Print a new sheet of codes for yourself, once: keep it on paper, where you are on call.

    It counts once an administrator has confirmed it; until then the older one does.
    """
    made = gateway.call("recovery-codes.create", count=count)
    if json_:
        print_json(made)
        return
    for code in made["codes"]:
        click.echo(code)
    name, sheet = made["identity"], made["sheet"]
    click.echo(f"sheet {sheet}: {len(made['codes'])} codes of {name}, each good once; not shown again", err=True)
    click.echo(f"have an administrator confirm it: hoopctl recovery-codes confirm {sheet}", err=True)
    click.echo(f"use: psql with user {name} and a code as password; or hoopctl login --name {name}", err=True)


@command.command("confirm")
@click.argument("sheet")
@click.pass_obj
def confirm(gateway: Gateway, sheet: str) -> None:
    """Let SHEET count. Ask whose it is first, not in writing: whoever stole a token can make one too."""
    name = gateway.call("recovery-codes.confirm", id=sheet)["identity"]
    click.echo(f"sheet {sheet} of {name} counts; older ones are void")


@command.command("list")
@as_json
@click.pass_obj
def list_(gateway: Gateway, json_: bool) -> None:
    """Who has how many left: your own, or everybody's for administrators and auditors."""
    found = gateway.call("recovery-codes.list")
    if json_:
        print_json(found)
    else:
        table(_COLUMNS, found, "there are no recovery codes: hoopctl recovery-codes create")


@command.command("void")
@click.argument("name")
@click.pass_obj
def void(gateway: Gateway, name: str) -> None:
    """Make the unused codes of NAME worthless: your own, or as administrator anybody's."""
    gone = gateway.call("recovery-codes.void", name=name)["void"]
    click.echo(f"{gone} code{'' if gone == 1 else 's'} of {name} {'is' if gone == 1 else 'are'} void")
