"""Fair shares among the workers of one listener: who has how much, and who should pause; not the accepting itself.

Processes that wait on one listening socket do not get equal parts of it: of 400 arrivals one of four got 352. So each
worker writes what it has into its slot of a table in shared memory, reads the others', and pauses while it has
more than its share (L{hoopd.roles.serving}). Only load depends on the table: a worker that lies in it, or writes over
another's slot, shifts work for as long as a pause lasts, and nothing else.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Callable, Iterable

#: last sign of life, accepts (decayed), when they were decayed: seconds of CLOCK_MONOTONIC, which all processes
#: of one machine share; connections open now; process id
_SLOT = struct.Struct("=dddQQ")

#: accepts count for half after so long: long enough to even out bursts, short enough to forget a worker's past
HALF_LIFE = 10.0

#: a slot that said nothing for so long belongs to a worker that is dead, stopped or full. Signs come twice a second.
STALE = 3.0
SIGN_EVERY = 0.5

#: a worker pauses when it is more than this above the mean: less would make two workers at rest alternate
SLACK = 1.0


def create(slots: int) -> int:
    """@return: descriptor of a new table (memory file of fixed size, close-on-exec), all slots empty."""
    fd = os.memfd_create("hoopd-shares", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, slots * _SLOT.size)
    # a table that shrank would kill its readers with SIGBUS
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


def above(own: float, others: Iterable[float]) -> bool:
    """Whether C{own} load is above its share, given the loads of the other workers that accept.

    Whoever has least is never above: it is at or under the mean. So somebody always accepts.
    """
    loads = [own, *others]
    return own > sum(loads) / len(loads) + SLACK


class Share:
    """One worker's place in a table.

    @param fd: descriptor of the table; consumed.
    @param slot: this worker's, from 0.
    @param clock: CLOCK_MONOTONIC in seconds.
    """

    def __init__(self, fd: int, slot: int, clock: Callable[[], float]) -> None:
        self._memory = mmap.mmap(fd, os.fstat(fd).st_size)
        os.close(fd)
        self._slots = len(self._memory) // _SLOT.size
        self._slot = slot
        self._clock = clock
        self._accepts = 0.0
        self._decayed_at = clock()
        self._alive = False
        self.open = 0

    def _decay(self, accepts: float, since: float) -> float:
        return float(accepts * 0.5 ** (max(0.0, self._clock() - since) / HALF_LIFE))

    def sign(self) -> None:
        """Show that this worker accepts, and what it has."""
        self._alive = True
        self._write()

    def leave(self) -> None:
        """Show that this worker does not accept: full, or draining. Others no longer count it."""
        self._alive = False
        self._write()

    def accepted(self) -> None:
        """Count one accept."""
        self._accepts = self._decay(self._accepts, self._decayed_at) + 1
        self._decayed_at = self._clock()
        self._write()

    def _write(self) -> None:
        sign = self._clock() if self._alive else 0.0
        _SLOT.pack_into(
            self._memory, self._slot * _SLOT.size, sign, self._accepts, self._decayed_at, self.open, os.getpid()
        )

    def load(self) -> float:
        """@return: connections open, and accepts of late."""
        return self._decay(self._accepts, self._decayed_at) + self.open

    def others(self) -> list[float]:
        """@return: loads of the other workers that accept."""
        now = self._clock()
        loads = []
        for slot in range(self._slots):
            sign, accepts, decayed_at, open_, _ = _SLOT.unpack_from(self._memory, slot * _SLOT.size)
            if slot != self._slot and now - sign <= STALE:
                loads.append(self._decay(accepts, decayed_at) + open_)
        return loads

    def above(self) -> bool:
        """Whether this worker should pause."""
        return above(self.load(), self.others())
