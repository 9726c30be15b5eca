"""Local identities: who they are, what they may do here, and locking them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from hoopd.ctl.connection import Gateway
from hoopd.ctl.printing import as_json, moment, print_json, table, value_from_stdin_or_prompt, words

_DUTIES = click.Choice(["administrator", "approver", "auditor", "user", "vault"])

_COLUMNS = (
    ("IDENTITY", lambda one: one["name"]),
    ("GROUPS", lambda one: words(one["groups"])),
    ("DUTIES", lambda one: words(one["duties"])),
    ("PASSWORD", lambda one: "yes" if one["password"] else "no"),
    ("STATE", lambda one: "disabled" if one["disabled"] else "active"),
    ("CREATED", lambda one: moment(one["created_at"])),
    ("BY", lambda one: one["created_by"]),
)


def _said(one: Mapping[str, Any]) -> str:
    return f"{one['name']}: groups {words(one['groups'])}; duties {words(one['duties'])}"


@click.group("identities")
def command() -> None:
    """Identities that this gateway keeps itself."""


@command.command("add")
@click.argument("name")
@click.option("--group", "groups", multiple=True, help="A group it belongs to; may be repeated.")
@click.option("--duty", "duties", multiple=True, type=_DUTIES, help="What it may do here besides; may be repeated.")
@as_json
@click.pass_obj
def add(gateway: Gateway, name: str, groups: tuple[str, ...], duties: tuple[str, ...], json_: bool) -> None:
    """Add NAME: user:priya is a person, agent:ci a service account."""
    added = gateway.call("identities.add", name=name, groups=list(groups), duties=list(duties))
    if json_:
        print_json(added)
    else:
        click.echo(f"added {_said(added)}")


@command.command("list")
@as_json
@click.pass_obj
def list_(gateway: Gateway, json_: bool) -> None:
    """List them."""
    found = gateway.call("identities.list")
    if json_:
        print_json(found)
    else:
        table(_COLUMNS, found, "there are no local identities")


@command.command("groups")
@click.argument("name")
@click.argument("groups", nargs=-1)
@click.pass_obj
def groups(gateway: Gateway, name: str, groups: tuple[str, ...]) -> None:
    """Replace the groups of NAME by GROUPS; none leaves none. Its sessions end: they rested on the old ones."""
    click.echo(_said(gateway.call("identities.groups", name=name, groups=list(groups))))


@command.command("duties")
@click.argument("name")
@click.argument("duties", nargs=-1, type=_DUTIES)
@click.pass_obj
def duties(gateway: Gateway, name: str, duties: tuple[str, ...]) -> None:
    """Replace the duties of NAME by DUTIES; user always remains."""
    click.echo(_said(gateway.call("identities.duties", name=name, duties=list(duties))))


@command.command("password")
@click.argument("name")
@click.pass_obj
def password(gateway: Gateway, name: str) -> None:
    """Give the person NAME a password, from a prompt or standard input."""
    gateway.call("identities.password", name=name, password=value_from_stdin_or_prompt("New password", twice=True))
    click.echo(f"{name} has a new password")


@command.command("disable")
@click.argument("name")
@click.option("--why", default="", help="For the record.")
@click.pass_obj
def disable(gateway: Gateway, name: str, why: str) -> None:
    """Lock NAME out, however it proves itself, and end its sessions."""
    gateway.call("identities.disable", name=name, why=why)
    click.echo(f"{name} is disabled; its sessions end")


@command.command("enable")
@click.argument("name")
@click.pass_obj
def enable(gateway: Gateway, name: str) -> None:
    """Undo disable."""
    gateway.call("identities.enable", name=name)
    click.echo(f"{name} is active again")
