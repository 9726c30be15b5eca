"""One end of a conversation: AMP with bounded descriptors, bounded questions and errors that stay at home.

An error of L{hoopd.ipc.wire.ERRORS} crosses with its class and text. Anything else that an answer raises is our bug:
it is logged here, and the other side gets L{Unavailable} without its text, which might quote what must not leave.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from hoopd.errors import Unavailable
from hoopd.ipc import wire
from hoopd.ipc.commands import Call, Refused

#: questions of one peer that are being answered. A worker has at most 1,000 connections (listen.*.max_connections)
#: and each asks one thing at a time; more than half of them at once is a flood, and the caller's link queues it.
QUESTIONS_MAX = 512

#: descriptors received and not yet claimed by a command. Twisted sends those of all that it writes at once before the
#: first byte of it, and a broker that has been away answers every client that waited at once: two for each question
#: that may be under way, in both directions
DESCRIPTORS_MAX = 4 * QUESTIONS_MAX

#: bytes of large arguments of one peer's questions that are being answered: several of the largest honest ones (a
#: statement and its parameters, 43 MiB), and a bound on what a worker in wrong hands can make the broker hold
ARGUMENTS_MAX = 256 * 1024 * 1024


class End(amp.AMP):
    """Subclasses answer with C{@Command.responder} methods, which may be coroutines.

    @ivar asked: how many questions of the other side are being answered.
    """

    log = Logger()
    quota = QUESTIONS_MAX

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.held = 0
        #: bytes taken by the question being read, None while none is: answers to our own questions are not counted
        self._taken: int | None = None
        self.lost = False
        self._quiet: list[Deferred[None]] = []

    # -- descriptors ------------------------------------------------------------------------------------------

    def fileDescriptorReceived(self, descriptor: int) -> None:
        super().fileDescriptorReceived(descriptor)
        if len(self._descriptors) > DESCRIPTORS_MAX:
            self.log.error("{end} sends descriptors that nothing asks for: connection ended", end=self)
            transport: Any = self.transport
            transport.abortConnection()

    def _sendFileDescriptor(self, descriptor: int) -> int:
        if self.lost or self.transport is None:
            raise ConnectionLost
        return int(super()._sendFileDescriptor(descriptor))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()
        # past AMP's own, which logs every connection
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None

    def makeConnection(self, transport: Any) -> None:
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def locateResponder(self, name: bytes) -> Any:
        # our commands only: AMP's own answers StartTLS
        if name == amp.StartTLS.commandName:
            return None
        return amp.CommandLocator.locateResponder(self, name)

    # -- answering --------------------------------------------------------------------------------------------

    def dispatchCommand(self, box: Any) -> Deferred[Any]:
        if self.asked >= self.quota:
            # its descriptors, if any, stay unclaimed and end the connection soon
            return _refusal(Unavailable("too many questions at once"))
        self.asked += 1
        self._taken = 0
        answer = super().dispatchCommand(box)  # reads the arguments, at once
        taken, self._taken = self._taken, None
        return answer.addErrback(self._translated, box).addBoth(self._answered, taken)

    def take(self, size: int) -> None:
        """A large argument of C{size} bytes is about to be read.

        @raise Unavailable: this peer's questions hold too much already.
        """
        if self._taken is None:
            return
        if self.held + size > ARGUMENTS_MAX:
            raise Unavailable("too much at once")
        self.held += size
        self._taken += size

    def _translated(self, failure: Failure, box: Any) -> Any:
        error = failure.value
        if isinstance(error, amp.RemoteAmpError):
            return failure
        text = wire.error_to_text(failure.value)
        if text is None:
            if isinstance(error, amp.BadLocalReturn):
                # its text quotes the whole answer, which may hold what no log should
                failure = error.enclosed
            if not self.lost:
                name = box[amp.COMMAND].decode("ascii", "replace")
                self.log.failure("{command} could not be answered", failure=failure, command=name)
            return _refusal(Unavailable("the gateway met an error of its own; its log says more"))
        return Failure(amp.RemoteAmpError(Call.errors[Refused], text))

    def _answered(self, result: Any, taken: int) -> Any:
        self.asked -= 1
        self.held -= taken
        if not self.asked:
            waiting, self._quiet = self._quiet, []
            # after the answer itself has been written
            for deferred in waiting:
                deferred.callback(None)
        return result

    def quiet(self) -> Deferred[None]:
        """@return: Deferred of None once no question is being answered."""
        deferred: Deferred[None] = Deferred()
        if self.asked:
            self._quiet.append(deferred)
        else:
            deferred.callback(None)
        return deferred

    # -- asking -----------------------------------------------------------------------------------------------

    def ask(self, command: type[Call], **arguments: Any) -> Deferred[Any]:
        """@return: Deferred of the response mapping; fails with an error of L{hoopd.errors}, KeyError or ValueError.

        A connection that ends fails it with L{Lost}. There is no deadline here (L{hoopd.ipc.link} has them).
        """
        if self.lost or self.transport is None:
            return _failed(Lost())
        # whatever an argument raises while it is written (too long, no written form) fails this call alone
        return maybeDeferred(self.callRemote, command, **arguments).addErrback(self._heard, command)

    def tell(self, command: type[Call], **arguments: Any) -> None:
        """Send a command that has no answer, if there is still somebody."""
        if not self.lost and self.transport is not None:
            self.callRemote(command, **arguments)

    def _heard(self, failure: Failure, command: type[Call]) -> Any:
        error = failure.value
        if isinstance(error, Refused):
            raise wire.error_from_text(str(error))
        if isinstance(error, wire.WireError):
            self.log.error("answer to {command}: {error}", command=command.__name__, error=str(error))
            raise Unavailable("the answer of another process of the gateway was not understood")
        if isinstance(error, amp.AmpError):
            raise Unavailable(f"another process of the gateway does not answer {command.__name__}")
        if isinstance(error, ConnectionDone | ConnectionLost):
            raise Lost()
        return failure

    def close(self) -> None:
        """End the connection after what is written has left."""
        if self.transport is not None:
            self.transport.loseConnection()


class Lost(Unavailable):
    """The connection ended before the answer: whether the command took effect is not known."""

    def __init__(self) -> None:
        super().__init__("the broker went away before it answered")


def unless_away(failure: Failure) -> None:
    """Errback for what is told to a process that may be gone: that it is shows where its end or exit is seen."""
    failure.trap(Unavailable)


def unless_slow(failure: Failure) -> None:
    """Errback for what is waited for up to a limit."""
    failure.trap(TimeoutError)


def _refusal(error: Unavailable) -> Deferred[Any]:
    return _failed(amp.RemoteAmpError(Call.errors[Refused], wire.error_to_text(error)))


def _failed(error: Exception) -> Deferred[Any]:
    deferred: Deferred[Any] = Deferred()
    deferred.errback(Failure(error))
    return deferred
