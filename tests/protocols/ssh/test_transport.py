"""Two of our transports, one of each side, with wires between them that deliver when the test says so: keys and their renewal."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.service import SSHService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from hoopd.protocols.ssh import packets, transport
from hoopd.protocols.ssh.transport import ClientTransport, ServerTransport

#: a message of the connection protocol
SOME = 94


class Heard(SSHService):
    """Keeps what comes."""

    name = b"ssh-connection"

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        assert messageNum == SOME
        self.payloads.append(packet)


class Factory:
    """What a server's transport wants of its factory."""

    def __init__(self) -> None:
        key = Key(Ed25519PrivateKey.generate())
        self.privateKeys = {b"ssh-ed25519": key}
        self.publicKeys = {b"ssh-ed25519": key.public()}

    def getPrimes(self) -> None:
        """There are none."""


class Server(ServerTransport):
    supportedPublicKeys: Any = (b"ssh-ed25519",)
    factory: Any


class Client(ClientTransport):
    def verifyHostKey(self, hostKey: bytes, fingerprint: Any) -> Deferred[Any]:
        return succeed(True)

    def connectionSecure(self) -> None:
        """Keys are there, for the first time or again."""


class Pair:
    """@ivar heard: what each side was told by the other"""

    def __init__(self, *ciphers: bytes) -> None:
        """@param ciphers: of the client, its favourite first"""
        self.clock = Clock()
        self.server, self.client = Server(), Client()
        self.client.supportedCiphers = ciphers or self.client.supportedCiphers
        self.server.factory = Factory()
        self.heard: dict[Any, Heard] = {}
        for side in (self.server, self.client):
            side.clock = self.clock
            side.makeConnection(StringTransport())
        self.deliver()
        for side in (self.server, self.client):
            self.heard[side] = Heard()
            side.setService(self.heard[side])
        self.session = self.client.sessionID

    def deliver(self) -> None:
        """Until neither has more to say."""
        moved = True
        while moved:
            moved = False
            for side, other in ((self.client, self.server), (self.server, self.client)):
                said = side.transport.value()
                side.transport.clear()
                if said:
                    other.dataReceived(said)
                    moved = True
                self.clock.advance(0)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packets, "OCTETS_MAX", 10_000)


def exchanged(side: Any) -> Any:
    """Something that is another after each exchange."""
    return side.currentEncryptions


def test_keys_are_renewed_by_volume_whoever_sends(small: None) -> None:
    for sender, receiver in (("client", "server"), ("server", "client")):
        pair = Pair()
        first = exchanged(pair.client)
        sent = [bytes((number,)) * 900 for number in range(100)]
        seen = set()
        for payload in sent:
            getattr(pair, sender).sendPacket(SOME, payload)
            pair.deliver()
            seen.add(id(exchanged(pair.client)))
            assert pair.client.sessionID == pair.server.sessionID == pair.session
        assert pair.heard[getattr(pair, receiver)].payloads == sent
        assert exchanged(pair.client) is not first
        assert len(seen) > 3
        assert not pair.client._ended
        assert not pair.server._ended


def test_what_is_sent_while_keys_are_renewed_comes_in_its_order(small: None) -> None:
    pair = Pair()
    sent = [bytes((number,)) * 900 for number in range(100)]
    for payload in sent:
        # both wear their keys out at once, and nobody hears of the other before all is said
        pair.client.sendPacket(SOME, payload)
        pair.server.sendPacket(SOME, payload)
    pair.deliver()
    assert pair.heard[pair.server].payloads == pair.heard[pair.client].payloads == sent


def test_keys_are_renewed_by_time() -> None:
    pair = Pair()
    told: list[bool] = []
    pair.server.exchanging = told.append
    first = exchanged(pair.client), exchanged(pair.server)
    pair.clock.advance(transport.RENEW_AFTER)
    assert told == [True]
    pair.deliver()
    assert told == [True, False]
    assert exchanged(pair.client) is not first[0]
    assert exchanged(pair.server) is not first[1]
    pair.client.sendPacket(SOME, b"after")
    pair.deliver()
    assert pair.heard[pair.server].payloads == [b"after"]


def test_a_slow_line_has_time_to_renew_keys_and_not_for_ever() -> None:
    pair = Pair()
    pair.server.renew_keys()
    pair.clock.advance(transport.EXCHANGE_TIMEOUT + 1)
    assert not pair.server._ended
    pair.clock.advance(transport.RENEWAL_TIMEOUT)
    assert pair.server._ended


def ciphers_after(pair: Pair, packets_: int) -> set[bytes]:
    """What protects both ways once the client has sent so many packets, all of which came."""
    sent = [bytes((number,)) * 30_000 for number in range(packets_)]
    for payload in sent:
        pair.client.sendPacket(SOME, payload)
        pair.deliver()
    assert pair.heard[pair.server].payloads == sent
    keys = exchanged(pair.server)
    return {keys.outCipType, keys.inCipType}


def test_a_client_that_carries_much_changes_to_a_cipher_that_costs_less() -> None:
    enough = transport.AEAD_AFTER // 30_000 + 2
    ctr, gcm = b"aes128-ctr", b"aes128-gcm@openssh.com"
    assert ciphers_after(Pair(ctr, gcm), enough - 4) == {ctr}, "little is not worth it"
    assert ciphers_after(Pair(ctr, gcm), enough) == {gcm}
    assert ciphers_after(Pair(ctr), enough) == {ctr}, "who has no other keeps it"


def test_a_client_that_begins_with_the_better_cipher_exchanges_no_keys_early() -> None:
    pair = Pair(b"aes256-gcm@openssh.com", b"aes128-ctr")
    first = exchanged(pair.server)
    assert ciphers_after(pair, transport.AEAD_AFTER // 30_000 + 2) == {b"aes256-gcm@openssh.com"}
    assert exchanged(pair.server) is first


# -- peers that ask for much --------------------------------------------------------------------------------------


def test_keys_that_are_renewed_again_and_again_end_it() -> None:
    pair = Pair()
    for _ in range(transport.EARLY_MAX + 1):
        assert not pair.client._ended
        pair.server.renew_keys()
        pair.deliver()
    assert pair.client._ended


def test_keys_are_renewed_as_often_as_time_or_volume_say() -> None:
    pair = Pair()
    for _ in range(transport.EARLY_MAX * 2):
        pair.clock.advance(transport.EARLY_SECONDS * 2)
        pair.server.renew_keys()
        pair.deliver()
    assert not pair.client._ended


def test_messages_that_nobody_knows_are_answered_and_bounded() -> None:
    pair = Pair()
    pair.client.service = None
    for _ in range(transport.UNKNOWN_MAX + 1):
        assert not pair.client._ended
        pair.server.sendPacket(150, b"")
        pair.deliver()
    assert pair.client._ended
