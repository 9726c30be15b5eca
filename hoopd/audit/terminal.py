"""A recorded terminal: what it showed and when, to be played in another terminal or written as asciicast; pure.

What is played may colour, move and clear, and do nothing else: answers that a terminal would give, titles, the clipboard (OSC 52),
pointers, printers and device controls are left out, so that who watches is not touched by who was recorded. Specification: ECMA-48;
xterm's control sequences; asciicast v2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from attrs import frozen

from hoopd.audit.recording import Entry

#: what terminals are where nothing else is known
COLUMNS, ROWS = 80, 24
#: no sequence that is let through is longer; a longer start of one is dropped as it comes
SEQUENCE_MAX = 256

#: undoes what may be painted with: character sets, alternate screen, margins, keys, wrapping, cursor, colours
RESTORED = "\x0f\x1b(B\x1b[?47l\x1b7\x1b[r\x1b8\x1b[?1l\x1b>\x1b[?7h\x1b[?25h\x1b[0m\r\n"

_ESC = "\x1b"

#: whole sequences: CSI; strings (OSC, DCS, SOS, PM, APC) to their end; two- and three-character escapes
_SEQUENCE = re.compile(
    r"\x1b\[([\x30-\x3f]*)([\x20-\x2f]*)([\x40-\x7e])"
    r"|\x1b[\]P^_X](?:[^\x07\x1b\x9c]|\x1b(?!\\))*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[\x20-\x2f]+[\x30-\x7e]"
    r"|\x1b[\x30-\x4f\x51-\x57\x59\x5a\x5c\x60-\x7e]"
)
#: the start of one, up to where the piece ends
_PARTIAL = re.compile(r"\x1b(?:[\x20-\x2f]*|\[[\x20-\x3f]*|[\]P^_X](?:[^\x07\x1b\x9c]|\x1b(?!\\))*)\Z")
#: cursor, erasing, inserting, scrolling, tabs, colours, margins, saved positions
_CSI = frozenset("ABCDEFGHIJKLMPSTXZ@`abdefgmrsu")
#: cursor keys' form, wrapping, blinking and visible cursor, alternate screens
_MODES = frozenset({"1", "3", "5", "6", "7", "12", "25", "47", "1047", "1048", "1049"})
_PLAIN = frozenset({"7", "8", "D", "E", "H", "M", "=", ">"})
_STRINGS = frozenset("]P^_X")
_CONTROLS = frozenset("\n\r\t\b\x0b\x0c\x0e\x0f")


class Inert:
    """Lets through what only paints. Sequences that are cut in two by the recording's pieces are put together."""

    def __init__(self) -> None:
        self._rest = ""
        self._dropping = False

    def feed(self, text: str) -> str:
        """@return: what may be shown of C{text} and of what was held back before it."""
        text, self._rest = self._rest + text, ""
        shown: list[str] = []
        at = 0
        while at < len(text):
            if self._dropping:
                end = re.search(r"\x07|\x1b\\|\x9c", text[at:])
                if end is None:
                    self._rest = text[-1] if text.endswith(_ESC) else ""
                    return "".join(shown)
                self._dropping = False
                at += end.end()
                continue
            character = text[at]
            if character != _ESC:
                if character.isprintable() or character in _CONTROLS:
                    shown.append(character)
                at += 1
                continue
            found = _SEQUENCE.match(text, at)
            if found is None:
                if len(text) - at <= SEQUENCE_MAX and _PARTIAL.match(text, at):
                    self._rest = text[at:]
                    return "".join(shown)
                # a string that goes on, or nothing that is known
                self._dropping = text[at + 1] in _STRINGS
                at += 2
                continue
            if _paints(found):
                shown.append(found.group())
            at = found.end()
        return "".join(shown)


def _paints(found: re.Match[str]) -> bool:
    sequence = found.group()
    parameters, between, final = found.groups()
    if final is None:
        return sequence[1:] in _PLAIN or re.fullmatch(r"\x1b[()][AB0]", sequence) is not None
    if between or len(sequence) > SEQUENCE_MAX:
        return False
    if final in "hl":
        return parameters.startswith("?") and set(parameters[1:].split(";")) <= _MODES
    return final in _CSI and not parameters.startswith(("<", "=", ">", "?"))


@frozen
class Moment:
    """@ivar at: seconds since the terminal began. @ivar kind: o (shown), i (typed), r (its size, as C{80x24})"""

    at: float
    kind: Literal["o", "i", "r"]
    text: str


def operations(frames: Iterable[Entry]) -> list[int]:
    """Operations that had a terminal, in their order."""
    return list(dict.fromkeys(each.fields["operation"] for each in frames if _is_size(each)))


def _is_size(entry: Entry) -> bool:
    return entry.kind == "resize" and isinstance(entry.fields.get("operation"), int)


def moments(frames: Iterable[Entry], operation: int) -> Iterator[Moment]:
    """What the terminal of C{operation} showed, and what was typed where that was recorded."""
    began: float | None = None
    for entry in frames:
        if entry.fields.get("operation") != operation or not entry.complete:
            continue
        began = entry.since if began is None else began
        at = round(max(0.0, entry.since - began), 6)
        if entry.kind == "output":
            yield Moment(at, "o", text_of(entry.fields.get("text")))
        elif entry.kind == "input":
            yield Moment(at, "i", text_of(entry.fields.get("text")))
        elif entry.kind == "resize":
            yield Moment(at, "r", f"{entry.fields.get('columns')}x{entry.fields.get('rows')}")


def text_of(value: Any) -> str:
    """Recorded text; bytes that were no UTF-8 are replaced."""
    if isinstance(value, dict):
        try:
            return bytes.fromhex(str(value.get("hex", ""))).decode("utf-8", "replace")
        except ValueError:
            return "\ufffd"
    return value if isinstance(value, str) else ""


def asciicast(found: Iterable[Moment], began: float, title: str) -> Iterator[str]:
    """Lines of an asciicast v2 file: inert, so that players need not be.

    @param began: seconds since the epoch.
    """
    rest = list(found)
    size = next((each.text for each in rest if each.kind == "r"), f"{COLUMNS}x{ROWS}")
    columns, _, rows = size.partition("x")
    width, height = (int(part) if part.isdigit() else default for part, default in ((columns, COLUMNS), (rows, ROWS)))
    yield json.dumps({"version": 2, "width": width, "height": height, "timestamp": int(began), "title": title})
    filters = {"o": Inert(), "i": Inert()}
    for each in rest:
        text = filters[each.kind].feed(each.text) if each.kind in filters else each.text
        if text:
            yield json.dumps([each.at, each.kind, text])


def played(found: Iterable[Moment], speed: float, idle: float, start: float) -> Iterator[tuple[float, str]]:
    """What a terminal is to show.

    @param speed: 2.0 is twice as fast; 0 without pauses. @param idle: longest pause, seconds.
    @param start: seconds from the beginning that are shown at once.
    @return: pairs of seconds to wait before, and text.
    """
    last = 0.0
    screen = Inert()
    for each in found:
        if each.kind != "o":
            continue
        delay = min(idle, each.at - max(last, start)) / speed if speed > 0 and each.at > start else 0.0
        last = each.at
        yield max(0.0, delay), screen.feed(each.text)
