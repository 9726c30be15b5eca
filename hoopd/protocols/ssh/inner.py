"""The transport of a connection inside a channel of another: what C{ssh -J gateway target} speaks to.

As ITCPTransport for the inner server; back-pressure goes both ways by the channel's windows. Not the channel
(L{hoopd.protocols.ssh.lobby}).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopd.protocols.ssh.channels import PACKET
from hoopd.protocols.ssh.lobby import Lobby, Place

#: as much waits before whoever writes is paused
FULL = 8 * PACKET


@implementer(ITransport, IConsumer)
class ChannelTransport:
    """
    @param pump: sends what the lobby has for its client.
    """

    disconnecting = False

    def __init__(self, lobby: Lobby, place: Place, protocol: Any, peer: Any, pump: Callable[[], None]) -> None:
        self._lobby = lobby
        self._place = place
        self._protocol = protocol
        self._peer = peer
        self._pump = pump
        self._producer: Any = None
        self._paused = False
        self._lost = False
        place.arrived = self._arrived
        place.gone = self._gone
        place.drained = self._drained

    def _arrived(self, octets: bytes) -> None:
        if not self._lost:
            self._protocol.dataReceived(octets)

    def _gone(self) -> None:
        if not self._lost:
            self._lost = True
            self._lobby.close(self._place)
            self._protocol.connectionLost(Failure(ConnectionDone()))
            self._pump()

    def _drained(self) -> None:
        if self._paused and self._producer is not None:
            self._paused = False
            self._producer.resumeProducing()

    # -- ITransport --------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._lost:
            return
        self._lobby.send(self._place, data)
        if self._producer is not None and not self._paused and self._place.client.queued > FULL:
            self._paused = True
            self._producer.pauseProducing()
        self._pump()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._gone()

    abortConnection = loseConnection

    def getPeer(self) -> Any:
        return self._peer

    def getHost(self) -> Any:
        return self._peer

    def setTcpNoDelay(self, enabled: bool) -> None:
        """The outer connection's."""

    def logPrefix(self) -> str:
        return "inner"

    # -- both ways ---------------------------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        """What is behind the inner connection is full."""
        self._place.paused = True

    def resumeProducing(self) -> None:
        self._lobby.resume(self._place)
        self._pump()

    def stopProducing(self) -> None:
        self.loseConnection()
