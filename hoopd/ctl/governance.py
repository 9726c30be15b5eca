"""C{hoopctl policy history|diff|confirm|manifest|recover}: whose the rules are and how they came to be."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import click

from hoopd.ctl.config import directory_argument, wrong
from hoopd.ctl.connection import Gateway
from hoopd.ctl.failures import Failure
from hoopd.ctl.printing import as_json, moment, print_json
from hoopd.display import visible


def says(change: dict[str, Any]) -> str:
    """Whose a change is, in a line."""
    who = change["by"] or "at a start or by a signal"
    if change["author"] and change["author"] != change["by"]:
        who += f" for {change['author']}"
    if change["signers"]:
        who += f"; manifest {change['serial']}, signed by {', '.join(change['signers'])}"
    return who


@click.command("history")
@click.option("--before", type=int, help="Only changes before this number.")
@as_json
@click.pass_obj
def history(gateway: Gateway, before: int | None, json_: bool) -> None:
    """List the changes of the configuration that came into force, newest first: when, by whom, in which files."""
    found = gateway.call("policy.history", before=before)
    if json_:
        print_json(found)
        return
    for change in found:
        what = "" if change["rules"] else " (hoopd.toml only)"
        click.echo(
            visible(f"{change['number']:>5}  {moment(change['at'])}  {change['digest'][:12]}  {says(change)}{what}")
        )
        for each in change["confirmed"]:
            click.echo(visible(f"       confirmed {moment(each['at'])} by {each['by']}: {each['reason']}"))


@click.command("diff")
@click.argument("number", type=int, required=False)
@click.option("--since", type=int, help="Compare with this change instead of the one before; 0 is with nothing.")
@click.option(
    "--with",
    "directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Compare what is in force with the files in this directory instead: before they are signed or loaded.",
)
@as_json
@click.pass_obj
def diff(gateway: Gateway, number: int | None, since: int | None, directory: Path | None, json_: bool) -> None:
    """Show what change NUMBER changed, line by line; without NUMBER the last one."""
    if directory is not None:
        answer = gateway.call("policy.files", number=number)
        answer = {"since": answer["number"], "to": None, "diff": _against(answer["files"], directory)}
    else:
        answer = gateway.call("policy.diff", to=number, since=since)
    if json_:
        print_json(answer)
        return
    if not answer["diff"]:
        click.echo("nothing differs", err=True)
    click.echo(visible(answer["diff"], keep="\n\t"))


def _against(files: dict[str, str], directory: Path) -> str:
    from hoopd.governance.changes import difference
    from hoopd.governance.papers import SETTINGS

    policies, papers, _ = _read(directory)
    return difference(files, {**papers.covered(policies), SETTINGS: papers.settings})


@click.command("confirm")
@click.argument("number", type=int)
@click.option("--reason", required=True, help="What you looked at.")
@click.pass_obj
def confirm(gateway: Gateway, number: int, reason: str) -> None:
    """Say that change NUMBER, the last one and somebody else's, is right: it is not theirs alone from then on."""
    change = gateway.call("policy.confirm", number=number, reason=reason)
    click.echo(visible(f"change {number} is confirmed; for it stand {', '.join(change['people'])}"))


def _read(directory: Path) -> Any:
    from hoopd.config.loader import load_whole
    from hoopd.config.structure import ConfigErrors
    from hoopd.governance.reading import read_papers
    from hoopd.policy.directory import read_directory

    try:
        config, texts = load_whole(str(directory), check_files=False)
        return read_directory(str(directory), check_files=False), read_papers(config, texts, False), config
    except ConfigErrors as errors:
        raise wrong(directory, errors) from None


@click.command("manifest")
@directory_argument
@click.option("--serial", type=click.IntRange(0, 10**15 - 1), help="Its number, if not the next one.")
def manifest(directory: Path, serial: int | None) -> None:
    """Write policy.manifest for the files in DIRECTORY, which people then sign; asks no gateway."""
    from hoopd.governance.manifest import NAMESPACE, Manifest, ManifestError, differences, digests
    from hoopd.governance.papers import MANIFEST as NAME

    policies, papers, config = _read(directory)
    needed, files = config.policy.signatures, digests(papers.covered(policies))
    before = None
    if papers.manifest is not None:
        try:
            before = Manifest.parse(papers.manifest)
        except ManifestError as problem:
            if serial is None:
                raise Failure(f"the number of the manifest before is not known: {problem}", [], "--serial N") from None
    if before is not None and serial is None and (dict(before.files), before.needed) == (files, needed):
        click.echo(f"{NAME} names these files already; its number is {before.serial}")
        return
    number = serial if serial is not None else (before.serial if before else 0) + 1
    try:
        text = Manifest(number, needed, files).text()
    except ValueError as problem:
        raise Failure(str(problem)) from None
    path = directory / NAME
    fresh = path.with_name(f"{NAME}.new")
    try:
        fresh.write_text(text, newline="")
        fresh.chmod(0o644)
        fresh.replace(path)
    except OSError as problem:
        raise Failure(f"{path} cannot be written: {problem.strerror}") from None
    for line in differences(before.files if before else {}, files):
        click.echo(visible(f"  {line.replace(NAME, 'the manifest before')}"))
    click.echo(f"{path} is number {number}; {needed} distinct people sign it, each as")
    click.echo(f"  ssh-keygen -Y sign -f KEY -n {NAMESPACE} < {NAME} > {NAME}.YOU.sig")
    for name in sorted(papers.signatures):
        click.echo(visible(f"{name} is of another manifest: replace or remove it"))


@click.command("recover")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default="/var/lib/hoopd",
    show_default=True,
    help="The gateway's state directory (paths.state).",
)
@click.option("--reason", required=True, help="Why; it goes to the ledger.")
def recover(state: Path, reason: str) -> None:
    """Where too few of those who may sign are left: take the next manifest by the list of signers on disk alone.

    For whoever is root on the gateway's machine. It is in the ledger and cannot be taken back; serial numbers still only
    grow.
    """
    from hoopd.errors import HoopdError
    from hoopd.governance.service import recovered
    from hoopd.store.connection import Connection

    path = state / "store.sqlite"
    if not reason.strip():
        raise Failure("it is recorded with a reason")
    try:
        if not path.is_file():
            raise Failure("there is no store", [str(path)], "name the state directory with --state")
        store = Connection(str(path))
        try:
            (outcome,) = store.run([lambda tx: recovered(tx, _local(), reason)])
        finally:
            store.close()
    except PermissionError:
        why = [f"{path} is for the user that runs hoopd alone"]
        raise Failure("the state is not for this user", why, "sudo -u hoopd hoopctl policy recover") from None
    if isinstance(outcome.error, HoopdError):
        raise Failure(str(outcome.error))
    if outcome.error is not None:
        raise outcome.error
    if not outcome.value:
        raise Failure("no manifest was ever accepted: there is nothing to recover from")
    click.echo("the next manifest needs the signatures of those on the list of signers on disk, and no others'")


def _local() -> str:
    name = pwd.getpwuid(os.getuid()).pw_name
    behind = os.environ.get("SUDO_USER", "")
    return f"{name} on the machine" + (f", by sudo {behind[:64]}" if behind else "")
