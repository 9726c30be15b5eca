"""Officers' keys: the public halves, to which emergency exports are sealed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from hoopd.ctl.connection import Gateway
from hoopd.ctl.printing import as_json, moment, print_json, table


def _state(key: Mapping[str, Any]) -> str:
    now = time.time()
    if now >= key["lapses_at"]:
        return "lapsed"
    return "counts" if now >= key["counts_at"] else f"counts from {moment(key['counts_at'])}"


_COLUMNS = (
    ("IDENTITY", lambda one: one["identity"]),
    ("STATE", _state),
    ("LAPSES", lambda one: moment(one["lapses_at"])),
    ("KEY", lambda one: one["recipient"]),
)


@click.group("officer-keys")
def command() -> None:
    """Whom emergency exports can be sealed to."""


@command.command("set")
@click.argument("recipient")
@click.pass_obj
def set_(gateway: Gateway, recipient: str) -> None:
    """Register RECIPIENT, the public key that age-keygen printed (age1…), as yours; again before it lapses."""
    if recipient.strip().upper().startswith("AGE-SECRET-KEY-"):
        raise click.UsageError("that is the secret key, and it is in the shell's history now: make another one")
    key = gateway.call("officer-keys.set", recipient=recipient)
    click.echo(f"{key['identity']}: {key['recipient']}, {_state(key)}, lapses {moment(key['lapses_at'])}")


@command.command("list")
@as_json
@click.pass_obj
def list_(gateway: Gateway, json_: bool) -> None:
    """Everybody's."""
    found = gateway.call("officer-keys.list")
    if json_:
        print_json(found)
    else:
        table(_COLUMNS, found, "no officer has a key: age-keygen -o officer.key; hoopctl officer-keys set age1…")


@command.command("remove")
@click.argument("name")
@click.pass_obj
def remove(gateway: Gateway, name: str) -> None:
    """Seal nothing to the key of NAME any more: your own, or as administrator anybody's."""
    gateway.call("officer-keys.remove", name=name)
    click.echo(f"{name} has no key any more; what is sealed to it stays sealed to it: hoopctl vault exports")
