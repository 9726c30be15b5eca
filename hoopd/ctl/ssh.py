"""SSH hosts: what they trust, and which of their keys we trust."""

from __future__ import annotations

import click

from hoopd.ctl.connection import Gateway
from hoopd.ctl.printing import as_json, moment, print_json, table

_COLUMNS = (
    ("TARGET", lambda one: one["target"]),
    ("HOST KEY", lambda one: one["fingerprint"]),
    ("TRUSTED", lambda one: moment(one["trusted_at"])),
    ("BY", lambda one: one["trusted_by"]),
)


@click.group("ssh")
def command() -> None:
    """The gateway's SSH authority, and the host keys of targets."""


@command.command("ca")
@as_json
@click.pass_obj
def ca(gateway: Gateway, json_: bool) -> None:
    """Print the key that hosts trust users by: a line for sshd's TrustedUserCAKeys."""
    found = gateway.call("ssh.authority")
    if json_:
        print_json(found)
    else:
        click.echo(found["user_authority"])


@command.command("hosts")
@click.argument("target", required=False)
@as_json
@click.pass_obj
def hosts(gateway: Gateway, target: str | None, json_: bool) -> None:
    """List host keys that administrators vouched for, of TARGET or all."""
    found = gateway.call("ssh.hosts", target=target)
    if json_:
        print_json(found)
    else:
        table(_COLUMNS, found, "nobody has vouched for any: hoopctl ssh trust TARGET FINGERPRINT")


@command.command("trust")
@click.argument("target")
@click.argument("fingerprint")
@click.pass_obj
def trust(gateway: Gateway, target: str, fingerprint: str) -> None:
    """Vouch for TARGET's host key FINGERPRINT, as ssh-keygen -l shows it at the host."""
    gateway.call("ssh.trust", target=target, fingerprint=fingerprint)
    click.echo(f"{target}: {fingerprint} is trusted")


@command.command("distrust")
@click.argument("target")
@click.argument("fingerprint")
@click.pass_obj
def distrust(gateway: Gateway, target: str, fingerprint: str) -> None:
    """Take that back."""
    gateway.call("ssh.distrust", target=target, fingerprint=fingerprint)
    click.echo(f"{target}: {fingerprint} is not trusted any more")
