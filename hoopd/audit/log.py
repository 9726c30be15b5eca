"""The log: every decision as one line of JSON; not the record, which is the recordings and the ledger.

A line is C{{"v": 1, "event": …, "at": RFC 3339 in UTC, …}} with the event's fields (L{hoopd.audit.events.CATALOGUE});
what is louder than others has a C{"severity"} before them (L{hoopd.audit.events.SEVERITY}).
Lines are ASCII: control characters, line ends, escape sequences and bidirectional marks are written as JSON escapes,
so that no field can forge a line or move a terminal's cursor.

Policy when the log cannot keep up: writing never blocks the caller. Lines wait in a bounded queue for a thread; when
it is full, lines are dropped and counted, and C{audit.log-dropped} says how many as soon as there is room. That is
right for a log and would be wrong for a record: an operation's record is on file before it is forwarded. Likewise a
process that is killed takes the lines of its last moments (L{GATHER}) with it.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from hoopd.audit.events import SEVERITY, publishable

VERSION = 1
#: lines that may wait: at 1 kB each 8 MB a process
QUEUE_MAX = 8192
#: Seconds for which the thread lets lines gather. Woken for each line it would take the interpreter from the reactor's
#: thread once a statement: a tenth of a cached statement's time, and more on a busy machine. No reader notices 20 ms.
GATHER = 0.02
#: lines of one write
TOGETHER = 100
#: longest text in a field; a statement is whole in its recording
TEXT_MAX = 4096
#: seconds that a process that ends gives its log
END_WAIT = 2.0


_encoder = msgspec.json.Encoder()
_ascii_encoder = json.JSONEncoder(separators=(",", ":"))


def _shortened(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        if len(value) > TEXT_MAX:
            return f"{value[:TEXT_MAX]}… ({len(value)} characters)"
        return value
    if isinstance(value, list | tuple):
        return [_shortened(each) for each in value]
    if isinstance(value, bytes):
        return _shortened(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, Mapping):
        return {str(key): _shortened(each) for key, each in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(map(str, value))
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
    return _json(whole)


def _json(whole: Mapping[str, Any]) -> str:
    """C{whole} in printable ASCII. What is nothing else, as most lines are, takes the short way."""
    try:
        octets = _encoder.encode(whole)
        if octets.isascii() and b"\x7f" not in octets:
            return octets.decode()
    except (UnicodeEncodeError, OverflowError):
        pass  # half a surrogate pair, or a number beyond 64 bits: the other way writes both
    return _ascii_encoder.encode(whole).replace("\x7f", "\\u007f")


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
        self._lines: list[str] = []
        self._dropped = 0
        self._lock = threading.Lock()
        self._waiting = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="hoopd-log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def event(self, name: str, fields: Mapping[str, Any]) -> None:
        """Log one event; never blocks, and fails only for a name that is in no catalogue.

        @raise hoopd.audit.events.UnknownName
        """
        text = line(name, self._clock(), fields)
        if self._ending.is_set():
            return
        with self._lock:
            lines = self._lines
            if len(lines) >= QUEUE_MAX:
                self._dropped += 1
                return
            if self._dropped:
                lines.append(line("audit.log-dropped", self._clock(), {"lines": self._dropped}))
                self._dropped = 0
            lines.append(text)
        if not self._waiting.is_set():
            self._waiting.set()

    def close(self) -> None:
        """Write what waits, for up to L{END_WAIT} seconds, and stop."""
        if self._ending.is_set():
            return
        atexit.unregister(self.close)
        self._ending.set()
        self._waiting.set()
        # if whoever reads our output does not read, the thread ends with the process
        self._thread.join(END_WAIT)
        if self._fd != 1 and not self._thread.is_alive():
            self._system.close(self._fd)

    def _serve(self) -> None:
        while True:
            self._waiting.wait()
            ending = self._ending.wait(GATHER)
            if not ending:
                self._waiting.clear()
            with self._lock:
                lines, self._lines = self._lines, []
            for start in range(0, len(lines), TOGETHER):
                self._write(lines[start : start + TOGETHER])
            if ending and not lines:
                return

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
