"""Policy: what it says, why, and whether its own tests hold."""

from __future__ import annotations

from pathlib import Path

import click

from hoopd.ctl import governance, observed
from hoopd.ctl.config import directory_argument, wrong
from hoopd.ctl.connection import Gateway
from hoopd.ctl.failures import REFUSED, Failure
from hoopd.ctl.printing import as_json, pairs, print_json, words
from hoopd.display import visible


@click.group("policy")
def command() -> None:
    """Rules: explain, test, show; whose they are and how they came to be."""


for each in (
    observed.command,
    governance.history,
    governance.diff,
    governance.confirm,
    governance.manifest,
    governance.recover,
):
    command.add_command(each)


@command.command("explain")
@click.argument("identity")
@click.argument("target")
@click.argument("statement")
@click.option("--group", "groups", multiple=True, help="Suppose it were in these groups; may be repeated.")
@click.option("--reason", help="Suppose this reason were given.")
@as_json
@click.pass_obj
def explain(
    gateway: Gateway,
    identity: str,
    target: str,
    statement: str,
    groups: tuple[str, ...],
    reason: str | None,
    json_: bool,
) -> None:
    """Say what would happen to IDENTITY's STATEMENT on TARGET, by which rules, and why. Nothing is run."""
    found = gateway.call(
        "policy.explain",
        name=identity,
        target=target,
        statement=statement,
        groups=list(groups) or None,
        reason=reason,
    )
    if json_:
        print_json(found)
    else:
        click.echo(visible(found["text"], keep="\n\t"))


@command.command("test")
@directory_argument
@as_json
def test(directory: Path, json_: bool) -> None:
    """Run the tests beside the rules of the configuration in DIRECTORY; asks no gateway."""
    from hoopd.config.loader import load
    from hoopd.config.structure import ConfigErrors
    from hoopd.policy.directory import read_directory
    from hoopd.policy.snapshot import PolicySnapshot
    from hoopd.policy.testing import run

    try:
        config = load(str(directory), check_files=False)
        snapshot = PolicySnapshot.load(
            read_directory(str(directory), check_files=False),
            config.targets,
            bytes(32),
            test=False,
            channels=config.notify,
        )
    except ConfigErrors as errors:
        raise wrong(directory, errors) from None
    results = run(snapshot)
    failed = [each for each in results if not each.passed]
    if json_:
        print_json(
            [{"file": each.file, "test": each.name, "passed": each.passed, "problem": each.problem} for each in results]
        )
    else:
        for each in results:
            click.echo(visible(f"{'ok  ' if each.passed else 'FAIL'}  {each.file}: {each.name}"))
            if each.problem:
                click.echo(visible(f"      {each.problem}"))
        click.echo(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    if failed:
        raise Failure(
            f"{len(failed)} of {len(results)} tests fail", [], "a gateway would not load these files", REFUSED
        )


@command.command("show")
@as_json
@click.pass_obj
def show(gateway: Gateway, json_: bool) -> None:
    """Show the version and the rules of the policy in force."""
    found = gateway.call("policy.show")
    if json_:
        print_json(found)
        return
    change = found.get("change")
    last = [("last change", f"{change['number']}: {governance.says(change)}")] if change else []
    pairs([("version", found["version"]), *last, *((file["name"], words(file["rules"])) for file in found["files"])])
