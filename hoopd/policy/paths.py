"""Patterns of paths, as C{paths} of rules write them: C{*} and C{?} within a name, C{**} for any names, C{~} for the home; pure.

Not what an operation does to a path (L{hoopd.policy.files}). Paths come without C{.} and C{..}: absolute, or below C{~} where the
home is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from glob import escape

from attrs import frozen

_ANY = "**"
HOME = "~"


@frozen
class Places:
    """What an operation touches.

    @ivar paths: each path; None: nobody can tell.
    @ivar home: the account's own directory, or C{""} where that is not known.
    @ivar tree: it may touch whatever is below them as well.
    @ivar way: C{"stat"}: it only looks at what leads to something; C{"ls"}: it shows names in a directory.
    """

    paths: tuple[str, ...] | None
    home: str = ""
    tree: bool = False
    way: str = ""


def problem(pattern: str) -> str:
    """What is wrong with a pattern, or C{""}."""
    parts = _parts(pattern)
    if not pattern.startswith(("/", f"{HOME}/", f"{_ANY}/")) and pattern not in (HOME, _ANY):
        return f"{pattern!r} is no path: it begins with /, ~/ or **/"
    if any(part in (".", "..") for part in parts) or "//" in pattern or (pattern != "/" and pattern.endswith("/")):
        return f"{pattern!r} must be written without . and .., // and a last /"
    if any(_ANY in part and part != _ANY for part in parts):
        return f"{pattern!r}: ** stands for whole names"
    return ""


def opens(patterns: Iterable[str], places: Places) -> bool:
    """Whether an allow rule with C{patterns} speaks of every path, for certain."""
    if places.paths is None:
        return False
    each = tuple(patterns)
    return all(any(_opens(pattern, path, places) for pattern in each) for path in places.paths)


def concerns(patterns: Iterable[str], places: Places) -> bool:
    """Whether a rule that tightens, with C{patterns}, speaks of any path; what cannot be told it does."""
    if places.paths is None:
        return True
    each = tuple(patterns)
    return any(_concerns(pattern, path, places) for pattern in each for path in places.paths)


def _opens(pattern: str, path: str, places: Places) -> bool:
    for parts, names in _both(pattern, path, places.home):
        reached = _reached(parts, names)
        if len(parts) in reached and (not places.tree or parts[-1:] == (_ANY,)):
            return True
        if places.way == "stat" and reached:
            return True
        if places.way == "ls" and parts[-1:] != (_ANY,) and len(parts) - 1 in reached:
            return True
    return False


def _concerns(pattern: str, path: str, places: Places) -> bool:
    both = _both(pattern, path, places.home)
    if not both:
        return not _comparable(pattern, path, places.home)
    return any(
        len(parts) in reached or (places.tree and bool(reached))
        for parts, names in both
        for reached in (_reached(parts, names),)
    ) or not _comparable(pattern, path, places.home)


def _comparable(pattern: str, path: str, home: str) -> bool:
    """Whether both begin at places of which it is known how they lie; C{**} is looked for below the home, wherever that is."""
    return bool(home) or pattern.startswith(_ANY) or path.startswith(HOME) == pattern.startswith(HOME)


def _both(pattern: str, path: str, home: str) -> list[tuple[tuple[str, ...], Sequence[str]]]:
    """The pattern's parts and the path's names from the same beginning; none where there is no such."""
    parts = _parts(pattern)
    below = path.startswith(HOME)
    names = [name for name in path.split("/") if name]
    own = [name for name in home.split("/") if name]
    if home:
        # names of the home are themselves, whatever characters they have
        parts = (*map(escape, own), *parts[1:]) if pattern.startswith(HOME) else parts
        return [(parts, own + names[1:] if below else names)]
    if pattern.startswith(HOME):
        return [(parts[1:], names[1:])] if below else []
    if not below:
        return [(parts, names)]
    # wherever the home is: names below it are names
    return [(parts, names[1:])] if parts[:1] == (_ANY,) else []


@lru_cache(maxsize=1024)
def _parts(pattern: str) -> tuple[str, ...]:
    return tuple(part for part in pattern.split("/") if part)


def _reached(parts: Sequence[str], names: Sequence[str]) -> frozenset[int]:
    """How far in C{parts} one may be when all of C{names} are read."""
    at = _closed(parts, {0})
    for name in names:
        if not at:
            break
        at = _step(parts, at, name)
    return frozenset(at)


def _step(parts: Sequence[str], at: Iterable[int], name: str) -> set[int]:
    further = {
        place if parts[place] == _ANY else place + 1
        for place in at
        if place < len(parts) and (parts[place] == _ANY or fnmatchcase(name, parts[place]))
    }
    return _closed(parts, further)


def _closed(parts: Sequence[str], at: set[int]) -> set[int]:
    """C{**} may stand for nothing."""
    found = set(at)
    for place in range(len(parts)):
        if place in found and parts[place] == _ANY:
            found.add(place + 1)
    return found
