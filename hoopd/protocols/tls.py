"""TLS as bulk needs it: what arrived together is handed over together; and the TLS of legs to targets, made once each.

TLS gives out one record at a time, and PostgreSQL makes records of 8 KiB: to have each go its own way through the protocols
costs more than to decrypt it. What one turn of the reactor costs is paid less often if more is read in it. Not TLS itself:
that is OpenSSL's, through pyOpenSSL and Twisted.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from OpenSSL import SSL
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from zope.interface import implementer

from hoopd.values import TargetTls

#: a record this long has others right behind it: PostgreSQL and libpq send when 8 KiB are full
LONG = 8192
#: Bytes that one read of a socket takes at most, and that may wait to be written before the other side is paused. With
#: Twisted's 64 KiB a million rows cost up to a quarter more; with more than this nothing is gained, and others wait longer.
AT_ONCE = 256 * 1024
#: RFC 8446, section 5.1: no record has more
RECORD_MAX = 16 * 1024
#: contexts to targets that are kept; each has its authorities in memory
TARGETS_MAX = 256
#: seconds after which the system's authorities are read again
TRUSTED_FOR = 3600.0


def widen(transport: Any) -> None:
    """Let C{transport} read and buffer as much as bulk wants."""
    transport.bufferSize = AT_ONCE


class Gathering:
    """An OpenSSL connection over memory as L{twisted.protocols.tls} uses it, but C{recv} gives records together."""

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection
        self._receive = connection.recv
        self._later: SSL.Error | None = None
        # looked up for each piece of a result
        self.send = connection.send
        self.bio_read = connection.bio_read
        self.bio_write = connection.bio_write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def recv(self, size: int) -> bytes:
        """
        @param size: of no meaning: what is there is given, up to about L{AT_ONCE}.
        @raise SSL.Error: as pyOpenSSL's; what came before it has been given.
        """
        later, self._later = self._later, None
        if later is not None:
            raise later
        receive = self._receive
        part = receive(RECORD_MAX)
        if len(part) < LONG:
            return part
        parts, gathered = [part], len(part)
        try:
            while gathered < AT_ONCE:
                part = receive(RECORD_MAX)
                parts.append(part)
                gathered += len(part)
        except SSL.WantReadError:
            pass  # no whole record is there any more; asked again, it says so again
        except SSL.Error as error:
            self._later = error
        return b"".join(parts)


@implementer(IOpenSSLServerConnectionCreator, IOpenSSLClientConnectionCreator)
class Gathered:
    """@param creator: makes the connections, as L{twisted.internet.ssl} has them"""

    def __init__(self, creator: Any) -> None:
        self._creator = creator

    def serverConnectionForTLS(self, protocol: Any) -> Any:
        return Gathering(self._creator.serverConnectionForTLS(protocol))

    def clientConnectionForTLS(self, protocol: Any) -> Any:
        return Gathering(self._creator.clientConnectionForTLS(protocol))


@implementer(IOpenSSLClientConnectionCreator)
class _AnyName:
    """verify-ca: the chain must be good, whoever it names."""

    def __init__(self, context: SSL.Context, name: str) -> None:
        self._context = context
        self._name = name

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if not self._name.replace(".", "").isdigit() and ":" not in self._name:
            connection.set_tlsext_host_name(self._name.encode("idna"))
        return connection


def client_tls(tls: TargetTls, host: str, now: float) -> Any:
    """The TLS of a leg to a target: one context for all sessions of one worker, which takes 30 KiB and milliseconds.

    @param now: seconds of any clock that only goes forward.
    @return: IOpenSSLClientConnectionCreator, or None where it is off
    """
    if tls.mode == "off":
        return None
    # a system's authorities may be replaced under us; ours come with the configuration
    return _client_tls(tls, tls.server_name or host, now // TRUSTED_FOR if tls.authorities is None else 0.0)


@lru_cache(TARGETS_MAX)
def _client_tls(tls: TargetTls, name: str, period: float) -> Any:
    if tls.authorities is None:
        trust: Any = ssl.platformTrust()
    else:
        blocks = tls.authorities.split("-----END CERTIFICATE-----")
        pem = [block + "-----END CERTIFICATE-----\n" for block in blocks if "-----BEGIN CERTIFICATE-----" in block]
        trust = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(each.encode()) for each in pem])
    if tls.mode == "verify-ca":
        return Gathered(_AnyName(ssl.CertificateOptions(trustRoot=trust).getContext(), name))
    return Gathered(ssl.optionsForClientTLS(name, trustRoot=trust, acceptableProtocols=[b"postgresql"]))
