"""Tokens that this gateway issues: shown once, then only by their id."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from hoopd.ctl.connection import Gateway, write_token
from hoopd.ctl.printing import Duration, as_json, moment, print_json, table, words
from hoopd.secret import Secret


def _state(token: Mapping[str, Any]) -> str:
    if token["revoked_at"] is not None:
        return "revoked"
    return "expired" if token["expires_at"] <= time.time() else "good"


_COLUMNS = (
    ("ID", lambda one: one["id"]),
    ("IDENTITY", lambda one: one["identity"]),
    ("STATE", _state),
    ("EXPIRES", lambda one: moment(one["expires_at"])),
    ("LAST USED", lambda one: moment(one["last_used_at"])),
    ("SCOPES", lambda one: "-" if one["scopes"] is None else words(one["scopes"])),
    ("FOR", lambda one: one["description"] or "-"),
)


@click.group("tokens")
def command() -> None:
    """Tokens issued by this gateway."""


@command.command("issue")
@click.argument("identity", required=False)
@click.option("--lifetime", type=Duration(), help="Such as 12h or 30d; otherwise as configured.")
@click.option("--scope", "scopes", multiple=True, help="Narrow it: target:orders*, do:read; may be repeated.")
@click.option("--act", help="Identity on whose behalf an agent acts.")
@click.option("--for", "description", default="", help="What it is for; lists show it.")
@click.option("--to", "path", type=click.Path(path_type=Path, dir_okay=False), help="Keep it in a new 0600 file.")
@as_json
@click.pass_obj
def issue(
    gateway: Gateway,
    identity: str | None,
    lifetime: float | None,
    scopes: tuple[str, ...],
    act: str | None,
    description: str,
    path: Path | None,
    json_: bool,
) -> None:
    """Issue a token for yourself, or as administrator for the agent IDENTITY.

    It is printed once, alone on standard output; what is said about it goes to standard error.
    """
    issued = gateway.call(
        "tokens.issue",
        name=identity,
        lifetime=lifetime,
        scopes=list(scopes) or None,
        act=act,
        description=description,
    )
    entry = issued["entry"]
    if path is not None:
        write_token(path, Secret(issued["token"]))
    if json_:
        print_json(entry if path is not None else issued)
    elif path is None:
        click.echo(issued["token"])
    where = f"; it is kept in {path}" if path is not None else "; it is not shown again"
    click.echo(f"token {entry['id']} of {entry['identity']}, good until {moment(entry['expires_at'])}{where}", err=True)


@command.command("list")
@click.argument("identity", required=False)
@as_json
@click.pass_obj
def list_(gateway: Gateway, identity: str | None, json_: bool) -> None:
    """List tokens, newest first: yours; for administrators all, or those of IDENTITY."""
    found = gateway.call("tokens.list", name=identity)
    if json_:
        print_json(found)
    else:
        table(_COLUMNS, found, "there are no tokens")


@command.command("revoke")
@click.argument("id")
@click.pass_obj
def revoke(gateway: Gateway, id: str) -> None:
    """End the token ID now, and the sessions that rest on it."""
    token = gateway.call("tokens.revoke", id=id)
    click.echo(f"token {token['id']} of {token['identity']} is revoked; its sessions end")
