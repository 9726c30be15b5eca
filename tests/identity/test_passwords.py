"""Password hashes."""

from __future__ import annotations

import pytest

from hoopd.identity.passwords import NOBODY, hash_password, verify_password

GOOD = hash_password(b"correct horse", b"s" * 16)


def test_round_trip_and_parameters() -> None:
    assert GOOD.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert verify_password(b"correct horse", GOOD) is True
    for wrong in (b"", b"correct hors", b"correct horse ", b"Correct horse"):
        assert verify_password(wrong, GOOD) is False


def test_salted() -> None:
    assert hash_password(b"correct horse", b"t" * 16) != GOOD


def test_nobodys_hash_has_the_same_parameters_and_fits_nothing() -> None:
    assert NOBODY.split("$")[:4] == GOOD.split("$")[:4]
    assert len(NOBODY) == len(GOOD)
    assert verify_password(b"", NOBODY) is False
    assert verify_password(b"correct horse", NOBODY) is False


def test_lengths() -> None:
    for wrong in (b"", b"x" * 11, b"x" * 1025):
        with pytest.raises(ValueError, match="characters") as caught:
            hash_password(wrong, b"s" * 16)
        assert "xx" not in str(caught.value)
