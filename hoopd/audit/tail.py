"""Following one recording's file: reading what was appended, hashing whole frames, noticing what changes behind us.

Plain reads on a descriptor: blocking, bounded by the caller. Not when to read, and not what is done with a seal:
L{hoopd.audit.sealing}.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

from hoopd.audit.events import FRAMES
from hoopd.audit.recording import FrameReader
from hoopd.audit.seals import Segment
from hoopd.errors import HoopdError

#: bytes of one read
PIECE = 256 * 1024


class Tampered(HoopdError):
    """The file is not what it was: bytes vanished or changed, or what came is no recording.

    @ivar what: C{"shrunk"}, C{"changed"} or C{"damaged"}. @ivar offset: where, in bytes.
    """

    def __init__(self, what: str, offset: int, detail: str) -> None:
        super().__init__(f"{what} at byte {offset}: {detail}")
        self.what = what
        self.offset = offset
        self.detail = detail


class Tail:
    """
    @param fd: open for reading; not closed here.
    @ivar sealed: file offset up to which L{take} gave segments.
    @ivar hashed: file offset after the last whole frame.
    """

    def __init__(self, fd: int, system: Any = os) -> None:
        self.fd = fd
        self.reader = FrameReader()
        self.sealed = 0
        self.hashed = 0
        self.number = 0
        self.last_code = 0
        self._system = system
        self._read = 0
        self._first = 0
        self._pending = bytearray()
        self._hash = hashlib.sha256()

    @property
    def unsealed(self) -> int:
        """Bytes of whole frames after the last segment."""
        return self.hashed - self.sealed

    @property
    def rest(self) -> int:
        """Bytes read after the last whole frame."""
        return self._read - self.hashed

    def advance(self, limit: int) -> int:
        """Read up to C{limit} new bytes. @return: how many. @raise Tampered @raise OSError"""
        size = self._system.fstat(self.fd).st_size
        if size < self._read:
            raise Tampered("shrunk", size, f"the file had {self._read} bytes and has {size}")
        piece = self._system.pread(self.fd, min(limit, size - self._read), self._read) if size > self._read else b""
        if not piece:
            return 0
        self._read += len(piece)
        self._pending += piece
        frames = self.reader.feed(piece)
        if frames:
            self.last_code = frames[-1].code
        whole = self.reader.next_offset - self.hashed
        if whole:
            self._hash.update(self._pending[:whole])
            del self._pending[:whole]
            self.hashed += whole
        problem = self.reader.problem
        if problem is not None:
            raise Tampered("damaged", problem.offset, problem.problem)
        return len(piece)

    def take(self) -> Segment | None:
        """The whole frames since the last segment as one, or None if there are none."""
        if not self.unsealed:
            return None
        return self._segment(self.hashed)

    def take_rest(self) -> Segment | None:
        """Everything that was read since the last segment, frames or not; nothing can follow."""
        self._hash.update(self._pending)
        self._pending.clear()
        self.hashed = self._read
        return self.take()

    def _segment(self, end: int) -> Segment:
        following = self.reader.next_sequence
        # a segment without a whole frame (a torn rest alone) names no frame: last is before first
        segment = Segment(
            self.number, self.sealed, end - self.sealed, self._first, following - 1, self._hash.hexdigest()
        )
        self.number += 1
        self.sealed = end
        self._first = following
        self._hash = hashlib.sha256()
        return segment

    def rebuild(self, segments: Sequence[Segment]) -> None:
        """Read a recording from its beginning, as far as it is sealed, and compare. Before L{advance}.

        @raise Tampered @raise OSError
        """
        for segment in segments:
            while self._read < segment.end:
                if not self.advance(min(PIECE, segment.end - self._read)):
                    raise Tampered("shrunk", self._read, f"segment {segment.number} goes on to byte {segment.end}")
            found = self.take_rest() if self.rest else self.take()
            if found is None or found.sha256 != segment.sha256:
                raise Tampered("changed", segment.offset, f"segment {segment.number} is not what was sealed")

    def read_all(self) -> None:
        """Read to the end of the file. @raise Tampered @raise OSError"""
        while self.advance(PIECE):
            pass

    def closed(self) -> bool:
        """Whether the last frame is the session's end."""
        return self.last_code == FRAMES["close"].code


def hash_range(fd: int, offset: int, length: int, system: Any = os) -> str:
    """SHA-256 of a range of a file, hexadecimal; shorter files hash shorter. @raise OSError"""
    hashed = hashlib.sha256()
    end = offset + length
    while offset < end:
        piece = system.pread(fd, min(PIECE, end - offset), offset)
        if not piece:
            break
        hashed.update(piece)
        offset += len(piece)
    return hashed.hexdigest()
