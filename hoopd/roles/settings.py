"""A configuration directory read once, whole: what one generation of the family runs with."""

from __future__ import annotations

import time
from collections.abc import Mapping

from attrs import field, frozen

from hoopd.config.loader import load_whole
from hoopd.config.schema import Config
from hoopd.errors import HoopdError
from hoopd.governance.papers import Papers
from hoopd.governance.reading import accepted_before, endorsement, read_papers
from hoopd.policy.directory import read_directory


@frozen
class Settings:
    """
    @ivar policies: the text of each file of policies.d, by its name.
    @ivar by: who had this loaded; empty at a start and after a signal.
    @ivar author: the person behind that; empty where none is known.
    """

    config: Config
    policies: Mapping[str, str]
    papers: Papers = field(factory=Papers, repr=False)
    by: str = ""
    author: str = ""


def read(directory: str) -> Settings:
    """@raise ConfigError: hoopd.toml, targets.d/ or policies.d/ cannot be read, or may be written by others, or what
    they say is no configuration. Policies are not judged here: see L{problems}."""
    config, texts = load_whole(directory)
    return Settings(config, read_directory(directory), read_papers(config, texts))


def problems(settings: Settings) -> list[str]:
    """Whether enough people signed what they must, and the policies load as in a broker, with the tests beside them.

    Not for the supervisor: it would have to import the SQL grammar.

    @return: what is wrong; empty is well.
    """
    from hoopd.policy.snapshot import PolicySnapshot

    config, policies = settings.config, settings.policies
    found: list[str] = []
    try:
        accepted = accepted_before(config)
        endorsement(settings.papers, policies, config.policy.signatures, accepted, time.time())
    except HoopdError as problem:
        found += str(problem).splitlines()
    try:
        # the mask key changes what masks show, and nothing that can be wrong here
        PolicySnapshot.load(policies, config.targets, bytes(32), channels=config.notify)
    except HoopdError as problem:
        found += str(problem).splitlines()
    return found
