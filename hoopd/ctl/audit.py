"""Proof that the record is whole, without asking the gateway that wrote it."""

from __future__ import annotations

from pathlib import Path

import click

from hoopd.ctl.connection import Gateway
from hoopd.ctl.failures import UNVERIFIED, Failure
from hoopd.ctl.printing import as_json, between, moment, print_json, table
from hoopd.display import visible
from hoopd.errors import ConfigError

_VIEWS = (
    ("LEAF", lambda one: str(one["index"])),
    ("AT", lambda one: moment(one["at"])),
    ("BY", lambda one: one["by"]),
    ("ASKED", lambda one: one["verb"]),
    ("SUBJECT", lambda one: one["subject"] or "-"),
    ("DETAIL", lambda one: ", ".join(f"{name} {value}" for name, value in one["detail"].items()) or "-"),
)


@click.group("audit")
def command() -> None:
    """The record: verify it, and get its public key."""


@command.command("verify")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--key", help="The log's verifier key (hoopctl audit key), kept since before; or a file with it.")
@click.option(
    "--witness",
    help="A witness, directory or https URL: every checkpoint that it has must be a beginning of this history.",
)
def verify(directory: Path, key: str | None, witness: str | None) -> None:
    """Check ledger and recordings of the state in DIRECTORY: nothing changed, nothing missing, nothing put in.

    Works on a copy, on any machine, without the gateway. Ends with code 4 if anything is not as it was signed.
    """
    from hoopd.audit.leaves import VERIFIER
    from hoopd.audit.notes import NoteError
    from hoopd.audit.verify import render
    from hoopd.audit.verify import verify as verified

    try:
        if key is None:
            given = (directory / "ledger" / VERIFIER).read_text()
            click.echo(
                "hoopctl: the key was taken from the record itself: whoever could replace all of it could replace that "
                "too; give --key, from hoopctl audit key",
                err=True,
            )
        else:
            given = Path(key).read_text() if Path(key).is_file() else key
        report = verified(directory, given.strip(), _held(witness, given))
    except OSError as problem:
        raise Failure(
            f"{problem.filename} cannot be read: {problem.strerror}", [], "name the state directory"
        ) from None
    except NoteError as problem:
        raise Failure(f"what --key gives is no verifier key: {problem}", [], "hoopctl audit key prints it") from None
    click.echo(visible(render(report), keep="\n"), nl=False)
    if not report.ok:
        raise Failure(
            f"the record in {directory} does not verify",
            [],
            "keep it as it is, and compare it with a backup and with the witness",
            UNVERIFIED,
        )


def _held(witness: str | None, key: str) -> Path | dict[str, str] | None:
    """What a witness holds: its directory, or what it gave."""
    from hoopd.audit.notes import parse_verifier
    from hoopd.audit.witness_places import is_web
    from hoopd.ctl.witness import fetch

    if witness is None:
        return None
    if not is_web(witness):
        if Path(witness).is_dir():
            return Path(witness)
        raise Failure(f"{witness} is no directory", [], "name a witness directory, or give an https URL")
    origins = [parse_verifier(one).name for one in key.split()]
    try:
        return fetch(witness, origins)
    except (OSError, ConfigError) as problem:
        why = problem.problem if isinstance(problem, ConfigError) else problem
        raise Failure(
            f"the witness {witness} cannot be asked: {why}", [], "without it an old copy of everything would pass"
        ) from None


@command.command("views")
@click.option("--by", help="Only of this one: user:priya.")
@click.option("--subject", help="Only at this session or approval.")
@between
@as_json
@click.pass_obj
def views(
    gateway: Gateway, by: str | None, subject: str | None, since: float | None, until: float | None, json_: bool
) -> None:
    """Show who looked at sessions, recordings and approvals, newest first, as the ledger has it."""
    found = gateway.call("audit.views", by=by, subject=subject, since=since, until=until)
    if json_:
        print_json(found)
    else:
        table(_VIEWS, found, "nobody looked at anything")


@command.command("checkpoint")
@as_json
@click.pass_obj
def checkpoint(gateway: Gateway, json_: bool) -> None:
    """Sign the record as it is now, publish that to the witnesses, and print the signed note."""
    found = gateway.call("audit.checkpoint")
    if json_:
        print_json(found)
    else:
        click.echo(visible(found["note"], keep="\n"), nl=False)


@command.command("key")
@as_json
@click.pass_obj
def key(gateway: Gateway, json_: bool) -> None:
    """Print the log's verifier key: keep it where the gateway's administrators cannot change it."""
    found = gateway.call("audit.key")
    if json_:
        print_json(found)
    else:
        click.echo(found["verifier"])
