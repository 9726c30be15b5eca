"""A session's recording as its worker writes it: frames to an appending descriptor; not the file's opening or sealing.

One write(2) a frame, before the caller goes on: what is with the kernel survives the death of this process. Measured
4 µs a frame of 300 bytes. The broker, which opened the file and follows it, is L{hoopd.audit.sealing}.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopd.audit import recording
from hoopd.audit.durable import GroupedSync, InThread
from hoopd.errors import RecordError
from hoopd.interfaces import IRecorder


@frozen
class Clocks:
    """
    @ivar wall: seconds since the epoch, as people read it; may jump.
    @ivar monotonic: seconds from any fixed moment; never goes back.
    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


@implementer(IRecorder)
class FileRecorder:
    """
    @param fd: open for appending (O_APPEND), with header and C{open} frame in it; this object owns it.
    @param sequence: of the first frame to write: 1, because the broker wrote the first frame, 0.
    @param in_thread: as in L{GroupedSync}.
    @param system: C{write, fstat, fdatasync, close}, as of the C{os} module.
    """

    def __init__(
        self,
        fd: int,
        session: str,
        clocks: Clocks | None = None,
        sequence: int = 1,
        in_thread: InThread = deferToThread,
        system: Any = os,
    ) -> None:
        self.session = session
        clocks = clocks or Clocks()
        self._fd = fd
        self._system = system
        self._wall = clocks.wall
        self._monotonic = clocks.monotonic
        self._began = clocks.monotonic()
        self._sequence = sequence
        self._failed = ""
        self._offset = system.fstat(fd).st_size
        self._sync = GroupedSync(fd, f"the recording of {session}", in_thread, system)

    def write(self, kind: str, fields: Mapping[str, Any]) -> int:
        """See L{IRecorder.write}. What is larger than a frame is continued in further ones."""
        if self._failed:
            raise RecordError(self._failed)
        wall, monotonic = self._now()
        encoded, count = recording.encode(self._sequence, wall, monotonic, kind, fields)
        return self._append(encoded, count)

    def write_many(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> int:
        """See L{IRecorder.write_many}."""
        if self._failed:
            raise RecordError(self._failed)
        wall, monotonic = self._now()
        parts = []
        total = 0
        for kind, fields in records:
            encoded, count = recording.encode(self._sequence + total, wall, monotonic, kind, fields)
            parts.append(encoded)
            total += count
        return self._append(b"".join(parts), total) if total else self._sequence

    def _now(self) -> tuple[int, int]:
        # a wall clock before 1970 is a broken one; the order of frames is their sequence, not their time
        return max(0, int(self._wall() * 1e6)), max(0, int((self._monotonic() - self._began) * 1e6))

    def _append(self, encoded: bytes, count: int) -> int:
        try:
            written = self._system.write(self._fd, encoded)
        except OSError as error:
            raise self._fail(f"the recording of {self.session} cannot be written: {error.strerror}") from error
        if written != len(encoded):
            self._mark_torn(encoded, written)
            raise self._fail(f"the recording of {self.session} took only {written} of {len(encoded)} bytes")
        first = self._sequence
        self._sequence += count
        self._offset += written
        return first

    def _fail(self, why: str) -> RecordError:
        self._failed = f"{why}; the session takes no further operation"
        return RecordError(self._failed)

    def _mark_torn(self, encoded: bytes, written: int) -> None:
        """Say in the file that its last frame is torn, if there is room; if not, the broker says it when it seals."""
        whole = 0
        for size in recording.frame_sizes(encoded):
            if whole + size > written:
                break
            whole += size
            self._sequence += 1
        if written == whole:
            return
        wall, monotonic = self._now()
        mark = recording.torn_mark(self._sequence, wall, monotonic, self._offset + whole, written - whole)
        try:
            self._system.write(self._fd, mark)
        except OSError:
            # the disk that took half a frame takes no mark either: the error raised by our caller says what counts
            return

    def sync(self) -> Deferred[None]:
        """See L{IRecorder.sync}."""
        if self._failed:
            return fail(Failure(RecordError(self._failed)))

        def failed(failure: Failure) -> Failure:
            if failure.check(RecordError) and not self._failed:
                self._failed = failure.getErrorMessage()
            return failure

        return self._sync.sync().addErrback(failed)

    def close(self) -> None:
        """See L{IRecorder.close}."""
        if not self._failed:
            self._failed = f"the recording of {self.session} is closed"
        self._sync.close()
