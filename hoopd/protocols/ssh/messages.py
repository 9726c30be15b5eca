"""The connection protocol's messages: payloads to values and back; not what they do (L{hoopd.protocols.ssh.session}).

Pure. Specification: RFC 4254, with OpenSSH's extensions where they are named. Channel numbers, windows and sizes are
unsigned 32-bit integers; text is bytes as it came.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError

from attrs import frozen

from hoopd.errors import PeerError

#: the transport's: whoever gets it does nothing
IGNORE = 2

GLOBAL_REQUEST = 80
REQUEST_SUCCESS = 81
REQUEST_FAILURE = 82
OPEN = 90
OPEN_CONFIRMATION = 91
OPEN_FAILURE = 92
WINDOW_ADJUST = 93
DATA = 94
EXTENDED_DATA = 95
EOF = 96
CLOSE = 97
REQUEST = 98
SUCCESS = 99
FAILURE = 100

#: SSH_EXTENDED_DATA_STDERR (section 5.2): the only stream beside the first
STDERR = 1

#: reasons of section 5.1
PROHIBITED = 1
UNKNOWN_TYPE = 3
RESOURCE_SHORTAGE = 4

#: no name that we know is longer
NAME_MAX = 64

_ONE = Struct(">I")
_TWO = Struct(">II")
_THREE = Struct(">III")
_FOUR = Struct(">IIII")


class Reader:
    """Reads one payload from its start. Every method raises L{PeerError} where the bytes end too early."""

    def __init__(self, payload: bytes, at: int = 0) -> None:
        self.payload = payload
        self.at = at

    def _take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.payload):
            raise PeerError("a message ends too early")
        taken, self.at = self.payload[self.at : end], end
        return taken

    def number(self) -> int:
        """An unsigned 32-bit integer."""
        value: int = _ONE.unpack(self._take(4))[0]
        return value

    def flag(self) -> bool:
        """RFC 4251 section 5: every value but 0 is true."""
        return self._take(1) != b"\0"

    def string(self) -> bytes:
        """A length and as many bytes."""
        return self._take(self.number())

    def name(self) -> str:
        """A name of printable US-ASCII (RFC 4251 section 6)."""
        raw = self.string()
        if not 0 < len(raw) <= NAME_MAX or not raw.isascii() or not all(0x20 < octet < 0x7F for octet in raw):
            raise PeerError("a name that is none")
        return raw.decode("ascii")

    def rest(self) -> bytes:
        """What has not been read yet."""
        taken, self.at = self.payload[self.at :], len(self.payload)
        return taken

    def end(self) -> None:
        """Nothing follows."""
        if self.at != len(self.payload):
            raise PeerError("a message with bytes left over")


def string(value: bytes) -> bytes:
    """The wire form of a string."""
    return _ONE.pack(len(value)) + value


def number(value: int) -> bytes:
    """The wire form of an unsigned 32-bit integer."""
    return _ONE.pack(value)


def flag(value: bool) -> bytes:
    """The wire form of a truth."""
    return b"\1" if value else b"\0"


@frozen
class Open:
    """CHANNEL_OPEN. @ivar details: what follows by its type, not read yet"""

    kind: str
    sender: int
    window: int
    packet: int
    details: bytes

    @classmethod
    def read(cls, payload: bytes) -> Open:
        reader = Reader(payload)
        return cls(reader.name(), reader.number(), reader.number(), reader.number(), reader.rest())

    def encode(self) -> bytes:
        return string(self.kind.encode()) + _THREE.pack(self.sender, self.window, self.packet) + self.details


@frozen
class Confirmation:
    """CHANNEL_OPEN_CONFIRMATION."""

    recipient: int
    sender: int
    window: int
    packet: int
    details: bytes = b""

    @classmethod
    def read(cls, payload: bytes) -> Confirmation:
        reader = Reader(payload)
        return cls(reader.number(), reader.number(), reader.number(), reader.number(), reader.rest())

    def encode(self) -> bytes:
        return _FOUR.pack(self.recipient, self.sender, self.window, self.packet) + self.details


@frozen
class ChannelRequest:
    """CHANNEL_REQUEST."""

    recipient: int
    kind: str
    want_reply: bool
    details: bytes

    @classmethod
    def read(cls, payload: bytes) -> ChannelRequest:
        reader = Reader(payload)
        return cls(reader.number(), reader.name(), reader.flag(), reader.rest())

    def encode(self) -> bytes:
        return _ONE.pack(self.recipient) + string(self.kind.encode()) + flag(self.want_reply) + self.details


@frozen
class GlobalRequest:
    """GLOBAL_REQUEST."""

    kind: str
    want_reply: bool
    details: bytes

    @classmethod
    def read(cls, payload: bytes) -> GlobalRequest:
        reader = Reader(payload)
        return cls(reader.name(), reader.flag(), reader.rest())

    def encode(self) -> bytes:
        return string(self.kind.encode()) + flag(self.want_reply) + self.details


def open_failure(recipient: int, reason: int, text: str) -> bytes:
    """The payload of CHANNEL_OPEN_FAILURE."""
    return _TWO.pack(recipient, reason) + string(text.encode("utf-8", "replace")) + string(b"en")


def read_open_failure(payload: bytes) -> tuple[int, int, str]:
    """@return: recipient, reason, text"""
    reader = Reader(payload)
    return reader.number(), reader.number(), reader.string().decode("utf-8", "replace")


def window_adjust(recipient: int, more: int) -> bytes:
    """The payload of CHANNEL_WINDOW_ADJUST."""
    return _TWO.pack(recipient, more)


def read_window_adjust(payload: bytes) -> tuple[int, int]:
    """@return: recipient, bytes more"""
    reader = Reader(payload)
    recipient, more = reader.number(), reader.number()
    reader.end()
    return recipient, more


def data(recipient: int, stream: int, octets: bytes) -> tuple[int, bytes]:
    """@param stream: 0, or L{STDERR}. @return: the message's number and payload"""
    if stream:
        return EXTENDED_DATA, _THREE.pack(recipient, stream, len(octets)) + octets
    return DATA, _TWO.pack(recipient, len(octets)) + octets


def read_data(kind: int, payload: bytes) -> tuple[int, int, bytes]:
    """@return: recipient, stream, octets"""
    # not by a Reader: every message but a few is one of these
    stream = 0
    try:
        if kind == EXTENDED_DATA:
            recipient, stream, size = _THREE.unpack_from(payload)
            octets = payload[_THREE.size :]
        else:
            recipient, size = _TWO.unpack_from(payload)
            octets = payload[_TWO.size :]
    except StructError:
        raise PeerError("a message ends too early") from None
    if stream not in (0, STDERR):
        raise PeerError("extended data of an unknown kind")
    if size != len(octets):
        raise PeerError("a message ends too early" if size > len(octets) else "a message with bytes left over")
    return recipient, stream, octets


def read_recipient(payload: bytes) -> int:
    """Of messages that say nothing else."""
    reader = Reader(payload)
    recipient = reader.number()
    reader.end()
    return recipient
