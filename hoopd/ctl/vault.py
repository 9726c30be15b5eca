"""The vault's secrets: names and versions only; a value goes in, and none comes out."""

from __future__ import annotations

import click

from hoopd.ctl.connection import Gateway
from hoopd.ctl.exports import export, export_close, export_opened, exports
from hoopd.ctl.failures import Failure
from hoopd.ctl.printing import as_json, moment, print_json, table, value_from_stdin_or_prompt

_COLUMNS = (
    ("NAME", lambda one: one["name"]),
    ("VERSION", lambda one: str(one["version"])),
    ("WRITTEN", lambda one: moment(one["created_at"])),
    ("BY", lambda one: one["created_by"]),
    ("MASTER KEY", lambda one: one["master_key"]),
)


@click.group("vault")
def command() -> None:
    """Passwords of targets."""


@command.command("put")
@click.argument("name")
@click.pass_obj
def put(gateway: Gateway, name: str) -> None:
    """Keep a password under NAME, as a target's "credential" says it; from a prompt or standard input."""
    entry = gateway.call("vault.put", name=name, value=value_from_stdin_or_prompt(f"Value of {name}", twice=True))
    click.echo(f"{entry['name']}: version {entry['version']} is kept")


@command.command("list")
@as_json
@click.pass_obj
def list_(gateway: Gateway, json_: bool) -> None:
    """List names, never values."""
    found = gateway.call("vault.list")
    if json_:
        print_json(found)
    else:
        table(_COLUMNS, found, "the vault is empty: hoopctl vault put NAME")


@command.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(gateway: Gateway, name: str, yes: bool) -> None:
    """Forget the secret NAME. Targets that name it cannot be reached any more."""
    if not yes:
        click.confirm(f"Forget {name}? It cannot be brought back", abort=True, err=True)
    gateway.call("vault.remove", name=name)
    click.echo(f"{name} is forgotten")


@command.command("rotate-key")
@click.pass_obj
def rotate_key(gateway: Gateway) -> None:
    """Make a new master key and wrap every secret's key anew."""
    count = gateway.call("vault.rotate-key")["secrets"]
    click.echo(f"a new master key is in use; {count} secret{'' if count == 1 else 's'} re-wrapped")


@command.command("check")
@as_json
@click.pass_obj
def check(gateway: Gateway, json_: bool) -> None:
    """Open every secret once, and say which are outside in emergency exports."""
    found = gateway.call("vault.check")
    problems = found["problems"]
    if json_:
        print_json(found)
    else:
        for one in found["exports"]:
            officers = " and ".join(one["officers"])
            since = moment(one["made_at"])
            click.echo(f"exported and not rotated: {one['credential']} to {officers}, {one['id']}, since {since}")
    if problems:
        raise Failure(f"{len(problems)} of the vault's secrets need something done", problems)
    if not json_:
        click.echo("every secret can be opened")


for each in (export, exports, export_opened, export_close):
    command.add_command(each)
