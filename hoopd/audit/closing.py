"""Making and finishing recording files: the blocking parts that the broker runs in a thread; not when, nor the leaves."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import frozen

from hoopd.audit import recording
from hoopd.audit.seals import Segment
from hoopd.audit.tail import PIECE, Tail, Tampered
from hoopd.audit.witness_places import sync_directory


@frozen
class End:
    """A recording that is finished.

    @ivar rest: the last segment, or None when everything was sealed before.
    @ivar torn: bytes at the end that are no frame and could not be marked.
    @ivar tampered: what is not as it was sealed.
    """

    size: int
    frames: int
    sha256: str
    torn: int
    rest: Segment | None
    tampered: tuple[Tampered, ...]

    def fields(self, session: str, why: str, segments: int) -> dict[str, Any]:
        """The fields of the C{session-closed} leaf."""
        return {
            "session": session,
            "why": why,
            "size": self.size,
            "frames": self.frames,
            "sha256": self.sha256,
            "torn": self.torn,
            "segments": segments,
        }


def create(root: Path, path: Path, content: bytes, system: Any = os) -> tuple[int, int]:
    """Make a recording with its first bytes, durably, and open it twice.

    @return: a descriptor for reading and one for appending.
    @raise OSError: nothing is left behind.
    """
    made = [path.parent, *(parent for parent in path.parent.parents if parent.is_relative_to(root))]
    for directory in reversed(made):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    writing = system.open(path, flags, 0o600)
    reading = -1
    try:
        if system.write(writing, content) != len(content):
            raise OSError("the disk took only a part of the first frame")
        system.fdatasync(writing)
        reading = system.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        for directory in made:
            sync_directory(directory, system)
    except BaseException:
        for fd in (reading, writing):
            if fd != -1:
                system.close(fd)
        system.unlink(path)
        raise
    return reading, writing


def finish(path: Path, segments: Sequence[Segment], why: str, now: float, system: Any = os) -> End:
    """Compare a whole recording with its seals, mark a torn tail, add the end that is missing, and flush it.

    @param now: seconds since the epoch.
    @raise OSError: it cannot be read or flushed.
    """
    tampered: list[Tampered] = []
    try:
        fd = system.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError as error:
        return End(0, 0, hashlib.sha256().hexdigest(), 0, None, (Tampered("vanished", 0, str(error)),))
    try:
        tail = Tail(fd, system)
        try:
            tail.rebuild(segments)
            tail.read_all()
            torn = _complete(tail, why, now, system)
        except Tampered as found:
            tampered.append(found)
            torn = 0
        system.fdatasync(fd)
        # what is not as it was cannot be sealed into something else: the tamper leaf says what there is to say
        rest = None if tampered else tail.take_rest()
        size, sha256 = _whole(fd, system)
        return End(size, tail.reader.next_sequence, sha256, torn, rest, tuple(tampered))
    finally:
        system.close(fd)


def _complete(tail: Tail, why: str, now: float, system: Any) -> int:
    """Append the mark of a torn tail and the session's end, where they are missing. @return: bytes not marked"""
    wall = max(0, int(now * 1e6))
    torn = tail.rest
    parts = []
    sequence = tail.reader.next_sequence
    if tail.reader.session is None:
        return torn  # not even the header is whole: there is nothing to mark it in
    if torn:
        parts.append(recording.torn_mark(sequence, wall, 0, tail.hashed, torn))
        sequence += 1
    if torn or not tail.closed():
        frame, _ = recording.encode(sequence, wall, 0, "close", {"why": why, "by": "broker"})
        parts.append(frame)
    content = b"".join(parts)
    if not content:
        return 0
    try:
        written = system.write(tail.fd, content)
    except OSError:
        return torn  # the disk is still full: the leaf says what the file could not
    tail.read_all()
    return 0 if written == len(content) else tail.rest


def _whole(fd: int, system: Any) -> tuple[int, str]:
    hashed = hashlib.sha256()
    offset = 0
    while piece := system.pread(fd, PIECE, offset):
        hashed.update(piece)
        offset += len(piece)
    return offset, hashed.hexdigest()


def strays(root: Path, known: Collection[str], last: float, suffix: str) -> list[str]:
    """Recordings that no leaf names, made on the day of the last leaf (C{last}, epoch seconds) or later.

    Older ones cannot come from the crash of a broker; L{hoopd.audit.verify} reports those.

    @return: their paths below C{root}.
    """
    day = datetime.fromtimestamp(max(0.0, last - 86400), UTC).strftime("%Y/%m/%d")
    found = []
    for path in sorted(root.glob(f"[0-9][0-9][0-9][0-9]/[0-9][0-9]/[0-9][0-9]/*{suffix}")):
        relative = str(path.relative_to(root))
        if relative not in known and relative[: len(day)] >= day:
            found.append(relative)
    return found
