"""The screen after what was written to it; whatever is written, it stays a screen."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.shell.screen import CELLS_MAX, Screen, width


def shown(*written: str, columns: int = 10, rows: int = 4) -> tuple[list[str], tuple[int, int]]:
    screen = Screen(columns, rows)
    for each in written:
        screen.feed(each.encode())
    return [screen.text(row).rstrip() for row in range(rows)], (screen.column, screen.row)


@pytest.mark.parametrize(
    ("written", "rows", "cursor"),
    [
        ("abc", ["abc", "", "", ""], (3, 0)),
        ("abc\r\nd", ["abc", "d", "", ""], (1, 1)),
        ("abc\b\bX", ["aXc", "", "", ""], (2, 0)),
        ("0123456789", ["0123456789", "", "", ""], (9, 0)),
        ("0123456789a", ["0123456789", "a", "", ""], (1, 1)),
        ("0123456789\ra", ["a123456789", "", "", ""], (1, 0)),
        ("1\r\n2\r\n3\r\n4\r\n5", ["2", "3", "4", "5"], (1, 3)),
        ("abc\x1b[2D\x1b[K", ["a", "", "", ""], (1, 0)),
        ("abc\x1b[1K", ["", "", "", ""], (3, 0)),
        ("abcdef\r\x1b[2P", ["cdef", "", "", ""], (0, 0)),
        ("abcdef\r\x1b[2@xy", ["xyabcdef", "", "", ""], (2, 0)),
        ("abcdef\r\x1b[4hX\x1b[4l", ["Xabcdef", "", "", ""], (1, 0)),
        ("abcdef\r\x1b[3X", ["   def", "", "", ""], (0, 0)),
        ("a\r\nb\x1b[2J\x1b[Hc", ["c", "", "", ""], (1, 0)),
        ("\x1b[3;4Hx", ["", "", "   x", ""], (4, 2)),
        ("a\tb", ["a       b", "", "", ""], (9, 0)),
        ("x\x1b[3b", ["xxxx", "", "", ""], (4, 0)),
        ("漢字", ["漢字", "", "", ""], (4, 0)),
        ("012345678漢", ["012345678", "漢", "", ""], (2, 1)),
        ("漢\bx", [" x", "", "", ""], (2, 0)),
        ("e\u0301x", ["e\u0301x", "", "", ""], (2, 0)),
        ("a\x1b[?1049hb\x1b[?1049lc", ["ac", "", "", ""], (2, 0)),
        ("a\x1b]0;title\x07b\x1b]8;;x\x1b\\c", ["abc", "", "", ""], (3, 0)),
        ("\x1b[1;31ma\x1b[m\x1b(Bb", ["ab", "", "", ""], (2, 0)),
        ("a\x1b7\r\nb\x1b8c", ["ac", "b", "", ""], (2, 0)),
    ],
)
def test_what_is_written_stands_there(written: str, rows: list[str], cursor: tuple[int, int]) -> None:
    assert shown(written) == (rows, cursor)
    assert shown(*written) == (rows, cursor), "in pieces as well"


def test_it_is_known_where_the_terminal_went_on_by_itself() -> None:
    screen = Screen(10, 4)
    screen.feed(b"0123456789ab\r\n0123456789\r\nx")
    assert [screen.wraps(row) for row in range(4)] == [True, False, False, False]
    assert screen.full(2)
    screen.feed(b"\x1b[H\x1b[K")
    assert not screen.wraps(0)


@pytest.mark.parametrize(
    "written",
    ["\x1b[?7l", "\x1b[?6h", "\x1b[2;3r", "\x1b(0", "\x0e", "\x1b[?69h", "\x1b[20h", "\x1b[4h", "\x1b[?3h"],
)
def test_modes_that_lay_text_out_otherwise_are_doubts_as_long_as_they_last(written: str) -> None:
    screen = Screen(20, 5)
    assert not screen.doubt
    screen.feed(written.encode())
    assert screen.doubt


@pytest.mark.parametrize(
    "written", ["\x1b[?99h", "\x1bPq\x1b\\", "\x1b[5y", "\x1b#8", "\x9b2J", "\x1b[\x18", "\x1bc", "\x1b[1;2;3;4;5z"]
)
def test_what_is_not_followed_is_counted(written: str) -> None:
    screen = Screen(20, 5)
    screen.feed(written.encode() + b"x")
    assert screen.doubts


def test_line_editors_say_that_they_read() -> None:
    screen = Screen(20, 5)
    screen.feed(b"\x1b[?2004h$ \x1b[?2004l\r\n\x1b[?1;2004h")
    assert (screen.editor, screen.opened, screen.closed, screen.lines) == (True, 2, 1, 1)


def test_widths() -> None:
    assert [width(each) for each in "aé漢\u0301\u200bｗ"] == [1, 1, 2, 0, 0, 2]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.builds(
                lambda numbers, final: b"\x1b[" + b";".join(b"%d" % each for each in numbers) + final,
                st.lists(st.integers(0, 10**12), max_size=3),
                st.sampled_from([bytes([each]) for each in range(0x40, 0x7F)]),
            ),
            st.sampled_from(
                [
                    b"\x1b[?1049h",
                    b"\x1b[?1049l",
                    b"\x1bM",
                    b"\x1bc",
                    "漢e\u0301".encode(),
                    b"\x1b[4h",
                    b"0123456789\r\n",
                ]
            ),
            st.tuples(st.integers(0, 300), st.integers(0, 300)),
        ),
        max_size=30,
    ),
    st.integers(0, 40),
    st.integers(0, 12),
)
def test_hostile_output_leaves_a_screen(written: list[bytes | tuple[int, int]], columns: int, rows: int) -> None:
    screen = Screen(columns, rows)
    for each in written:
        if isinstance(each, tuple):
            screen.resize(*each)
        else:
            screen.feed(each)
        assert 0 <= screen.column < screen.columns
        assert 0 <= screen.row < screen.rows
        assert screen.columns * screen.rows <= CELLS_MAX
        for row in range(screen.rows):
            cells = screen._cells[row]
            assert len(cells) == screen.columns
            assert all(len(cell) < 16 for cell in cells)
        assert len(screen._carried) <= 4096
        assert len(screen._cells) == len(screen._wraps) == screen.rows
