"""A socketpair's end as a Twisted transport that passes descriptors safely; not the boxes on it.

L{twisted.internet.unix.Server}, with three differences: a descriptor is duplicated when it is queued, so that its
owner may close it at once; descriptors arrive close-on-exec; and lost ancillary bytes (MSG_CTRUNC, when we ran
out of descriptors) end the connection, because every later descriptor would be taken for another one.
"""

from __future__ import annotations

import fcntl
import os
import socket
from typing import Any

from twisted.internet import main, unix
from twisted.internet.protocol import Factory

#: one sendmsg of ours carries one descriptor; SCM_MAX_FD is 253
_ANCILLARY = socket.CMSG_SPACE(253 * 4)


class Channel(unix.Server):
    """One end of a socketpair."""

    def sendFileDescriptor(self, fileno: int) -> None:
        """Queue a duplicate of C{fileno}; the caller keeps its own."""
        if self.disconnected or self.disconnecting:
            return
        super().sendFileDescriptor(fcntl.fcntl(fileno, fcntl.F_DUPFD_CLOEXEC, 3))

    def writeSomeData(self, data: bytes) -> Any:
        queued = list(self._sendmsgQueue)
        try:
            return super().writeSomeData(data)
        finally:
            for fd in queued[: len(queued) - len(self._sendmsgQueue)]:
                os.close(fd)

    def doRead(self) -> Any:
        try:
            data, ancillary, flags, _ = self.socket.recvmsg(self.bufferSize, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return main.CONNECTION_LOST
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                whole = payload[: len(payload) // 4 * 4]
                self._ancillaryLevelSOLSOCKETTypeSCMRIGHTS(whole)
        if flags & socket.MSG_CTRUNC:
            return main.CONNECTION_LOST
        return self._dataReceived(data)

    def connectionLost(self, reason: Any) -> None:
        queued, self._sendmsgQueue[:] = list(self._sendmsgQueue), []
        for fd in queued:
            os.close(fd)
        super().connectionLost(reason)


def pair() -> tuple[socket.socket, socket.socket]:
    """@return: two connected, non-blocking, close-on-exec ends. Whoever gets them closes them."""
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    one.setblocking(False)
    two.setblocking(False)
    return one, two


def adopt(fd: int, protocol: Any, reactor: Any) -> Channel:
    """Connect C{protocol} to the socketpair end C{fd}, which is consumed.

    @raise OSError: C{fd} is no connected stream socket of the local kind.
    """
    try:
        with socket.socket(fileno=os.dup(fd)) as end:
            if (end.family, end.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
                raise OSError("not a socketpair's end")
            end.setblocking(False)
        channel = Channel._fromConnectedSocket(fd, Factory.forProtocol(lambda: protocol), reactor)
    finally:
        os.close(fd)
    return channel
