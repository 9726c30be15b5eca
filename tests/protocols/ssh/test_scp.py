"""scp's old protocol: transcripts of honest copies, and what no honest scp does."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.errors import PeerError
from hoopd.protocols.ssh.scp import LINE_MAX, Began, Copy, Ended, Event, Piece

#: who speaks, and what; S sends, R receives
Turn = tuple[str, bytes]

FILE: list[Turn] = [("R", b"\0"), ("S", b"C0644 5 a file\n"), ("R", b"\0"), ("S", b"hello\0"), ("R", b"\0")]
TREE: list[Turn] = [
    ("R", b"\0"),
    ("S", b"T1700000000 0 1700000000 0\n"), ("R", b"\0"),
    ("S", b"D0755 0 top\n"), ("R", b"\0"),
    ("S", b"C0600 0 empty\n"), ("R", b"\0"), ("S", b"\0"), ("R", b"\0"),
    ("S", b"D0755 0 below\n"), ("R", b"\0"),
    ("S", b"C0600 2 x\n"), ("R", b"\0"), ("S", b"ab\0"), ("R", b"\0"),
    ("S", b"E\n"), ("R", b"\0"), ("S", b"E\n"), ("R", b"\0"),
]  # fmt: skip


def play(turns: list[Turn], copy: Copy | None = None, size: int | None = None) -> list[Event]:
    """@param size: octets at once"""
    copy = copy or Copy(True)
    found: list[Event] = []
    for who, octets in turns:
        step = size or len(octets)
        for at in range(0, len(octets), step):
            call = copy.sent if who == "S" else copy.answered
            found += call(octets[at : at + step])
    return found


def joined(events: list[Event]) -> list[object]:
    """Pieces put together: how they are cut is the wire's."""
    found: list[object] = []
    for event in events:
        if isinstance(event, Piece):
            if not isinstance(found[-1], bytes):
                found.append(b"")
            found[-1] += event.octets  # type: ignore[operator]
        else:
            found.append(event)
    return found


@pytest.mark.parametrize("size", [None, 1, 3])
def test_files_and_directories(size: int | None) -> None:
    assert joined(play(FILE, size=size)) == [Began((b"a file",), 5), b"hello", Ended()]
    assert joined(play(TREE, size=size)) == [
        Began((b"top", b"empty"), 0), Ended(), Began((b"top", b"below", b"x"), 2), b"ab", Ended(),
    ]  # fmt: skip


def test_failures_are_told_and_the_copy_goes_on() -> None:
    refused: list[Turn] = [*FILE, ("S", b"C0644 5 b\n"), ("R", b"\1scp: b: Permission denied\n"), *FILE[1:]]
    assert joined(play(refused))[3:5] == [Began((b"b",), 5), Ended("its receiver would not take it")]
    assert joined(play(refused))[5:] == [Began((b"a file",), 5), b"hello", Ended()]
    missing: list[Turn] = [("R", b"\0"), ("S", b"\1scp: x: No such file\n"), *FILE[1:]]
    assert joined(play(missing)) == joined(play(FILE))
    unread: list[Turn] = [*FILE[:3], ("S", b"hello\1scp: a file: Input/output error\n"), ("R", b"\0")]
    assert joined(play(unread))[-1] == Ended("its sender could not read it")
    full: list[Turn] = [*FILE[:4], ("R", b"\1scp: No space left on device\n")]
    assert joined(play(full))[-1] == Ended("its receiver could not write it")
    directory: list[Turn] = [("R", b"\0"), ("S", b"D0755 0 d\n"), ("R", b"\1no\n"), *FILE[1:]]
    assert joined(play(directory)) == joined(play(FILE))


@pytest.mark.parametrize("line", [
    b"C0644 5 ../x\n", b"C0644 5 /x\n", b"C0644 5 ..\n", b"C0644 5 .\n", b"C0644 5 \n", b"C0644 5 a\0b\n", b"C644 5 x\n",
    b"C0644 -5 x\n", b"C0644 99999999999999999999 x\n", b"D0755 0 ..\n", b"E\n", b"X\n", b"\n", b"T1 2\n", b"C0648 5 x\n",
    b"C0644 9223372036854775807 x\n",
])  # fmt: skip
def test_lines_that_are_none_end_it(line: bytes) -> None:
    copy = Copy(True)
    copy.answered(b"\0")
    with pytest.raises(PeerError):
        copy.sent(line)


def test_nobody_sends_out_of_turn() -> None:
    with pytest.raises(PeerError, match="wait"):
        Copy(True).sent(b"C0644 5 x\n")
    copy = Copy(True)
    copy.answered(b"\0")
    with pytest.raises(PeerError, match="wait"):
        copy.sent(b"C0644 5 x\nhello\0")
    longer: list[Turn] = [*FILE[:3], ("S", b"hello!")]
    with pytest.raises(PeerError, match="longer"):
        play(longer)
    over: list[Turn] = [("R", b"\0"), ("S", b"\2scp: fatal\n"), ("S", b"C0644 5 x\n")]
    with pytest.raises(PeerError, match="end"):
        play(over)


def test_nothing_comes_that_was_not_asked_for() -> None:
    asked = Copy(False, frozenset({b"a file"}))
    assert joined(play(FILE, asked)) == joined(play(FILE))
    with pytest.raises(PeerError, match="not asked for"):
        asked.sent(b"C0644 5 .bashrc\n")
    directories = Copy(False)
    directories.answered(b"\0")
    with pytest.raises(PeerError, match="not asked for"):
        directories.sent(b"D0755 0 x\n")


@pytest.mark.parametrize("octets", [b"x", b"\3", b"\1" + b"x" * (LINE_MAX + 1), b"\0" * 20])
def test_answers_that_are_none_end_it(octets: bytes) -> None:
    with pytest.raises(PeerError):
        Copy(True).answered(octets)


def test_a_line_is_bounded() -> None:
    copy = Copy(True)
    copy.answered(b"\0")
    with pytest.raises(PeerError):
        for _ in range(LINE_MAX // 100 + 2):
            copy.sent(b"C" * 100)


@given(st.lists(st.tuples(st.sampled_from("SR"), st.binary(max_size=30) | st.sampled_from(
    [b"\0", b"\1x\n", b"C0644 3 a\n", b"D0755 0 d\n", b"E\n", b"abc", b"abc\0", b"T1 0 1 0\n"])), max_size=30))  # fmt: skip
def test_whatever_is_said_is_read_or_refused(turns: list[Turn]) -> None:
    copy = Copy(True)
    began = ended = 0
    with contextlib.suppress(PeerError):
        for who, octets in turns:
            for event in (copy.sent if who == "S" else copy.answered)(octets):
                began += isinstance(event, Began)
                ended += isinstance(event, Ended)
                if isinstance(event, Began):
                    assert all(b"/" not in name and name not in (b"", b".", b"..") for name in event.names)
                assert ended <= began <= ended + 1
