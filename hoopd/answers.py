"""The body of an HTTP answer, as far as one wants to read it; and why there was none. Not what it says.

For the few who ask others over HTTP (RFC 9110): identity providers' documents, witnesses of the record, receivers of notices.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss

from hoopd.errors import HoopdError, Unavailable

#: with a body to send, a connection that breaks is either of them
_WRAPPED = (ResponseFailed, RequestTransmissionFailed)
#: what a request to a server fails with that is away, slow, or not whom it should be; L{why_none} says it
UNREACHED = (TimeoutError, ConnectError, ConnectionClosed, DNSLookupError, *_WRAPPED)


class Body(Protocol):
    """A response's body, up to C{most} bytes; whoever cancels C{done} closes the connection.

    @ivar done: Deferred of bytes. Fails with L{Unavailable} where it is larger.
    """

    def __init__(self, most: int) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._abort())
        self._most = most
        self._parts: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= self._most:
            self._parts.append(data)
        else:
            self._abort()
            self._end(Failure(Unavailable("the answer is too large")))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # PotentialDataLoss: an old server that ends a body by closing; a JSON document that is cut does not parse
        self._end(b"".join(self._parts) if reason.check(ResponseDone, PotentialDataLoss) else reason)

    def _end(self, result: Any) -> None:
        if not self.done.called:
            self.done.callback(result)

    def _abort(self) -> None:
        transport: Any = self.transport
        getattr(transport, "abortConnection", transport.loseConnection)()


def why_none(error: BaseException) -> str:
    """Why no answer came, for people; nothing of what the other side said."""
    # Agent wraps what went wrong on the connection, our own giving up included
    inner = error.reasons[0].value if isinstance(error, _WRAPPED) and error.reasons else error
    if isinstance(inner, TimeoutError | CancelledError):
        return "no answer in time"
    if isinstance(inner, VerificationError):
        return "TLS: its certificate is for another name"
    if isinstance(inner, SSL.Error):
        reasons = inner.args[0] if inner.args and isinstance(inner.args[0], list) else []
        return f"TLS: {', '.join(str(reason[-1]) for reason in reasons) or 'the connection was broken off'}"
    if isinstance(inner, ConnectError | ConnectionClosed | DNSLookupError | HoopdError):
        return str(inner) or type(inner).__name__
    return f"what it answered is no HTTP ({type(inner).__name__})"
