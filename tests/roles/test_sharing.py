"""Who pauses: by arithmetic, and over a shared table."""

from __future__ import annotations

import os
import random

from hypothesis import given
from hypothesis import strategies as st

from hoopd.roles.sharing import HALF_LIFE, STALE, Share, above, create


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=16))
def test_somebody_always_accepts(loads: list[float]) -> None:
    least = min(range(len(loads)), key=loads.__getitem__)
    assert not above(loads[least], loads[:least] + loads[least + 1 :])


def test_one_alone_is_never_above() -> None:
    assert not above(1000.0, [])


class Workers:
    """Workers of one table, with a clock of their own."""

    def __init__(self, count: int) -> None:
        self.now = 100.0
        fd = create(count)
        self.shares = [Share(os.dup(fd), slot, lambda: self.now) for slot in range(count)]
        os.close(fd)
        for share in self.shares:
            share.sign()


def test_400_arrivals_that_all_wake_the_same_worker_first() -> None:
    workers = Workers(4)
    taken = [0, 0, 0, 0]
    for _ in range(400):
        workers.now += 0.005
        for share in workers.shares:
            share.sign()
        # the kernel wakes in the order of the slots: without shares, worker 0 would have all
        slot = next(slot for slot, share in enumerate(workers.shares) if not share.above())
        workers.shares[slot].accepted()
        taken[slot] += 1
    assert max(taken) <= 200, taken
    assert max(taken) - min(taken) <= 10, taken


def test_open_connections_count() -> None:
    workers = Workers(2)
    workers.shares[0].open = 10
    workers.shares[0].sign()
    assert workers.shares[0].above()
    assert not workers.shares[1].above()


def test_a_stale_worker_is_not_counted() -> None:
    workers = Workers(3)
    for _ in range(5):
        workers.shares[0].accepted()
    assert workers.shares[0].above()
    workers.now += STALE + 0.1
    workers.shares[0].sign()
    assert workers.shares[0].others() == []
    assert not workers.shares[0].above(), "the others are dead"


def test_a_full_worker_leaves() -> None:
    workers = Workers(2)
    workers.shares[1].leave()
    assert workers.shares[0].others() == []


def test_accepts_are_forgotten() -> None:
    workers = Workers(2)
    for _ in range(8):
        workers.shares[0].accepted()
    assert workers.shares[0].load() == 8
    workers.now += HALF_LIFE
    assert workers.shares[0].load() == 4


def test_a_table_written_over_by_a_hostile_worker_stops_nobody_for_good() -> None:
    fd = create(2)
    share = Share(os.dup(fd), 0, lambda: 100.0)
    os.pwrite(fd, random.Random(7).randbytes(os.fstat(fd).st_size), 0)
    share.above()  # whatever it says: L{Serving} ends a pause after PAUSE_MAX
    os.close(fd)
