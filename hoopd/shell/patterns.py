"""Patterns of commands, as rules write them: words, each a glob; a last C{*} is any further words; pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from fnmatch import fnmatchcase
from posixpath import basename

from hoopd.shell.analysis import Analysis, Command

#: what is written there is written nowhere: tools silence commands so
NOWHERE = "/dev/null"


def problem(pattern: str) -> str:
    """What is wrong with a pattern, or C{""}."""
    try:
        words = shlex.split(pattern)
    except ValueError as error:
        return f"{pattern!r} cannot be read: {error}"
    return "" if words else "an empty pattern means no command"


def opens(patterns: Iterable[str], found: Analysis) -> bool:
    """Whether an allow rule with C{patterns} speaks of everything that would run: what cannot be told it does not."""
    each = [shlex.split(pattern) for pattern in patterns]
    if found.opaque or any(place != NOWHERE for place in found.writes):
        return False
    return all(_covered(each, command) for command in found.commands)


def _covered(patterns: list[list[str]], command: Command | None) -> bool:
    """Itself, or what runs it: who may run C{sudo x} may run x so."""
    if command is None:
        return False
    return any(_means(words, command, certain=True) for words in patterns) or _covered(patterns, command.within)


def concerns(patterns: Iterable[str], found: Analysis) -> bool:
    """Whether a rule that tightens, with C{patterns}, speaks of anything that may run: what cannot be told it does."""
    each = [shlex.split(pattern) for pattern in patterns]
    if found.opaque:
        return True
    return any(_means(words, command, certain=False) for words in each for command in found.commands)


def _means(words: list[str], command: Command, certain: bool) -> bool:
    program, *wanted = words
    names = {command.program} if certain else {command.program, basename(command.program)}
    if not any(fnmatchcase(name, program) for name in names):
        return False
    if certain and "/" in command.program and "/" not in program:
        # somebody's own program under the name of another
        return False
    rest = bool(wanted) and wanted[-1] == "*"
    wanted = wanted[:-1] if rest else wanted
    if not command.exact and not certain:
        # one argument may become several, or none
        return True
    if not command.exact:
        known = _leading(command)
        return rest and len(wanted) <= known and _each(wanted, command.arguments[:known], certain)
    if len(command.arguments) < len(wanted) or (not rest and len(command.arguments) > len(wanted)):
        return False
    return _each(wanted, command.arguments[: len(wanted)], certain)


def _leading(command: Command) -> int:
    """How many of the first arguments are known, and so where they stand."""
    return next((at for at, each in enumerate(command.arguments) if each is None), len(command.arguments))


def _each(wanted: list[str], arguments: tuple[str | None, ...], certain: bool) -> bool:
    return all(
        (each is None and (not certain or pattern == "*")) or (each is not None and fnmatchcase(each, pattern))
        for pattern, each in zip(wanted, arguments, strict=False)
    )
