"""Envelopes: they open where they belong and nowhere else."""

from __future__ import annotations

import itertools

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.secret import Secret
from hoopd.vault.envelope import Envelope, EnvelopeError, MasterKey, Place, rewrap, seal, unseal

MASTER = MasterKey(Secret(b"m" * 32))
NEXT = MasterKey(Secret(b"n" * 32))
PLACE = Place("installation", "orders", 1)
NONCES = (b"1" * 12, b"2" * 12)


def sealed(value: bytes = b"s3cret", place: Place = PLACE, master: MasterKey = MASTER) -> Envelope:
    return seal(master, place, value, b"d" * 32, NONCES)


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=5000))
def test_opens_in_its_place(value: bytes) -> None:
    envelope = sealed(value)
    assert unseal(MASTER, PLACE, envelope) == value
    assert len(value) < 4 or value not in envelope.sealed


def test_opens_nowhere_else() -> None:
    for place in (
        Place("installation", "orders", 2),
        Place("installation", "order", 1),
        Place("other", "orders", 1),
        Place("installationorders", "", 1),
    ):
        with pytest.raises(EnvelopeError):
            unseal(MASTER, place, sealed())
    with pytest.raises(EnvelopeError):
        unseal(NEXT, PLACE, sealed())


def test_swapped_parts_do_not_open() -> None:
    other = Place("installation", "payroll", 1)
    mine, yours = sealed(), seal(MASTER, other, b"theirs", b"e" * 32, (b"3" * 12, b"4" * 12))
    for envelope in (yours, Envelope(yours.wrapped, mine.sealed), Envelope(mine.wrapped, yours.sealed)):
        with pytest.raises(EnvelopeError):
            unseal(MASTER, PLACE, envelope)
    # the value is bound by itself, whatever data key it has
    again = seal(MASTER, other, b"theirs", b"d" * 32, NONCES)
    with pytest.raises(EnvelopeError):
        unseal(MASTER, PLACE, Envelope(mine.wrapped, again.sealed))
    # the wrapped key is bound as a key: it is not a value that could be read out
    with pytest.raises(EnvelopeError):
        unseal(MASTER, PLACE, Envelope(mine.wrapped, mine.wrapped))


def test_every_changed_bit_is_noticed() -> None:
    envelope = sealed(b"x")
    for part in ("wrapped", "sealed"):
        good = getattr(envelope, part)
        for position, bit in itertools.product(range(len(good)), (1, 128)):
            bad = bytearray(good)
            bad[position] ^= bit
            with pytest.raises(EnvelopeError):
                unseal(MASTER, PLACE, evolve(envelope, **{part: bytes(bad)}))
        for length in (0, 1, 12, 13, 20, len(good) - 1):
            with pytest.raises(EnvelopeError):
                unseal(MASTER, PLACE, evolve(envelope, **{part: good[:length]}))


def test_rewrapping_leaves_the_value_alone() -> None:
    envelope = sealed()
    wrapped = rewrap(MASTER, NEXT, PLACE, envelope.wrapped, b"9" * 12)
    again = Envelope(wrapped, envelope.sealed)
    assert unseal(NEXT, PLACE, again) == b"s3cret"
    with pytest.raises(EnvelopeError):
        unseal(MASTER, PLACE, again)
    with pytest.raises(EnvelopeError):
        rewrap(NEXT, MASTER, PLACE, envelope.wrapped, b"9" * 12)


def test_keys_and_nonces_of_wrong_size_are_our_mistake() -> None:
    with pytest.raises(ValueError):
        MasterKey(Secret(b"short"))
    with pytest.raises(ValueError):
        seal(MASTER, PLACE, b"", b"short", NONCES)
    with pytest.raises(ValueError):
        seal(MASTER, PLACE, b"", b"d" * 32, (b"1", b"2"))


def test_nothing_secret_in_reprs_and_errors() -> None:
    assert "mmmm" not in repr(MASTER)
    assert MASTER.id.startswith("mk-")
    with pytest.raises(EnvelopeError) as caught:
        unseal(NEXT, PLACE, sealed())
    assert "s3cret" not in str(caught.value)
