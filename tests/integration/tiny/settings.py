"""Reads C{family.json}: the keys of L{hoopd.config.schema}, without the rules of the real loader."""

from __future__ import annotations

import json
import os

from hoopd.config.schema import Config, Listener, Paths, Processes
from hoopd.errors import ConfigError
from hoopd.roles.settings import Settings


def read(directory: str) -> Settings:
    try:
        with open(os.path.join(directory, "family.json"), encoding="utf-8") as file:
            values = json.load(file)
    except ValueError as problem:
        raise ConfigError(str(problem), "family.json") from problem
    return Settings(
        Config(
            directory=directory,
            paths=Paths(state=os.path.join(directory, "state"), run=directory),
            listen={name: Listener(**listener) for name, listener in values["listen"].items()},
            processes=Processes(**values["processes"]),
        ),
        {"policy.toml": values.get("policy", "first")},
    )
