"""The recording's codec: whatever is cut or flipped is told; whatever is whole is read, in any split."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.audit import recording
from hoopd.audit.events import UnknownName
from hoopd.audit.recording import Entry, FrameReader, entries
from hoopd.errors import RecordError
from hoopd.secret import Secret


def made(*records: tuple[str, dict[str, Any]], session: str = "S-1") -> bytes:
    """A recording with these entries."""
    parts = [recording.file_header(session)]
    sequence = 0
    for kind, fields in records:
        encoded, count = recording.encode(sequence, 1_000_000 * sequence, sequence, kind, fields)
        parts.append(encoded)
        sequence += count
    return b"".join(parts)


def read(content: bytes, piece: int = 0) -> tuple[FrameReader, list[Entry]]:
    reader = FrameReader()
    frames = []
    step = piece or max(1, len(content))
    for start in range(0, len(content), step):
        frames += reader.feed(content[start : start + step])
    return reader, list(entries(frames))


SMALL = made(
    ("open", {"session": "S-1", "identity": "user:priya"}),
    ("operation", {"operation": 1, "text": "select 'žluťoučký'"}),
    ("result", {"operation": 1, "tag": "SELECT 1"}),
)


@pytest.mark.parametrize("piece", [0, 1, 7, 40])
def test_what_was_written_is_read_in_any_split(piece: int) -> None:
    reader, found = read(SMALL, piece)
    assert reader.finish() is None
    assert reader.session == "S-1"
    assert [(each.sequence, each.kind) for each in found] == [(0, "open"), (1, "operation"), (2, "result")]
    assert found[1].fields["text"] == "select 'žluťoučký'"
    assert found[2].at == 2.0
    assert reader.next_offset == len(SMALL)


def test_a_large_statement_is_continued_and_never_cut() -> None:
    text = "x" * (3 * recording.PAYLOAD_MAX + 17)
    content = made(("open", {}), ("operation", {"text": text}), ("close", {}))
    reader, found = read(content, 100_000)
    assert reader.finish() is None
    assert [each.sequence for each in found] == [0, 1, 5]
    assert found[1].fields["text"] == text


def test_one_that_is_too_large_is_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "ENTRY_MAX", recording.PAYLOAD_MAX + 100)
    with pytest.raises(RecordError, match="larger"):
        recording.encode(0, 0, 0, "operation", {"text": "x" * (recording.PAYLOAD_MAX + 200)})


def test_continued_frames_whose_rest_is_missing_are_said_to_be_incomplete() -> None:
    text = "x" * (2 * recording.PAYLOAD_MAX)
    content = made(("operation", {"text": text}))
    first = len(recording.file_header("S-1")) + recording.FRAME_MAX
    reader, found = read(content[:first])
    assert reader.finish() is None
    assert [(each.kind, each.complete) for each in found] == [("operation", False)]


def test_unknown_kinds_and_secrets_are_not_written() -> None:
    with pytest.raises(UnknownName):
        recording.encode(0, 0, 0, "opration", {})
    with pytest.raises(TypeError):
        recording.encode(0, 0, 0, "operation", {"text": Secret("hunter2")})


def test_half_a_surrogate_pair_is_written_as_text() -> None:
    _, found = read(made(("operation", {"text": "a\udc80b", "more": ["\ud800"]})))
    assert found[0].fields == {"text": "a\\udc80b", "more": ["\\ud800"]}


@given(cut=st.integers(0, len(SMALL) - 1))
@settings(max_examples=200)
def test_any_truncation_is_a_shorter_recording_or_a_torn_one(cut: int) -> None:
    reader, found = read(SMALL[:cut])
    problem = reader.finish()
    whole = reader.next_offset == cut
    assert (problem is None) == whole
    assert [each.kind for each in found] == ["open", "operation", "result"][: len(found)]


@given(at=st.integers(0, len(SMALL) - 1), bit=st.integers(0, 7), piece=st.sampled_from([0, 1, 13]))
@settings(max_examples=300)
def test_any_flipped_bit_is_found(at: int, bit: int, piece: int) -> None:
    damaged = bytearray(SMALL)
    damaged[at] ^= 1 << bit
    reader, found = read(bytes(damaged), piece)
    assert reader.finish() is not None
    assert len(found) < 3


@given(junk=st.binary(max_size=3000))
@settings(max_examples=100)
def test_any_bytes_are_read_without_any_other_error(junk: bytes) -> None:
    reader, _ = read(recording.file_header("S-1") + junk, 97)
    assert (reader.finish() is None) == (not junk)


@given(cut=st.integers(1, 60), failed=st.integers(0, 30), piece=st.sampled_from([0, 1, 11]))
@settings(max_examples=100)
def test_a_marked_torn_tail_is_read_over_and_told(cut: int, failed: int, piece: int) -> None:
    head = made(("open", {}))
    frame, _ = recording.encode(1, 0, 0, "operation", {"text": "delete from everything"})
    # a mark that failed half-way stands before the one that held
    garbage = frame[:cut] + recording.torn_mark(1, 0, 0, len(head), cut)[:failed]
    mark = recording.torn_mark(1, 0, 0, len(head), len(garbage))
    close, _ = recording.encode(2, 0, 0, "close", {"why": "disk full"})
    reader, found = read(head + garbage + mark + close, piece)
    assert reader.finish() is None
    assert [each.kind for each in found] == ["open", "torn", "close"]
    assert [(torn.offset, torn.bytes) for torn in reader.torn] == [(len(head), len(garbage))]


def test_a_mark_that_names_another_place_hides_nothing() -> None:
    head = made(("open", {}))
    frame, _ = recording.encode(1, 0, 0, "operation", {"text": "delete from everything"})
    mark = recording.torn_mark(1, 0, 0, len(head) + 1, 20)
    reader, found = read(head + frame[:20] + mark)
    assert reader.finish() is not None
    assert [each.kind for each in found] == ["open"]


def test_frames_left_out_doubled_or_swapped_are_found() -> None:
    head = recording.file_header("S-1")
    one, two, three = (recording.encode(n, 0, 0, "notice", {"text": str(n)})[0] for n in range(3))
    for content in (head + one + three, head + one + one + two, head + two + one, head + three):
        reader, _ = read(content)
        problem = reader.finish()
        assert problem is not None
        assert "stands where" in problem.problem


def test_damage_far_from_the_end_stops_the_reader_in_bounded_memory() -> None:
    content = bytearray(made(("open", {})))
    frame, _ = recording.encode(1, 0, 0, "notice", {"text": "x" * 1000})
    frame = frame[:100] + b"!" + frame[101:]
    reader = FrameReader()
    reader.feed(bytes(content))
    most = 0
    for _ in range(3000):
        reader.feed(frame)
        most = max(most, reader.pending)
    assert reader.problem is not None
    assert most < 3 * recording.FRAME_MAX


def test_other_versions_and_files_are_refused() -> None:
    for content in (b"GIF89a..", recording.MAGIC + b"\x00\x02\x00\x03abc", b"hoopdrec"):
        reader, _ = read(content)
        assert reader.problem is not None
