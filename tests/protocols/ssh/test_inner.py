"""A connection inside a channel: whoever writes to it is paused while the client that it is for takes nothing."""

from __future__ import annotations

from typing import Any

from hoopd.protocols.ssh import messages
from hoopd.protocols.ssh.channels import PACKET
from hoopd.protocols.ssh.inner import FULL, ChannelTransport
from hoopd.protocols.ssh.lobby import Jump, Lobby
from hoopd.protocols.ssh.messages import Open, number, string
from hoopd.protocols.ssh.visit import Gate


class Protocol:
    """What is inside."""

    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, octets: bytes) -> None:
        self.received += octets


class Producer:
    """Whoever writes to it."""

    def __init__(self) -> None:
        self.paused = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False


class Inside:
    """@ivar sent: octets that went to the client so far"""

    def __init__(self, room: int) -> None:
        self.lobby = Lobby("nothing here")
        details = string(b"web1") + number(22) + string(b"127.0.0.1") + number(1)
        self.lobby.client_message(messages.OPEN, Open("direct-tcpip", 5, room, PACKET, details).encode())
        (asked,) = self.lobby.asks
        assert isinstance(asked, Jump)
        place = self.lobby.connected(asked.channel)
        assert place is not None
        self.channel = asked.channel
        self.sent = 0
        self.protocol, self.producer = Protocol(), Producer()
        self.transport = ChannelTransport(self.lobby, place, self.protocol, None, self.pump)
        self.transport.registerProducer(self.producer, True)

    def pump(self) -> None:
        waiting, self.lobby.to_client = self.lobby.to_client, []
        self.sent += sum(len(messages.read_data(kind, load)[2]) for kind, load in waiting if kind == messages.DATA)

    def takes(self, now: bool) -> None:
        self.lobby.takes(now)
        self.pump()


def test_a_client_with_room_is_sent_all() -> None:
    inside = Inside(1 << 31)
    inside.transport.write(bytes(10 * FULL))
    assert inside.sent == 10 * FULL
    assert not inside.producer.paused
    inside.lobby.client_message(messages.DATA, number(inside.channel) + string(b"hello"))
    assert inside.protocol.received == b"hello"


def test_whoever_writes_is_paused_while_the_window_is_used_up() -> None:
    inside = Inside(100)
    inside.transport.write(bytes(FULL + 200))
    assert (inside.sent, inside.producer.paused) == (100, True)
    inside.lobby.client_message(messages.WINDOW_ADJUST, messages.window_adjust(inside.channel, 1 << 30))
    inside.pump()
    assert (inside.sent, inside.producer.paused) == (FULL + 200, False)


def test_whoever_writes_is_paused_while_the_socket_is_full_or_keys_are_exchanged_whatever_the_window() -> None:
    inside = Inside(1 << 31)
    gate = Gate(inside.takes)
    changes: list[Any] = [gate.pauseProducing, lambda: gate.exchanging(True), gate.resumeProducing]
    for change in changes:
        change()
        inside.transport.write(bytes(FULL))
        assert inside.sent == 0
    assert inside.producer.paused
    gate.exchanging(False)
    assert (inside.sent, inside.producer.paused) == (3 * FULL, False)
