"""What is recorded of a stream: all of it, as text where it is text, whatever the pieces it comes in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.protocols.ssh.streams import Recorded


class Route:
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.frames: list[Mapping[str, Any]] = []

    def record(self, kind: str, fields: Mapping[str, Any]) -> None:
        assert (kind, fields["operation"], fields["stream"]) == ("output", 7, "out")
        self.frames.append(fields)


def recorded(pieces: list[bytes], most: int | None = None) -> list[Mapping[str, Any]]:
    route = Route()
    stream = Recorded(route, 7, "output", "out", most)
    for piece in pieces:
        stream.take(piece)
    stream.finish()
    assert stream.octets == sum(map(len, pieces))
    return route.frames


def octets(frames: list[Mapping[str, Any]]) -> bytes:
    texts = [frame["text"] for frame in frames]
    return b"".join(each.encode() if isinstance(each, str) else bytes.fromhex(each["hex"]) for each in texts)


@given(st.text(max_size=40), st.integers(1, 7))
def test_text_stays_text_wherever_it_is_cut(text: str, size: int) -> None:
    raw = text.encode()
    frames = recorded([raw[at : at + size] for at in range(0, len(raw), size)])
    assert all(isinstance(frame["text"], str) for frame in frames)
    assert octets(frames) == raw


@given(st.lists(st.binary(max_size=12) | st.sampled_from([b"\xe2", b"\x82", b"\xac", b"\xf0\x9f", b"\xff", b"abc"])))
def test_nothing_is_lost_whatever_it_is(pieces: list[bytes]) -> None:
    assert octets(recorded(pieces)) == b"".join(pieces)


@pytest.mark.parametrize("end", [b"\xe2\x82", b"\xf0\x9f\x98", b"\xc3"])
def test_a_character_that_never_ends_is_kept_as_it_is(end: bytes) -> None:
    assert [frame["text"] for frame in recorded([b"ab" + end])] == ["ab", {"hex": end.hex()}]


def test_one_that_is_no_text_costs_its_neighbours_nothing() -> None:
    frames = recorded([b"before ", b"\xff\xe2\x82", b"\xac after"])
    assert [frame["text"] for frame in frames] == ["before ", {"hex": "ff"}, "\u20ac after"]


def test_what_is_beyond_the_bound_is_counted_and_hashed() -> None:
    sent = [b"0123456789", "\u20ac".encode(), b"more"]
    *kept, last = recorded(sent, 12)
    assert octets(kept) == b"0123456789\xe2\x82"
    assert (last["bytes"], last["kept"]) == (17, 12)
    assert last["sha256"] == hashlib.sha256(b"".join(sent)).hexdigest()
