"""Framing of PostgreSQL's protocol 3.0 and 3.2: where messages begin and end, and how fields are read.

Not the meaning of messages (L{hoopd.protocols.postgres.frontend}, L{hoopd.protocols.postgres.backend}) and no
I/O. Specification: PostgreSQL documentation, chapter "Frontend/Backend Protocol", section "Message Formats".
"""

from __future__ import annotations

from struct import Struct

from hoopd.errors import PeerError

INT16 = Struct(">H")
INT32 = Struct(">I")
SIGNED32 = Struct(">i")
HEADER = Struct(">cI")

#: type byte and length; the length counts itself but not the type
HEADER_SIZE = 5

#: the server allocates at most 1 GiB - 1 for one message (MaxAllocSize); nothing true is longer
MESSAGE_CEILING = 0x3FFFFFFF

#: a Sync, Flush or Terminate carries nothing, a Describe two names at most (NAMEDATALEN is 64, drivers' own
#: names are short): small types must be small, so that a length alone never makes us wait for megabytes
SMALL = 16 * 1024


class Framer:
    """Keeps the incomplete tail between chunks without ever rebuilding a growing buffer.

    The reader loops over whole messages in what L{take} returned and hands the rest back with L{keep}; chunks
    that do not complete the kept message are only appended to a list, and joined once.
    """

    __slots__ = ("_needed", "_parts", "_size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._needed = 0

    @property
    def kept(self) -> int:
        """Bytes held."""
        return self._size

    def take(self, chunk: bytes) -> bytes:
        """@return: bytes that begin at a message border; empty while the kept message is still incomplete."""
        if not self._parts:
            return chunk
        self._parts.append(chunk)
        self._size += len(chunk)
        if self._size < self._needed:
            return b""
        joined = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return joined

    def keep(self, buffer: bytes, at: int, needed: int = HEADER_SIZE) -> None:
        """Hold C{buffer[at:]}, which begins a message of which C{needed} bytes must be there to go on."""
        rest = buffer[at:] if at else buffer
        if rest:
            self._parts.append(rest)
            self._size = len(rest)
            self._needed = needed


def message(kind: bytes, payload: bytes = b"") -> bytes:
    """@return: one whole message."""
    return HEADER.pack(kind, len(payload) + 4) + payload


class Fields:
    """Reads one message's payload field by field; every short read is the peer's fault.

    @param what: the message's name, for the error.
    """

    __slots__ = ("_at", "_end", "_payload", "_what")

    def __init__(self, payload: bytes, what: str) -> None:
        self._payload = payload
        self._at = 0
        self._end = len(payload)
        self._what = what

    def _short(self) -> PeerError:
        return PeerError(f"malformed {self._what} message")

    def string(self) -> bytes:
        """A NUL-terminated string, without its NUL."""
        end = self._payload.find(b"\0", self._at)
        if end < 0:
            raise self._short()
        value = self._payload[self._at : end]
        self._at = end + 1
        return value

    def byte(self) -> bytes:
        """One byte."""
        return self.take(1)

    def take(self, count: int) -> bytes:
        """Exactly C{count} bytes."""
        end = self._at + count
        if count < 0 or end > self._end:
            raise self._short()
        value = self._payload[self._at : end]
        self._at = end
        return value

    def int16(self) -> int:
        """An unsigned 16-bit number."""
        return int(INT16.unpack(self.take(2))[0])

    def int32(self) -> int:
        """An unsigned 32-bit number."""
        return int(INT32.unpack(self.take(4))[0])

    def value(self) -> bytes | None:
        """A length-prefixed value; length -1 is NULL."""
        length = SIGNED32.unpack(self.take(4))[0]
        if length == -1:
            return None
        return self.take(length)

    def rest(self) -> bytes:
        """What is left."""
        value = self._payload[self._at :]
        self._at = self._end
        return value

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return self._end - self._at

    def done(self) -> None:
        """Nothing may be left."""
        if self._at != self._end:
            raise self._short()
