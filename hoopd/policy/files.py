"""Files that go to and from SSH hosts as the operations that policy judges, by whatever program they go; pure.

Not the protocols (L{hoopd.protocols.ssh.sftp}, L{hoopd.protocols.ssh.scp}), nor the patterns (L{hoopd.policy.paths}).
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from hoopd.policy.paths import HOME, Places
from hoopd.shell.far_end import FarEnd
from hoopd.values import Operation

#: the subsystem itself: what any rule about files opens, because each request inside is judged
OPENING = frozenset({"sftp"})


@frozen
class Action:
    """One thing that is done with files. @ivar paths: how many it names."""

    words: frozenset[str]
    paths: int = 1


def _action(words: str, paths: int = 1) -> Action:
    return Action(frozenset(words.split()), paths)


#: as sftp's own commands are called, and so after C{(sftp)} in tests and explanations
ACTIONS: Mapping[str, Action] = {
    "get": _action("download"),
    "put": _action("upload"),
    # opened for reading and writing at once
    "edit": _action("download upload"),
    "ls": _action("list"),
    "stat": _action("list"),
    "readlink": _action("list"),
    "mkdir": _action("upload"),
    "chmod": _action("upload"),
    "rm": _action("remove"),
    "rmdir": _action("remove"),
    # what was under one path can be fetched under another
    "rename": _action("upload rename", 2),
    "ln": _action("upload rename", 2),
    "symlink": _action("upload", 2),
}

#: look at what is there, and at nothing in it
_LOOKS = {"ls": "ls", "stat": "stat", "readlink": "stat"}


def text(action: str, paths: tuple[str, ...], said: str = "") -> str:
    """What is done, as people read it. @param said: what else there is to know"""
    return " ".join(("sftp", action, *(shlex.quote(path) for path in paths), *([said] if said else [])))


def facts(action: str, paths: tuple[str, ...], home: str = "", via: str = "sftp", tree: bool = False) -> dict[str, Any]:
    """What conditions read as C{op.<name>}.

    @param paths: as L{hoopd.policy.paths} has them.
    @param tree: what is below them as well: a directory is renamed, or copied whole.
    """
    return {
        "path": paths[0] if paths else None,
        "paths": list(paths),
        "action": action,
        "via": via,
        "tree": tree,
        "home": home,
    }


def far_end(found: FarEnd) -> dict[str, Any]:
    """The facts of scp's and rsync's far ends."""
    tree = found.upload or found.recursive or found.program == "rsync"
    return facts("put" if found.upload else "get", found.paths, via=found.program, tree=tree)


def far_end_words(found: FarEnd) -> frozenset[str]:
    """The words that it has beside those of a command."""
    words = {found.program, "upload" if found.upload else "download"}
    return frozenset(words | {"remove"} if found.removes else words)


def places(operation: Operation) -> Places:
    """What an operation touches; of one that is not about files nobody can tell."""
    said = operation.facts
    paths = said.get("paths")
    if not isinstance(paths, list) or not paths:
        return Places(None)
    way = _LOOKS.get(str(said.get("action")), "")
    return Places(tuple(map(str, paths)), str(said.get("home") or ""), bool(said.get("tree")), way)


def spoken(said: str, login: str, reason: str | None = None) -> Operation | None:
    """C{(sftp) get /path} as an operation; None if it is no such thing. A path that is not absolute is below the home."""
    try:
        mark, name, *paths = shlex.split(said)
    except ValueError:
        return None
    action = ACTIONS.get(name)
    if mark != "(sftp)" or action is None or len(paths) != action.paths:
        return None
    whole = tuple(normal(path) for path in paths)
    return Operation("ssh", action.words, text(name, whole), whole, {"login": login, **facts(name, whole)}, reason)


def normal(path: str) -> str:
    """Without C{.} and C{..}: absolute, or below C{~}. Symbolic links only the host knows."""
    if path.startswith("/"):
        # POSIX gives two slashes at the beginning a meaning of their own; nobody here does
        return posixpath.normpath(f"/{path.lstrip('/')}")
    relative = posixpath.normpath(path.removeprefix(f"{HOME}/") if path != HOME else ".")
    return HOME if relative == "." else f"{HOME}/{relative}"
