"""A recording that grows, as a terminal shows it: what was before in short, a terminal while there is one, nothing that acts."""

from __future__ import annotations

from typing import Any

import pytest

from hoopd.audit.live import BEFORE, SCREEN, Reader, View
from hoopd.audit.recording import PAYLOAD_MAX, Entry, RecordingError, encode, file_header
from hoopd.audit.terminal import RESTORED


def entry(kind: str, operation: int | None = None, **fields: Any) -> Entry:
    numbered = {} if operation is None else {"operation": operation}
    return Entry(0, 0.0, 0.0, kind, {**numbered, **fields})


def size(operation: int) -> Entry:
    return entry("resize", operation, columns=80, rows=24)


def output(operation: int, text: str) -> Entry:
    return entry("output", operation, stream="out", text=text)


def result(operation: int) -> Entry:
    return entry("result", operation, tag="exit 0")


def test_the_end_of_what_was_before_comes_first_and_then_what_comes() -> None:
    view = View()
    for number in range(30):
        assert view.take(entry("notice", text=f"n{number}.")) == ""
    before = view.now()
    assert "n29." in before
    assert before.count("NOTICE") == BEFORE
    assert "later." in view.take(entry("notice", text="later."))
    assert view.end() == ""


def test_text_is_written_out_where_there_is_no_terminal() -> None:
    view = View()
    view.now()
    assert "\x1b" not in view.take(output(1, "\x1b[2J\x1b]0;owned\x07"))


def test_a_terminal_is_painted_while_it_lasts_and_does_nothing_else() -> None:
    view = View()
    view.take(size(2))
    view.take(output(2, "\x1b[31mred"))
    assert "\x1b[31mred" in view.now()
    assert view.take(output(2, "\x1b[1mbold\x1b]52;c;AAAA\x07\x1b[6n")) == "\x1b[1mbold"
    # of another operation, which would be written into the screen
    assert view.take(output(3, "elsewhere")) == ""
    ended = view.take(result(2))
    assert ended.startswith(RESTORED)
    assert "exit 0" in ended
    assert "plain" in view.take(output(3, "plain"))
    # what is told of its size behind the end opens nothing
    assert view.take(size(2)) == ""
    assert view.end() == ""


def test_a_sequence_cut_in_two_is_put_together() -> None:
    view = View()
    view.now()
    view.take(size(1))
    assert view.take(output(1, "a\x1b[3")) == "a"
    assert view.take(output(1, "1mb")) == "\x1b[31mb"


def test_the_next_terminal_is_shown_when_the_first_ends() -> None:
    view = View()
    view.now()
    assert "operation 1" in view.take(size(1))
    assert view.take(size(2)) == ""
    assert view.take(output(2, "second")) == ""
    ended = view.take(result(1))
    assert "operation 2" in ended
    assert ended.endswith("second")
    assert view.end() == RESTORED
    assert view.end() == ""


def test_only_the_terminal_that_was_named() -> None:
    view = View(2)
    view.take(size(1))
    assert view.now() == ""
    assert view.take(output(1, "first")) == ""
    assert view.take(entry("notice", text="n")) == ""
    assert "operation 2" in view.take(size(2))
    assert view.take(output(2, "second")) == "second"
    assert view.take(result(1)) == ""
    assert view.take(result(2)).startswith(RESTORED)


def test_what_a_terminal_showed_is_kept_up_to_a_bound() -> None:
    view = View()
    view.take(size(1))
    for _ in range(100):
        view.take(output(1, "x" * 10_000))
    view.take(output(1, "last"))
    shown = view.now()
    assert shown.endswith("last")
    assert SCREEN - 20_000 < len(shown) < SCREEN + 20_000


def recording() -> bytes:
    # larger than one frame
    first, frames = encode(0, 0, 0, "notice", {"text": "y" * PAYLOAD_MAX})
    assert frames == 2
    return file_header("S-1") + first + encode(2, 0, 0, "close", {})[0]


@pytest.mark.parametrize("step", [701, 10_000, 1_000_000])
def test_entries_come_as_soon_as_they_are_whole(step: int) -> None:
    content, reader = recording(), Reader()
    found = [each for at in range(0, len(content), step) for each in reader.feed(content[at : at + step])]
    assert [(each.kind, each.complete) for each in found] == [("notice", True), ("close", True)]


def test_what_is_no_recording_is_said_to_be_none() -> None:
    reader = Reader()
    with pytest.raises(RecordingError):
        reader.feed(b"GARBAGE" * 1000)
