"""A client's connection that ends after so many bytes heard, or so long: what parsers of answers do not count themselves.

Not a limit on what is sent: that is ours.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import implementer

#: bytes of all answers; HTTP receivers say a line or two, and a mail server some twenty
HEARD_MAX = 64 * 1024


@implementer(IStreamClientEndpoint)
class BoundedEndpoint:
    """
    @param endpoint: IStreamClientEndpoint. @param clock: IReactorTime.
    @param seconds: after which a connection is cut, whatever it is doing.
    """

    def __init__(self, endpoint: Any, clock: Any, seconds: float) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._seconds = seconds

    def connect(self, factory: Any) -> Any:
        connected = self._endpoint.connect(_BoundedFactory(factory, self._clock, self._seconds))
        return connected.addCallback(lambda wrapper: wrapper.wrappedProtocol)


class _Bounded(ProtocolWrapper):
    _heard = 0
    _timer: Any = None

    def connectionMade(self) -> None:
        self._timer = self.factory.clock.callLater(self.factory.seconds, self._cut)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        self._heard += len(data)
        if self._heard > HEARD_MAX:
            self._cut()
        else:
            super().dataReceived(data)

    def connectionLost(self, reason: Any = connectionDone) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        super().connectionLost(reason)

    def _cut(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class _BoundedFactory(WrappingFactory):
    protocol = _Bounded
    noisy = False

    def __init__(self, factory: Any, clock: Any, seconds: float) -> None:
        super().__init__(factory)
        self.clock = clock
        self.seconds = seconds
