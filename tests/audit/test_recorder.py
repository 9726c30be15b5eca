"""A worker's recorder: bounded, fast, and honest about a disk that is full or failing."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from hoopd.audit import recording
from hoopd.audit.events import UnknownName
from hoopd.audit.recorder import Clocks, FileRecorder
from hoopd.audit.recording import FrameReader, entries
from hoopd.errors import RecordError
from tests.audit.parts import System, at_once, now


def opened(path: Path) -> int:
    """A recording as the broker makes it, open for appending."""
    frame, _ = recording.encode(0, 0, 0, "open", {"session": "S-1"})
    path.write_bytes(recording.file_header("S-1") + frame)
    return os.open(path, os.O_WRONLY | os.O_APPEND)


def recorder(path: Path, system: Any = os, in_thread: Callable[..., Any] = at_once) -> FileRecorder:
    ticks = iter(range(10**6))
    return FileRecorder(
        opened(path),
        "S-1",
        Clocks(lambda: 1_790_000_000.5, lambda: float(next(ticks))),
        in_thread=in_thread,
        system=system,
    )


def read(path: Path) -> tuple[FrameReader, list[recording.Entry]]:
    reader = FrameReader()
    return reader, list(entries(reader.feed(path.read_bytes())))


def test_what_was_written_is_in_the_file_at_once(tmp_path: Path) -> None:
    made = recorder(tmp_path / "r")
    assert made.write("operation", {"operation": 1, "text": "select 1"}) == 1
    assert made.write_many([("notice", {"text": "a"}), ("result", {"tag": "SELECT 1"})]) == 2
    assert made.write("close", {"why": "bye"}) == 4
    reader, found = read(tmp_path / "r")
    assert reader.finish() is None
    assert [(each.sequence, each.kind) for each in found] == [
        (0, "open"),
        (1, "operation"),
        (2, "notice"),
        (3, "result"),
        (4, "close"),
    ]
    assert found[1].at == 1_790_000_000.5
    assert found[1].since < found[4].since
    made.close()


def test_a_large_statement_is_whole_and_the_next_frame_follows(tmp_path: Path) -> None:
    made = recorder(tmp_path / "r")
    assert made.write("operation", {"text": "x" * 2_000_000}) == 1
    following = made.write("result", {})
    reader, found = read(tmp_path / "r")
    assert reader.finish() is None
    assert found[1].fields["text"] == "x" * 2_000_000
    assert found[2].sequence == following == reader.next_sequence - 1


def test_mistakes_of_ours_write_nothing(tmp_path: Path) -> None:
    made = recorder(tmp_path / "r")
    before = (tmp_path / "r").read_bytes()
    with pytest.raises(UnknownName):
        made.write("oepration", {})
    with pytest.raises(TypeError):
        made.write("operation", {"text": object()})
    assert (tmp_path / "r").read_bytes() == before
    assert made.write("operation", {}) == 1


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_write_that_fails_ends_the_recording(tmp_path: Path, error: int) -> None:
    system = System({"write": 1}, error)
    made = recorder(tmp_path / "r", system)
    made.write("operation", {"operation": 1})
    with pytest.raises(RecordError, match="no further operation"):
        made.write("operation", {"operation": 2})
    system.fail.clear()
    for call in (
        lambda: made.write("operation", {}),
        lambda: made.write_many([("close", {})]),
        lambda: now(made.sync()),
    ):
        with pytest.raises(RecordError, match="no further operation"):
            call()
    reader, found = read(tmp_path / "r")
    assert reader.finish() is None
    assert len(found) == 2


def test_a_short_write_is_marked_and_ends_the_recording(tmp_path: Path) -> None:
    made = recorder(tmp_path / "r", System(short=1))
    made.write("operation", {"operation": 1})
    with pytest.raises(RecordError, match="took only"):
        made.write("operation", {"operation": 2, "text": "y" * 500})
    with pytest.raises(RecordError):
        made.write("close", {})
    reader, found = read(tmp_path / "r")
    assert reader.finish() is None
    assert [each.kind for each in found] == ["open", "operation", "torn"]


def test_of_several_frames_the_whole_ones_stay(tmp_path: Path) -> None:
    made = recorder(tmp_path / "r", System(short=0))
    with pytest.raises(RecordError):
        made.write_many([("notice", {"text": str(number)}) for number in range(10)])
    reader, found = read(tmp_path / "r")
    assert reader.finish() is None
    kept = [each for each in found if each.kind == "notice"]
    assert 0 < len(kept) < 10
    assert found[-1].kind in ("torn", "notice")
    assert [each.sequence for each in found] == list(range(len(found)))


def test_many_who_sync_share_flushes_and_none_is_answered_by_one_that_began_before(tmp_path: Path) -> None:
    flushes: list[Deferred[Any]] = []

    def later(function: Any, *args: Any) -> Deferred[Any]:
        flushes.append(Deferred())
        return flushes[-1]

    made = recorder(tmp_path / "r", in_thread=later)
    done: list[int] = []
    for number in range(4):
        made.write("notice", {})
        made.sync().addCallback(lambda _, number=number: done.append(number))
    assert len(flushes) == 1
    flushes[0].callback(None)
    assert done == [0]
    assert len(flushes) == 2
    flushes[1].callback(None)
    assert done == [0, 1, 2, 3]


def test_a_failed_flush_is_final(tmp_path: Path) -> None:
    system = System({"fdatasync": 0}, errno.EIO)
    made = recorder(tmp_path / "r", system)
    made.write("operation", {})
    with pytest.raises(RecordError, match="flushed"):
        now(made.sync())
    system.fail.clear()
    with pytest.raises(RecordError, match="flushed"):
        now(made.sync())
    with pytest.raises(RecordError, match="flushed"):
        made.write("operation", {})


def test_closing_waits_for_the_flush_that_runs(tmp_path: Path) -> None:
    system = System()
    flushes: list[Deferred[Any]] = []

    def later(function: Any, *args: Any) -> Deferred[Any]:
        flushes.append(Deferred())
        return flushes[-1]

    made = recorder(tmp_path / "r", system, later)
    waiting = made.sync()
    made.close()
    made.close()
    assert "close" not in system.calls, "a thread is using the descriptor"
    flushes[0].callback(None)
    assert waiting.called
    assert system.calls.count("close") == 1
    with pytest.raises(RecordError, match="closed"):
        made.write("notice", {})


# -- a real full disk, and a real kill -------------------------------------------------------------------------

FULL = """
import sys
from pathlib import Path
from hoopd.errors import RecordError
from tests.audit.test_recorder import recorder
made = recorder(Path(sys.argv[1]))
n = 0
while True:
    try:
        made.write("operation", {"operation": n, "text": "x" * 700})
    except RecordError as error:
        print(n, error)
        break
    n += 1
"""

ENDLESS = """
import sys
from pathlib import Path
from tests.audit.test_recorder import recorder
made = recorder(Path(sys.argv[1]))
n = 0
while True:
    n = made.write("operation", {"text": "x" * (50 if n % 9 else 600000)})
    print(n, flush=True)
"""


def _run(code: str, path: Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        # -B: under a limit on files the interpreter would cut off what it compiles, and leave that for who comes next
        [sys.executable, "-B", "-c", code, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        **options,
    )


@pytest.mark.parametrize("limit", [10_000, 10_321, 64_000])
def test_at_the_end_of_a_full_disk_everything_written_is_read(tmp_path: Path, limit: int) -> None:
    def small() -> None:
        # SIGXFSZ ignored, a write past the limit is short or EFBIG, as on a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    out, _ = _run(FULL, tmp_path / "r", preexec_fn=small).communicate(timeout=30)
    written, _, why = out.partition(" ")
    assert "no further operation" in why
    reader, found = read(tmp_path / "r")
    operations = [each.fields["operation"] for each in found if each.kind == "operation"]
    assert operations == list(range(int(written)))
    assert (reader.finish() is None) == (not reader.pending)


@pytest.mark.parametrize("lines", [1, 30, 100])
def test_kill_minus_nine_loses_nothing_that_was_written(tmp_path: Path, lines: int) -> None:
    writer = _run(ENDLESS, tmp_path / "r")
    assert writer.stdout is not None
    last = 0
    for _ in range(lines):
        last = int(writer.stdout.readline())
    writer.kill()
    rest = writer.stdout.read().split()
    writer.wait()
    last = max([last, *(int(line) for line in rest)])
    reader, found = read(tmp_path / "r")
    assert reader.problem is None
    assert found[-1].sequence >= last
