"""One mail to one SMTP server (RFC 5321), TLS verified; no queue and no retry: those are the broker's."""

from __future__ import annotations

import io
from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import connectionDone
from twisted.internet.ssl import optionsForClientTLS
from twisted.mail.smtp import (
    AUTHDeclinedError,
    AUTHRequiredError,
    EHLORequiredError,
    ESMTPSender,
    ESMTPSenderFactory,
    SMTPClientError,
    SMTPTimeoutError,
    TLSError,
    TLSRequiredError,
)
from twisted.python.failure import Failure

from hoopd.answers import UNREACHED, why_none
from hoopd.authorities import trust_root
from hoopd.notices.bounded import BoundedEndpoint
from hoopd.notices.deliveries import Mail, Outcome

#: seconds to connect, and for each answer of the server: many make whoever gives a wrong password wait some five
TIMEOUT = 10.0
#: for all of it: a dozen answers of an honest, busy server
WHOLE = 20.0

#: in our words, and whether the number that comes with it is the server's
_SAID: tuple[tuple[type[SMTPClientError], str, bool], ...] = (
    (TLSRequiredError, "the server offers no STARTTLS", False),
    (TLSError, "STARTTLS failed", True),
    (AUTHRequiredError, "the server offers no way to sign in", False),
    (AUTHDeclinedError, "the server refused user name and password", True),
    (SMTPTimeoutError, "no answer in time", False),
    (EHLORequiredError, "the server speaks no ESMTP", False),
    (SMTPClientError, "the server did not take it", True),
)


class _Sender(ESMTPSender):
    """Deaf to what was said in clear before TLS."""

    #: keeps no log of the conversation: the password is in it
    debug = False

    def esmtpState_starttls(self, code: int, resp: bytes) -> None:
        if self._buffer:
            # somebody on the way put answers behind the server's own: they would count as said within TLS
            self.sendError(TLSError(-1, b"unasked answers before TLS", isFatal=True))
            return
        super().esmtpState_starttls(code, resp)

    def transformChunk(self, chunk: bytes) -> bytes:
        # stuffed as a whole in send: the line end and the full stop may be in two chunks
        self.resetTimeout()
        return chunk

    def sendError(self, exc: Any) -> None:
        if self._waited_for():
            super().sendError(exc)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        # the factory hears of lost connections from a connector only, and an endpoint has none
        if self._waited_for():
            self.factory.result.errback(reason)

    def _waited_for(self) -> bool:
        # the factory lets go of it once it has fired
        return getattr(self.factory, "result", None) is not None and not self.factory.result.called


class _Factory(ESMTPSenderFactory):
    protocol = _Sender
    noisy = False


async def send(reactor: Any, mail: Mail, authorities: str) -> Outcome:
    """@param authorities: PEM text, or C{""} for the system's.

    @return: L{Outcome}. What the server said is in it as a number.
    """
    tls: IOpenSSLClientConnectionCreator | None = None
    if mail.tls != "off":
        trusted = {"trustRoot": trust_root(authorities)} if authorities else {}
        tls = optionsForClientTLS(mail.server, **trusted)
    result: Deferred[Any] = Deferred()
    factory = _Factory(
        mail.username.encode(),
        mail.password.reveal() if mail.username else b"",
        mail.sender,
        mail.recipients,
        io.BytesIO(_stuffed(mail.message)),
        result,
        retries=0,
        timeout=TIMEOUT,
        contextFactory=tls,
        requireAuthentication=bool(mail.username),
        requireTransportSecurity=mail.tls != "off",
    )
    endpoint: Any = HostnameEndpoint(reactor, mail.server.encode(), mail.port, timeout=TIMEOUT)
    if tls is not None and mail.tls == "tls":
        endpoint = wrapClientTLS(tls, endpoint)
    connected = False
    result.addTimeout(WHOLE, reactor)
    try:
        await BoundedEndpoint(endpoint, reactor, WHOLE + TIMEOUT).connect(factory)
        connected = True
        taken, _ = await result
    except SMTPClientError as error:
        said, theirs = next((text, theirs) for kind, text, theirs in _SAID if isinstance(error, kind))
        return Outcome(False, f"{said} ({error.code})" if theirs and error.code > 0 else said)
    except (*UNREACHED, SSL.Error, VerificationError) as error:
        return Outcome(False, f"not reached: {why_none(error)[:200]}")
    finally:
        if not connected:
            result.addErrback(_nobody_waits)
            result.cancel()
    if taken < len(mail.recipients):
        return Outcome(True, f"taken for {taken} of {len(mail.recipients)} recipients")
    return Outcome(True, "taken by the server")


def _stuffed(message: bytes) -> bytes:
    """RFC 5321 section 4.5.2: a line that begins with a full stop gets another."""
    return (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:]


def _nobody_waits(failure: Failure) -> None:
    """The connection was never made: its error has been told already."""
