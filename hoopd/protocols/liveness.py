"""Whether the other end of a TCP connection is still there; for every protocol, on both legs; Linux.

A peer that vanishes without a FIN (a laptop that sleeps, a network that drops packets) leaves a connection half open:
nothing tells us. Keepalive probes find it while nothing is sent, TCP_USER_TIMEOUT while something is (tcp(7)); both are
set explicitly, because the system's own default is more than two hours. Where an answer matters at once, before an
approved operation runs, L{answers} has the peer acknowledge something new. Layout of C{struct tcp_info}:
linux/include/uapi/linux/tcp.h; fields are only ever added at its end.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from hoopd.config.schema import Limits

#: a lost packet is sent again after about 0.2, 0.4, 0.8 and 1.6 s: an honest peer has answered by then
ANSWER_MAX = 5.0
#: between two looks; a peer in the same building answers within the first
LOOK_EVERY = 0.02

_PROBES = 3
_INFO_SIZE = 128
_ESTABLISHED = 1
_ACKNOWLEDGED = struct.Struct("@Q")
_ACKNOWLEDGED_AT = 120


@frozen
class Liveness:
    """
    @ivar probe_after: seconds without a byte after which the peer is asked.
    @ivar dead_after: seconds without an acknowledgement after which the connection is given up.
    """

    probe_after: float
    dead_after: float

    def keep(self, transport: Any) -> None:
        """Watch C{transport}'s peer, and let small messages go at once. A transport without a socket is left as it is."""
        transport.setTcpNoDelay(True)
        handle = _socket(transport)
        if handle is None:
            return
        # both are seconds in the kernel, from 1 on
        idle = max(1, round(min(self.probe_after, self.dead_after)))
        interval = max(1, round((self.dead_after - idle) / _PROBES))
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
        # with this, the probes end the connection after so long as well, whatever their number
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(self.dead_after * 1000)))


def liveness(limits: Limits) -> Liveness:
    """@return: the configured one."""
    return Liveness(limits.probe_after, limits.dead_after)


def answers(reactor: Any, transport: Any, write: Callable[[], None]) -> Deferred[bool]:
    """Send something to the peer and wait until it acknowledges.

    @param write: writes it.
    @return: Deferred of whether it did within L{ANSWER_MAX}; of False at once where the peer has closed or reset.
    """
    return Deferred.fromCoroutine(_answers(reactor, transport, write))


async def _answers(reactor: Any, transport: Any, write: Callable[[], None]) -> bool:
    handle = _socket(transport)
    if handle is None:
        # no TCP, as in tests: nothing stands between us and the peer
        write()
        return True
    before = _info(handle)
    if before is None:
        return False
    write()
    until = reactor.seconds() + ANSWER_MAX
    while True:
        await deferLater(reactor, LOOK_EVERY)
        now = _info(handle)
        if now is None or now > before:
            return now is not None
        if reactor.seconds() >= until:
            return False


def _socket(transport: Any) -> socket.socket | None:
    handle = getattr(transport, "socket", None)
    return handle if isinstance(handle, socket.socket) else None


def _info(handle: socket.socket) -> int | None:
    """@return: bytes acknowledged so far; None where the connection is not, or not any more, open both ways."""
    try:
        info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
    except OSError:
        return None  # closed here meanwhile
    if info[0] != _ESTABLISHED:
        return None
    count: int = _ACKNOWLEDGED.unpack_from(info, _ACKNOWLEDGED_AT)[0]
    return count
