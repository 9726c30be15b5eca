"""Emergency exports: the one way in which a credential leaves, sealed to two officers; verbs of hoopctl vault."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from hoopd.ctl.config import DIRECTORY, wrong
from hoopd.ctl.connection import Gateway
from hoopd.ctl.failures import REFUSED, UNREACHABLE, Failure
from hoopd.ctl.printing import as_json, moment, print_json, table, words


def _state(one: Mapping[str, Any]) -> str:
    if one["settled_at"] is not None:
        return one["settled"] or "settled"
    return "USED, not rotated" if one["opened_at"] is not None else "outstanding"


_COLUMNS = (
    ("ID", lambda one: one["id"]),
    ("STATE", _state),
    ("TARGET", lambda one: one["target"]),
    ("CREDENTIAL", lambda one: f"{one['credential']} v{one['version']}"),
    ("OFFICERS", lambda one: words(one["officers"])),
    ("MADE", lambda one: moment(one["made_at"])),
    ("BY", lambda one: one["made_by"]),
    ("REASON", lambda one: one["reason"]),
)


@click.command("export")
@click.argument("target")
@click.option(
    "--to", "officers", multiple=True, required=True, help="Twice: who opens the file first, and who then reads it."
)
@click.option("--reason", prompt="Reason", help="Why; everybody named is told.")
@click.option("--out", type=click.Path(path_type=Path), help="File to write; otherwise TARGET.age here.")
@click.option("--offline", is_flag=True, help="Without a broker, on the gateway's machine, as root.")
@click.option("--config", "directory", default=DIRECTORY, type=click.Path(path_type=Path), help="With --offline.")
@click.pass_obj
def export(
    gateway: Gateway,
    target: str,
    officers: tuple[str, ...],
    reason: str,
    out: Path | None,
    offline: bool,
    directory: Path,
) -> None:
    """Seal the credential of TARGET to two officers, for when the broker is dead. Rotate it after it was used."""
    if len(officers) != 2:
        raise click.UsageError("--to is given twice: two officers, both of whom are needed")
    path = (out or Path(f"{target.replace('/', '_')}.age")).absolute()
    try:
        # before anything is exported: what cannot be written must not be on record as handed out
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise Failure(f"{path} cannot be written: {problem.strerror}", [], "name another file: --out FILE") from None
    with open(descriptor, "w") as file:
        try:
            if offline:
                made = _offline(directory, target, officers, reason)
            else:
                made = gateway.call("vault.export", target=target, officers=list(officers), reason=reason)
            file.write(made["file"])
            file.flush()
            os.fsync(descriptor)
        except BaseException:
            # not as root any more it may have to stay, empty
            with contextlib.suppress(OSError):
                path.unlink()
            raise
    first, second = officers
    click.echo(f"{made['id']}: {made['credential']} version {made['version']} is sealed in {path}")
    click.echo(f"{first} opens it:       age -d -i KEY -o inner.age {path.name}", err=True)
    click.echo(f"{second} then reads it:  age -d -i KEY -o /dev/shm/open inner.age", err=True)
    click.echo(f"when it was used: hoopctl vault export-opened {made['id']} --reason …, and rotate it", err=True)


def _offline(directory: Path, target: str, officers: tuple[str, ...], reason: str) -> dict[str, Any]:
    from hoopd.config.loader import load
    from hoopd.config.structure import ConfigErrors
    from hoopd.emergency import offline
    from hoopd.errors import ConfigError, Denied, HoopdError

    by = f"os:{pwd.getpwuid(os.getuid()).pw_name}"
    try:
        config = load(str(directory))
        if os.geteuid() == 0:
            _become(offline.owner(config.paths.state))
        made, file = offline.export(config, dict(os.environ), by, target, officers, reason)
    except ConfigErrors as errors:
        raise wrong(directory, errors) from None
    except Denied as denied:
        raise Failure(f"refused: {denied.why}", [], denied.hint) from None
    except ConfigError as error:
        raise Failure(str(error), [], "docs/emergencies.md", UNREACHABLE) from None
    except KeyError as error:
        raise Failure(
            f"there is no {error.args[0]!r}", ["neither a target nor a secret is called so"], "", REFUSED
        ) from None
    except (HoopdError, ValueError) as error:
        raise Failure(f"it was not exported: {error}", [], "docs/emergencies.md", UNREACHABLE) from None
    return {"id": made.id, "credential": made.credential, "version": made.version, "file": file}


def _become(user: int) -> None:
    """Go on as C{user}, for good: root leaves no files in the store that its owner cannot write."""
    if user != 0:
        group = pwd.getpwuid(user).pw_gid
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)


@click.command("exports")
@as_json
@click.pass_obj
def exports(gateway: Gateway, json_: bool) -> None:
    """Which credentials were exported, and whether they have been rotated since."""
    found = gateway.call("vault.exports")
    if json_:
        print_json(found)
    else:
        table(_COLUMNS, found, "nothing was ever exported: hoopctl vault export TARGET --to user:A --to user:B")


@click.command("export-opened")
@click.argument("id")
@click.option("--reason", prompt="Reason", help="What it was used for.")
@click.pass_obj
def export_opened(gateway: Gateway, id: str, reason: str) -> None:
    """Say that the export ID was used: one of its officers, or whoever has the duty vault."""
    one = gateway.call("vault.export-opened", id=id, reason=reason)
    click.echo(
        f"{id}: on record; put another password at {one['target']} and here: hoopctl vault put {one['credential']}"
    )


@click.command("export-close")
@click.argument("id")
@click.option("--reason", prompt="Reason", help="Why it does not matter any more.")
@click.pass_obj
def export_close(gateway: Gateway, id: str, reason: str) -> None:
    """Settle the export ID of a credential that is gone; others are settled by rotation, hoopctl vault put."""
    gateway.call("vault.export-close", id=id, reason=reason)
    click.echo(f"{id} is settled")
