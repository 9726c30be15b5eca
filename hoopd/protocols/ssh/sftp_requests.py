"""SFTP's requests that name paths: what each does, which of its paths are followed, and how it is written with other ones; pure.

Specification: that of L{hoopd.protocols.ssh.sftp}.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from hoopd.protocols.ssh import sftp
from hoopd.protocols.ssh.messages import Reader, string


@frozen
class PathRequest:
    """
    @ivar action: of L{hoopd.policy.files.ACTIONS}; that of OPEN depends on its flags.
    @ivar answers: kind of its answer, beside STATUS.
    @ivar paths: how many it names.
    @ivar follows: a path that is a symbolic link means what it leads to.
    @ivar attributes: they come behind the paths.
    @ivar links: its first path is what a link says.
    @ivar moves: a directory goes with all that is in it.
    """

    action: str
    answers: int = 0
    paths: int = 1
    follows: bool = False
    attributes: bool = False
    opens: bool = False
    lists: bool = False
    links: bool = False
    moves: bool = False

    @property
    def handle(self) -> bool:
        """It is answered with a handle."""
        return self.opens or self.lists

    def encode(self, id: int, packet: bytes, paths: tuple[bytes, ...], said: Said) -> bytes:
        """The request with C{paths}. @param packet: as it came"""
        kind = packet[4]
        name = string(said.name) if kind == sftp.EXTENDED else b""
        # where a link leads to is written as its maker wrote it
        named = (said.paths[0], *paths[1:]) if self.links else paths
        return sftp.packet(kind, id, name + b"".join(map(string, named)) + said.rest)


@frozen
class Said:
    """
    @ivar name: of the extension, or nothing.
    @ivar rest: flags and attributes, as they came.
    @ivar text: the same for people.
    """

    paths: tuple[bytes, ...]
    name: bytes = b""
    rest: bytes = b""
    text: str = ""


PATHS: Mapping[int | bytes, PathRequest] = {
    sftp.OPEN: PathRequest("", sftp.HANDLE, follows=True, attributes=True, opens=True),
    sftp.OPENDIR: PathRequest("ls", sftp.HANDLE, follows=True, lists=True),
    sftp.STAT: PathRequest("stat", sftp.ATTRS, follows=True),
    sftp.LSTAT: PathRequest("stat", sftp.ATTRS),
    sftp.READLINK: PathRequest("readlink", sftp.NAME),
    sftp.SETSTAT: PathRequest("chmod", follows=True, attributes=True),
    sftp.REMOVE: PathRequest("rm"),
    sftp.RMDIR: PathRequest("rmdir"),
    sftp.MKDIR: PathRequest("mkdir", attributes=True),
    sftp.RENAME: PathRequest("rename", paths=2, moves=True),
    sftp.SYMLINK: PathRequest("symlink", paths=2, links=True),
    b"posix-rename@openssh.com": PathRequest("rename", paths=2, moves=True),
    b"hardlink@openssh.com": PathRequest("ln", paths=2),
    b"lsetstat@openssh.com": PathRequest("chmod", attributes=True),
    b"statvfs@openssh.com": PathRequest("stat", sftp.EXTENDED_REPLY, follows=True),
}


def read_paths(request: PathRequest, packet: bytes) -> Said | str:
    """What a request says; a text why it is not forwarded. @raise PeerError: it is no such request"""
    reader = sftp.body(packet)
    name = reader.string() if packet[4] == sftp.EXTENDED else b""
    paths = tuple(reader.string() for _ in range(request.paths))
    at = reader.at
    if request.opens:
        reader.number()
    said = sftp.attributes(reader).text if request.attributes else ""
    reader.end()
    if any(b"\0" in path for path in paths):
        return "a path with a NUL in it"
    if any(len(path) > sftp.PATH_MAX for path in paths):
        return "a path that is too long"
    return Said(paths, name, packet[at:], "" if request.opens else said)


def opening(rest: bytes) -> tuple[int, str]:
    """@return: flags of OPEN, and the action; C{""} if it is opened for nothing"""
    flags = Reader(rest).number()
    writes = flags & (sftp.FOR_WRITING | sftp.APPEND | sftp.CREATE | sftp.TRUNCATE)
    if not writes:
        return flags, "get" if flags & sftp.FOR_READING else ""
    return flags, "edit" if flags & sftp.FOR_READING else "put"
