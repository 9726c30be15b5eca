"""Brute force is slowed, and nobody is slowed for somebody else for long."""

from __future__ import annotations

import pytest

from hoopd.identity.pacing import FORGET, FREE, MAX_ADDRESS, MAX_PAIR, REMEMBERED, Pacing, origin


def test_a_pair_is_slowed_more_and_more_up_to_a_bound() -> None:
    pacing = Pacing(30)
    pauses = []
    for number in range(20):
        pauses.append(pacing.pause("192.0.2.1", "ann", number * 30.0))
        pacing.failed("192.0.2.1", "ann", number * 30.0)
    assert pauses[:FREE] == [0.0] * FREE
    assert pauses[FREE : FREE + 4] == [0.25, 0.5, 1.0, 2.0]
    assert pauses[-1] == MAX_PAIR


def test_the_innocent_go_on() -> None:
    pacing = Pacing(30)
    for number in range(12):
        pacing.failed("192.0.2.1", "ann", float(number))
    assert pacing.pause("192.0.2.1", "ann", 12.0) > 0
    assert pacing.pause("198.51.100.7", "ann", 12.0) == 0
    assert pacing.pause("192.0.2.1", "bob", 12.0) == 0


def test_spraying_names_slows_the_address_a_little() -> None:
    pacing = Pacing(30)
    for number in range(1000):
        pacing.failed("192.0.2.1", f"name-{number}", 0.0)
    assert pacing.pause("192.0.2.1", "fresh", 0.0) == MAX_ADDRESS
    assert pacing.pause("192.0.2.2", "fresh", 0.0) == 0
    # and it is over within the minutes that the bucket takes to leak
    assert pacing.pause("192.0.2.1", "fresh", 61.0) == 0


def test_success_and_time_forgive() -> None:
    pacing = Pacing(30)
    for _ in range(9):
        pacing.failed("192.0.2.1", "ann", 0.0)
    assert pacing.pause("192.0.2.1", "ann", FORGET - 1) == MAX_PAIR
    assert pacing.pause("192.0.2.1", "ann", FORGET) == 0
    pacing.failed("192.0.2.1", "ann", 0.0)
    pacing.succeeded("192.0.2.1", "ann")
    assert pacing.pause("192.0.2.1", "ann", 1.0) == 0


def test_a_clock_set_back_does_not_break_it() -> None:
    pacing = Pacing(30)
    for _ in range(9):
        pacing.failed("192.0.2.1", "ann", 10_000.0)
    assert 0 <= pacing.pause("192.0.2.1", "ann", 0.0) <= MAX_PAIR


def test_memory_is_bounded() -> None:
    pacing = Pacing(30)
    for number in range(REMEMBERED + 500):
        pacing.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "x", float(number))
    assert len(pacing._pairs) == len(pacing._addresses) == REMEMBERED


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("local", "local"),
    ],
)
def test_origins(address: str, expected: str) -> None:
    assert origin(address) == expected
