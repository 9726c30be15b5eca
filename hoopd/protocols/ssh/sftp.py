"""SFTP's packets: octets to packets, requests to values, and the few answers that are of the gateway's own; pure.

Not what they do (L{hoopd.protocols.ssh.sftp_passage}). Specification: draft-ietf-secsh-filexfer-02, which is version 3 of the
protocol; OpenSSH's PROTOCOL, section 4, for the extensions and for the order of SYMLINK's paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

from attrs import frozen

from hoopd.errors import PeerError
from hoopd.protocols.ssh.messages import Reader, number, string

VERSION_SPOKEN = 3

INIT, VERSION = 1, 2
OPEN, CLOSE, READ, WRITE = 3, 4, 5, 6
LSTAT, FSTAT, SETSTAT, FSETSTAT = 7, 8, 9, 10
OPENDIR, READDIR, REMOVE, MKDIR, RMDIR = 11, 12, 13, 14, 15
REALPATH, STAT, RENAME, READLINK, SYMLINK = 16, 17, 18, 19, 20
STATUS, HANDLE, DATA, NAME, ATTRS = 101, 102, 103, 104, 105
EXTENDED, EXTENDED_REPLY = 200, 201

#: codes of STATUS (section 7)
OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, BAD_MESSAGE, OP_UNSUPPORTED = 0, 1, 2, 3, 4, 5, 8

#: flags of OPEN (section 6.3)
FOR_READING, FOR_WRITING, APPEND, CREATE, TRUNCATE, EXCLUSIVE = 1, 2, 4, 8, 16, 32

#: OpenSSH takes packets of 256 KiB; others put so much into one and their own few octets before it
PACKET_MAX = 256 * 1024 + 1024
#: section 6.2
HANDLE_MAX = 256
#: Linux's PATH_MAX
PATH_MAX = 4096

#: extensions that are understood, with their versions; others are neither announced nor forwarded
EXTENSIONS: Mapping[bytes, bytes] = {
    b"posix-rename@openssh.com": b"1",
    b"statvfs@openssh.com": b"2",
    b"fstatvfs@openssh.com": b"2",
    b"hardlink@openssh.com": b"1",
    b"fsync@openssh.com": b"1",
    b"lsetstat@openssh.com": b"1",
    b"limits@openssh.com": b"1",
    b"expand-path@openssh.com": b"1",
    b"copy-data": b"1",
    b"home-directory": b"1",
    b"users-groups-by-id@openssh.com": b"1",
}

#: what a request of a kind may be answered with, beside STATUS
ANSWERS: Mapping[int | bytes, int] = {
    OPEN: HANDLE,
    OPENDIR: HANDLE,
    READ: DATA,
    READDIR: NAME,
    REALPATH: NAME,
    READLINK: NAME,
    LSTAT: ATTRS,
    STAT: ATTRS,
    FSTAT: ATTRS,
    b"statvfs@openssh.com": EXTENDED_REPLY,
    b"fstatvfs@openssh.com": EXTENDED_REPLY,
    b"limits@openssh.com": EXTENDED_REPLY,
    b"expand-path@openssh.com": NAME,
    b"home-directory": NAME,
    b"users-groups-by-id@openssh.com": EXTENDED_REPLY,
}

_HEAD = Struct(">IBI")

_SIZE, _OWNER, _MODE, _TIMES, _MORE = 1, 2, 4, 8, 0x80000000
#: of a file's attributes that a client may name itself; nobody does
_MORE_MAX = 64

_FILE_TYPE, _REGULAR, _LINK = 0o170000, 0o100000, 0o120000


class Packets:
    """Cuts a stream into packets, each with its length before it."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, octets: bytes) -> None:
        self._buffer += octets

    def next(self) -> bytes | None:
        """@return: the next whole packet, or None yet. @raise PeerError: its length is none"""
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        length = int.from_bytes(buffer[:4], "big")
        if not 1 <= length <= PACKET_MAX:
            raise PeerError("an SFTP packet of a length that is none")
        if len(buffer) < 4 + length:
            return None
        with memoryview(buffer) as view:
            packet = bytes(view[: 4 + length])
        del buffer[: 4 + length]
        return packet


def head(packet: bytes) -> tuple[int, int]:
    """@return: kind and id. @raise PeerError: it is too short to have one"""
    if len(packet) < 9:
        raise PeerError("an SFTP packet that ends too early")
    _, kind, id = _HEAD.unpack_from(packet)
    return kind, id


def body(packet: bytes) -> Reader:
    """What is behind the id."""
    return Reader(packet, 9)


def packet(kind: int, id: int, content: bytes = b"") -> bytes:
    return _HEAD.pack(5 + len(content), kind, id) + content


def status(id: int, code: int, said: str) -> bytes:
    """STATUS, as the gateway answers."""
    return packet(STATUS, id, number(code) + string(said.encode("utf-8", "replace")) + string(b"en"))


def long(reader: Reader) -> int:
    """An unsigned 64-bit integer."""
    return reader.number() << 32 | reader.number()


# -- the beginning -----------------------------------------------------------------------------------------------


def init(packet: bytes) -> bytes:
    """The client's INIT as it goes on: version 3, whatever more it could speak. @raise PeerError: it is none, or too old"""
    if len(packet) < 9 or packet[4] != INIT:
        raise PeerError("SFTP that does not begin with INIT")
    if Reader(packet, 5).number() < VERSION_SPOKEN:
        raise PeerError("SFTP of a version before 3")
    return number(5) + bytes((INIT,)) + number(VERSION_SPOKEN)


def version(packet: bytes) -> bytes:
    """The target's VERSION as it goes on, without extensions that are not understood. @raise PeerError"""
    if len(packet) < 9 or packet[4] != VERSION:
        raise PeerError("SFTP that does not begin with VERSION")
    reader = Reader(packet, 5)
    if reader.number() != VERSION_SPOKEN:
        raise PeerError("SFTP of another version than 3")
    content = bytes((VERSION,)) + number(VERSION_SPOKEN)
    while reader.at < len(packet):
        name, said = reader.string(), reader.string()
        if EXTENSIONS.get(name) == said:
            content += string(name) + string(said)
    return number(len(content)) + content


# -- what requests say -------------------------------------------------------------------------------------------


@frozen
class Attributes:
    """Those that are said; None where one is not."""

    size: int | None = None
    owner: tuple[int, int] | None = None
    mode: int | None = None
    times: tuple[int, int] | None = None

    @property
    def tree(self) -> bool:
        """It may be a directory."""
        return self.mode is None or (self.mode & _FILE_TYPE) not in (_REGULAR, _LINK)

    @property
    def text(self) -> str:
        said = []
        if self.mode is not None:
            said.append(f"mode {self.mode & 0o7777:04o}")
        if self.owner is not None:
            said.append("owner {}:{}".format(*self.owner))
        if self.size is not None:
            said.append(f"size {self.size}")
        if self.times is not None:
            said.append("times")
        return ", ".join(said)


def attributes(reader: Reader) -> Attributes:
    """ATTRS (section 5). @raise PeerError"""
    flags = reader.number()
    if flags & ~(_SIZE | _OWNER | _MODE | _TIMES | _MORE):
        raise PeerError("attributes that SFTP 3 does not have")
    made = Attributes(
        long(reader) if flags & _SIZE else None,
        (reader.number(), reader.number()) if flags & _OWNER else None,
        reader.number() if flags & _MODE else None,
        (reader.number(), reader.number()) if flags & _TIMES else None,
    )
    if flags & _MORE:
        count = reader.number()
        if count > _MORE_MAX:
            raise PeerError("too many attributes")
        for _ in range(2 * count):
            reader.string()
    return made


def read_request(packet: bytes) -> tuple[bytes, int, int]:
    """@return: handle, offset, length of READ"""
    reader = body(packet)
    found = reader.string(), long(reader), reader.number()
    reader.end()
    return found


def write_request(packet: bytes) -> tuple[bytes, int, memoryview]:
    """@return: handle, offset, octets of WRITE"""
    reader = body(packet)
    handle, offset, length = reader.string(), long(reader), reader.number()
    if reader.at + length != len(packet):
        raise PeerError("an SFTP write of another length than it says")
    return handle, offset, memoryview(packet)[reader.at :]


# -- what answers say --------------------------------------------------------------------------------------------


def data(packet: bytes) -> memoryview:
    """The octets of DATA."""
    length = body(packet).number()
    if 13 + length != len(packet):
        raise PeerError("SFTP data of another length than it says")
    return memoryview(packet)[13:]


def status_code(packet: bytes) -> int:
    """Of STATUS; servers of before leave out the words."""
    return body(packet).number()


def handle(packet: bytes) -> bytes:
    """Of HANDLE."""
    reader = body(packet)
    found = reader.string()
    reader.end()
    if not 0 < len(found) <= HANDLE_MAX:
        raise PeerError("an SFTP handle of a length that is none")
    return found


def names(packet: bytes) -> list[bytes]:
    """The file names of NAME, read to its end."""
    reader = body(packet)
    found = []
    for _ in range(reader.number()):
        found.append(reader.string())
        reader.string()
        attributes(reader)
    reader.end()
    return found
