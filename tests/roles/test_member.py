"""Pauses between restarts."""

from __future__ import annotations

from hoopd.roles.member import STABLE, Backoff


def test_pauses_double_up_to_the_most() -> None:
    backoff = Backoff(0.2, 1.0)
    assert [backoff.after(0.0) for _ in range(5)] == [0.2, 0.4, 0.8, 1.0, 1.0]


def test_a_child_that_was_stable_starts_anew() -> None:
    backoff = Backoff(0.2, 1.0)
    for _ in range(5):
        backoff.after(0.0)
    assert backoff.after(STABLE) == 0.2
    assert backoff.after(0.0) == 0.4
