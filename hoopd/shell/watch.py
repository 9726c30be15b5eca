"""The line that Enter would run, read from the screen of a terminal and from what was typed; pure.

The keys alone do not say it: history, completion and editing are the shell's. The screen alone does not either: it shows where a line
ends, not where it begins, and other programs write to it. So a line begins where the cursor is when its first key comes, it is what
stands from there to its end when Enter comes, and where nothing but characters was typed both must agree. What does not agree, or
cannot be followed, is unsure; what is not shown is unseen. docs/ssh.md says what this cannot catch.
"""

from __future__ import annotations

import re
from typing import Literal

from attrs import define, frozen

from hoopd.shell.screen import CELLS_MAX, Screen, width

#: kept of what was written and not looked at; of more, the end, which fills a screen: 20 ms to follow where all of it is colours
PENDING_MAX, TAIL = 64 * 1024, 32 * 1024

#: what prompts end with
PROMPTS = "$#%❯➜»λ"
#: what programs that ask end with
_QUESTIONS = ":?：？"
#: shown for characters of a password
_HIDDEN = frozenset("*•●")
#: what line editors take as text, if it is shorter or lower they scroll within one row
COLUMNS_MIN, ROWS_MIN = 20, 2

_MODES = re.compile(rb"\x1b\[\?([0-9;]{1,40})([hl])")
#: those that decide how the screen is read
_OUTLAST = frozenset({b"3", b"6", b"7", b"45", b"47", b"69", b"1047", b"1049", b"2004"})

#: octets of one line; the kernel takes 4,096 where no line editor does
LINE_MAX = 64 * 1024
#: characters that are looked for before the cursor: what ends with more ends with these
_COMPARED = 512

#: stands where something may be or not be: lines with it are unsure
_UNSURE = "\ufffd"

#: answers to shells that ask whether to list what a word may be
_LISTED = " ynq"

#: takes the last word away
_WORD_ERASE = b"\x17"

#: keys that search in the shell's history
_SEARCHES = (b"\x12", b"\x13")

#: readline searches in the place of the prompt, zsh below the line
_SEARCH = re.compile(r"\((?:failed )?(?:reverse-)?i-search\)`((?:(?!': ).)*)': ((?:(?!': ).)*)")
_SEARCH_BELOW = re.compile("\n(?:failing )?(?:bck|fwd)-i-search: ([^\n]*)_\\Z")

State = Literal["line", "empty", "unseen", "unsure"]


@frozen
class Seen:
    """What Enter would run now. @ivar text: of a C{line}. @ivar why: it is C{unsure}."""

    state: State
    text: str = ""
    why: str = ""


@define(eq=False)
class Line:
    """A line that is being typed.

    @ivar mark: row (L{Screen.base} counted) and column of its first character; None once that is not known.
    @ivar prompt: what stands before it.
    @ivar right: column and text of what stood behind it at first, as zsh's right prompt.
    @ivar typed: its characters, if nothing but characters was typed; of all that was typed since the last other key, if not.
    @ivar edited: characters were taken away again; whether the shell takes those keys so, the screen says.
    @ivar others: other keys were typed.
    @ivar erased: among them, or behind them, what takes away: a terminal without a line editor draws that wrongly at the edge and for
        characters that are not one column wide.
    @ivar commands: among them what makes characters commands in vi's mode.
    @ivar searched: the shell's history was searched.
    @ivar odd: why it cannot be told any more.
    """

    mark: tuple[int, int] | None
    prompt: str
    right: tuple[int, str]
    tail: str
    alternate: bool
    opened: int
    doubts: int
    typed: bytearray
    edited: bool = False
    others: bool = False
    erased: bool = False
    commands: bool = False
    searched: bool = False
    odd: str = ""


@frozen
class _Before:
    """The screen when a line was ended: what has changed since shows that the shell took it."""

    lines: int
    opened: int
    closed: int
    editor: bool


class Watch:
    """
    @ivar ran: something was run, and may still run.
    @ivar loose: it reads what is typed in ways that are not read here, and a rule opened it.
    """

    def __init__(self, columns: int, rows: int) -> None:
        self.screen = Screen(columns, rows)
        self.line: Line | None = None
        self.ran = self.loose = False
        self._pending = bytearray()
        self._cut = False
        self._small = ""
        self._edits = False
        self._prompt = ""
        self._prompts: set[str] = set()
        self._before: _Before | None = None
        self._sized(columns, rows)

    # -- the screen --------------------------------------------------------------------------------------------

    def output(self, octets: bytes) -> None:
        """A program wrote this. It is looked at when somebody types: what scrolled by meanwhile is not."""
        self._pending += octets
        if len(self._pending) > PENDING_MAX:
            gone, self._pending = bytes(self._pending[:-TAIL]), self._pending[-TAIL:]
            # modes outlast what is on the screen: each as it was set last
            modes = {
                mode: final for said, final in _MODES.findall(gone) for mode in said.split(b";") if mode in _OUTLAST
            }
            self._pending[:0] = b"\x1b\\" + b"".join(b"\x1b[?%b%b" % each for each in modes.items())
            self._cut = True

    def look(self) -> None:
        """Follow what was written."""
        if not self._pending:
            return
        octets, self._pending = bytes(self._pending), bytearray()
        screen, lines = self.screen, self.screen.lines
        if self._cut:
            screen.feed(b"\r\n")
            lines = screen.lines
        screen.feed(octets)
        if self._cut and screen.lines - lines < screen.rows and self.line is not None:
            self.line.odd = "too much was written at once"
        self._cut = False

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size: line editors draw their line anew."""
        self.look()
        self.screen.resize(columns, rows)
        self._sized(columns, rows)
        if self.line is not None:
            self.line.mark, self.line.others = None, True

    def _sized(self, columns: int, rows: int) -> None:
        small = 0 < columns < COLUMNS_MIN or 0 < rows < ROWS_MIN
        large = columns * rows > CELLS_MAX
        self._small = "the terminal is too small to be read" if small else "the terminal is too large" if large else ""

    # -- keys --------------------------------------------------------------------------------------------------

    @property
    def passing(self) -> bool:
        """What is typed goes to a program that a rule opened as one that runs anything: it is not the shell's."""
        if not self.loose or self.line is not None:
            # what was begun as a line stays one
            return False
        if self.screen.alternate:
            return self._left() != self._prompt
        # zsh writes what stands at the right after its prompt
        return not self._prompts_now(self.screen.tail) and not self._prompts_now(self._left())

    def key(self, kind: str, octets: bytes) -> None:
        """A key that goes on to the shell. Call L{look} before."""
        line = self.line
        if line is not None and self._before is None and self.screen.opened > line.opened and self._consumed(line):
            line = None
        if line is None or (self._before is not None and self.settled()):
            line = self.line = self._begin()
        self._before = None
        if kind == "text":
            line.typed += octets
            if len(line.typed) > LINE_MAX:
                line.typed.clear()
                line.odd = "it is too long"
        elif kind == "back":
            line.edited = True
            line.erased = line.erased or line.others
            if line.typed[-1:] and line.typed[-1] < 0x80:
                del line.typed[-1]
            elif line.typed:
                # what goes with the last character, as its accents, is the shell's to say
                line.others = line.erased = True
                line.typed.clear()
        elif kind == "kill" and not line.others:
            line.edited = True
            line.typed.clear()
        else:
            line.others = True
            line.erased = line.erased or kind == "kill" or octets == _WORD_ERASE
            line.commands = line.commands or octets == b"\x1b"
            line.searched = line.searched or octets in _SEARCHES
            line.typed.clear()

    def _begin(self) -> Line:
        screen = self.screen
        right = screen.text(screen.row, screen.column)
        column = screen.columns - len(right.lstrip()) if right.strip() else screen.columns
        return Line(
            (screen.base + screen.row, screen.column),
            self._left(),
            (column, right.strip()),
            screen.tail,
            screen.alternate,
            screen.opened,
            screen.doubts,
            bytearray(),
        )

    def _consumed(self, line: Line) -> bool:
        """Whether a program has read what was typed before the shell's prompt came: none of it stands behind the prompt."""
        typed, left = line.typed.decode("utf-8", "replace"), self._left()
        if not self._prompts_now(left):
            return False
        if line.others and not typed.strip():
            return left == self._prompt
        typed = typed[-_COMPARED:]
        return not any(left.endswith(typed[at:]) for at in range(len(typed)) if typed[at:].strip())

    @property
    def empty(self) -> bool:
        """Nothing was typed: Enter runs nothing."""
        line = self.line
        return line is None or not (line.others or line.edited or line.typed.strip() or line.odd)

    @property
    def edits(self) -> bool:
        """The shell itself reads keys now: the end of a file is another key to it."""
        return self._edits and self.screen.editor

    # -- ends --------------------------------------------------------------------------------------------------

    def ended(self, ran: bool, loose: bool = False) -> None:
        """The line was ended: Enter, or an interrupt, goes to the shell now. @param ran: it runs something"""
        screen = self.screen
        self._before = _Before(screen.lines, screen.opened, screen.closed, screen.editor)
        if ran:
            line = self.line
            if line is not None and line.prompt.strip() and (screen.editor or not self._prompts):
                self._edits = self._edits or screen.editor
                self._prompt = line.prompt
                if len(self._prompts) < 16:
                    self._prompts.add(line.prompt.rstrip()[-1])
            self.ran, self.loose = True, loose

    def settled(self) -> bool:
        """Whether the shell has taken the end of the line."""
        before, screen = self._before, self.screen
        if before is None:
            return True
        if screen.opened > before.opened:
            return True
        return screen.lines > before.lines and (not before.editor or screen.closed > before.closed)

    @property
    def ready(self) -> bool:
        """The shell is at its prompt again."""
        before = self._before
        return before is None or self.screen.opened > before.opened or self._left() == self._prompt

    def forget(self) -> None:
        """The line is over."""
        self.line = self._before = None

    def not_ended(self, entered: bool) -> None:
        """The shell seems not to have taken the end of the line: more may come to what stands there.

        @param entered: it was Enter that was to end it.
        """
        if not entered:
            self._before = None
        elif self.line is not None:
            self.line.odd = "it was not ended by Enter"

    # -- reading -----------------------------------------------------------------------------------------------

    def read(self) -> Seen:
        """What Enter would run now. Call L{look} before."""
        line, screen = self.line, self.screen
        if line is None:
            return Seen("empty")
        why = line.odd or self._small or screen.doubt
        if screen.doubts != line.doubts:
            why = why or "something was written that is not followed"
        if screen.alternate != line.alternate:
            why = why or "another screen is shown"
        if why:
            return Seen("unsure", why=why)
        text = self._text(line)
        return self._plain(line, text) if not line.others else self._edited(line, text)

    def _plain(self, line: Line, text: str | None) -> Seen:
        whole = line.typed.decode("utf-8", "replace")
        typed = whole.rstrip()
        if text is not None and _agree(text.rstrip(), typed):
            return Seen("line", typed) if typed.strip() else Seen("empty")
        left = self._left()
        before = left.removesuffix(whole)
        again = self.edits and before.rstrip()[-1:] in self._marks
        if before != left and (again or (before == self._prompt and before.strip())):
            # typed before the prompt was there: the shell shows it again behind it, or the terminal what came after it
            return Seen("line", typed)
        if text is not None and _HIDDEN.issuperset(text.strip()):
            return Seen("unseen")
        return Seen("unsure", why="what stands on the screen is not what was typed")

    def _edited(self, line: Line, text: str | None) -> Seen:
        if line.erased and not self.screen.editor:
            return Seen("unsure", why="it was edited where no line editor shows what is left")
        searched = self._searched()
        if searched is not None:
            text = searched[2]
        elif text is not None:
            text = _SEARCH_BELOW.sub("", text)
        known = (
            searched is not None or self.screen.opened == line.opened or self._left().startswith(self._prompt or "\0")
        )
        if text is None or not known:
            return Seen("unsure", why="where the line begins is not known")
        if _UNSURE in text:
            return Seen("unsure", why="it is not certain how it goes on from row to row")
        if line.searched and any(width(each) != 1 for each in text):
            # readline 8.2 counts their columns wrongly while it searches, and draws over what stands there
            return Seen("unsure", why="it was searched for, and has characters that are not one column wide")
        # an empty one may be one that something else has taken from the screen
        return Seen("unseen") if _HIDDEN.issuperset(text.strip()) else Seen("line", text.rstrip())

    @property
    def shown(self) -> bool:
        """What was typed since the last other key stands before the cursor, or in what is searched for."""
        line = self.line
        if line is None or not line.typed:
            return True
        typed, left = line.typed.decode("utf-8", "replace"), self._left()
        if left.endswith(typed) or left.endswith(typed.lstrip(_LISTED)):
            return True
        searched = self._searched()
        if searched is not None:
            return typed.strip() in searched[1]
        below = _SEARCH_BELOW.search(self._below(line, self._last(self.screen.row), ""))
        return below is not None and typed.strip() in below[1]

    @property
    def asks(self) -> bool:
        """A program asks for something that is not shown, as a password."""
        line = self.line
        if line is None or not self.ran or self._prompts_now(line.tail):
            return False
        return line.tail.rstrip()[-1:] in tuple(_QUESTIONS)

    def _prompts_now(self, tail: str) -> bool:
        last = tail.rstrip()[-1:]
        return bool(last) and last in self._marks

    @property
    def _marks(self) -> frozenset[str]:
        return frozenset(PROMPTS) | self._prompts

    # -- text --------------------------------------------------------------------------------------------------

    def _first(self, row: int) -> int:
        while row > 0 and self.screen.wraps(row - 1):
            row -= 1
        return row

    def _last(self, row: int) -> int:
        while row < self.screen.rows - 1 and self.screen.wraps(row):
            row += 1
        return row

    def _left(self) -> str:
        """What stands before the cursor, in its row and those that go on in it."""
        screen, first = self.screen, self._first(self.screen.row)
        above = "".join(screen.text(row) for row in range(first, screen.row))
        return above + screen.text(screen.row, 0, screen.column)

    def _whole(self) -> str:
        return self._joined(self.line, self._first(self.screen.row), self._last(self.screen.row), 0)

    def _searched(self) -> re.Match[str] | None:
        """What is searched for in the shell's history, and found."""
        return _SEARCH.fullmatch(self._whole().rstrip() + " ")

    def _row(self, line: Line | None, row: int, begin: int = 0) -> str:
        """A row without what stands at the right of it from the beginning."""
        screen = self.screen
        if line is not None and line.right[1]:
            column, right = line.right
            if screen.text(row, column).rstrip() == right and screen.text(row, column - 1, column) == " ":
                return screen.text(row, begin, column)
        return screen.text(row, begin)

    def _text(self, line: Line) -> str | None:
        """What stands from the beginning of the line to its end; None where that is not known."""
        screen = self.screen
        first, last = self._first(screen.row), self._last(screen.row)
        if line.prompt.strip() and self._left().startswith(line.prompt):
            return self._below(line, last, self._joined(line, first, last, 0)[len(line.prompt) :])
        marked = self._marked(line)
        if marked is None or (screen.row, screen.column) < marked:
            return None
        row, column = marked
        return self._below(line, last, self._joined(line, row, last, column))

    def _marked(self, line: Line) -> tuple[int, int] | None:
        """Where the line's first character is on the screen now, if what stands before it is still what it was."""
        if line.mark is None:
            return None
        row, column = line.mark[0] - self.screen.base, line.mark[1]
        if not 0 <= row < self.screen.rows:
            return None
        above = "".join(self.screen.text(each) for each in range(self._first(row), row))
        return (row, column) if above + self.screen.text(row, 0, column) == line.prompt else None

    def _joined(self, line: Line | None, first: int, last: int, begin: int) -> str:
        parts = []
        for row in range(first, last + 1):
            part = self._row(line, row, begin if row == first else 0)
            if (
                row < last
                and self.screen.wraps(row)
                and part.endswith(" ")
                and width(self.screen.text(row + 1)[0]) == 2
            ):
                # there was no room for the next character, or there is a space
                part = part[:-1] + _UNSURE
            elif row < last and not self.screen.wraps(row):
                # full, and not gone on in the next row by the terminal: whether a word ends here is not known
                part = part.rstrip() + (f"{_UNSURE}\n" if self.screen.full(row) else "\n")
            parts.append(part)
        return "".join(parts)

    def _below(self, line: Line, last: int, text: str) -> str:
        """C{text} with further lines of one command, where other keys may have gone up in it."""
        for row in range(last + 1, self.screen.rows if line.others else 0):
            below = self.screen.text(row).rstrip()
            if not below:
                break
            text = f"{text.rstrip()}\n{below}"
        return text


def _agree(text: str, typed: str) -> bool:
    """Whether C{typed} stands there, if what is not certain is read in its favour."""
    if _UNSURE not in text:
        return text == typed
    return re.fullmatch(" ?".join(re.escape(part) for part in text.split(_UNSURE)), typed) is not None
