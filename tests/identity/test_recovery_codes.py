"""The form of recovery codes: typed anyhow they are read, mistyped they are found."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from hoopd.identity import recovery_codes as codes


def test_a_code_is_read_however_it_is_typed() -> None:
    code = codes.make(os.urandom)
    assert len(code) == len("HRC-XXXXX-XXXXX-XXXXX-XXXXX-XXXXX")
    for typed in (code, code.lower(), code.replace("-", ""), code.replace("-", " ") + "\n", code.replace("0", "o")):
        assert codes.shaped(typed.encode())
        assert codes.parse(typed.encode()) == code
    one = codes.shown("1" * 24 + codes.check_letter("1" * 24))
    assert codes.parse(one.replace("1", "l").encode()) == one


@given(st.integers(0), st.integers(0, 24), st.sampled_from(codes.ALPHABET))
def test_any_one_wrong_letter_is_found(seed: int, place: int, letter: str) -> None:
    letters = "".join(codes.ALPHABET[(seed >> (5 * at)) % 32] for at in range(24))
    whole = letters + codes.check_letter(letters)
    wrong = whole[:place] + letter + whole[place + 1 :]
    assert (codes.parse(codes.shown(wrong).encode()) is not None) == (wrong == whole)


@given(st.binary(max_size=60))
def test_anything_else_is_no_code(given_: bytes) -> None:
    assert codes.parse(given_) is None or codes.shaped(given_)
    for other in (b"hoopd_abc", b"correct horse", b"HRC", b"\xff" * 33):
        assert not codes.shaped(other)
        assert codes.parse(other) is None
