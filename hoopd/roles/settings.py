"""A configuration directory read once, whole: what one generation of the family runs with."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from hoopd.config.loader import load
from hoopd.config.schema import Config
from hoopd.errors import HoopdError
from hoopd.policy.directory import read_directory


@frozen
class Settings:
    """
    @ivar policies: the text of each file of policies.d, by its name.
    """

    config: Config
    policies: Mapping[str, str]


def read(directory: str) -> Settings:
    """@raise ConfigError: hoopd.toml, targets.d/ or policies.d/ cannot be read, or may be written by others, or what
    they say is no configuration. Policies are not judged here: see L{problems}."""
    return Settings(load(directory), read_directory(directory))


def problems(settings: Settings) -> list[str]:
    """Load the policies as a broker would, and run the tests beside them. @return: what is wrong; empty is well.

    Not for the supervisor: it would have to import the SQL grammar.
    """
    from hoopd.policy.snapshot import PolicySnapshot

    try:
        # the mask key changes what masks show, and nothing that can be wrong here
        PolicySnapshot.load(settings.policies, settings.config.targets, bytes(32), channels=settings.config.notify)
    except HoopdError as problem:
        return str(problem).splitlines()
    return []
