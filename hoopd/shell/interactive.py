"""What an interactive shell would run of one line that is typed; pure.

L{hoopd.shell.analysis} reads the line as a command. A shell with a person at it does more with one: it recalls history, it can be told
to read keys otherwise, and what one line changes stays for the next. Whatever would do so makes the line opaque. Which shell it is
nobody knows, so it is read as bash and as zsh would. Specification: bash's manual, sections 9.3 and 8; zshmisc(1), zshexpn(1).
"""

from __future__ import annotations

import re
from posixpath import basename

from hoopd.shell.analysis import Analysis, Command, analyse

#: of zsh or of both, besides those that are opaque wherever they stand: run text, or change what keys, names and words mean
_CHANGING = frozenset(
    """
    - bindkey zle vared setopt unsetopt emulate autoload zmodload zcompile sched zstyle functions aliases disable noglob nocorrect
    repeat r suspend setterm loadkeys
    """.split()
)

#: change how what is typed is read and shown, unless they are only asked
_TERMINAL = {"stty": frozenset({"-a", "-g", "size", "speed", "sane"}), "tset": frozenset(), "reset": frozenset()}

#: what a line editor shows, and how it reads
_VARIABLES = re.compile(
    r"(?:^|[\s;&|({!])(?:for\s+)?(TERM|COLUMNS|LINES|INPUTRC|PROMPT\w*|R?PROMPT2?|RPS[12]|SPROMPT|POSTEDIT|KEYTIMEOUT|ZLE_\w+|"
    r"HISTCHARS|histchars|prompt|path|fpath|module_path|\w+_functions|NULLCMD|READNULLCMD)(?:\[[^]]*\])?(?:\+?=|\s+in\s)"
)

#: C{=name} is the path of a program in zsh
_EQUALS = re.compile(r"(?:^|[\s;&|(])=\w")


def analyse_line(text: bytes) -> Analysis:
    """@param text: the line as it stands on the screen. Whatever it is, this returns."""
    found = analyse(text)
    if found.opaque:
        return found
    decoded = text.decode()
    why = _recalls(decoded) or _changes(decoded) or next(filter(None, map(_reads_otherwise, found.commands)), "")
    return Analysis(opaque=why) if why else found


def _recalls(text: str) -> str:
    """Why its words may be others, or C{""}: bash expands what is in double quotes as well."""
    if text.lstrip().startswith("^"):
        return "it edits a line of the shell's history"
    single = double = escaped = False
    for at, character in enumerate(text):
        if escaped:
            escaped = False
        elif single:
            single = character != "'"
        elif character == "\\":
            escaped = True
        elif character == "'":
            single = not double
        elif character == '"':
            double = not double
        elif character == "!" and text[at + 1 : at + 2].strip(" \t\n=") != "":
            return "it recalls lines of the shell's history"
    return ""


def _changes(text: str) -> str:
    if "\ufffd" in text:
        return "it has characters that cannot be read"
    changed = _VARIABLES.search(text)
    if changed is not None:
        return f"the variable {changed[1]} changes what is shown or read"
    if _EQUALS.search(text):
        return "it names a program as zsh's =name"
    return ""


def _reads_otherwise(command: Command) -> str:
    plain = basename(command.program)
    if plain in _CHANGING or (plain == "jobs" and "-x" in command.arguments):
        return f"{plain} runs or changes what is not read here"
    harmless = _TERMINAL.get(plain)
    if harmless is not None and not harmless.issuperset(command.arguments):
        return f"{plain} changes how what is typed is read"
    return ""
