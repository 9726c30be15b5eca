"""An inherited listener, served fairly: accepts one at a time, pauses above its share; not what is served.

The supervisor has bound the socket and made it non-blocking (a blocking one hangs the workers that lose the race
for a connection). The port is the one that C{adoptStreamPort} makes, with two differences: it accepts one connection
a turn, so that a burst is shared; and it asks before each.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from hoopd.roles.sharing import SIGN_EVERY, Share

#: how often a paused worker looks again. A connection waits at most so long when all others have just died.
LOOK_AGAIN = 0.05

#: a pause ends after so long whatever the table says: the table is a hint, the connections are real
PAUSE_MAX = 1.0


class _Port(tcp.Port):
    serving: Serving

    def doRead(self) -> None:
        if self.serving.may_accept():
            self.numberAccepts = 1
            super().doRead()


@implementer(IProtocolFactory)
class Serving:
    """Accepting on one listener. Made by L{hoopd.roles.context.ChildContext.serve}.

    @param fd: the inherited listener; consumed.
    @param limit: while so many connections are open none is accepted; None: without limit.
    """

    log = Logger()

    def __init__(self, reactor: Any, fd: int, factory: Any, share: Share | None, limit: int | None) -> None:
        self._reactor = reactor
        self._fd = fd
        self._factory = factory
        self._share = share
        self._limit = limit
        self._port: _Port | None = None
        self._paused_at: float | None = None
        self._look: Any = None
        self._signs = LoopingCall(self._sign)
        self._signs.clock = reactor
        self.open = 0

    # -- the port's factory -----------------------------------------------------------------------------------

    def doStart(self) -> None:
        self._factory.doStart()

    def doStop(self) -> None:
        self._factory.doStop()

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        if self._share is not None:
            self._share.accepted()
        protocol: IProtocol | None = self._factory.buildProtocol(addr)
        return protocol

    # -- life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Accept from now on."""
        with socket.socket(fileno=os.dup(self._fd)) as listener:
            listener.setblocking(False)
            family = listener.family
        self._port = _Port._fromListeningDescriptor(self._reactor, self._fd, family, self)
        os.close(self._fd)
        self._port.serving = self
        self._port.startListening()
        self._signs.start(SIGN_EVERY)

    def stop(self) -> Deferred[None]:
        """Accept nothing more; connections that are open go on. @return: Deferred of None once it is closed."""
        port, self._port = self._port, None
        if self._signs.running:
            self._signs.stop()
        if self._look is not None and self._look.active():
            self._look.cancel()
        if self._share is not None:
            self._share.leave()
        return maybeDeferred(port.stopListening if port is not None else lambda: None)

    @property
    def accepting(self) -> bool:
        """Whether the listener is served, paused or not."""
        return self._port is not None

    def opened(self) -> None:
        """A connection is there: counts toward this worker's load and limit."""
        self._count(1)

    def closed(self) -> None:
        """It is gone."""
        self._count(-1)

    def _count(self, difference: int) -> None:
        self.open += difference
        if self._share is not None:
            self._share.open = self.open
            self._sign()

    # -- pauses -----------------------------------------------------------------------------------------------

    def _full(self) -> bool:
        return self._limit is not None and self.open >= self._limit

    def _sign(self) -> None:
        if self._share is None:
            return
        if self._port is None or self._full():
            self._share.leave()
        else:
            self._share.sign()

    def may_accept(self) -> bool:
        """Whether to take one connection now; if not, this worker pauses. Called by the port."""
        overdue = self._paused_at is not None and self._reactor.seconds() - self._paused_at >= PAUSE_MAX
        if self._full() or (self._share is not None and self._share.above() and not overdue):
            self._pause()
            return False
        self._paused_at = None
        return True

    def _pause(self) -> None:
        assert self._port is not None
        if self._paused_at is None:
            self._paused_at = self._reactor.seconds()
        self._port.stopReading()
        self._look = self._reactor.callLater(LOOK_AGAIN, self._resume)

    def _resume(self) -> None:
        if self._port is None:
            return
        overdue = self._reactor.seconds() - (self._paused_at or 0.0) >= PAUSE_MAX
        if self._full() or (self._share is not None and self._share.above() and not overdue):
            self._look = self._reactor.callLater(LOOK_AGAIN, self._resume)
        else:
            self._port.startReading()
