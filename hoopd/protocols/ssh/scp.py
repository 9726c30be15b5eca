"""scp's old protocol, in which it runs itself at the far end: what is sent and how it is taken, as files; pure.

One side sends lines and contents, the other answers each with an octet; who sends waits for that, and this holds it to it: what comes
before its turn has no meaning that both ends would agree on. Not the recording (L{hoopd.protocols.ssh.scp_passage}). There is no
specification but OpenSSH's scp.c: C, D, E and T lines, contents, and 0, 1 or 2 with a message as answers.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Literal

from attrs import frozen

from hoopd.errors import PeerError

#: a name of Linux has 255 octets; messages are longer
LINE_MAX = 8 * 1024
#: directories within each other, of which a path of Linux cannot have more
DEPTH_MAX = 2048
#: answers that came before they were asked for: some receivers answer a failure twice
ANSWERS_MAX = 16
_SIZE_MAX = 1 << 62

_ENTRY = re.compile(rb"([CD])([0-7]{4}) (\d{1,19}) ([^\0\n]+)")
_TIMES = re.compile(rb"T\d{1,19} \d{1,9} \d{1,19} \d{1,9}")


@frozen
class Began:
    """A file begins. @ivar names: of the directories that it is in, and its own"""

    names: tuple[bytes, ...]
    size: int


@frozen
class Piece:
    """Contents of the file that began."""

    offset: int
    octets: bytes


@frozen
class Ended:
    """The file that began is over. @ivar problem: what one of the two said of it, or C{""}"""

    problem: str = ""


Event = Began | Piece | Ended

#: what may come next from who sends
_State = Literal["line", "contents", "mark", "message"]


class Copy:
    """One copy, from beginning to end.

    @param recursive: directories may be in it.
    @param expected: names that may come on top, or None for any.
    """

    def __init__(self, recursive: bool, expected: frozenset[bytes] | None = None) -> None:
        self._recursive = recursive
        self._expected = expected
        self._within: list[bytes] = []
        self._line = bytearray()
        self._state: _State = "line"
        self._answer = bytearray()
        self._answers: deque[bool] = deque()
        # the receiver speaks first
        self._awaits: str | None = "start"
        self._entering: bytes | None = None
        self._size = self._at = 0
        self._open = False
        self._problem = ""
        self._over = False

    # -- who sends ---------------------------------------------------------------------------------------------

    def sent(self, octets: bytes) -> list[Event]:
        """@raise PeerError: what no honest sender sends"""
        found: list[Event] = []
        at = 0
        while at < len(octets):
            if self._over:
                raise PeerError("scp goes on after its end")
            if self._awaits is not None:
                raise PeerError("scp that does not wait for its answer")
            if self._state == "contents":
                at = self._contents(octets, at, found)
            elif self._state == "mark":
                self._mark(octets[at : at + 1])
                at += 1
            else:
                at = self._to_line_end(octets, at, found)
        return found

    def _contents(self, octets: bytes, at: int, found: list[Event]) -> int:
        piece = octets[at : at + self._size - self._at]
        found.append(Piece(self._at, piece))
        self._at += len(piece)
        if self._at == self._size:
            self._state = "mark"
        return at + len(piece)

    def _mark(self, octet: bytes) -> None:
        """What stands behind contents: 0, or that they are not what they should be."""
        if octet == b"\0":
            self._state = "line"
            self._await("file")
        elif octet in (b"\1", b"\2"):
            self._line += octet
            self._state = "message"
        else:
            raise PeerError("scp with contents that are longer than it says")

    def _to_line_end(self, octets: bytes, at: int, found: list[Event]) -> int:
        end = octets.find(b"\n", at)
        self._line += octets[at : len(octets) if end < 0 else end]
        if len(self._line) > LINE_MAX:
            raise PeerError("an scp line that is too long")
        if end < 0:
            return len(octets)
        line = bytes(self._line)
        self._line.clear()
        if self._state == "message":
            self._state = "line"
            self._problem = "its sender could not read it"
            self._await("file")
        else:
            self._said(line, found)
        return end + 1

    def _said(self, line: bytes, found: list[Event]) -> None:
        if line[:1] in (b"\1", b"\2"):
            # a file that cannot be sent; nothing follows of it
            self._over = line[:1] == b"\2"
        elif line == b"E":
            if not self._within:
                raise PeerError("scp leaves a directory that it is not in")
            self._within.pop()
            self._await("end")
        elif _TIMES.fullmatch(line):
            self._await("times")
        else:
            self._entry(line)

    def _entry(self, line: bytes) -> None:
        match = _ENTRY.fullmatch(line)
        if match is None:
            raise PeerError("an scp line that is none")
        kind, _, size, name = match.groups()
        if b"/" in name or name in (b".", b".."):
            raise PeerError("an scp name that leads elsewhere")
        if not self._within and self._expected is not None and name not in self._expected:
            raise PeerError("a file that was not asked for")
        if kind == b"D":
            if not self._recursive:
                raise PeerError("a directory that was not asked for")
            if len(self._within) >= DEPTH_MAX:
                raise PeerError("directories too deep within each other")
            self._entering = name
            self._await("directory")
            return
        self._size, self._at = int(size), 0
        if self._size > _SIZE_MAX:
            raise PeerError("a file that is too large to be one")
        self._entering = name
        self._await("contents")

    # -- who receives ------------------------------------------------------------------------------------------

    def answered(self, octets: bytes) -> list[Event]:
        """@raise PeerError: what no honest receiver answers"""
        found: list[Event] = []
        for number in range(len(octets)):
            octet = octets[number : number + 1]
            if not self._answer and octet == b"\0":
                self._answers.append(True)
            elif not self._answer and octet not in (b"\1", b"\2"):
                raise PeerError("an scp answer that is none")
            elif self._answer and octet == b"\n":
                self._over = self._over or self._answer[:1] == b"\2"
                self._answer.clear()
                self._answers.append(False)
            else:
                self._answer += octet
                if len(self._answer) > LINE_MAX:
                    raise PeerError("an scp answer that is too long")
            if len(self._answers) > ANSWERS_MAX:
                raise PeerError("scp answers that nobody asked for")
            self._settle(found)
        self._settle(found)
        return found

    def _await(self, what: str) -> None:
        self._awaits = what

    def _settle(self, found: list[Event]) -> None:
        """Give each thing that was sent its answer."""
        while self._awaits is not None and self._answers:
            what, self._awaits = self._awaits, None
            _TAKEN[what](self, self._answers.popleft(), found)

    def _takes_nothing(self, good: bool, found: list[Event]) -> None:
        """An answer that changes nothing: who sends goes on, or gives up."""

    def _takes_directory(self, good: bool, found: list[Event]) -> None:
        if good and self._entering is not None:
            self._within.append(self._entering)

    def _takes_contents(self, good: bool, found: list[Event]) -> None:
        names = (*self._within, self._entering or b"")
        found.append(Began(names, self._size))
        self._problem = ""
        if not good:
            found.append(Ended("its receiver would not take it"))
            return
        self._open = True
        self._state = "contents" if self._size else "mark"

    def _takes_file(self, good: bool, found: list[Event]) -> None:
        self._open = False
        found.append(Ended(self._problem or ("" if good else "its receiver could not write it")))

    @property
    def open(self) -> bool:
        """A file has begun and not ended."""
        return self._open


_TAKEN = {
    "start": Copy._takes_nothing,
    "times": Copy._takes_nothing,
    "end": Copy._takes_nothing,
    "directory": Copy._takes_directory,
    "contents": Copy._takes_contents,
    "file": Copy._takes_file,
}
