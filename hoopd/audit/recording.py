"""The recording's format: frames to bytes and back; not files, not sealing, not what the frames mean.

Specified in docs/record.md, section 1. A file is a header and frames, each with its own length, sequence number,
times and checksum, so that a reader knows a whole frame from a torn one without asking anybody. A payload larger
than one frame is continued in the next ones; nothing is cut. Integers are big-endian, times microseconds.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from attrs import frozen

from hoopd.audit.events import FRAME_KINDS, frame_code
from hoopd.errors import HoopdError, RecordError

MAGIC = b"HOOPDREC"
VERSION = 1

_HEAD = struct.Struct(">8sHH")
_FRAME = struct.Struct(">IQQQBBH")
_CRC = struct.Struct(">I")

#: what each frame adds to its payload
OVERHEAD = _FRAME.size + _CRC.size
#: Payload of one frame. A tail reader holds at most one partial frame a session: 1,000 sessions cost 256 MiB at the
#: very worst, and next to nothing with ordinary statements.
PAYLOAD_MAX = 256 * 1024
FRAME_MAX = PAYLOAD_MAX + OVERHEAD
#: Largest entry over all its frames: the largest message (16 MiB) with every byte written as \u00xx is 96 MiB.
ENTRY_MAX = 128 * 1024 * 1024
#: session ids are short; a header that claims more is not ours
SESSION_MAX = 255

#: flag of a frame whose payload goes on in the next one
MORE = 1
#: Stands before a frame of kind "torn". No payload contains it: JSON is UTF-8, where 0xff does not occur.
TORN_MARK = b"\xff\xfe<torn tail>\xfe\xff\n"

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


class RecordingError(HoopdError):
    """Bytes that are no recording, or no longer the one that was written.

    @ivar offset: where, in bytes from the beginning of the file.
    """

    def __init__(self, problem: str, offset: int) -> None:
        super().__init__(f"{problem} at byte {offset}")
        self.problem = problem
        self.offset = offset


@frozen
class Frame:
    """One frame as it lies in the file. C{wall} is microseconds since the epoch, C{monotonic} since the writer began."""

    offset: int
    size: int
    sequence: int
    wall: int
    monotonic: int
    code: int
    more: bool
    payload: bytes

    @property
    def end(self) -> int:
        return self.offset + self.size


@frozen
class Entry:
    """One record: the frames of a continued payload together.

    @ivar at: seconds since the epoch. @ivar since: seconds since the writer began.
    @ivar kind: of L{hoopd.audit.events.FRAMES}, or C{"unknown-<code>"} from a newer writer.
    @ivar complete: False where the frames of the rest are missing; C{fields} is empty then.
    """

    sequence: int
    at: float
    since: float
    kind: str
    fields: Mapping[str, Any]
    complete: bool = True


@frozen
class Torn:
    """A part of a frame that could not be written, with the mark that says so."""

    offset: int
    bytes: int
    mark: Frame


def file_header(session: str) -> bytes:
    """The first bytes of a recording."""
    name = session.encode()
    if not 0 < len(name) <= SESSION_MAX:
        raise ValueError(f"session id of {len(name)} bytes")
    head = _HEAD.pack(MAGIC, VERSION, len(name)) + name
    return head + _CRC.pack(zlib.crc32(head))


def parse_header(head: bytes) -> tuple[str, int] | None:
    """
    @return: session id and size of the header, or None while bytes are missing.
    @raise RecordingError: not a recording, or of another version.
    """
    if head[: len(MAGIC)] != MAGIC[: len(head)]:
        raise RecordingError("this is no hoopd recording", 0)
    if len(head) < _HEAD.size:
        return None
    _, version, length = _HEAD.unpack_from(head)
    if version != VERSION:
        raise RecordingError(f"recording of version {version}, not {VERSION}", len(MAGIC))
    if not 0 < length <= SESSION_MAX:
        raise RecordingError(f"session id of {length} bytes", len(MAGIC) + 2)
    end = _HEAD.size + length
    if len(head) < end + _CRC.size:
        return None
    if _CRC.unpack_from(head, end)[0] != zlib.crc32(head[:end]):
        raise RecordingError("damaged header", 0)
    return head[_HEAD.size : end].decode(), end + _CRC.size


def encode_payload(fields: Mapping[str, Any]) -> bytes:
    """@raise TypeError: a field has no JSON form (a L{hoopd.secret.Secret}, say)."""
    try:
        return _encoder.encode(fields)
    except UnicodeEncodeError:
        # half a surrogate pair has no UTF-8 form: written as the six characters \udc80 rather than refused
        return _encoder.encode(_without_surrogates(fields))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_without_surrogates(key): _without_surrogates(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_surrogates(each) for each in value]
    return value


def encode(sequence: int, wall: int, monotonic: int, kind: str, fields: Mapping[str, Any]) -> tuple[bytes, int]:
    """One entry as bytes.

    @param sequence: of its first frame.
    @return: the bytes of its frames, and how many these are.
    @raise hoopd.errors.RecordError: larger than L{ENTRY_MAX}.
    """
    code = frame_code(kind)
    payload = encode_payload(fields)
    length = len(payload)
    if length <= PAYLOAD_MAX:
        body = _FRAME.pack(length, sequence, wall, monotonic, code, 0, 0) + payload
        return body + _CRC.pack(zlib.crc32(body)), 1
    if length > ENTRY_MAX:
        raise RecordError(f"a record of {length} bytes is larger than {ENTRY_MAX}")
    parts: list[bytes] = []
    count = 0
    for start in range(0, length, PAYLOAD_MAX):
        piece = payload[start : start + PAYLOAD_MAX]
        flags = MORE if start + PAYLOAD_MAX < length else 0
        body = _FRAME.pack(len(piece), sequence + count, wall, monotonic, code, flags, 0) + piece
        parts += (body, _CRC.pack(zlib.crc32(body)))
        count += 1
    return b"".join(parts), count


def frame_sizes(encoded: bytes) -> Iterator[int]:
    """Sizes of the frames that L{encode} made, to tell which of them a short write took whole."""
    at = 0
    while at < len(encoded):
        size = int(_FRAME.unpack_from(encoded, at)[0]) + OVERHEAD
        yield size
        at += size


def torn_mark(sequence: int, wall: int, monotonic: int, offset: int, count: int) -> bytes:
    """What is appended after C{count} bytes of a torn frame that begins at C{offset}."""
    frame, _ = encode(sequence, wall, monotonic, "torn", {"offset": offset, "bytes": count})
    return TORN_MARK + frame


def parse(buffer: bytes | bytearray | memoryview, at: int, base: int) -> Frame | None:
    """
    @param at: where in C{buffer} the frame begins; C{base} is the file offset of the buffer's first byte.
    @return: the frame, or None while bytes of it are missing.
    @raise RecordingError: these bytes are no frame, whatever follows.
    """
    available = len(buffer) - at
    if available < _FRAME.size:
        return None
    length, sequence, wall, monotonic, code, flags, reserved = _FRAME.unpack_from(buffer, at)
    if length > PAYLOAD_MAX or flags & ~MORE or reserved or not code:
        raise RecordingError("no frame", base + at)
    size = length + OVERHEAD
    if available < size:
        return None
    end = at + size - _CRC.size
    with memoryview(buffer) as view:
        whole = bytes(view[at:end])
    if _CRC.unpack_from(buffer, end)[0] != zlib.crc32(whole):
        raise RecordingError("checksum of a frame does not hold", base + at)
    payload = whole[_FRAME.size :]
    return Frame(base + at, size, sequence, wall, monotonic, code, bool(flags & MORE), payload)


def find_torn(buffer: bytes | bytearray, at: int, base: int) -> Torn | None:
    """Look whether the bytes from C{at} are a torn frame with its mark, C{buffer} and C{base} as in L{parse}.

    Only a mark that names exactly this offset and its own counts, so that nothing else can pass as torn.
    """
    start = base + at
    found = buffer.find(TORN_MARK, at)
    while found != -1:
        try:
            mark = parse(buffer, found + len(TORN_MARK), base)
        except RecordingError:
            mark = None
        if mark is not None and FRAME_KINDS.get(mark.code) == "torn":
            said = _decoder.decode(mark.payload)
            if isinstance(said, dict) and said.get("offset") == start and said.get("bytes") == base + found - start:
                return Torn(start, base + found - start, mark)
        found = buffer.find(TORN_MARK, found + 1)
    return None


class FrameReader:
    """Bytes in, frames out, in any split; holds one partial frame.

    @ivar session: once the header is read.
    @ivar next_offset: file offset after the last whole frame (the header, before the first one).
    @ivar next_sequence: what the next frame must carry.
    @ivar torn: torn tails that were marked as such.
    @ivar suspect: why what is pending looks wrong, while a mark of a torn tail may still explain it, or None.
    @ivar problem: why reading stopped for good, or None. What follows is not read: without a frame's length nothing
        can be said of what comes after it.
    """

    def __init__(self) -> None:
        self.session: str | None = None
        self.next_offset = 0
        self.next_sequence = 0
        self.torn: list[Torn] = []
        self.problem: RecordingError | None = None
        self._buffer = bytearray()
        self.suspect: RecordingError | None = None

    @property
    def pending(self) -> int:
        """Bytes after the last whole frame."""
        return len(self._buffer)

    def feed(self, piece: bytes) -> list[Frame]:
        """@return: the frames that are whole now. Sets L{problem} instead of raising."""
        if self.problem is not None:
            return []
        self._buffer += piece
        frames: list[Frame] = []
        base = self.next_offset
        try:
            if self.session is None:
                head = parse_header(bytes(self._buffer[: _HEAD.size + SESSION_MAX + _CRC.size]))
                if head is None:
                    return []
                self.session, self.next_offset = head
            self._take(frames, base)
        except RecordingError as problem:
            self.problem = problem
        del self._buffer[: self.next_offset - base]
        return frames

    def _take(self, frames: list[Frame], base: int) -> None:
        """Read whole frames from the buffer, whose first byte is C{base} of the file, and advance L{next_offset}."""
        buffer = self._buffer
        while True:
            at = self.next_offset - base
            if at == len(buffer):
                return
            frame = self._frame(buffer, at, base)
            if frame is None:
                return
            if frame.sequence != self.next_sequence:
                raise RecordingError(f"frame {frame.sequence} stands where {self.next_sequence} belongs", frame.offset)
            self.next_sequence += 1
            self.next_offset = frame.end
            frames.append(frame)

    def _frame(self, buffer: bytearray, at: int, base: int) -> Frame | None:
        """The next frame, be it the mark of a torn one; None while it cannot be told."""
        try:
            self.suspect = None
            frame = parse(buffer, at, base)
            if frame is not None:
                return frame
        except RecordingError as problem:
            self.suspect = problem
        torn = find_torn(buffer, at, base)
        if torn is not None:
            self.suspect = None
            self.torn.append(torn)
            return torn.mark
        if self.suspect is not None and len(buffer) - at > 2 * FRAME_MAX:
            # a mark would have come by now: before it stand a torn part, smaller than a frame, and failed marks
            raise self.suspect
        return None

    def finish(self) -> RecordingError | None:
        """No more bytes will come. @return: what is wrong, or None. A partial tail without mark is wrong."""
        if self.problem is None and self._buffer:
            self.problem = self.suspect or RecordingError(
                f"torn tail of {len(self._buffer)} bytes, not marked", self.next_offset
            )
        return self.problem


def entries(frames: Iterable[Frame]) -> Iterator[Entry]:
    """Join continued frames and read their payloads.

    @raise RecordingError: a payload with a good checksum is no JSON object.
    """
    parts: list[Frame] = []
    for frame in frames:
        if parts and frame.code != parts[0].code:
            yield _incomplete(parts)
            parts = []
        parts.append(frame)
        if not frame.more:
            yield _joined(parts)
            parts = []
    if parts:
        yield _incomplete(parts)


def _joined(parts: list[Frame]) -> Entry:
    first = parts[0]
    payload = first.payload if len(parts) == 1 else b"".join(part.payload for part in parts)
    try:
        fields = _decoder.decode(payload)
    except msgspec.DecodeError:
        fields = None
    if not isinstance(fields, dict):
        raise RecordingError("the payload of a frame is no JSON object", first.offset)
    return Entry(first.sequence, first.wall / 1e6, first.monotonic / 1e6, _kind(first), fields)


def _incomplete(parts: list[Frame]) -> Entry:
    first = parts[0]
    return Entry(first.sequence, first.wall / 1e6, first.monotonic / 1e6, _kind(first), {}, complete=False)


def _kind(frame: Frame) -> str:
    return FRAME_KINDS.get(frame.code) or f"unknown-{frame.code}"
