"""AMP argument types for our values: inline while small, as a sealed memory file when large.

An AMP value ends at 64 KiB (twisted.protocols.amp). The first byte says which form follows: C{=} the JSON itself,
C{@} the ordinal of a descriptor sent along (L{twisted.protocols.amp.Descriptor}).
"""

from __future__ import annotations

import os
from typing import Any

from twisted.protocols import amp

from hoopd.ipc import memfd, wire

#: half of what an AMP value may hold: a box with two large values still fits the socket's buffer
INLINE_MAX = 32 * 1024


class Document(amp.Argument):
    """Bytes of any size up to L{memfd.PAYLOAD_MAX}."""

    def toStringProto(self, inObject: bytes, proto: Any) -> bytes:
        if len(inObject) <= INLINE_MAX:
            return b"=" + inObject
        if len(inObject) > memfd.PAYLOAD_MAX:
            raise ValueError(f"larger than {memfd.PAYLOAD_MAX} bytes: does not travel between processes")
        fd = memfd.write("hoopd-ipc", inObject)
        try:
            ordinal = proto._sendFileDescriptor(fd)
        finally:
            os.close(fd)  # the channel queued a duplicate
        return b"@%d" % ordinal

    def fromStringProto(self, inString: bytes, proto: Any) -> bytes:
        form, content = inString[:1], inString[1:]
        if form == b"=":
            return content
        if form != b"@" or not content.isdigit():
            raise wire.WireError("neither an inline value nor a descriptor")
        try:
            fd = proto._getDescriptor(int(content))
        except KeyError:
            raise wire.WireError("a descriptor that never came") from None
        try:
            proto.take(os.fstat(fd).st_size)
            return memfd.read(fd)
        finally:
            os.close(fd)


class Given(amp.Descriptor):
    """A descriptor that belongs to the receiver from now on: the sender's own is closed as soon as it is queued."""

    def toStringProto(self, inObject: int, proto: Any) -> bytes:
        try:
            return bytes(super().toStringProto(inObject, proto))
        finally:
            os.close(inObject)


class Value(Document):
    """A value of L{hoopd.values}, or of plain types, as typed JSON.

    @param kind: the type to read, as an annotation.
    """

    def __init__(self, kind: Any, optional: bool = False) -> None:
        super().__init__(optional)
        self.kind = kind

    def toStringProto(self, inObject: Any, proto: Any) -> bytes:
        return super().toStringProto(wire.encode(inObject), proto)

    def fromStringProto(self, inString: bytes, proto: Any) -> Any:
        return wire.decode(super().fromStringProto(inString, proto), self.kind)
