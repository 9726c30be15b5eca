"""Recorded terminals: what is played paints and does nothing else, however it was cut; asciicast is as players read it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.audit.recording import Entry
from hoopd.audit.terminal import Inert, asciicast, moments, operations, played

PAINTS = [
    "plain ü 漢\r\n\t\b",
    "\x1b[1;31mred\x1b[0m",
    "\x1b[2J\x1b[H\x1b[10;20Hx\x1b[K\x1b[3A",
    "\x1b[?1049h\x1b[?25l\x1b[5;20r\x1b[?1049l",
    "\x1b7\x1b8\x1bM\x1b(B\x1b(0",
]

ATTACKS = [
    ("\x1b]52;c;aGk=\x07x", "x"),
    ("\x1b]0;title\x1b\\x", "x"),
    ("\x1b]8;;http://evil\x07link\x1b]8;;\x07", "link"),
    ("\x1bP+q544e\x1b\\x", "x"),
    ("\x1b_Gf=100;AAAA\x1b\\x", "x"),
    ("\x1b^pm\x1b\\\x1bXsos\x1b\\x", "x"),
    ("\x1b[6n\x1b[c\x1b[>c\x1b[5n\x1b[=c", ""),
    ("\x1b[21t\x1b[8;10;10t", ""),
    ("\x1b[?1000h\x1b[?1006h\x1b[?2004h\x1b[4h\x1b[20h", ""),
    ("\x1b[5i\x1b[4iprint", "print"),
    ("\x1bc\x1bZ\x1b#8", ""),
    ("\x9d52;c;aGk=\x07", "52;c;aGk="),
    ("\x9b6n\x07\x05\x00\x7f", "6n"),
    ("\x1b[!p\x1b[1$}x\x1b[ q", "x"),
    ("\x1b]52;c;" + "A" * 5000 + "\x07x", "x"),
    ("\u202eflip\u200b", "flip"),
]


def entry(since: float, kind: str, **fields: object) -> Entry:
    return Entry(0, 1000.0 + since, since, kind, fields)


TALK = [
    entry(0.0, "open", session="S-1"),
    entry(1.0, "operation", operation=1, text="shell"),
    entry(1.0, "resize", operation=1, columns=100, rows=30),
    entry(1.5, "output", operation=1, stream="out", text="$ \x1b]52;c;aGk=\x07"),
    entry(2.0, "input", operation=1, stream="in", text="ls\r"),
    entry(2.5, "output", operation=1, stream="out", text={"hex": "ff41"}),
    entry(2.6, "output", operation=2, stream="out", text="of another"),
    entry(60.0, "resize", operation=1, columns=80, rows=24),
    entry(61.0, "output", operation=1, stream="out", text="bye"),
]


@pytest.mark.parametrize("text", PAINTS)
def test_what_paints_is_shown_as_it_was(text: str) -> None:
    assert Inert().feed(text) == text


@pytest.mark.parametrize(("text", "shown"), ATTACKS)
def test_what_does_more_than_paint_is_left_out(text: str, shown: str) -> None:
    assert Inert().feed(text) == shown


@pytest.mark.parametrize("text", [*PAINTS, *[attack for attack, _ in ATTACKS]])
def test_it_makes_no_difference_where_it_is_cut(text: str) -> None:
    screen = Inert()
    assert "".join(screen.feed(character) for character in text) == Inert().feed(text)


@given(st.lists(st.text(alphabet="\x1b[]P_^X\\;?0129mhlncqtrHJ\x07\x9c\x9b aé\n", max_size=40), max_size=6))
def test_whatever_comes_nothing_dangerous_is_left(pieces: list[str]) -> None:
    screen = Inert()
    shown = "".join(map(screen.feed, pieces))
    for mark in ("\x1b]", "\x1bP", "\x1b_", "\x1b^", "\x1bX", "\x9b", "\x9d", "\x07"):
        assert mark not in shown
    # what was let through is not changed by looking at it again
    assert Inert().feed(shown) == shown


def test_terminals_are_told_apart() -> None:
    assert operations(TALK) == [1]
    found = list(moments(TALK, 1))
    assert [(each.at, each.kind) for each in found] == [
        (0.0, "r"), (0.5, "o"), (1.0, "i"), (1.5, "o"), (59.0, "r"), (60.0, "o"),
    ]  # fmt: skip


def test_an_asciicast_has_a_header_and_one_event_a_line() -> None:
    header, *events = [json.loads(line) for line in asciicast(moments(TALK, 1), 1001.0, "S-1")]
    assert header == {"version": 2, "width": 100, "height": 30, "timestamp": 1001, "title": "S-1"}
    assert events == [
        [0.0, "r", "100x30"], [0.5, "o", "$ "], [1.0, "i", "ls\r"], [1.5, "o", "\ufffdA"], [59.0, "r", "80x24"],
        [60.0, "o", "bye"],
    ]  # fmt: skip


def test_pauses_are_shortened_and_skipped() -> None:
    found = list(moments(TALK, 1))
    assert list(played(found, 1.0, 5.0, 0.0)) == [(0.5, "$ "), (1.0, "\ufffdA"), (5.0, "bye")]
    assert list(played(found, 2.0, 100.0, 0.0))[-1] == (29.25, "bye")
    assert list(played(found, 1.0, 100.0, 59.0)) == [(0.0, "$ "), (0.0, "\ufffdA"), (1.0, "bye")]
    assert [delay for delay, _ in played(found, 0.0, 5.0, 0.0)] == [0.0, 0.0, 0.0]
