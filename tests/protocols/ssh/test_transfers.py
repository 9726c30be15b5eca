"""What went of a file: hashed in its order however it came, and honest about the rest."""

from __future__ import annotations

import hashlib
import random
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.protocols.ssh.transfers import AHEAD_MAX, RANGES_MAX, Ahead, Transfer

CONTENT = bytes(range(256)) * 4


def transfer(direction: Literal["download", "upload"] = "download", fresh: bool = True) -> Transfer:
    return Transfer(1, direction, "sftp", "/x", 10.0, fresh)


def fields(one: Transfer, good: bool = True) -> dict[str, Any]:
    return one.fields("closed", 12.5, good)


def test_in_order() -> None:
    one = transfer()
    for at in range(0, len(CONTENT), 100):
        one.moved(at, CONTENT[at : at + 100])
    one.ended(len(CONTENT))
    assert fields(one) == {
        "operation": 1, "direction": "download", "via": "sftp", "path": "/x", "bytes": 1024,
        "sha256": hashlib.sha256(CONTENT).hexdigest(), "whole": True, "tag": "closed", "duration": 2.5,
    }  # fmt: skip
    assert fields(one, good=False)["whole"] is False


@given(st.integers(1, 200), st.integers(0, 2**32))
def test_in_any_order_the_hash_is_the_same(step: int, seed: int) -> None:
    pieces = [(at, CONTENT[at : at + step]) for at in range(0, len(CONTENT), step)]
    random.Random(seed).shuffle(pieces)
    for direction in ("download", "upload"):
        one = transfer(direction)  # type: ignore[arg-type]
        for at, piece in pieces:
            one.moved(at, piece)
        one.ended(len(CONTENT))
        assert fields(one)["sha256"] == hashlib.sha256(CONTENT).hexdigest()
        assert fields(one)["whole"]


def test_a_part_is_no_whole() -> None:
    unfinished = transfer()
    unfinished.moved(0, b"abc")
    assert (fields(unfinished)["whole"], fields(unfinished)["ranges"]) == (False, [[0, 3]])
    assert fields(unfinished)["sha256"] == hashlib.sha256(b"abc").hexdigest()
    resumed = transfer("upload", fresh=False)
    resumed.moved(3, b"abc")
    assert (fields(resumed)["sha256"], fields(resumed)["ranges"]) == (None, [[3, 6]])
    over = transfer("upload", fresh=False)
    over.moved(0, b"abc")
    assert (fields(over)["sha256"], fields(over)["whole"]) == (hashlib.sha256(b"abc").hexdigest(), False)
    holes = transfer("upload")
    holes.moved(0, b"a")
    holes.moved(5, b"b")
    assert (fields(holes)["sha256"], fields(holes)["ranges"]) == (None, [[0, 1], [5, 6]])


def test_what_is_written_over_has_no_hash_and_what_is_read_again_has() -> None:
    again = transfer("upload")
    again.moved(0, b"abcdef")
    again.moved(2, b"X")
    assert (fields(again)["sha256"], fields(again)["whole"], again.octets) == (None, False, 7)
    early = transfer("upload")
    early.moved(4, b"ef")
    early.moved(0, b"abcde")
    assert fields(early)["sha256"] is None
    read = transfer()
    read.moved(0, b"abcdef")
    read.moved(2, b"cd")
    read.moved(4, b"efgh")
    read.ended(8)
    assert (fields(read)["sha256"], fields(read)["bytes"]) == (hashlib.sha256(b"abcdefgh").hexdigest(), 12)


def test_an_empty_file() -> None:
    one = transfer("upload")
    assert (fields(one)["whole"], fields(one)["sha256"]) == (True, hashlib.sha256(b"").hexdigest())
    got = transfer()
    assert fields(got)["whole"] is False
    got.ended(0)
    assert fields(got)["whole"] is True


@pytest.mark.parametrize("size", [1, 32 * 1024])
def test_what_comes_early_is_bounded(size: int) -> None:
    one = transfer()
    piece = bytes(size)
    for number in range(1, AHEAD_MAX // 1024):
        one.moved(2 * number * size, piece)
        assert one.ahead.octets <= AHEAD_MAX
        assert one.ahead.pieces == len(one._early) <= 1024
    assert (one.ahead.octets, one.ahead.pieces) == (0, 0)
    assert one._ranges is None or len(one._ranges) <= RANGES_MAX
    assert fields(one)["sha256"] is None


def test_the_files_of_a_channel_share_what_may_wait() -> None:
    ahead = Ahead()
    files = [Transfer(1, "upload", "sftp", "/x", 0.0, True, ahead=ahead) for _ in range(100)]
    for one in files:
        one.moved(1, bytes(AHEAD_MAX // 10))
        assert ahead.octets <= AHEAD_MAX
    assert sum(one.sequential for one in files) == 0
    for one in files:
        one.moved(0, b"x")
        one.let_go()
    assert (ahead.octets, ahead.pieces) == (0, 0)
    assert [one.sequential for one in files] == [True] * 10 + [False] * 90


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10)), max_size=30))
def test_ranges_are_what_went(moves: list[tuple[int, int]]) -> None:
    one, covered = transfer(), set()
    for at, size in moves:
        one.moved(at, CONTENT[at : at + size])
        covered.update(range(at, at + size))
    assert one._ranges is not None
    assert {place for first, last in one._ranges for place in range(first, last)} == covered
    assert all(left[1] < right[0] for left, right in zip(one._ranges, one._ranges[1:], strict=False))
