"""SSH as a worker's protocol: the factory of clients' connections and what they share in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.conch.ssh.keys import Key
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopd.config.schema import Limits
from hoopd.interfaces import IProtocolPlugin
from hoopd.protocols.liveness import liveness
from hoopd.protocols.ssh import keys
from hoopd.protocols.ssh.adapter import ClientConnection
from hoopd.protocols.unproven import Unproven
from hoopd.values import Identity, Peer

#: a host certificate lasts a day
CERTIFY_EVERY = 3600.0


class HostCertificate:
    """What Conch wants of a host key, both halves of it: the certificate in place of the key, and its signatures."""

    def __init__(self, blob: bytes, key: Any) -> None:
        self._blob = blob
        self._key = key

    def blob(self) -> bytes:
        """Conch's name: what is shown."""
        return self._blob

    def sign(self, data: bytes, signatureType: bytes | None = None) -> bytes:
        """Conch's name: the signature is the plain key's (PROTOCOL.certkeys)."""
        plain = signatureType.removesuffix(keys.CERTIFICATE) if signatureType is not None else None
        signature: bytes = self._key.sign(data, plain)
        return signature


class SshFactory(Factory):
    """
    @param worker: L{hoopd.interfaces.IWorker}
    @ivar publicKeys, privateKeys: Conch's names: the listener's host keys by their kind.
    @ivar liveness: how peers that vanished are found, on both legs.
    @ivar unproven: clients without login.
    """

    noisy = False
    log = Logger()

    def __init__(self, worker: Any, limits: Limits) -> None:
        self.worker = worker
        self.liveness = liveness(limits)
        loaded = [Key.fromString(Path(path).read_bytes()) for path in worker.config.host_keys]
        self.privateKeys: dict[bytes, Any] = {key.sshType(): key for key in loaded}
        self.publicKeys: dict[bytes, Any] = {kind: key.public() for kind, key in self.privateKeys.items()}
        self._certified_for: frozenset[str] = frozenset()
        self._certified_at = -CERTIFY_EVERY
        self._renew_certificates()
        self.unproven = Unproven(worker.config.max_unauthenticated)

    def buildProtocol(self, addr: Any) -> ClientConnection:
        return self._made(ClientConnection(self, Peer(getattr(addr, "host", ""), getattr(addr, "port", 0), True)))

    def inner(self, peer: Peer, target: str, outer: Identity) -> ClientConnection:
        """A connection inside another one. @param outer: who the other one proved to be"""
        return self._made(ClientConnection(self, peer, (target, outer)))

    def _made(self, client: ClientConnection) -> ClientConnection:
        client.factory = self
        self._renew_certificates()
        client.supportedPublicKeys = tuple(
            name
            for suffix in (keys.CERTIFICATE, b"")
            for name in (plain + suffix for plain in client.supportedPublicKeys)
            if keys.kind(name) in self.privateKeys
        )
        return client

    # -- host certificates -------------------------------------------------------------------------------------

    def _renew_certificates(self) -> None:
        """Have host certificates made, in the names of the targets that there are now; what there is goes on meanwhile."""
        names = frozenset(name for name, target in self.worker.policy.targets().items() if target.protocol == "ssh")
        now = self.worker.reactor.seconds()
        if not names or (names == self._certified_for and now - self._certified_at < CERTIFY_EVERY):
            return
        self._certified_for, self._certified_at = names, now
        for kind in [kind for kind in self.privateKeys if not kind.endswith(keys.CERTIFICATE)]:
            asked = self.worker.ssh.certify_host(self.publicKeys[kind].blob())
            asked.addCallbacks(self._certificate, self._not_certified, callbackArgs=(kind,))

    def _certificate(self, blob: bytes, kind: bytes) -> None:
        made = HostCertificate(blob, self.privateKeys[kind])
        self.privateKeys[kind + keys.CERTIFICATE] = self.publicKeys[kind + keys.CERTIFICATE] = made

    def _not_certified(self, failure: Failure) -> None:
        # clients that pin the plain key do not miss it; the next connection asks again
        self._certified_at = -CERTIFY_EVERY
        self.log.warn("no host certificate: {why}", why=failure.getErrorMessage())

    def getService(self, transport: ClientConnection, service: bytes) -> Any:
        """Conch's name."""
        return transport.service_named(service)

    def getPrimes(self) -> None:
        """Conch's name: no exchange with groups of a size that the client picks."""


@implementer(IProtocolPlugin)
class SshPlugin:
    """L{IProtocolPlugin} of C{[listen.ssh]}."""

    name = "ssh"

    def factory(self, worker: Any) -> SshFactory:
        """See L{IProtocolPlugin.factory}."""
        return SshFactory(worker, getattr(worker, "limits", None) or Limits())
