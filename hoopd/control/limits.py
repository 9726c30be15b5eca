"""What one connection, and one user's connections together, may cost control; not what is said on them.

The user id of the peer is no identity, but it is good for fairness: one user of the machine cannot take the socket from
the others.
"""

from __future__ import annotations

import collections
import json
import socket
import struct
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

#: hoopctl asks and leaves; people and scripts together need a few
CONNECTIONS = 64
#: of one user: leaves room for three others
OF_ONE_USER = 16
#: seconds a connection may last: the slowest verb has 120 (L{hoopd.ipc.commands.Administer}), its request and answer the
#: rest; bounds whoever sends a byte now and then
LIFETIME = 150.0

_TOO_MANY = json.dumps({"error": "unavailable", "why": "too many connections at once"}).encode()
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 2\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_TOO_MANY), _TOO_MANY)
)


def user_of(transport: Any) -> int:
    """@return: the user id at the other end of a unix socket, -1 if it cannot be told."""
    try:
        found = transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except (OSError, AttributeError):
        return -1
    return int(struct.unpack("3i", found)[1])


class _Bounded(ProtocolWrapper):
    """One connection."""

    factory: Bounded
    user: int | None = None
    _timer: Any = None

    def makeConnection(self, transport: Any) -> None:
        user = user_of(transport)
        if not self.factory.room(user):
            transport.write(_REFUSAL)
            transport.loseConnection()
            return
        self.user = user
        self.factory.users[user] += 1
        self._timer = self.factory.reactor.callLater(LIFETIME, transport.abortConnection)
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        if self.user is not None:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.user is None:
            return
        if self._timer.active():
            self._timer.cancel()
        self.factory.gone(self.user)
        super().connectionLost(reason)


class Bounded(WrappingFactory):
    """
    @ivar users: user id to number of open connections.
    """

    protocol = _Bounded

    def __init__(self, wrapped: IProtocolFactory, reactor: Any) -> None:
        super().__init__(wrapped)
        self.reactor = reactor
        self.users: collections.Counter[int] = collections.Counter()
        self._lonely: list[Deferred[None]] = []

    def room(self, user: int) -> bool:
        """@return: whether one more connection of C{user} may be open."""
        return self.users.total() < CONNECTIONS and self.users[user] < OF_ONE_USER

    def gone(self, user: int) -> None:
        """One of C{user}'s connections ended."""
        self.users[user] -= 1
        if not self.users.total():
            waiting, self._lonely = self._lonely, []
            for deferred in waiting:
                deferred.callback(None)

    def when_lonely(self) -> Deferred[None]:
        """@return: Deferred of None once no connection is open."""
        deferred: Deferred[None] = Deferred(self._lonely.remove)
        self._lonely.append(deferred)
        if not self.users.total():
            self._lonely.remove(deferred)
            deferred.callback(None)
        return deferred
