"""The configuration on disk, looked at without a gateway."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from hoopd.ctl.failures import Failure

DIRECTORY = "/etc/hoopd"

directory_argument = click.argument("directory", default=DIRECTORY, type=click.Path(path_type=Path, file_okay=False))


def wrong(directory: Path, errors: Any) -> Failure:
    """@param errors: L{hoopd.config.structure.ConfigErrors}. @return: every one of them, to be raised."""
    found = [str(error) for error in errors.errors]
    count = f"{len(found)} error{'' if len(found) == 1 else 's'}"
    return Failure(
        f"the configuration in {directory} has {count}; a gateway would not start or reload with it",
        found,
        "docs/configuration.md and hoopctl config reference have every key",
    )


@click.group("config")
def command() -> None:
    """Configuration files."""


@command.command("check")
@directory_argument
def check(directory: Path) -> None:
    """Check hoopd.toml, targets.d/ and policies.d/ in DIRECTORY, as a gateway would before it starts."""
    from hoopd.config.structure import ConfigErrors
    from hoopd.errors import ConfigError
    from hoopd.governance.reading import accepted_before, endorsement
    from hoopd.policy.snapshot import PolicySnapshot
    from hoopd.protocols.postgres.rows import HOW
    from hoopd.roles.settings import read

    try:
        settings = read(str(directory))
        config, sources = settings.config, settings.policies
        signed = endorsement(settings.papers, sources, config.policy.signatures, accepted_before(config), time.time())
        snapshot = PolicySnapshot.load(sources, config.targets, bytes(32), channels=config.notify)
    except ConfigErrors as errors:
        raise wrong(directory, errors) from None
    except ConfigError as error:
        raise Failure(str(error)) from None
    rules = sum(len(file.rules) for file in snapshot.files)
    click.echo(
        f"{directory} is good: {len(config.listen)} listener(s), {len(config.targets)} target(s), "
        f"{rules} rule(s) in {len(sources)} file(s)"
    )
    if signed is not None:
        click.echo(f"manifest {signed.serial} is signed by {', '.join(signed.signers)}")
    click.echo(f"here {HOW}")


@command.command("reference")
def reference() -> None:
    """Print every key with its type, default and reason, as markdown."""
    from hoopd.config.loader import reference as text

    click.echo(text(), nl=False)
