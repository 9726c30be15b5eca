"""Windows and ends of one channel: nothing is sent beyond the room, nothing lost, nothing kept beyond a window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.errors import PeerError
from hoopd.protocols.ssh import messages
from hoopd.protocols.ssh.channels import GROWTH, PACKET, PIECES_MAX, WINDOW, WINDOW_MAX, End, Leg

Out = list[tuple[int, bytes]]


def sent(out: Out) -> bytes:
    """All data in C{out}."""
    kinds = (messages.DATA, messages.EXTENDED_DATA)
    return b"".join(messages.read_data(kind, payload)[2] for kind, payload in out if kind in kinds)


def test_data_goes_at_once_where_there_is_room() -> None:
    end, out = End(theirs=5, room=100), []
    end.send(0, b"hello", out)
    end.send(messages.STDERR, b"oops", out)
    assert out == [messages.data(5, 0, b"hello"), messages.data(5, 1, b"oops")]
    assert (end.room, end.queued) == (91, 0)


def test_what_has_no_room_waits_in_order_and_keeps_its_stream() -> None:
    end, out = End(room=3), []
    end.send(0, b"abcdef", out)
    end.send(1, b"XY", out)
    end.send(1, b"Z", out)
    assert sent(out) == b"abc"
    assert end.queued == 6
    end.widened(4)
    end.drain(out)
    assert [messages.read_data(kind, payload)[1:] for kind, payload in out] == [(0, b"abc"), (0, b"def"), (1, b"X")]
    end.widened(100)
    end.drain(out)
    assert sent(out) == b"abcdefXYZ"
    assert not end.queue


def test_the_end_comes_behind_what_waits_and_once() -> None:
    end, out = End(room=2), []
    end.send(0, b"abc", out)
    end.finished = end.closing = True
    end.drain(out)
    assert [kind for kind, _ in out] == [messages.DATA]
    end.widened(1)
    end.drain(out)
    end.drain(out)
    assert [kind for kind, _ in out] == [messages.DATA, messages.DATA, messages.EOF, messages.CLOSE]
    end.send(0, b"late", out)
    assert len(out) == 4


def test_packets_are_no_larger_than_the_other_side_takes() -> None:
    end, out = End(room=WINDOW, packet=1000), []
    end.send(0, bytes(2500), out)
    assert [len(messages.read_data(kind, payload)[2]) for kind, payload in out] == [1000, 1000, 500]


def test_whoever_sends_beyond_its_window_or_after_its_end_breaks_the_protocol() -> None:
    end = End(granted=10)
    end.received(10)
    with pytest.raises(PeerError, match="window"):
        end.received(1)
    for broken in (End(eof_received=True), End(close_received=True)):
        with pytest.raises(PeerError, match="after its end"):
            broken.received(1)


def test_a_window_cannot_pass_its_largest() -> None:
    end = End(room=0xFFFFFFFF)
    with pytest.raises(PeerError, match="larger"):
        end.widened(1)


def test_windows_are_made_good_by_halves_and_only_for_what_went_on() -> None:
    end, out = End(theirs=9, window=WINDOW_MAX, granted=WINDOW_MAX), []
    end.received(PACKET)
    end.refill(0, out)
    assert out == []
    end.received(WINDOW_MAX // 2)
    end.refill(WINDOW_MAX // 2 + PACKET, out)
    assert out == [], "all of it waits on the other side"
    end.refill(0, out)
    assert out == [(messages.WINDOW_ADJUST, messages.window_adjust(9, WINDOW_MAX // 2 + PACKET))]
    assert end.granted == WINDOW_MAX


def used(end: End, times: int, waiting: int = 0) -> int:
    """Its window, after all of it was used so often."""
    for _ in range(times):
        end.received(end.granted)
        end.refill(waiting, [])
    return end.window


def test_windows_grow_where_what_they_let_in_goes_on_and_only_there() -> None:
    assert used(End(), 1) == 2 * WINDOW
    assert used(End(), 20) == WINDOW_MAX
    assert used(End(), 20, waiting=1000) == WINDOW


def test_the_windows_of_one_side_grow_by_no_more_than_is_allowed_together() -> None:
    leg = Leg()
    ends = [End(leg=leg) for _ in range(200)]
    assert sum(used(end, 20) for end in ends) == 200 * WINDOW + GROWTH
    assert sum(end.granted for end in ends) == 200 * WINDOW + GROWTH
    assert used(End(leg=leg), 20) == WINDOW
    ends[0].over()
    assert used(End(leg=leg), 20) == WINDOW_MAX


def test_what_cannot_be_taken_now_waits_though_there_is_room() -> None:
    leg = Leg(takes=False)
    end, out = End(room=100, leg=leg), []
    end.send(0, b"abc", out)
    assert (out, end.queued, end.room) == ([], 3, 100)
    leg.takes = True
    end.drain(out)
    assert sent(out) == b"abc"


def test_two_streams_in_small_pieces_cost_their_bytes_and_little_more() -> None:
    end, out = End(), []
    for number in range(10_000):
        end.send(number % 2, bytes((number % 251,)), out)
    assert len(end.queue) == PIECES_MAX
    end.widened(20_000)
    end.drain(out)
    for stream in (0, 1):
        told = [messages.read_data(kind, payload) for kind, payload in out]
        assert b"".join(octets for _, which, octets in told if which == stream) == bytes(
            number % 251 for number in range(10_000) if number % 2 == stream
        )


@given(
    st.lists(
        st.one_of(st.tuples(st.just("send"), st.binary(max_size=300)), st.tuples(st.just("room"), st.integers(0, 400)))
    ),
    st.integers(1, 64),
)
def test_whatever_the_order_all_arrives_within_the_room(steps: list[tuple[str, bytes | int]], packet: int) -> None:
    end, out = End(packet=packet), []
    given_room, given = 0, b""
    for _, value in steps:
        if isinstance(value, bytes):
            end.send(0, value, out)
            given += value
        else:
            end.widened(value)
            end.drain(out)
            given_room += value
        assert sent(out) == given[: min(len(given), given_room)]
        assert end.queued == max(0, len(given) - given_room) == sum(len(each) for _, each in end.queue)
    assert all(len(payload) <= packet + 8 for kind, payload in out if kind == messages.DATA)
