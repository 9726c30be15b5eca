"""SFTP's handles: which are open, what goes through each, and the requests that name one; pure.

Whether a file may be opened is judged before (L{hoopd.protocols.ssh.sftp_passage}).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define

from hoopd.errors import PeerError
from hoopd.protocols.ssh import sftp
from hoopd.protocols.ssh.permission import Granted
from hoopd.protocols.ssh.transfers import Ahead, Transfer, told

#: files and directories open at once; OpenSSH's server has 1,024 descriptors at most
OPENED_MAX = 1024


@define(eq=False)
class Opened:
    """A handle.

    @ivar reads, writes: what it was opened for; neither of a directory.
    @ivar closing: CLOSE was forwarded.
    @ivar asked: requests on it that are not answered.
    """

    path: bytes
    reads: Transfer | None
    writes: Transfer | None
    approval: str | None
    closing: bool = False
    asked: int = 0
    tag: str = ""
    #: CLOSE was answered well, or not; other answers may come behind
    closed: bool | None = None


@define(eq=False)
class Asked:
    """A request that was forwarded. @ivar answers: the kind of answer, beside STATUS. @ivar then: called with the answer"""

    kind: int
    answers: int
    opened: Opened | None = None
    offset: int = 0
    length: int = 0
    then: Callable[[bytes], None] | None = None
    own: bool = False


class Handles:
    """
    @param route: L{hoopd.flow.route.Route}
    @param seconds: C{() -> float}, monotonic.
    @param forward: C{(id, packet, answers, opened, offset, length, then)}, as L{Asked} has them.
    @param reject: C{(id, code, words)}: answers what is not forwarded.
    """

    def __init__(
        self,
        route: Any,
        seconds: Callable[[], float],
        forward: Callable[..., None],
        reject: Callable[[int, int, str], None],
    ) -> None:
        self.opened: dict[bytes, Opened] = {}
        self._route = route
        self._seconds = seconds
        self._forward = forward
        self._reject = reject
        # closed before all was answered
        self._ending: list[Opened] = []
        self._ahead = Ahead()

    @property
    def full(self) -> bool:
        """No more may be opened."""
        return len(self.opened) >= OPENED_MAX

    def find(self, id: int, handle: bytes) -> Opened | None:
        opened = self.opened.get(handle)
        if opened is None or opened.closing:
            self._reject(id, sftp.FAILURE, "no such handle")
            return None
        return opened

    def read(self, id: int, packet: bytes) -> None:
        handle, offset, length = sftp.read_request(packet)
        opened = self.find(id, handle)
        if opened is None:
            return
        if opened.reads is None:
            self._reject(id, sftp.PERMISSION_DENIED, "it was not opened for reading")
            return
        self._forward(id, packet, sftp.DATA, opened, offset, length)

    def write(self, id: int, packet: bytes) -> None:
        handle, offset, piece = sftp.write_request(packet)
        opened = self.find(id, handle)
        if opened is None:
            return
        if opened.writes is None:
            self._reject(id, sftp.PERMISSION_DENIED, "it was not opened for writing")
            return
        opened.writes.moved(offset, piece)
        self._forward(id, packet, 0, opened)

    def close(self, id: int, packet: bytes) -> None:
        opened = self.find(id, handle := sftp.handle(packet))
        if opened is None:
            return
        opened.closing = True

        def then(answer: bytes) -> None:
            # the target may give the same handle to another file from now on
            self.opened.pop(handle, None)
            opened.closed = sftp.status_code(answer) == sftp.OK
            self._ending.append(opened)
            self.settle(opened)

        self._forward(id, packet, 0, then=then)

    def settle(self, opened: Opened) -> None:
        if opened in self._ending and not opened.asked:
            self._ending.remove(opened)
            self._closed(opened, "closed" if opened.closed else "the target failed to close it", bool(opened.closed))

    def _closed(self, opened: Opened, tag: str, good: bool) -> None:
        now = self._seconds()
        for transfer in (opened.reads, opened.writes):
            if transfer is not None:
                told(self._route, transfer, opened.tag or tag, now, opened.approval, good and not opened.tag)
        if opened.approval is not None:
            self._route.settle(opened.approval, "executed" if good else "unknown", opened.tag or tag)

    def look(self, id: int, packet: bytes) -> None:
        """FSTAT, READDIR, and what else only looks."""
        reader = sftp.body(packet)
        name = reader.string() if packet[4] == sftp.EXTENDED else b""
        handle = reader.string()
        reader.end()
        opened = self.find(id, handle)
        if opened is not None:
            self._forward(id, packet, sftp.ANSWERS.get(name or packet[4], 0), opened)

    def copy(self, id: int, packet: bytes) -> None:
        """copy-data: from one opened file to another, at the target."""
        reader = sftp.body(packet)
        reader.string()
        source = reader.string()
        sftp.long(reader), sftp.long(reader)
        drain = reader.string()
        sftp.long(reader)
        reader.end()
        read, written = self.opened.get(source), self.opened.get(drain)
        if read is None or written is None or read.closing or written.closing:
            self._reject(id, sftp.FAILURE, "no such handle")
        elif read.reads is None or written.writes is None:
            self._reject(id, sftp.PERMISSION_DENIED, "it was not opened for that")
        else:
            written.writes.unplaced()
            self._forward(id, packet, 0, written)

    def opens(
        self, granted: Granted, path: bytes, shown: str, flags: int, settled: Callable[[bytes], None]
    ) -> Callable[[bytes], None]:
        """What becomes of the answer to a request that opens. @param shown: the path for the record. @param settled: takes one
        that refuses it"""
        began, number = self._seconds(), granted.operation

        def then(answer: bytes) -> None:
            if answer[4] == sftp.STATUS:
                settled(answer)
                return
            handle = sftp.handle(answer)
            if handle in self.opened:
                raise PeerError("an SFTP handle that is open already")
            reads = writes = None
            if flags & sftp.FOR_READING:
                reads = Transfer(number, "download", "sftp", shown, began, ahead=self._ahead)
            if flags & (sftp.FOR_WRITING | sftp.APPEND):
                fresh = bool(flags & sftp.TRUNCATE or (flags & sftp.CREATE and flags & sftp.EXCLUSIVE))
                writes = Transfer(number, "upload", "sftp", shown, began, fresh, ahead=self._ahead)
                if flags & sftp.APPEND:
                    # at the end, wherever that is; clients that go on with a file say where they think it is
                    writes.spoilt()
            self.opened[handle] = Opened(path, reads, writes, granted.approval)
            if not flags and granted.approval is not None:
                # of a directory nothing more is told
                self._route.settle(granted.approval, "executed", "opened")

        return then

    def took(self, asked: Asked, opened: Opened, kind: int, packet: bytes) -> None:
        """The answer to a request on a handle."""
        if kind == sftp.DATA:
            piece = sftp.data(packet)
            if len(piece) > asked.length:
                raise PeerError("more SFTP data than was asked for")
            if opened.reads is not None:
                opened.reads.moved(asked.offset, piece)
        elif kind == sftp.NAME:
            if any(b"/" in name or b"\0" in name or not name for name in sftp.names(packet)):
                raise PeerError("a name in a directory that is none")
        elif kind == sftp.STATUS:
            code = sftp.status_code(packet)
            if asked.kind == sftp.READ and opened.reads is not None:
                if code == sftp.EOF:
                    opened.reads.ended(asked.offset)
                else:
                    opened.tag = opened.tag or "the target failed to read it"
            elif asked.kind == sftp.WRITE and opened.writes is not None and code != sftp.OK:
                opened.writes.spoilt()
                opened.tag = opened.tag or "the target failed to write it"

    def finish(self) -> None:
        """It is over: what is open was cut off. @raise RecordError"""
        left = [*self._ending, *self.opened.values()]
        self._ending, self.opened = [], {}
        for each in left:
            self._closed(each, "cut off", False)


#: requests and extensions that name handles, but for FSETSTAT, which may be an operation of its own
ON_HANDLES: Mapping[int | bytes, Callable[[Handles, int, bytes], None]] = {
    sftp.READ: Handles.read,
    sftp.WRITE: Handles.write,
    sftp.CLOSE: Handles.close,
    sftp.FSTAT: Handles.look,
    sftp.READDIR: Handles.look,
    b"fstatvfs@openssh.com": Handles.look,
    b"fsync@openssh.com": Handles.look,
    b"copy-data": Handles.copy,
}
