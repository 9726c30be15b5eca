"""A configuration directory read once, whole: what one generation of the family runs with."""

from __future__ import annotations

import os
from collections.abc import Mapping

from attrs import frozen

from hoopd.config.schema import Config
from hoopd.errors import ConfigError, HoopdError


@frozen
class Settings:
    """
    @ivar policies: the text of each file of policies.d, by its name.
    """

    config: Config
    policies: Mapping[str, str]

    def problems(self) -> list[str]:
        """Load the policies as a broker would, with their tests. @return: what is wrong, as text."""
        from hoopd.policy import snapshot

        try:
            snapshot.check(self.policies, self.config)
        except HoopdError as problem:
            return str(problem).splitlines()
        return []


def read(directory: str) -> Settings:
    """@raise ConfigError: hoopd.toml, targets.d/ or policies.d/ cannot be read or is wrong."""
    from hoopd.config.loader import load

    config = load(directory)
    folder = os.path.join(directory, "policies.d")
    policies = {}
    try:
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        for name in names:
            if name.endswith(".toml") and not name.startswith("."):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    policies[name] = file.read()
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(str(problem), folder) from problem
    return Settings(config, policies)
