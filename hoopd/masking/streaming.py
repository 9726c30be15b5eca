"""Values taken out of a stream of octets as it comes: what may become one is held back until that is known; pure.

However a stream is cut into pieces, what comes out is the same, and what is not text (escape sequences, octets that are no UTF-8)
comes out as it went in, but hides nothing: see L{hoopd.masking.terminal_text}. What is held is bounded: the longest value that
detectors check, L{hoopd.masking.finders.VALUE_MAX} for tokens, which are hidden wholly beyond it, and nothing of a private key.

Whoever cannot wait calls L{StreamMasker.release} after a while. Then what comes out depends on time, but never shows more of a value
than its beginning, as far as its detector lets it (L{hoopd.masking.finders.Looked.free}); all the rest of it is hidden.
docs/decisions/0020 says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from hoopd.masking import terminal_text
from hoopd.masking.detectors import FULL, Show
from hoopd.masking.finders import Block, Finders
from hoopd.masking.terminal_text import Control, Reading, View


@frozen
class _Value:
    """Found at C{start} to C{end} of the octets that are held. @ivar text: what it is, without controls."""

    start: int
    end: int
    show: Show
    text: bytes


@frozen
class _Found:
    """
    @ivar open: from where on it is not known yet.
    @ivar free: up to where it may be shown all the same.
    @ivar running: what goes on behind its first octets, and how.
    """

    values: list[_Value]
    open: int
    free: int
    running: tuple[_Value, Any] | None


class StreamMasker:
    """One direction of one stream.

    @param before: whose place this one takes: a key in whose middle it was is hidden to its end.
    """

    def __init__(self, finders: Finders, before: StreamMasker | None = None) -> None:
        self._finders = finders
        self._held = b""
        #: octets at the beginning of C{_held} that were let out for want of time
        self._shown = 0
        self._free = 0
        #: the last octet of each reading of the text before C{_held}
        self._before = (b"", b"")
        #: a value goes on that is hidden as it comes: L{Block}, or a pattern
        self._hiding: Any = None if before is None else before._hiding

    def feed(self, octets: bytes) -> bytes:
        """@return: what can be shown by now. @raise Exception: a mistake of ours; nothing more may be shown"""
        self._held += octets
        return self._work(False)

    def finish(self) -> bytes:
        """Nothing more comes. @return: the rest"""
        return self._work(True)

    @property
    def waiting(self) -> bool:
        """Whether L{release} would show something."""
        return self._free > self._shown

    def release(self) -> bytes:
        """Enough time has passed. @return: as much of what is held as may be shown, whatever it becomes"""
        if not self.waiting:
            return b""
        # what would be a value if nothing more came is held: its beginning is free, but this waits for its end
        reading = self._read(True)
        known = self._find(reading, True)
        upto = min([self._free, *(each.start for each in known.values)])
        if upto <= self._shown:
            self._free = self._shown
            return b""
        out: list[bytes] = []
        self._literal(out, 0, upto, reading.controls)
        self._shown = upto
        self._free = upto
        return b"".join(out)

    def abandon(self) -> tuple[bytes, bytes]:
        """More may come, and not through here: what is held may be half a value. @return: the rest without it, and with it"""
        early, late = self.release(), self.finish()
        return early + (FULL if late else b""), early + late

    # -- work --------------------------------------------------------------------------------------------------

    def _read(self, final: bool) -> Reading:
        return terminal_text.read(self._held, *self._before, final)

    def _work(self, final: bool) -> bytes:
        out: list[bytes] = []
        while True:
            if self._hiding is not None and not self._hide(out, final):
                break
            if not self._pass(out, final):
                break
        return b"".join(out)

    def _pass(self, out: list[bytes], final: bool) -> bool:
        """Let out what is known. @return: whether a value began that goes on, so that there is more to do"""
        reading = self._read(final)
        found = self._find(reading, final)
        running = found.running
        if running is None or running[0].start >= found.open:
            cut = _apart(found.open, found.values, reading.controls)
            self._let_out(out, cut, [each for each in found.values if each.end <= cut], reading.controls)
            self._drop(cut, reading)
            self._free = max(self._shown, found.free - cut)
            return False
        value, self._hiding = running
        before = [value, *(each for each in found.values if each.start < value.end)]
        end = max(each.end for each in before)
        self._let_out(out, end, before, reading.controls)
        self._drop(end, reading)
        self._before = (self._before[0], self._before[0])
        if self._hiding is Block:
            self._hiding = Block()
        self._free = 0
        return True

    def _find(self, reading: Reading, final: bool) -> _Found:
        values: list[_Value] = []
        size = reading.end
        ends, frees = [size], [size + 1 if self._held[size:] == b"\r" else size]
        running: list[tuple[_Value, Any]] = []
        views = zip((reading.removed, reading.gapped), self._before, strict=True)
        for view, before in views:
            if view is None or self._finders.nothing(view.text):
                continue
            for finder, show in self._finders.all:
                looked = finder.look(view.text, len(before), final, show)
                made = [_value(view, *each) for each in looked.values]
                values += made
                if looked.running is not None:
                    running.append((values.pop(), looked.running))
                if looked.open is not None:
                    ends.append(view.place(looked.open))
                    frees.append(view.end(looked.free) if looked.free > looked.open else ends[-1])
        return _Found(values, min(ends), min(frees), min(running, key=lambda each: each[0].start, default=None))

    def _hide(self, out: list[bytes], final: bool) -> bool:
        """Take away what goes on of a value. @return: whether something else follows"""
        reading = self._read(final)
        view, at = reading.removed, len(self._before[0])
        if isinstance(self._hiding, Block):
            upto, over = self._hiding.take(view.text, at, final)
        else:
            upto = self._hiding.match(view.text, at).end()
            over = upto < len(view.text)
        if isinstance(self._hiding, Block) and self._hiding.ended:
            end = view.end(upto)
        else:
            # controls that stand behind it, before any other text, go as well
            end = view.place(upto) if upto < len(view.text) else reading.end
        self._keep(out, 0, end, reading.controls)
        self._drop(end, reading)
        self._before = (self._before[0], self._before[0])
        self._free = self._shown
        if over:
            self._hiding = None
        return over

    def _drop(self, upto: int, reading: Reading) -> None:
        """Forget the octets before C{upto}."""
        gapped = reading.gapped or reading.removed
        self._before = (_last(reading.removed, upto, self._before[0]), _last(gapped, upto, self._before[1]))
        self._held = self._held[upto:]
        self._shown = max(0, self._shown - upto)

    # -- out ---------------------------------------------------------------------------------------------------

    def _let_out(self, out: list[bytes], upto: int, values: Sequence[_Value], controls: Sequence[Control]) -> None:
        """Everything before C{upto}, without C{values}."""
        at = 0
        for value in sorted(values, key=lambda each: (each.start, -each.end)):
            if value.start < at:
                if value.end > at:
                    # they overlap: the rest of the second goes as well
                    self._keep(out, at, value.end, controls)
                    at = value.end
                continue
            self._literal(out, at, value.start, controls)
            self._hidden(out, value, controls)
            at = value.end
        self._literal(out, at, upto, controls)

    def _hidden(self, out: list[bytes], value: _Value, controls: Sequence[Control]) -> None:
        shown = None if value.start < self._shown else value.show(value.text)
        out.append(FULL if shown is None else shown)
        self._keep(out, value.start, value.end, controls)

    def _keep(self, out: list[bytes], start: int, end: int, controls: Sequence[Control]) -> None:
        """Of what is hidden, what changes how all that follows is shown."""
        for each in controls:
            if each.kept and start <= each.start and each.end <= end and each.start >= self._shown:
                out.append(self._control(each))

    def _literal(self, out: list[bytes], start: int, end: int, controls: Sequence[Control]) -> None:
        """What is no value; control strings are looked into."""
        at = max(start, self._shown)
        for each in controls:
            if each.string and at <= each.start and each.end <= end:
                out += [self._held[at : each.start], self._control(each)]
                at = each.end
        if end > at:
            out.append(self._held[at:end])

    def _control(self, control: Control) -> bytes:
        octets = self._held[control.start : control.end]
        if not control.string:
            return octets
        inside = StreamMasker(self._finders)
        tail = 1 if octets.endswith(b"\x07") else 2
        return octets[:2] + inside.feed(octets[2:-tail]) + inside.finish() + octets[-tail:]


def _value(view: View, start: int, end: int, show: Show) -> _Value:
    return _Value(view.place(start), view.end(end), show, view.text[start:end])


def _apart(cut: int, values: Sequence[_Value], controls: Sequence[Control]) -> int:
    """C{cut}, or the last place before it where no value and no control is cut in two."""
    # half of a value may be the beginning of another
    places = [*((each.start, each.end) for each in values), *((each.start, each.end) for each in controls)]
    for start, end in sorted(places, reverse=True):
        if start < cut < end:
            cut = start
    return cut


def _last(view: View, upto: int, before: bytes) -> bytes:
    """The last octet of the text before C{upto} of the stream."""
    at = view.before(upto)
    return view.text[at - 1 : at] if at > 0 else before
