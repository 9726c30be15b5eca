"""The text within a stream of octets to a terminal, apart from what a terminal does not show; pure, and not a terminal.

A value can be written with colour codes, carriage returns or stray octets between its characters. So a stream is read twice: with
all of that taken out, and with a gap where it stood. Specification: ECMA-48 sections 5.4 and 8.3 for control sequences and strings,
in 7-bit form; Unicode 15 section 3.9, table 3-7, for what is UTF-8.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right

from attrs import Factory, define, frozen

from hoopd.masking.detectors import compiled

#: a longer control string is none: window titles and hyperlinks are shorter
STRING_MAX = 4096
#: so many octets of controls in one place count as a gap: what is held back stays bounded
GAP_MAX = 64

GAP = b"\n"

_UTF8 = (
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf][\x80-\xbf]|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf][\x80-\xbf]|[\xf1-\xf3][\x80-\xbf][\x80-\xbf][\x80-\xbf]|\xf4[\x80-\x8f][\x80-\xbf][\x80-\xbf]"
)
#: a parameter of six digits is none: what stands there is text
_CSI = rb"\x1b\[[<-?]?(?:[0-9]{0,5}[;:]){0,24}[0-9]{0,5}[ -/]{0,2}"
_STRING = rb"\x1b[\]PX^_][^\x00-\x08\x0a-\x1f\x7f]*"
_OTHER = rb"\x1b[ -/]{0,2}"

#: whatever is not plain: line ends, control strings, control sequences, other escapes, UTF-8, single octets; by the engine that is
#: quicker at short matches: none of these goes back further than it is long
_TOKEN = re.compile(
    rb"(\r\n)|(" + _STRING + rb"(?:\x07|\x1b\\))|(" + _CSI + rb"[@-~])|(" + _OTHER + rb"[0-OQ-WYZ\\`-~])"
    rb"|((?:" + _UTF8 + rb")+)|([\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]+|[\x0d\x1b\x80-\xff])"
)  # fmt: skip
#: the beginning of one of them, at the end
_BEGUN = compiled(
    rb"(?:\r|" + _STRING + rb"\x1b?|" + _CSI + rb"|" + _OTHER + rb"|[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?"
    rb"|[\xf0-\xf4][\x80-\xbf]?[\x80-\xbf]?)\z"
)  # fmt: skip
#: format characters, which nobody sees (Unicode's Cf, those in use)
_UNSEEN = compiled(rb"\xc2\xad|\xe2\x80[\x8b-\x8f\xaa-\xae]|\xe2\x81[\xa0-\xa4]|\xef\xbb\xbf")

_CONTROL = compiled(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def plain(octets: bytes) -> bool:
    """Whether there is nothing but text, wholly there."""
    if _CONTROL.search(octets) is not None or octets.count(b"\r") != octets.count(b"\r\n"):
        return False
    if octets.isascii():
        return True
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return _UNSEEN.search(octets) is None


@define
class View:
    """A text and where its octets were in the stream.

    @ivar text: begins with C{before}, what stood before the stream's part.
    """

    text: bytes
    _texts: list[int] = Factory(lambda: [0])
    _octets: list[int] = Factory(lambda: [0])

    def place(self, at: int) -> int:
        """Where octet C{at} of the text stands in the stream."""
        run = bisect_right(self._texts, at) - 1
        return self._octets[run] + at - self._texts[run]

    def before(self, place: int) -> int:
        """How much of the text stands before C{place} of the stream."""
        run = bisect_left(self._octets, place) - 1
        if run < 0:
            return 0
        following = self._texts[run + 1] if run + 1 < len(self._texts) else len(self.text)
        return min(self._texts[run] + place - self._octets[run], following)

    def end(self, at: int) -> int:
        """Where what ends before C{at} of the text ends in the stream."""
        return self.place(at - 1) + 1


@frozen
class Control:
    """What a terminal does not show, at C{start} to C{end} of the stream; single octets are not told of.

    @ivar string: text that it carries itself, as a window title, from C{start + 2} on; or C{b""}
    @ivar kept: it goes on even where the text around it does not: it may change the colour of all that follows.
    """

    start: int
    end: int
    string: bytes = b""
    kept: bool = False


@frozen
class Reading:
    """
    @ivar removed: the text without controls.
    @ivar gapped: the same with gaps in their places; None if that is no other text.
    @ivar end: where something begins that is not wholly there.
    """

    removed: View
    gapped: View | None
    controls: tuple[Control, ...]
    end: int


class _Text:
    """A view in the making."""

    def __init__(self, before: bytes) -> None:
        self._parts = [before]
        self._length = len(before)
        self._texts: list[int] = [0]
        self._octets: list[int] = [-len(before)]

    def add(self, octets: bytes, at: int) -> None:
        if octets:
            self._texts.append(self._length)
            self._octets.append(at)
            self._parts.append(octets)
            self._length += len(octets)

    def view(self) -> View:
        return View(b"".join(self._parts), self._texts, self._octets)


def read(octets: bytes, removed_before: bytes, gapped_before: bytes, final: bool) -> Reading:
    """
    @param removed_before, gapped_before: the last octet of either text before this, or C{b""}.
    @param final: nothing follows: what is not wholly there is single octets.
    """
    if plain(octets):
        view = View(removed_before + octets, [0], [-len(removed_before)])
        other = None if gapped_before == removed_before else View(gapped_before + octets, [0], [-len(gapped_before)])
        return Reading(view, other, (), len(octets))
    removed, gapped = _Text(removed_before), _Text(gapped_before)
    controls: list[Control] = []
    at = look = 0
    size = len(octets)
    gap = 0
    gaps = False
    while True:
        found = _TOKEN.search(octets, look)
        if found is None:
            break
        start, end = found.span()
        kind = found.lastindex or 0
        if kind == 1 or (kind == 5 and _UNSEEN.search(found.group()) is None):
            look = end
            continue
        if kind == 5:
            unseen = _UNSEEN.search(octets, start)
            start, end = unseen.span()
        elif kind == 2 and end - start > STRING_MAX:
            kind, end = 6, start + 1
        if kind == 6 and not final and size - start <= STRING_MAX and _BEGUN.match(octets, start) is not None:
            size = start
            break
        if start > at:
            gap = 0
            piece = octets[at:start]
            removed.add(piece, at)
            gapped.add(piece, at)
        gap += end - start
        if gap > GAP_MAX:
            removed.add(GAP, start)
        gapped.add(GAP, start)
        if 1 < kind < 5:
            if kind == 4:
                # a terminal takes it away, and whoever reads a file does not
                gapped.add(octets[end - 1 : end], end - 1)
            controls.append(Control(start, end, octets[start + 2 : end] if kind == 2 else b"", True))
        elif end - start > 1:
            controls.append(Control(start, end))
        gaps = True
        at = look = end
    removed.add(octets[at:size], at)
    gapped.add(octets[at:size], at)
    differ = gaps or gapped_before != removed_before
    return Reading(removed.view(), gapped.view() if differ else None, tuple(controls), size)
