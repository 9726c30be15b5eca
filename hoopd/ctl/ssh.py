"""SSH: who trusts which authority, people's keys and certificates, and whose host keys we trust."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from hoopd.ctl.connection import Gateway
from hoopd.ctl.failures import Failure
from hoopd.ctl.printing import Duration, as_json, moment, print_json, table

_COLUMNS = (
    ("TARGET", lambda one: one["target"]),
    ("HOST KEY", lambda one: one["fingerprint"]),
    ("TRUSTED", lambda one: moment(one["trusted_at"])),
    ("BY", lambda one: one["trusted_by"]),
)


_KEYS = (
    ("ID", lambda one: one["id"]),
    ("IDENTITY", lambda one: one["identity"]),
    ("KIND", lambda one: "certificate" if one["serial"] else "key"),
    ("STATE", lambda one: "revoked" if one["revoked_at"] else f"until {moment(one['expires_at'])}"),
    ("FINGERPRINT", lambda one: one["fingerprint"]),
    ("DESCRIPTION", lambda one: one["description"]),
)


@click.group("ssh")
def command() -> None:
    """The gateway's SSH authority, and the host keys of targets."""


@command.command("ca")
@click.option("--hosts", "patterns", help="For clients: a line of known_hosts for these names, as *.ssh.example.com.")
@as_json
@click.pass_obj
def ca(gateway: Gateway, patterns: str | None, json_: bool) -> None:
    """Print what hosts trust (lines for sshd's TrustedUserCAKeys), or with --hosts what users trust (known_hosts).

    While an authority is being rotated there are two lines: keep both.
    """
    found = gateway.call("ssh.authorities", kind="host" if patterns else "user")
    if json_:
        print_json(found)
        return
    for one in found:
        click.echo(f"@cert-authority {patterns} {one['public']}" if patterns else one["public"])


@command.command("rotate")
@click.argument("kind", type=click.Choice(["user", "client", "host"]))
@click.argument("step", type=click.Choice(["publish", "activate", "retire"]))
@click.pass_obj
def rotate(gateway: Gateway, kind: str, step: str) -> None:
    """Rotate an authority: publish the next key, activate it once all trust it, retire the one before.

    user signs what hosts trust, client what people show to the gateway, host the gateway's own host keys.
    """
    for one in gateway.call("ssh.rotate", kind=kind, step=step):
        click.echo(f"{one['kind']} {one['generation']}: {one['state']}  {one['public']}")


@command.command("cert")
@click.argument("key", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--lifetime", type=Duration(), help="Such as 8h; 12h at the most usual.")
@click.pass_obj
def cert(gateway: Gateway, key: Path, lifetime: float | None) -> None:
    """Have a certificate made for the public key in the file KEY, on the token that is in use; written beside it.

    ssh then shows it by itself: for ~/.ssh/id_ed25519.pub it is ~/.ssh/id_ed25519-cert.pub.
    """
    public = key if key.suffix == ".pub" else key.with_name(key.name + ".pub")
    made = gateway.call("ssh.certify", key=_read(public), lifetime=lifetime, description=socket.gethostname())
    to = public.with_name(public.stem + "-cert.pub")
    to.write_text(made["certificate"] + "\n")
    click.echo(f"{to}: {made['entry']['identity']} until {moment(made['entry']['expires_at'])}")


@command.group("keys")
def keys() -> None:
    """Keys and certificates that prove who somebody is."""


@keys.command("add")
@click.argument("key", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--identity", help="As administrator: an agent's.")
@click.option("--lifetime", type=Duration(), help="Such as 30d.")
@click.option("--description", default="", help="For lists.")
@click.pass_obj
def add(gateway: Gateway, key: Path, identity: str | None, lifetime: float | None, description: str) -> None:
    """Register the public key in the file KEY."""
    made = gateway.call(
        "ssh.add-key", key=_read(key), name=identity, lifetime=lifetime, description=description or key.name
    )
    click.echo(f"{made['id']}: {made['fingerprint']} is {made['identity']} until {moment(made['expires_at'])}")


@keys.command("list")
@click.argument("identity", required=False)
@as_json
@click.pass_obj
def list_(gateway: Gateway, identity: str | None, json_: bool) -> None:
    """List one's own, or as administrator those of IDENTITY or all."""
    found = gateway.call("ssh.keys", name=identity)
    if json_:
        print_json(found)
    else:
        table(_KEYS, found, "none: hoopctl ssh keys add FILE, or hoopctl ssh cert FILE")


@keys.command("revoke")
@click.argument("id")
@click.pass_obj
def revoke(gateway: Gateway, id: str) -> None:
    """End the key or certificate ID now, and the sessions that rest on it."""
    gateway.call("ssh.revoke-key", id=id)
    click.echo(f"{id} is revoked")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise Failure(f"{path} cannot be read: {problem}") from None


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
