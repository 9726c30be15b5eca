"""SSH as a worker's protocol: the factory of clients' connections and what they share in one process."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

from twisted.conch.ssh.keys import Key
from twisted.internet.protocol import Factory
from zope.interface import implementer

from hoopd.config.schema import Limits
from hoopd.interfaces import IProtocolPlugin
from hoopd.protocols.liveness import liveness
from hoopd.protocols.ssh.adapter import ClientConnection


class SshFactory(Factory):
    """
    @param worker: L{hoopd.interfaces.IWorker}
    @ivar publicKeys, privateKeys: Conch's names: the listener's host keys by their kind.
    @ivar liveness: how peers that vanished are found, on both legs.
    """

    noisy = False

    def __init__(self, worker: Any, limits: Limits) -> None:
        self.worker = worker
        self.liveness = liveness(limits)
        keys = [Key.fromString(Path(path).read_bytes()) for path in worker.config.host_keys]
        self.privateKeys = {key.sshType(): key for key in keys}
        self.publicKeys = {kind: key.public() for kind, key in self.privateKeys.items()}
        self._unknown: OrderedDict[ClientConnection, None] = OrderedDict()

    def buildProtocol(self, addr: Any) -> ClientConnection:
        made = ClientConnection(self, addr)
        made.factory = self  # type: ignore[assignment]
        made.supportedPublicKeys = tuple(name for name in made.supportedPublicKeys if _kind(name) in self.privateKeys)
        return made

    def getService(self, transport: ClientConnection, service: bytes) -> Any:
        """Conch's name."""
        return transport.service_named(service)

    def getPrimes(self) -> None:
        """Conch's name: no exchange with groups of a size that the client picks."""

    def arrived(self, client: ClientConnection) -> None:
        """A client without login. Where there are too many the oldest goes: an honest login takes no second."""
        self._unknown[client] = None
        if len(self._unknown) > self.worker.config.max_unauthenticated:
            oldest, _ = self._unknown.popitem(last=False)
            oldest.too_many()

    def known(self, client: ClientConnection) -> None:
        """It has logged in, or has ended."""
        self._unknown.pop(client, None)

    def left(self, client: ClientConnection) -> None:
        """It is gone."""
        self._unknown.pop(client, None)


def _kind(algorithm: bytes) -> bytes:
    """The kind of key that signs with C{algorithm} (RFC 8332)."""
    return b"ssh-rsa" if algorithm.startswith(b"rsa-sha2-") else algorithm


@implementer(IProtocolPlugin)
class SshPlugin:
    """L{IProtocolPlugin} of C{[listen.ssh]}."""

    name = "ssh"

    def factory(self, worker: Any) -> SshFactory:
        """See L{IProtocolPlugin.factory}."""
        return SshFactory(worker, getattr(worker, "limits", None) or Limits())
