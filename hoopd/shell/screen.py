"""What stands on a terminal's screen after what a program wrote to it; pure.

Only what line editors need to be followed: characters, the cursor, erasing, inserting, scrolling, the alternate screen; and for each row
whether the terminal itself went on in the next. No colours, no scrollback, no answers. Whatever it does not know is noted in
L{Screen.doubt}, never guessed. Specification: ECMA-48, fifth edition; xterm's ctlseqs for what is private; Unicode's UAX #11 for widths.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from unicodedata import category, combining, east_asian_width

#: the size of a terminal that does not say its own (terminfo's for xterm and vt100)
COLUMNS, ROWS = 80, 24
#: cells of one screen, of which there are two: 2 MB at most
CELLS_MAX = 100_000
#: an escape sequence that is longer is none
SEQUENCE_MAX = 4096
#: combining characters on one cell
_MARKS_MAX = 8

_TOKEN = re.compile(
    "(?P<text>[^\x00-\x1f\x7f-\x9f]+)"
    "|(?P<csi>\x1b\\[[0-?]*[ -/]*[@-~])"
    "|(?P<string>\x1b[\\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\\\|(?=\x1b[^\\\\])))"
    "|(?P<escape>\x1b[ -/]*[0-OQ-WYZ\\\\`-~])"
    "|(?P<control>[\x00-\x1a\x1c-\x1f\x7f-\x9f])"
)
#: may become one of those when more comes
_UNFINISHED = re.compile("\x1b(?:\\[[0-?]*[ -/]*|[\\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)\\Z")

#: private modes that change nothing of what stands where: keys, colours, mice, focus, blinking, synchronised output
_HARMLESS = frozenset({1, 4, 5, 8, 9, 12, 13, 25, 66, 67, 1034, 1035, 1036, 1037, 1039, 2026, 2031, *range(1000, 1017)})
#: modes that change how text is laid out, with the value that they have at first
_LAYOUT = {"?3": False, "?6": False, "?7": True, "?45": False, "?69": False, "20": False, "4": False}
_ALTERNATE = frozenset({47, 1047, 1049})
#: sequences that change nothing of what stands where
_MUTE = frozenset({"m", "n", "c", "h", "l", "q", "t", "u", "p", "x", "i"})


def width(character: str) -> int:
    """How many columns a character takes: 0, 1 or 2."""
    if character < "\u0300":
        return 1
    if east_asian_width(character) in "WF":
        return 2
    return 0 if combining(character) or category(character) in ("Mn", "Me", "Cf") else 1


class Screen:
    """
    @ivar column, row: where the cursor is.
    @ivar base: how many rows have left at the top: C{base + row} names a row whatever scrolls.
    @ivar lines: how many times the cursor went to a new line.
    @ivar editor: a program reads lines here and takes pastes in brackets (mode 2004).
    @ivar opened, closed: how many times C{editor} became true, and false.
    @ivar doubts: how many things came that are not understood.
    @ivar tail: the last characters that were written since the last new line, wherever they stand.
    """

    def __init__(self, columns: int, rows: int) -> None:
        self.columns = self.rows = self.column = self.row = 0
        self.base = self.lines = self.opened = self.closed = self.doubts = 0
        self.editor = self.alternate = False
        self.tail = ""
        self._cells: list[list[str]] = []
        self._wraps: list[bool] = []
        #: the last column is written, and the next character goes to the next row
        self._pending = False
        self._layout = dict(_LAYOUT)
        self._shifted = ""
        self._saved = (0, 0)
        self._other: tuple[list[list[str]], list[bool]] | None = None
        self._top, self._bottom = 0, 0
        self._carried = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.resize(columns, rows)

    @property
    def doubt(self) -> str:
        """Why what stands here may stand elsewhere on the person's screen, or C{""}; what passed is in C{doubts}."""
        changed = [name for name, first in _LAYOUT.items() if self._layout[name] != first]
        if changed:
            return f"the terminal is in a mode that is not followed ({changed[0]})"
        if self._shifted:
            return "the terminal shows another set of characters"
        if (self._top, self._bottom) != (0, self.rows - 1):
            return "only a part of the screen scrolls"
        return ""

    def resize(self, columns: int, rows: int) -> None:
        """Nothing is reflowed: programs draw anew. @param columns, rows: 0 is what terminals have that do not say"""
        columns, rows = columns or COLUMNS, rows or ROWS
        columns, rows = min(columns, CELLS_MAX), max(1, min(rows, CELLS_MAX // min(columns, CELLS_MAX)))
        if self.row >= rows:
            self._up(0, len(self._cells), self.row - rows + 1, True)
            self.row = rows - 1
        self.columns, self.rows = columns, rows
        self._cells = _sized(self._cells, columns, rows)
        self._wraps = [False] * rows
        if self._other is not None:
            self._other = _sized(self._other[0], columns, rows), [False] * rows
        self._top, self._bottom = 0, rows - 1
        self._pending = False
        self.column = min(self.column, columns - 1)

    # -- reading -----------------------------------------------------------------------------------------------

    def text(self, row: int, begin: int = 0, end: int | None = None) -> str:
        """What stands in a row, between two columns."""
        return "".join(self._cells[row][begin:end])

    def wraps(self, row: int) -> bool:
        """Whether the terminal itself went on in the next row."""
        return self._wraps[row]

    def full(self, row: int) -> bool:
        """Whether a row is written to its end."""
        return self._cells[row][-1] != " "

    # -- writing -----------------------------------------------------------------------------------------------

    def feed(self, octets: bytes) -> None:
        """A program wrote this. Nothing that it writes raises."""
        text = self._carried + self._decoder.decode(octets)
        self._carried = ""
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is not None:
                _KINDS[found.lastgroup or ""](self, found[0])
                at = found.end()
            elif len(text) - at < SEQUENCE_MAX and _UNFINISHED.match(text, at):
                self._carried = text[at:]
                return
            else:
                self.doubts += 1
                at += 1

    def _print(self, text: str) -> None:
        self.tail = (self.tail + text)[-32:]
        if text.isascii() and not self._layout["4"]:
            self._run(text)
        else:
            for character in text:
                self._one(character, width(character))

    def _run(self, text: str) -> None:
        at = 0
        while at < len(text):
            if self._pending:
                self._wrap()
            part = text[at : at + self.columns - self.column]
            end = self.column + len(part)
            row = self._cells[self.row]
            self._split(row, self.column, end)
            row[self.column : end] = part
            at += len(part)
            self._pending = end == self.columns
            self.column = end - self._pending

    def _one(self, character: str, columns: int) -> None:
        row = self._cells[self.row]
        if columns == 0:
            at = self.column if self._pending else max(0, self.column - 1)
            while at > 0 and row[at] == "":
                at -= 1
            if len(row[at]) <= _MARKS_MAX:
                row[at] += character
            return
        if columns > self.columns:
            self.doubts += 1
            return
        if self._pending:
            self._wrap()
        elif self.column + columns > self.columns:
            # there is room for half of it
            row[self.column] = ""
            self._wrap()
        row = self._cells[self.row]
        cells = [character] + [""] * (columns - 1)
        if self._layout["4"]:
            row[self.column : self.column] = cells
            del row[self.columns :]
        else:
            self._split(row, self.column, self.column + columns)
            row[self.column : self.column + columns] = cells
        end = self.column + columns
        self._pending = end == self.columns
        self.column = end - self._pending

    @staticmethod
    def _split(row: list[str], begin: int, end: int) -> None:
        """Half of a wide character is no character."""
        if row[begin] == "" and begin > 0:
            row[begin - 1] = " "
        if end < len(row) and row[end] == "":
            row[end] = " "

    def _wrap(self) -> None:
        self._wraps[self.row] = True
        self.column = 0
        self._down()

    def _down(self) -> None:
        self._pending = False
        if self.row == self._bottom:
            self._up(self._top, self._bottom + 1, 1)
        elif self.row < self.rows - 1:
            self.row += 1

    def _up(self, begin: int, end: int, count: int, gone: bool = False) -> None:
        """Rows go up between two rows. @param gone: nothing comes in below"""
        count = min(count, end - begin)
        if begin == 0 and not self.alternate:
            self.base += count
        del self._cells[begin : begin + count]
        del self._wraps[begin : begin + count]
        if not gone:
            self._cells[end - count : end - count] = [[" "] * self.columns for _ in range(count)]
            self._wraps[end - count : end - count] = [False] * count

    def _insert_rows(self, begin: int, count: int) -> None:
        count = min(count, self._bottom + 1 - begin)
        del self._cells[self._bottom + 1 - count : self._bottom + 1]
        del self._wraps[self._bottom + 1 - count : self._bottom + 1]
        self._cells[begin:begin] = [[" "] * self.columns for _ in range(count)]
        self._wraps[begin:begin] = [False] * count

    def _erase(self, row: int, begin: int, end: int) -> None:
        cells = self._cells[row]
        end = min(end, self.columns)
        if begin >= end:
            return
        self._split(cells, begin, end)
        cells[begin:end] = [" "] * (end - begin)
        if end == self.columns:
            self._wraps[row] = False

    # -- controls ----------------------------------------------------------------------------------------------

    def _control(self, text: str) -> None:
        if text in "\n\x0b\x0c":
            self.lines += 1
            self.tail = ""
            self._down()
        elif text == "\r":
            self.column, self._pending = 0, False
        elif text == "\b":
            self.column, self._pending = max(0, self.column - 1), False
        elif text == "\t":
            self.column = min(self.columns - 1, (self.column // 8 + 1) * 8)
        elif text == "\x0e":
            self._shifted = "SO"
        elif text == "\x0f":
            self._shifted = "" if self._shifted == "SO" else self._shifted
        elif text not in "\x00\x05\x07\x7f":
            self.doubts += 1

    def _string(self, text: str) -> None:
        # titles, clipboards, links and marks; a DCS may define what characters look like
        if text[1] == "P":
            self.doubts += 1

    def _escape(self, text: str) -> None:
        kind = text[1:]
        if kind == "7":
            self._saved = (self.column, self.row)
        elif kind == "8":
            self._move(*self._saved)
        elif kind in ("D", "E"):
            self.column = 0 if kind == "E" else self.column
            self.lines += 1
            self._down()
        elif kind == "M":
            self._reverse()
        elif kind == "c":
            self._reset()
        elif kind[0] == "(":
            self._shifted = "" if kind[1:] in ("B", "A") else "G0"
        elif kind not in ("=", ">", "\\") and kind[0] not in ")*+":
            self.doubts += 1

    def _reverse(self) -> None:
        self._pending = False
        if self.row == self._top:
            self._insert_rows(self._top, 1)
            self.doubts += 1
        elif self.row > 0:
            self.row -= 1

    def _reset(self) -> None:
        self._alternate(False)
        self._layout = dict(_LAYOUT)
        self._shifted = ""
        self._top, self._bottom = 0, self.rows - 1
        self._edit(False)
        self._clear(0, self.rows)
        self._move(0, 0)
        self.doubts += 1

    def _move(self, column: int, row: int) -> None:
        self._pending = False
        self.column = max(0, min(column, self.columns - 1))
        self.row = max(0, min(row, self.rows - 1))

    def _clear(self, begin: int, end: int) -> None:
        for row in range(begin, end):
            self._erase(row, 0, self.columns)

    def _edit(self, on: bool) -> None:
        if on and not self.editor:
            self.opened += 1
        elif self.editor and not on:
            self.closed += 1
        self.editor = on

    def _alternate(self, on: bool) -> None:
        if on == self.alternate:
            return
        self.alternate = on
        if on:
            self._other = self._cells, self._wraps
            self._cells, self._wraps = _sized([], self.columns, self.rows), [False] * self.rows
        elif self._other is not None:
            (self._cells, self._wraps), self._other = self._other, None

    # -- control sequences -------------------------------------------------------------------------------------

    def _csi(self, text: str) -> None:
        final, said = text[-1], text[2:-1]
        if said and not re.fullmatch("[0-9;]*", said):
            if final in "hl" and re.fullmatch(r"\?[0-9;]+", said):
                for each in said[1:].split(";"):
                    self._private(int(each[:6] or 0), final == "h")
            elif final == "p" and said == "!":
                self._layout = dict(_LAYOUT)
                self._top, self._bottom = 0, self.rows - 1
                self._shifted = ""
            elif final not in _MUTE or final in "hl":
                self.doubts += 1
            return
        numbers = [int(each[:6] or 0) for each in said.split(";")]
        if final in "hl":
            for number in numbers:
                if str(number) in self._layout:
                    self._layout[str(number)] = final == "h"
                elif number not in (2, 12, 34):
                    self.doubts += 1
            return
        call = _CSI.get(final)
        if call is not None:
            call(self, numbers)
        elif final not in _MUTE or (final == "t" and numbers[0] < 10):
            self.doubts += 1

    def _private(self, mode: int, on: bool) -> None:
        if mode == 2004:
            self._edit(on)
        elif mode in _ALTERNATE or mode == 1048:
            if mode in (1048, 1049) and on:
                self._saved = (self.column, self.row)
            if mode != 1048:
                self._alternate(on)
            if mode in (1048, 1049) and not on:
                self._move(*self._saved)
        elif f"?{mode}" in self._layout:
            self._layout[f"?{mode}"] = on
        elif mode not in _HARMLESS:
            self.doubts += 1

    def _erase_display(self, numbers: list[int]) -> None:
        how = numbers[0]
        if how == 0:
            self._erase(self.row, self.column, self.columns)
            self._clear(self.row + 1, self.rows)
        elif how == 1:
            self._clear(0, self.row)
            self._erase(self.row, 0, self.column + 1)
        elif how == 2:
            self._clear(0, self.rows)

    def _erase_line(self, numbers: list[int]) -> None:
        how = numbers[0]
        if how == 0:
            self._erase(self.row, self.column, self.columns)
        elif how == 1:
            self._erase(self.row, 0, self.column + 1)
        elif how == 2:
            self._erase(self.row, 0, self.columns)

    def _shift(self, count: int, removed: bool) -> None:
        """Characters are inserted at the cursor, or deleted."""
        self._pending = False
        row = self._cells[self.row]
        count = min(max(1, count), self.columns - self.column)
        self._split(row, self.column, self.column + (count if removed else 0))
        if removed:
            del row[self.column : self.column + count]
            row += [" "] * count
        else:
            row[self.column : self.column] = [" "] * count
            del row[self.columns :]
            if row[-1] != "" and width(row[-1][0]) == 2:
                row[-1] = " "

    def _margins(self, numbers: list[int]) -> None:
        top, bottom = max(1, numbers[0]), (numbers[1] if len(numbers) > 1 else 0) or self.rows
        if top < min(bottom, self.rows):
            self._top, self._bottom = top - 1, min(bottom, self.rows) - 1
            self._move(0, 0)

    def _rows(self, count: int, removed: bool) -> None:
        if self._top <= self.row <= self._bottom:
            if removed:
                self._up_within(self.row, count)
            else:
                self._insert_rows(self.row, max(1, count))
            self.column, self._pending = 0, False
        self.doubts += 1

    def _up_within(self, begin: int, count: int) -> None:
        base = self.base
        self._up(begin, self._bottom + 1, max(1, count))
        self.base = base

    def _repeat(self, numbers: list[int]) -> None:
        if self.tail:
            self._print(self.tail[-1] * min(max(1, numbers[0]), self.columns * self.rows))

    def _scrolled(self, numbers: list[int], up: bool) -> None:
        self.doubts += 1
        if up:
            self._up(self._top, self._bottom + 1, max(1, numbers[0]))
        else:
            self._insert_rows(self._top, max(1, numbers[0]))

    def _save(self, numbers: list[int]) -> None:
        self._saved = (self.column, self.row)

    def _erase_characters(self, numbers: list[int]) -> None:
        self._erase(self.row, self.column, self.column + max(1, numbers[0]))

    def _tab(self, numbers: list[int]) -> None:
        self._move((self.column // 8 + max(1, numbers[0])) * 8, self.row)


def _sized(cells: list[list[str]], columns: int, rows: int) -> list[list[str]]:
    made = [row[:columns] + [" "] * (columns - len(row)) for row in cells[:rows]]
    return made + [[" "] * columns for _ in range(rows - len(made))]


def _relative(columns: int, rows: int, begin: bool = False) -> Callable[[Screen, list[int]], None]:
    def move(screen: Screen, numbers: list[int]) -> None:
        count = max(1, numbers[0])
        screen._move(0 if begin else screen.column + columns * count, screen.row + rows * count)

    return move


_CSI: dict[str, Callable[[Screen, list[int]], None]] = {
    "A": _relative(0, -1),
    "B": _relative(0, 1),
    "C": _relative(1, 0),
    "D": _relative(-1, 0),
    "E": _relative(0, 1, True),
    "F": _relative(0, -1, True),
    "a": _relative(1, 0),
    "e": _relative(0, 1),
    "G": lambda screen, numbers: screen._move(numbers[0] - 1, screen.row),
    "`": lambda screen, numbers: screen._move(numbers[0] - 1, screen.row),
    "d": lambda screen, numbers: screen._move(screen.column, numbers[0] - 1),
    "H": lambda screen, numbers: screen._move((numbers[1] if len(numbers) > 1 else 1) - 1, numbers[0] - 1),
    "f": lambda screen, numbers: screen._move((numbers[1] if len(numbers) > 1 else 1) - 1, numbers[0] - 1),
    "J": Screen._erase_display,
    "K": Screen._erase_line,
    "X": Screen._erase_characters,
    "@": lambda screen, numbers: screen._shift(numbers[0], False),
    "P": lambda screen, numbers: screen._shift(numbers[0], True),
    "L": lambda screen, numbers: screen._rows(numbers[0], False),
    "M": lambda screen, numbers: screen._rows(numbers[0], True),
    "S": lambda screen, numbers: screen._scrolled(numbers, True),
    "T": lambda screen, numbers: screen._scrolled(numbers, False),
    "b": Screen._repeat,
    "r": Screen._margins,
    "s": Screen._save,
    "u": lambda screen, numbers: screen._move(*screen._saved),
    "I": Screen._tab,
}

_KINDS: dict[str, Callable[[Screen, str], None]] = {
    "text": Screen._print,
    "csi": Screen._csi,
    "string": Screen._string,
    "escape": Screen._escape,
    "control": Screen._control,
}
