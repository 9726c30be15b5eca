"""Reading what comes with the rules, and having it judged; for the supervisor, the check before a reload, and hoopctl."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hoopd.config.files import Files
from hoopd.config.schema import Config
from hoopd.config.structure import ConfigErrors
from hoopd.errors import ConfigError
from hoopd.governance.papers import MANIFEST, SETTINGS, SIGNATURES_MAX, SIGNERS, Papers

if TYPE_CHECKING:
    from hoopd.governance.manifest import Accepted, Endorsement


def read_papers(config: Config, texts: Mapping[str, str], check_files: bool = True) -> Papers:
    """
    @param texts: of which C{config} was made, by path.
    @raise ConfigErrors
    """
    top = Path(config.directory)
    files = Files(top, [], check_files)
    others = {name: text for name, text in texts.items() if name != SETTINGS}
    if config.policy.allowed_signers:
        path = Path(config.policy.allowed_signers)
        listed = files.read(path)
        if listed is not None:
            # not for who has no signatures: reading keys imports much
            from hoopd.governance.manifest import list_problems

            others[SIGNERS] = listed
            problems = list_problems(listed, config.policy.signatures)
            files.errors += [ConfigError(problem, str(path)) for problem in problems]
    manifest = files.read(top / MANIFEST) if (top / MANIFEST).exists() else None
    # one more than are ever taken: too many are told, and not all read
    found = sorted(top.glob(f"{MANIFEST}*.sig"))[: SIGNATURES_MAX + 1]
    # one that cannot be read or is no text is no signature, and is told as such
    unread = Files(top, [], False)
    signatures = {path.name: unread.read(path) or "" for path in found}
    if files.errors:
        raise ConfigErrors(files.errors)
    return Papers(texts.get(SETTINGS, ""), others, manifest, signatures)


def endorsement(
    papers: Papers, policies: Mapping[str, str], needed: int, accepted: Accepted | None, now: float
) -> Endorsement | None:
    """See L{hoopd.governance.manifest.endorse}. @raise ConfigErrors: the rules are not to be taken."""
    from hoopd.governance.manifest import ManifestError, endorse

    try:
        return endorse(papers.manifest, papers.signatures, papers.covered(policies), needed, accepted, now)
    except ManifestError as problem:
        raise ConfigErrors([ConfigError(each) for each in problem.problems]) from None


def accepted_before(config: Config) -> Accepted | None:
    """What the broker of this configuration's state directory accepted last; read only, for a check beside it.

    @raise ConfigError: its store cannot be read.
    """
    path = os.path.join(config.paths.state, "store.sqlite")
    if config.processes.users.get("broker") or not os.path.exists(path):
        return None
    from hoopd.governance.rows import accepted_in

    try:
        return accepted_in(path)
    except sqlite3.Error as problem:
        raise ConfigError(f"what was accepted last cannot be read: {problem}", path) from None
