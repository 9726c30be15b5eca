"""A recording that grows, as text for a terminal: as it is said, or what a terminal of it shows; pure.

Not the fetching (L{hoopd.ctl.watch}), nor who may watch (L{hoopd.audit.watching}). Nothing that is shown does anything to who
watches: text has its control characters written out (L{hoopd.audit.replay}), terminals paint and do no more (L{hoopd.audit.terminal}).
"""

from __future__ import annotations

from collections import deque

from hoopd.audit import replay, terminal
from hoopd.audit.recording import ENTRY_MAX, Entry, Frame, FrameReader, RecordingError, entries

#: lines of what was said before that are shown first: enough to know where one is
BEFORE = 10
#: characters of what a terminal showed before: more than any screen, colours and all
SCREEN = 256 * 1024


class View:
    """
    @param operation: the one whose terminal is shown; None: whatever is said, and a terminal while there is one.
    """

    def __init__(self, operation: int | None = None) -> None:
        self._wanted = operation
        self._said = replay.Transcript()
        self._screens: dict[int, _Screen] = {}
        self._done: set[int] = set()
        self._shown: int | None = None
        self._before: deque[str] | None = deque(maxlen=BEFORE)

    def take(self, entry: Entry) -> str:
        """@return: what to show of it; while what was before is read, nothing."""
        text = self._take(entry)
        if self._before is None:
            return text
        if text:
            self._before.append(text)
        return ""

    def now(self) -> str:
        """What was before has been read. @return: the end of it, or the screen as it is"""
        before, self._before = self._before or deque(), None
        started = [each for each in self._screens if self._wanted in (None, each)]
        if not started:
            return "" if self._wanted is not None else "".join(before)
        return self._show(started[-1])

    def end(self) -> str:
        """@return: what leaves who watches with a terminal in order"""
        shown, self._shown = self._shown, None
        return "" if shown is None else terminal.RESTORED

    def _take(self, entry: Entry) -> str:
        number = entry.fields.get("operation")
        if entry.kind == "resize" and isinstance(number, int) and number not in {*self._screens, *self._done}:
            self._screens[number] = _Screen()
            return self._opened(number)
        if not isinstance(number, int) or number not in self._screens:
            return self._said.line(entry) if self._wanted is None and self._shown is None else ""
        if entry.kind == "result":
            del self._screens[number]
            self._done.add(number)
            return self._closed(number, entry)
        if entry.kind != "output":
            return ""
        text = self._screens[number].paint(terminal.text_of(entry.fields.get("text")))
        return text if self._shown == number else ""

    def _opened(self, number: int) -> str:
        if self._before is not None or self._wanted not in (None, number):
            return ""
        # a second one would be written into the screen of the first
        return self._show(number) if self._shown is None else ""

    def _show(self, number: int) -> str:
        self._shown = number
        return f"  [operation {number} has a terminal: from here on it is shown]\n{self._screens[number].all()}"

    def _closed(self, number: int, entry: Entry) -> str:
        said = self._said.line(entry)
        if self._shown != number:
            return said if self._shown is None and self._wanted is None else ""
        self._shown = None
        text = terminal.RESTORED + said
        others = list(self._screens) if self._wanted is None else []
        return text + (self._show(others[-1]) if others else "")


class _Screen:
    """What one terminal showed: made inert, and the end of it kept."""

    def __init__(self) -> None:
        self._inert = terminal.Inert()
        self._kept: deque[str] = deque()
        self._size = 0

    def paint(self, text: str) -> str:
        shown = self._inert.feed(text)
        self._kept.append(shown)
        self._size += len(shown)
        while self._size > SCREEN and len(self._kept) > 1:
            self._size -= len(self._kept.popleft())
        return shown

    def all(self) -> str:
        return "".join(self._kept)


class Reader:
    """Pieces of a recording in, entries out as they become whole; holds one that is not."""

    def __init__(self) -> None:
        self._frames = FrameReader()
        self._rest: list[Frame] = []

    def feed(self, piece: bytes) -> list[Entry]:
        """@raise RecordingError: what comes is no recording"""
        frames = [*self._rest, *self._frames.feed(piece)]
        whole = max((number for number, frame in enumerate(frames, 1) if not frame.more), default=0)
        self._rest = frames[whole:]
        if sum(len(frame.payload) for frame in self._rest) > ENTRY_MAX:
            raise RecordingError("a record without an end", self._rest[0].offset)
        found = list(entries(frames[:whole]))
        if self._frames.problem is not None:
            raise self._frames.problem
        return found
