"""Commands that are the far end of a copy, scp's or rsync's: which way it goes, and what it may touch; pure.

Only what is understood to the last option counts as one; whatever else is a command like any other. Paths are as the command
writes them: what is a symbolic link, or a directory, only the host knows. Specification: what OpenSSH's scp, PuTTY's pscp and
libssh2 send, and rsync's server_options.
"""

from __future__ import annotations

import posixpath
import re

from attrs import frozen

from hoopd.shell.analysis import Analysis

_SCP = re.compile(r"-[vrpdqtf]+")

#: short options of rsync that choose what is copied and how it is told, and name no other place; behind e stands its own dialect.
#: s sends the paths where they cannot be read; k, K and L follow symbolic links out of them
_RSYNC = re.compile(r"-[vqlogDtprRzcuWSHAXnixhIOJmNUEb]*(?:e\.[A-Za-z]*)?")
_RSYNC_LONG = frozenset(
    """
    --partial --inplace --append --append-verify --ignore-existing --existing --size-only --numeric-ids --stats --safe-links
    --sparse --whole-file --omit-dir-times --no-implied-dirs --dirs --new-compress --old-compress --no-r --recursive
    --ignore-errors --fsync --delay-updates --preallocate --fuzzy
    """.split()
)
_RSYNC_VALUED = re.compile(
    r"--(log-format|out-format|timeout|bwlimit|compress-level|compress-choice|checksum-choice|block-size|max-size|min-size|modify-window"
    r"|max-alloc|checksum-seed|info|debug|skip-compress|max-delete|stop-after|contimeout)=.*"
)
_RSYNC_REMOVES = frozenset(
    """
    --delete --delete-before --delete-during --delete-after --delete-delay --delete-excluded --delete-missing-args --force
    --remove-source-files
    """.split()
)


@frozen
class FarEnd:
    """
    @ivar program: C{scp} or C{rsync}.
    @ivar upload: files come to this host; else they go from it.
    @ivar paths: what it is given: absolute, or below C{~}.
    @ivar recursive: it may copy what is below them.
    @ivar removes: it may remove files.
    """

    program: str
    upload: bool
    paths: tuple[str, ...]
    recursive: bool
    removes: bool = False


def found(analysis: Analysis, text: bytes) -> FarEnd | None:
    """@param text: what C{analysis} is of. @return: None if it is anything else, or more than that"""
    if analysis.opaque or analysis.writes or analysis.reads or len(analysis.commands) != 1:
        return None
    command = analysis.commands[0]
    read = {"scp": _scp, "rsync": _rsync}.get(command.program)
    words = [each for each in command.arguments if each is not None]
    if read is None or not command.exact or len(words) != len(command.arguments):
        return None
    made = read(words)
    if made is None:
        return None
    # a ~ in quotes is a name
    quoted = any(mark in text for mark in (b"'", b'"', b"\\"))
    paths = [_path(path, quoted) for path in made.paths]
    known = tuple(path for path in paths if path is not None)
    return FarEnd(made.program, made.upload, known, made.recursive, made.removes) if len(known) == len(paths) else None


def _scp(words: list[str]) -> FarEnd | None:
    letters: set[str] = set()
    while words and words[0].startswith("-") and words[0] != "-":
        word, words = words[0], words[1:]
        if word == "--":
            break
        if not _SCP.fullmatch(word):
            return None
        letters.update(word[1:])
    if ("t" in letters) == ("f" in letters) or not words or ("t" in letters and len(words) != 1):
        return None
    if "t" not in letters and any(word.startswith("-") for word in words):
        return None
    return FarEnd("scp", "t" in letters, tuple(words), "r" in letters)


def _rsync(words: list[str]) -> FarEnd | None:
    if words[:1] != ["--server"]:
        return None
    words = words[1:]
    upload, removes = True, False
    while words and words[0].startswith("-"):
        word, words = words[0], words[1:]
        if word == "--sender":
            upload = False
        elif word in _RSYNC_REMOVES:
            removes = True
        elif word not in _RSYNC_LONG and not _RSYNC_VALUED.fullmatch(word) and not _RSYNC.fullmatch(word):
            return None
    if len(words) < 2 or words[0] != "." or any(word.startswith("-") for word in words):
        return None
    return FarEnd("rsync", upload, tuple(words[1:]), True, removes)


def _path(path: str, quoted: bool) -> str | None:
    """Without C{.}, and None with C{..}, of which only the host knows where it leads."""
    if not path or ".." in path.split("/"):
        return None
    if path.startswith("~") and (quoted or (path != "~" and not path.startswith("~/"))):
        return None
    if path.startswith("/"):
        return posixpath.normpath(f"/{path.lstrip('/')}")
    relative = posixpath.normpath(path[2:] or "." if path.startswith("~/") else "." if path == "~" else path)
    return "~" if relative == "." else f"~/{relative}"
