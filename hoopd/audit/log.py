"""The log: every decision as one line of JSON; not the record, which is the recordings and the ledger.

A line is C{{"v": 1, "event": …, "at": RFC 3339 in UTC, …}} with the event's fields (L{hoopd.audit.events.CATALOGUE});
what is louder than others has a C{"severity"} before them (L{hoopd.audit.events.SEVERITY}).
Lines are ASCII: control characters, line ends, escape sequences and bidirectional marks are written as JSON escapes,
so that no field can forge a line or move a terminal's cursor.

Policy when the log cannot keep up: writing never blocks the caller. Lines wait in a bounded queue for a thread; when
it is full, lines are dropped and counted, and C{audit.log-dropped} says how many as soon as there is room. That is
right for a log and would be wrong for a record: an operation's record is on file before it is forwarded.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from hoopd.audit.events import SEVERITY, publishable

VERSION = 1
#: lines that may wait: at 1 kB each 8 MB a process
QUEUE_MAX = 8192
#: longest text in a field; a statement is whole in its recording
TEXT_MAX = 4096
#: seconds that a process that ends gives its log
END_WAIT = 2.0


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        if len(value) > TEXT_MAX:
            return f"{value[:TEXT_MAX]}… ({len(value)} characters)"
        return value
    if isinstance(value, bytes):
        return _shortened(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, Mapping):
        return {str(key): _shortened(each) for key, each in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [_shortened(each) for each in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)  # a Secret's is dull


def line(name: str, at: float, fields: Mapping[str, Any]) -> str:
    """One event as its line, without the line end.

    @param at: seconds since the epoch.
    @raise hoopd.audit.events.UnknownName
    """
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    whole = {"v": VERSION, "event": name, "at": when}
    if name in SEVERITY:
        whole["severity"] = SEVERITY[name]
    for field, value in publishable(name, fields).items():
        if field not in whole:
            whole[field] = _shortened(value)
    return json.dumps(whole, separators=(",", ":")).replace("\x7f", "\\u007f")


class JsonLog:
    """
    @param place: path of a file to append to (mode 0640 when it is made), or C{-} for standard output.
    @param clock: seconds since the epoch.
    @param system: C{open} and C{write}, as of the C{os} module.
    """

    def __init__(self, place: str, clock: Callable[[], float] = time.time, system: Any = os) -> None:
        self._clock = clock
        self._system = system
        self._fd = 1
        if place != "-":
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = system.open(place, flags, 0o640)
        self._queue: queue.Queue[str | None] = queue.Queue(QUEUE_MAX)
        self._dropped = 0
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="hoopd-log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def event(self, name: str, fields: Mapping[str, Any]) -> None:
        """Log one event; never blocks, and fails only for a name that is in no catalogue.

        @raise hoopd.audit.events.UnknownName
        """
        text = line(name, self._clock(), fields)
        if self._closed:
            return
        with self._lock:
            if self._dropped:
                try:
                    self._queue.put_nowait(line("audit.log-dropped", self._clock(), {"lines": self._dropped}))
                    self._dropped = 0
                except queue.Full:
                    self._dropped += 1
                    return
            try:
                self._queue.put_nowait(text)
            except queue.Full:
                self._dropped += 1

    def close(self) -> None:
        """Write what waits, for up to L{END_WAIT} seconds, and stop."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        try:
            self._queue.put(None, timeout=END_WAIT)
        except queue.Full:
            return  # whoever reads our output does not read: the thread ends with the process
        self._thread.join(END_WAIT)
        if self._fd != 1 and not self._thread.is_alive():
            self._system.close(self._fd)

    def _serve(self) -> None:
        ending = False
        while not ending:
            lines = []
            text = self._queue.get()
            while text is not None:
                lines.append(text)
                if len(lines) == 100 or self._queue.empty():
                    break
                text = self._queue.get()
            ending = text is None
            if lines:
                self._write(lines)

    def _write(self, lines: list[str]) -> None:
        rest = memoryview(("\n".join(lines) + "\n").encode())
        while rest:
            try:
                rest = rest[self._system.write(self._fd, rest) :]
            except BlockingIOError:
                time.sleep(0.01)  # somebody made our standard output non-blocking; we are in a thread of our own
            except OSError:
                # no place to write to, and no place to say so: counted, and said when there is room again
                with self._lock:
                    self._dropped += len(lines)
                return
