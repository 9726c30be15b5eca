"""Commands of SSH hosts as the operations that policy judges."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from hoopd.policy import files
from hoopd.shell import far_end as far_ends
from hoopd.shell.analysis import Analysis, analyse
from hoopd.shell.far_end import FarEnd
from hoopd.shell.interactive import analyse_line
from hoopd.values import Operation

#: what else can be asked of an SSH host, as explanations and tests write it
SPOKEN: Mapping[str, frozenset[str]] = {
    "(shell)": frozenset({"shell"}),
    "(sftp)": files.OPENING,
    "(agent)": frozenset({"forward-agent"}),
    "(x11)": frozenset({"forward-x11"}),
}

#: and what has a destination: C{(forward db1:5432)}, C{(listen localhost:8080)}
_FORWARDS: Mapping[str, str] = {"(forward ": "forward-local", "(listen ": "forward-remote"}

#: words of what runs in a shell
RUNNING = frozenset({"exec", "opaque", "interpreter"})

#: people and tools repeat themselves; one analysis is a few hundred bytes
_read = lru_cache(maxsize=512)(analyse)
_read_line = lru_cache(maxsize=512)(analyse_line)


def found(operation: Operation) -> Analysis | None:
    """What would run of an operation; None where it is no command."""
    command = operation.facts.get("command")
    if operation.protocol != "ssh" or not isinstance(command, str):
        return None
    read = _read_line if operation.facts.get("interactive") else _read
    return read(command.encode("utf-8", "surrogateescape"))


def far_end(command: bytes) -> FarEnd | None:
    """What a command moves as scp's or rsync's far end; None if it is none."""
    return far_ends.found(_read(command), command)


def classes(command: bytes) -> frozenset[str]:
    """The words of one command."""
    return _words(command, _read(command))


def facts(command: bytes) -> dict[str, Any]:
    """What conditions read as C{op.<name>} of one command."""
    return _facts(command, _read(command))


def line(text: bytes) -> tuple[frozenset[str], dict[str, Any]]:
    """The words and facts of one line that is typed in a shell."""
    analysis = _read_line(text)
    return _words(text, analysis), {"interactive": True, "pty": True, **_facts(text, analysis)}


def unreadable(why: str) -> tuple[frozenset[str], dict[str, Any]]:
    """The words and facts of a line that is typed in a shell and cannot be seen: no rule on commands can leave it alone."""
    return frozenset({"exec", "opaque"}), {"interactive": True, "pty": True, "opaque": why}


def _words(command: bytes, analysis: Analysis) -> frozenset[str]:
    words = {"exec"}
    if analysis.opaque:
        words.add("opaque")
    if analysis.interpreters:
        words.add("interpreter")
    moves = far_ends.found(analysis, command)
    return frozenset(words if moves is None else words | files.far_end_words(moves))


def _facts(command: bytes, analysis: Analysis) -> dict[str, Any]:
    moves = far_ends.found(analysis, command)
    return {
        **({} if moves is None else files.far_end(moves)),
        "command": command.decode("utf-8", "surrogateescape"),
        "commands": [each.text for each in analysis.commands],
        "programs": [each.program for each in analysis.commands],
        "interpreters": list(analysis.interpreters),
        "reads": list(analysis.reads),
        "writes": list(analysis.writes),
        "opaque": analysis.opaque,
    }


def operation(text: str, login: str, reason: str | None = None) -> Operation:
    """@param text: a command, one of L{SPOKEN}, a forward with its destination, or what sftp does: C{(sftp) get /path}"""
    moves = files.spoken(text, login, reason)
    if moves is not None:
        return moves
    spoken = SPOKEN.get(text)
    if spoken is not None:
        return Operation("ssh", spoken, text, facts={"login": login, "pty": True}, reason=reason)
    for opening, word in _FORWARDS.items():
        if text.startswith(opening) and text.endswith(")"):
            where = text[len(opening) : -1].strip()
            return Operation("ssh", frozenset({word}), text, (where,), {"login": login, "destination": where}, reason)
    command = text.encode()
    said = {"login": login, "pty": False, **facts(command)}
    return Operation("ssh", classes(command), text, facts=said, reason=reason)
