"""Publishing checkpoints where nobody can take them back, and looking what is there already; not their making.

A witness numbers what it is given: 1, 2, 3 …, each under its own name, and replaces none. So whoever publishes beside
us takes a number that we wanted, and a gateway that was set back finds its next number taken: what stands there is
read, and a checkpoint of ours that our own leaves do not lead to is the proof of a fork. Publishing never holds up the
gateway; what fails is told and tried again. Where the notes lie is L{hoopd.audit.witness_places}.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from hoopd.audit.durable import InThread
from hoopd.audit.leaves import LedgerError
from hoopd.audit.notes import NoteError
from hoopd.audit.witness_places import Directory, Place, Request, Web, ask, is_web

#: first and longest pause before a failed publication is tried again, seconds
RETRY_FIRST = 1.0
RETRY_MAX = 60.0
#: Checkpoints that wait for a witness that is away: a day of them at one in 10 s. Older ones are let go: a later
#: checkpoint covers every leaf of theirs, and the ledger's own history keeps them.
WAITING_MAX = 8640
#: One checkpoint a second for 30,000 years; a witness that has more is none.
NUMBER_MAX = 10**12
#: Names that others took since we last looked: more are looked at in the next attempt.
TAKEN_MAX = 1000


def file_name(origin: str, number: int) -> str:
    """A checkpoint's name at a witness: C{hoopd.local%2Fledger-000000000042.note} is the 42nd it was given."""
    return f"{quote(origin, safe='')}-{number:012d}.note"


def number_of(origin: str, name: str) -> int | None:
    """@return: the number in a L{file_name} of this log; None: it is none."""
    digits = name.removeprefix(f"{quote(origin, safe='')}-").removesuffix(".note")
    return int(digits) if digits.isascii() and digits.isdigit() and file_name(origin, int(digits)) == name else None


def stored(directory: Path, origin: str) -> dict[str, str]:
    """The notes of one log in a directory witness, by file name. @raise OSError, UnicodeDecodeError"""
    return {
        path.name: path.read_text() for path in sorted(directory.iterdir()) if number_of(origin, path.name) is not None
    }


class Witness:
    """One place to publish the checkpoints of one log to.

    @param place: a directory's path or an https URL (http on loopback only, for tests).
    @param check: takes a note that the witness has, and how to call it. Raises L{LedgerError} if it is ours and our
        leaves do not lead to it, L{NoteError} if it is not ours.
    @param clock: IReactorTime.
    @param event: takes an event's name and fields.
    @param request: how an URL is asked.
    @ivar conflict: how the witness shows that the log was forked or set back; empty while it does not. Then nothing
        more is published there: a history that its own witness contradicts is not made better by going on.
    @raise hoopd.errors.ConfigError: an URL that is not https.
    """

    def __init__(
        self,
        place: str,
        origin: str,
        check: Callable[[str, str], object],
        clock: Any,
        event: Callable[[str, dict[str, Any]], None],
        in_thread: InThread = deferToThread,
        request: Request = ask,
        system: Any = os,
    ) -> None:
        self.place = place
        self.origin = origin
        self.conflict = ""
        self.directory = None if is_web(place) else Path(place)
        self._notes: Place = (
            Web(place, request) if self.directory is None else Directory(self.directory, in_thread, system)
        )
        self._check = check
        self._clock = clock
        self._event = event
        self._waiting: deque[tuple[int, str]] = deque(maxlen=WAITING_MAX)
        # the last number that is taken, once we have looked, and the last checkpoint of ours
        self._number: int | None = None
        self._last = ""
        self._busy = False
        self._retry: Any = None
        self._attempts = 0

    @property
    def behind(self) -> int:
        """Checkpoints that it has not taken yet."""
        return len(self._waiting)

    @property
    def attempts(self) -> int:
        """How often the oldest of those was tried in vain."""
        return self._attempts

    def publish(self, size: int, note: str) -> None:
        """Send a checkpoint of C{size} leaves, now or when the witness is back."""
        if self.conflict:
            return
        self._waiting.append((size, note))
        if not self._busy and self._retry is None:
            self._next()

    def stop(self) -> None:
        """Try no further."""
        self._waiting.clear()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _next(self) -> None:
        self._retry = None
        if not self._waiting:
            return
        self._busy = True
        size, note = self._waiting[0]
        Deferred.fromCoroutine(self._give(note)).addCallbacks(
            lambda _: self._given(note), lambda failure: self._failed(size, failure.value)
        )

    # -- numbers -----------------------------------------------------------------------------------------------

    async def _give(self, note: str) -> None:
        """Have the witness keep C{note} under the next number that is free.

        @raise OSError: not now. @raise LedgerError: what the witness has is not our history.
        """
        if self._number is None:
            self._number = await self._find()
        if self._last == note:
            return  # from before a restart
        for _ in range(TAKEN_MAX):
            number = self._number + 1
            name = file_name(self.origin, number)
            # asked first: not every server that takes a PUT minds its precondition
            held = await self._notes.read(name)
            if held is None:
                if await self._notes.create(name, note):
                    self._number, self._last = number, note
                    return
                held = await self._notes.read(name)
                if held is None:
                    raise OSError(f"it neither takes nor shows {name}")
            self._look(number, held)
            self._number = number
            if held == note:
                return
        raise OSError(f"somebody else has published {TAKEN_MAX} checkpoints since we looked")

    async def _find(self) -> int:
        """Look for the last number that is taken, and at what stands there. @return: it, 0 if there is none"""
        taken, free, held = 0, 1, ""
        while (found := await self._notes.read(file_name(self.origin, free))) is not None:
            taken, free, held = free, free * 2, found
            if free > NUMBER_MAX:
                raise OSError("it says that every number is taken")
        while free - taken > 1:
            middle = (taken + free) // 2
            found = await self._notes.read(file_name(self.origin, middle))
            if found is None:
                free = middle
            else:
                taken, held = middle, found
        for number in range(taken, max(0, taken - TAKEN_MAX), -1):
            if self._look(number, held):
                break
            held = await self._notes.read(file_name(self.origin, number - 1)) or ""
        return taken

    def _look(self, number: int, held: str) -> bool:
        """
        @return: whether it is a checkpoint of ours.
        @raise LedgerError: it is, and not of our history.
        """
        name = file_name(self.origin, number)
        try:
            self._check(held, f"the checkpoint {name} at witness {self.place}")
        except NoteError as error:
            # anybody who can write there can put nonsense there; it proves nothing
            self._event("audit.witness-failed", {"witness": f"{self.place}/{name}", "why": str(error)})
            return False
        self._last = held
        return True

    # -- what became of it -------------------------------------------------------------------------------------

    def _given(self, note: str) -> None:
        self._busy = False
        self._attempts = 0
        if self._waiting and self._waiting[0][1] == note:
            self._waiting.popleft()
        self._next()

    def _failed(self, size: int, error: Exception) -> None:
        self._busy = False
        if isinstance(error, LedgerError):
            self.conflict = str(error)
            self._waiting.clear()
            self._event("audit.witness-conflict", {"witness": self.place, "size": size, "why": self.conflict})
            return
        self._attempts += 1
        self._event(
            "audit.witness-failed",
            {"witness": self.place, "size": size, "why": str(error), "attempts": self._attempts},
        )
        pause = min(RETRY_MAX, RETRY_FIRST * 2.0 ** min(self._attempts - 1, 10))
        if self._waiting:
            self._retry = self._clock.callLater(pause, self._next)
