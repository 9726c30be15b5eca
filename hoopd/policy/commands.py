"""Commands of SSH hosts as the operations that policy judges."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from hoopd.shell.analysis import Analysis, analyse
from hoopd.values import Operation

#: what else can be asked of an SSH host, as explanations and tests write it
SPOKEN: Mapping[str, frozenset[str]] = {
    "(shell)": frozenset({"shell"}),
    "(sftp)": frozenset({"download", "upload"}),
    "(agent)": frozenset({"forward-agent"}),
    "(x11)": frozenset({"forward-x11"}),
}

#: people and tools repeat themselves; one analysis is a few hundred bytes
_read = lru_cache(maxsize=512)(analyse)


def found(operation: Operation) -> Analysis | None:
    """What would run of an operation; None where it is no command."""
    command = operation.facts.get("command")
    if operation.protocol != "ssh" or not isinstance(command, str):
        return None
    return _read(command.encode("utf-8", "surrogateescape"))


def classes(command: bytes) -> frozenset[str]:
    """The words of one command."""
    analysis = _read(command)
    words = {"exec"}
    if analysis.opaque:
        words.add("opaque")
    if analysis.interpreters:
        words.add("interpreter")
    return frozenset(words)


def facts(command: bytes) -> dict[str, Any]:
    """What conditions read as C{op.<name>} of one command."""
    analysis = _read(command)
    return {
        "command": command.decode("utf-8", "surrogateescape"),
        "commands": [each.text for each in analysis.commands],
        "programs": [each.program for each in analysis.commands],
        "interpreters": list(analysis.interpreters),
        "reads": list(analysis.reads),
        "writes": list(analysis.writes),
        "opaque": analysis.opaque,
    }


def operation(text: str, login: str, reason: str | None = None) -> Operation:
    """@param text: a command, or one of L{SPOKEN}"""
    spoken = SPOKEN.get(text)
    if spoken is not None:
        return Operation("ssh", spoken, text, facts={"login": login, "pty": True}, reason=reason)
    command = text.encode()
    said = {"login": login, "pty": False, **facts(command)}
    return Operation("ssh", classes(command), text, facts=said, reason=reason)
