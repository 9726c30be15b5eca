"""L{IRecorder}: the file's and the one in memory are one to their callers."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from hoopd.audit import recording
from hoopd.audit.events import FRAMES, UnknownName
from hoopd.audit.memory import MemoryRecorder
from hoopd.audit.recorder import FileRecorder
from hoopd.errors import RecordError
from hoopd.interfaces import IRecorder
from hoopd.secret import Secret


class RecorderContract:
    """Subclasses make a recorder, break it, and read back what it wrote."""

    def make(self) -> Any:
        raise NotImplementedError

    def written(self) -> list[tuple[str, dict[str, Any]]]:
        raise NotImplementedError

    def break_it(self) -> None:
        raise NotImplementedError

    def setUp(self) -> None:
        self.recorder = self.make()

    def refused(self, call: Any, kind: type[Exception] = RecordError) -> None:
        try:
            call()
        except kind:
            return
        raise AssertionError(f"no {kind.__name__}")

    def test_interface(self) -> None:
        verifyObject(IRecorder, self.recorder)
        assert self.recorder.session == "S-1"

    def test_frames_are_kept_in_order_and_numbered(self) -> None:
        first = self.recorder.write("operation", {"operation": 1, "text": "select 'ž'", "classes": ("read",)})
        second = self.recorder.write_many([("notice", {"text": None}), ("result", {"rows": 3})])
        third = self.recorder.write("close", {})
        assert (first, second, third) == (1, 2, 4)
        assert self.written() == [
            ("operation", {"operation": 1, "text": "select 'ž'", "classes": ["read"]}),
            ("notice", {"text": None}),
            ("result", {"rows": 3}),
            ("close", {}),
        ]

    def test_every_kind_there_is(self) -> None:
        for kind in FRAMES:
            self.recorder.write(kind, {"kind": kind})
        assert [kind for kind, _ in self.written()] == list(FRAMES)

    def test_what_cannot_be_written_is_not(self) -> None:
        self.refused(lambda: self.recorder.write("opration", {}), UnknownName)
        self.refused(lambda: self.recorder.write("operation", {"text": Secret("x")}), TypeError)
        assert self.written() == []
        assert self.recorder.write("operation", {}) == 1

    def test_sync(self) -> None:
        self.recorder.write("operation", {})
        fired: list[None] = []
        self.recorder.sync().addCallback(fired.append)
        assert fired == [None]

    def test_once_it_is_broken_nothing_more_is_taken(self) -> None:
        self.recorder.write("operation", {})
        self.break_it()
        for _ in range(2):
            self.refused(lambda: self.recorder.write("operation", {}))
            self.refused(lambda: self.recorder.write_many([("operation", {})]))
            self.failureResultOf(self.recorder.sync(), RecordError)  # type: ignore[attr-defined]
        assert len(self.written()) == 1

    def test_once_it_is_closed_nothing_more_is_taken(self) -> None:
        self.recorder.write("close", {})
        self.recorder.close()
        self.recorder.close()
        self.refused(lambda: self.recorder.write("operation", {}))
        self.failureResultOf(self.recorder.sync(), RecordError)  # type: ignore[attr-defined]
        assert len(self.written()) == 1


class File(RecorderContract, SynchronousTestCase):
    def make(self) -> Any:
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        self.path = directory / "r"
        frame, _ = recording.encode(0, 0, 0, "open", {})
        self.path.write_bytes(recording.file_header("S-1") + frame)
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        made = FileRecorder(fd, "S-1", in_thread=maybeDeferred)
        self.addCleanup(made.close)
        return made

    def written(self) -> list[tuple[str, dict[str, Any]]]:
        frames = recording.FrameReader().feed(self.path.read_bytes())
        return [(each.kind, dict(each.fields)) for each in recording.entries(frames)][1:]

    def break_it(self) -> None:
        # the descriptor behind it goes nowhere
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, self.recorder._fd)
        os.close(full)


class Memory(RecorderContract, SynchronousTestCase):
    def make(self) -> Any:
        return MemoryRecorder("S-1")

    def written(self) -> list[tuple[str, dict[str, Any]]]:
        return list(self.recorder.frames)

    def break_it(self) -> None:
        self.recorder.broken = "full"
