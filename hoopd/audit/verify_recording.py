"""One recording against what the ledger says of it; part of L{hoopd.audit.verify}."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from attrs import Factory, define

from hoopd.audit.recording import Entry, Frame, FrameReader, RecordingError, entries
from hoopd.audit.seals import Sealed, Segment

_PIECE = 1024 * 1024


@define
class Examined:
    """What was found in one recording."""

    failures: list[str] = Factory(list)
    exposures: list[str] = Factory(list)
    notes: list[str] = Factory(list)
    segments: int = 0
    frames: int = 0
    bytes: int = 0


class _Walk:
    """Reads a recording once: every segment's hash, the whole file's, every frame."""

    def __init__(self, file: BinaryIO, sealed: Sealed, claimed: set[str], found: Examined) -> None:
        self.file = file
        self.sealed = sealed
        self.claimed = claimed
        self.found = found
        self.reader = FrameReader()
        self.whole = hashlib.sha256()
        self._parts: list[Frame] = []

    def _take(self, piece: bytes) -> None:
        self.whole.update(piece)
        self.found.bytes += len(piece)
        frames = self.reader.feed(piece)
        self.found.frames += len(frames)
        for frame in frames:
            if self._parts and frame.code != self._parts[0].code:
                self._parts = []
            self._parts.append(frame)
            if not frame.more:
                for entry in entries(self._parts):
                    self._entry(entry, self._parts[0].offset)
                self._parts = []

    def _entry(self, entry: Entry, offset: int) -> None:
        if entry.sequence == 0 and (entry.kind != "open" or entry.fields.get("session") != self.sealed.session):
            self.found.failures.append("its first frame does not open this session")
        approval = entry.fields.get("approval") if entry.kind == "operation" else None
        if approval and str(approval) not in self.claimed:
            said = (
                f"frame {entry.sequence} runs an operation under {approval}, which the ledger does not have as claimed"
            )
            # the claim's leaf is older than the frame, and the frame older than its seal; what is not sealed may be
            # newer than the copy of the ledger
            sealed = offset < self.sealed.end or self.sealed.closed is not None
            (self.found.failures if sealed else self.found.exposures).append(said)

    def segment(self, segment: Segment) -> None:
        hashed = hashlib.sha256()
        left = segment.length
        before = self.reader.next_sequence
        while left:
            piece = self.file.read(min(_PIECE, left))
            if not piece:
                break
            left -= len(piece)
            hashed.update(piece)
            self._take(piece)
        if left:
            self.found.failures.append(
                f"{left} bytes of segment {segment.number} (from byte {segment.offset}) are missing: it was cut"
            )
        elif hashed.hexdigest() != segment.sha256:
            self.found.failures.append(
                f"segment {segment.number} (bytes {segment.offset} to {segment.end}) was changed after it was sealed"
            )
        elif self.reader.problem is None and (segment.first, segment.last) != (before, self.reader.next_sequence - 1):
            self.found.failures.append(
                f"segment {segment.number} has frames {before} to {self.reader.next_sequence - 1}, "
                f"its leaf says {segment.first} to {segment.last}"
            )
        self.found.segments += 1

    def rest(self) -> int:
        """Read what no segment covers. @return: its size"""
        size = 0
        while piece := self.file.read(_PIECE):
            size += len(piece)
            self._take(piece)
        return size


def examine(path: Path, sealed: Sealed, claimed: set[str]) -> Examined:
    """
    @param claimed: ids of approvals that the ledger has as claimed.
    """
    found = Examined()
    for said in sealed.tampered:
        found.failures.append(f"the gateway itself noticed: {said}")
    try:
        with path.open("rb") as file:
            walk = _Walk(file, sealed, claimed, found)
            for segment in sealed.segments:
                walk.segment(segment)
            rest = walk.rest()
    except FileNotFoundError:
        found.failures.append("the file is missing")
        return found
    except OSError as error:
        found.failures.append(f"cannot be read: {error.strerror}")
        return found
    except RecordingError as error:
        found.failures.append(str(error))
        return found
    if walk.reader.session not in (sealed.session, None):
        found.failures.append(f"is the recording of {walk.reader.session}, not of {sealed.session}")
    for torn in walk.reader.torn:
        found.notes.append(f"{torn.bytes} bytes at byte {torn.offset} are a torn frame, and marked as such")
    if sealed.closed is None:
        _judge_open(walk, rest)
    else:
        _judge_closed(walk, rest)
    return found


def _judge_open(walk: _Walk, rest: int) -> None:
    """A session that was live when the copy was made: what is not sealed yet is exposed, damage is damage."""
    found, reader = walk.found, walk.reader
    if rest:
        found.exposures.append(f"{rest} bytes after byte {walk.sealed.end} are not sealed: the session was live")
    if reader.problem is not None or reader.suspect is not None:
        found.failures.append(str(reader.problem or reader.suspect))
    elif reader.pending:
        found.exposures.append(f"the last {reader.pending} bytes are a part of a frame")


def _judge_closed(walk: _Walk, rest: int) -> None:
    found, reader, closed = walk.found, walk.reader, walk.sealed.closed
    assert closed is not None
    if rest:
        found.failures.append(f"{rest} bytes follow after its last seal: they were added after the session ended")
    if found.bytes != closed.get("size"):
        found.failures.append(f"has {found.bytes} bytes, and had {closed.get('size')} when it was closed")
    elif walk.whole.hexdigest() != closed.get("sha256"):
        found.failures.append("is not the file that was closed: its hash differs")
    if closed.get("segments") != len(walk.sealed.segments):
        found.failures.append(f"has {len(walk.sealed.segments)} seals, and had {closed.get('segments')}")
    stated = int(closed.get("torn") or 0)
    if reader.pending and reader.pending == stated and reader.problem is None:
        found.notes.append(f"its last {stated} bytes are a torn frame, as the ledger says")
    else:
        problem = reader.finish()
        if problem is not None:
            found.failures.append(str(problem))
    if found.frames != closed.get("frames"):
        found.failures.append(f"has {found.frames} frames, and had {closed.get('frames')}")


def begun_after(path: Path, session: str, at: float) -> bool:
    """Whether a recording that no leaf names is one that began after C{at}, epoch seconds: a copy of a gateway that
    runs has its ledger from before."""
    reader = FrameReader()
    try:
        with path.open("rb") as file:
            frames = reader.feed(file.read(_PIECE))
        first = next(entries(frames), None)
    except (OSError, RecordingError):
        return False
    return reader.session == session and first is not None and first.kind == "open" and first.at >= at
