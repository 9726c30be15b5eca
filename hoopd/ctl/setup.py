"""A first working configuration: files, keys and certificates, none of them ever overwritten."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Mapping
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from hoopd.ctl.failures import Failure
from hoopd.ctl.setup_certificates import Pair, authority, server
from hoopd.ctl.setup_texts import (
    HOOPD_TOML,
    NO_SSH_TOML,
    POLICY_TOML,
    SSH_POLICY_TOML,
    SSH_TOML,
    TARGET_TOML,
)

_KEY_BYTES = 32


@click.command("setup")
@click.option("--directory", type=click.Path(path_type=Path), default="/etc/hoopd", show_default=True)
@click.option("--state", type=click.Path(path_type=Path), default="/var/lib/hoopd", show_default=True)
@click.option("--run", "run_", type=click.Path(path_type=Path), default="/run/hoopd", show_default=True)
@click.option("--address", default="127.0.0.1", show_default=True, help="Where PostgreSQL clients are taken.")
@click.option("--port", type=click.IntRange(1, 65535), default=5432, show_default=True)
@click.option(
    "--ssh-port", type=click.IntRange(1, 65535), help="Take SSH clients too; makes a host key.  [2222 is usual]"
)
@click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True)
@click.option(
    "--name", "names", multiple=True, help="Host name that clients use; may be repeated. Default: this one's."
)
def command(
    directory: Path,
    state: Path,
    run_: Path,
    address: str,
    port: int,
    ssh_port: int | None,
    workers: int,
    names: tuple[str, ...],
) -> None:
    """Make a configuration for a new gateway: hoopd.toml, targets.d/, policies.d/, master key, certificates.

    What is there already is kept as it is; run it again after removing what shall be new.
    """
    # no symbolic links and no dots: the files are read from elsewhere, by other users
    directory, state, run_ = directory.absolute(), state.absolute(), run_.absolute()
    settings = {
        "state": _quoted(state),
        "run": _quoted(run_),
        "address": _quoted(address),
        "port": str(port),
        "ssh_port": str(ssh_port),
        "workers": str(workers),
    }
    try:
        for folder, mode in ((directory, 0o755), (directory / "tls", 0o755), (state, 0o700), (run_, 0o755)):
            _folder(folder, mode)
        for name in ("targets.d", "policies.d"):
            _folder(directory / name, 0o755)
        listener = SSH_TOML if ssh_port is not None else NO_SSH_TOML
        toml = _filled(HOOPD_TOML.replace("@ssh@", listener), settings)
        made = _keep(directory / "hoopd.toml", toml.encode(), 0o644)
        if ssh_port is not None:
            _host_key(directory / "tls" / "ssh_host_ed25519_key")
            _keep(directory / "policies.d" / "example-ssh.toml", SSH_POLICY_TOML.encode(), 0o644)
        _keep(directory / "targets.d" / "example.toml", TARGET_TOML.encode(), 0o644)
        _keep(directory / "policies.d" / "example.toml", POLICY_TOML.encode(), 0o644)
        _keep(directory / "master.key", base64.b64encode(os.urandom(_KEY_BYTES)) + b"\n", 0o600)
        _certificates(directory / "tls", names or (socket.gethostname(),), address)
    except OSError as problem:
        raise Failure(
            f"{problem.filename} cannot be written: {problem.strerror}",
            [],
            "run it as the user who may, or name --directory",
        ) from None
    if ssh_port is not None and not made and not _listens(directory / "hoopd.toml"):
        click.echo(f"add     to {directory}/hoopd.toml, which was there:\n\n{_filled(SSH_TOML, settings)}", nl=False)
    click.echo(_NEXT.format(directory=directory, state=state, run=run_, address=address, port=port))
    if ssh_port is not None:
        click.echo(_NEXT_SSH.format(address=address, port=ssh_port))


def _filled(text: str, settings: Mapping[str, str]) -> str:
    for name, value in settings.items():
        text = text.replace(f"@{name}@", value)
    return text


def _listens(toml: Path) -> bool:
    """Whether it has a table for SSH clients already."""
    return any(line.split("#")[0].strip() == "[listen.ssh]" for line in toml.read_text(errors="replace").splitlines())


def _host_key(path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    if _keep(path, private, 0o600):
        # beside a new key an old public one would be wrong
        path.with_name(f"{path.name}.pub").unlink(missing_ok=True)
        _keep(path.with_name(f"{path.name}.pub"), public + b"\n", 0o644)


def _quoted(value: object) -> str:
    """@return: a TOML basic string; a path with a control character in it is refused."""
    text = str(value)
    if not text.isprintable():
        raise click.UsageError(f"{text!r} cannot stand in a configuration file")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _folder(path: Path, mode: int) -> None:
    if not path.is_dir():
        path.mkdir(mode=mode, parents=True)
        click.echo(f"made    {path}/")


def _keep(path: Path, content: bytes, mode: int) -> bool:
    """Write C{path} if it is not there. @return: whether it was written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except FileExistsError:
        click.echo(f"kept    {path}")
        return False
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    click.echo(f"made    {path}" + (" (mode 0600: keep a copy elsewhere; without it the vault is lost)"
                                   if path.name == "master.key" else ""))  # fmt: skip
    return True


def _certificates(folder: Path, names: tuple[str, ...], address: str) -> None:
    paths = {name: folder / name for name in ("ca.pem", "ca.key", "server.pem", "server.key")}
    there = [name for name, path in paths.items() if path.exists()]
    if {"server.pem", "server.key"} <= set(there):
        click.echo(f"kept    {paths['server.pem']}")
        return
    if there and {"ca.pem", "ca.key"} != set(there):
        raise Failure(
            f"{folder} has {', '.join(there)} only: these do not go together",
            [],
            "put the missing files there, or take these away",
        )
    if there:
        ca = Pair(paths["ca.pem"].read_bytes(), paths["ca.key"].read_bytes())
    else:
        ca = authority()
        _keep(paths["ca.pem"], ca.certificate, 0o644)
        _keep(paths["ca.key"], ca.key, 0o600)
    made = server(ca, [*names, "localhost"], [address, "127.0.0.1"])
    _keep(paths["server.pem"], made.certificate, 0o644)
    _keep(paths["server.key"], made.key, 0o600)


_NEXT = """
Next:
  1. Describe a target in {directory}/targets.d/ and its rules in {directory}/policies.d/ (example.toml shows how).
  2. hoopctl config check {directory}
  3. twistd --nodaemon hoopd --config {directory}       (or the systemd unit)
Then, in another terminal, after export HOOPD_SOCKET={run}/control.sock
  4. hoopctl bootstrap-token --state {state} | hoopctl bootstrap --name user:YOU
  5. hoopctl vault put NAME       (the target's password, under its credential's name)
  6. hoopctl identities add user:ANN --group eng, and hoopctl identities password user:ANN
  7. psql "host={address} port={port} dbname=TARGET user=ANN sslmode=verify-full sslrootcert={directory}/tls/ca.pem"
Clients need {directory}/tls/ca.pem; replace tls/server.pem and server.key by your own authority's where you have one."""

_NEXT_SSH = """For SSH hosts: hoopctl ssh ca prints what they trust (TrustedUserCAKeys), and
  ssh -p {port} TARGET@{address}      asks for a token; hoopctl ssh cert ~/.ssh/id_ed25519 makes a certificate instead"""
