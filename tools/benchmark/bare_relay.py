"""A relay that does nothing but TLS on both legs of a PostgreSQL connection: the floor that hoopd's latency is held against.

Usage: bare_relay.py PORT TARGET_PORT CERTIFICATE KEY. Measures Twisted, pyOpenSSL and the machine, not hoopd; it judges and
records nothing, and belongs to the benchmark alone.
"""

from __future__ import annotations

import sys
from typing import Any

from OpenSSL import SSL
from twisted.internet import epollreactor

epollreactor.install()

from twisted.internet import reactor, ssl  # noqa: E402
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol  # noqa: E402
from twisted.internet.protocol import Factory, Protocol  # noqa: E402

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


class Leg(Protocol):
    """One side; what comes before TLS stands is one 8-byte request or its one-byte answer."""

    other: Leg | None = None
    secured = False

    def connectionMade(self) -> None:
        self.transport: Any
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        if self.secured:
            assert self.other is not None
            self.other.transport.write(data)
        else:
            self.begin(data)

    def begin(self, data: bytes) -> None:
        raise NotImplementedError

    def connectionLost(self, reason: Any = None) -> None:
        if self.other is not None:
            self.other.transport.loseConnection()


class Client(Leg):
    tls: Any
    target: int

    def begin(self, data: bytes) -> None:
        if data != SSL_REQUEST:
            self.transport.loseConnection()
            return
        self.transport.pauseProducing()
        leg = Target()
        leg.other = self
        connectProtocol(HostnameEndpoint(reactor, "127.0.0.1", self.target), leg)

    def joined(self, leg: Leg) -> None:
        self.other = leg
        self.secured = True
        self.transport.write(b"S")
        self.transport.startTLS(self.tls)
        self.transport.resumeProducing()
        self.transport.registerProducer(leg.transport, True)
        leg.transport.registerProducer(self.transport, True)


class Target(Leg):
    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.write(SSL_REQUEST)

    def begin(self, data: bytes) -> None:
        self.secured = True
        self.transport.startTLS(ssl.CertificateOptions())
        assert isinstance(self.other, Client)
        self.other.joined(self)


def main() -> None:
    port, target, certificate, key = sys.argv[1:]
    with open(certificate, "rb") as file:
        shown = ssl.Certificate.loadPEM(file.read())
    with open(key, "rb") as file:
        secret = ssl.KeyPair.load(file.read(), SSL.FILETYPE_PEM)
    Client.tls = ssl.CertificateOptions(
        privateKey=secret.original, certificate=shown.original, acceptableProtocols=[b"postgresql"]
    )
    Client.target = int(target)
    reactor.listenTCP(int(port), Factory.forProtocol(Client), interface="127.0.0.1")  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
