"""The binary packet protocol: what is sealed opens, and nothing else does, in any split, for every cipher and MAC."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.errors import PeerError
from hoopd.protocols.ssh.packets import CIPHERS, MACS, OCTETS_MAX, PACKET_MAX, Direction, Padding, protection

SUITES = [(cipher, mac) for cipher in CIPHERS for mac in MACS]


def zeros(count: int) -> bytes:
    return bytes(count)


def pair(cipher: bytes, mac: bytes, reset: bool = True) -> tuple[Direction, Direction]:
    out, into = Direction(), Direction()
    for direction, seals in ((out, True), (into, False)):
        keys = (bytes(range(64)), bytes(range(64, 128)), bytes(range(128, 192)))
        direction.renew(protection(cipher, mac, *keys, seals), reset, OCTETS_MAX)
    return out, into


def sealed(direction: Direction, message: bytes) -> bytes:
    """@param message: its number and its payload"""
    return direction.seal(message[0], message[1:], zeros)


def opened(direction: Direction, wire: bytes, step: int) -> list[bytes]:
    """Messages, as they come when C{wire} arrives C{step} bytes at a time."""
    buffer, found = bytearray(), []
    for start in range(0, len(wire), step):
        buffer += wire[start : start + step]
        at = 0
        while (one := direction.open(buffer, at)) is not None:
            found.append(bytes((one[0],)) + one[1])
            at = one[2]
        del buffer[:at]
    assert not buffer
    return found


@pytest.mark.parametrize(("cipher", "mac"), SUITES)
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_what_is_sealed_opens_in_every_split(cipher: bytes, mac: bytes, step: int) -> None:
    out, into = pair(cipher, mac)
    payloads = [b"\x02", b"x" * 11, b"y" * 300, bytes(2000)]
    wire = b"".join(sealed(out, payload) for payload in payloads)
    assert opened(into, wire, step) == payloads
    assert (out.sequence, out.octets) == (into.sequence, into.octets) == (4, len(wire))


def test_without_keys_packets_are_in_clear_and_whole_blocks() -> None:
    out, into = Direction(), Direction()
    wire = sealed(out, b"\x14" + b"k" * 20)
    assert len(wire) % 8 == 0
    assert b"kkkk" in wire
    assert opened(into, wire, 3) == [b"\x14" + b"k" * 20]


@pytest.mark.parametrize(("cipher", "mac"), SUITES)
def test_a_changed_bit_anywhere_is_noticed(cipher: bytes, mac: bytes) -> None:
    wire = sealed(pair(cipher, mac)[0], b"\x5e" + b"payload")
    for at in range(len(wire)):
        changed = bytearray(wire)
        changed[at] ^= 1
        into = pair(cipher, mac)[1]
        with pytest.raises(PeerError):
            # so many more that a length which grew finds all its bytes
            into.open(changed + bytes(PACKET_MAX + 64), 0)


@pytest.mark.parametrize(("cipher", "mac"), SUITES)
def test_packets_do_not_open_twice_nor_in_another_order(cipher: bytes, mac: bytes) -> None:
    out, into = pair(cipher, mac)
    first, second = sealed(out, b"\x02first"), sealed(out, b"\x02second")
    with pytest.raises(PeerError):
        into.open(bytearray(second), 0)
    out, into = pair(cipher, mac)
    first = sealed(out, b"\x02first")
    into.open(bytearray(first), 0)
    with pytest.raises(PeerError):
        into.open(bytearray(first), 0)


@pytest.mark.parametrize("size", [0, 4, PACKET_MAX + 16, 0xFFFFFFFF])
def test_lengths_that_cannot_be_are_refused_before_anything_is_kept(size: int) -> None:
    for into in (Direction(), pair(b"aes256-gcm@openssh.com", b"")[1]):
        with pytest.raises(PeerError, match="length"):
            into.open(bytearray(size.to_bytes(4, "big")), 0)


def test_numbering_begins_again_only_in_strict_exchanges() -> None:
    for reset, expected in ((True, 0), (False, 3)):
        direction = Direction()
        for _ in range(3):
            sealed(direction, b"\x02")
        direction.renew(
            protection(b"aes128-ctr", b"hmac-sha2-256-etm@openssh.com", *[bytes(64)] * 3, True), reset, 1000
        )
        assert (direction.sequence, direction.octets, direction.packets) == (expected, 0, 0)


@given(st.binary(max_size=400), st.sampled_from(SUITES))
def test_garbage_raises_peer_error_or_waits(garbage: bytes, suite: tuple[bytes, bytes]) -> None:
    makers: list[Callable[[], Direction]] = [Direction, lambda: pair(*suite)[1]]
    for make in makers:
        buffer = bytearray(garbage)
        try:
            one = make().open(buffer, 0)
        except PeerError:
            continue
        assert one is None or 4 < one[2] <= len(garbage)


def test_a_packet_without_a_message_is_refused() -> None:
    # one block in clear: a length of 12, of which 11 are padding
    with pytest.raises(PeerError, match="empty"):
        Direction().open(bytearray(b"\0\0\0\x0c" + b"\x0b" + bytes(11)), 0)


def test_padding_is_drawn_many_octets_at_once_and_given_once() -> None:
    drawn: list[int] = []

    def random(count: int) -> bytes:
        drawn.append(count)
        return bytes([len(drawn)]) + bytes(count - 1)

    padding = Padding(random)
    given = b"".join(padding(9) for _ in range(1000))
    assert len(given) == 9000
    assert len(drawn) < 5
    assert given.count(bytes([1])) == given.count(bytes([2])) == 1
