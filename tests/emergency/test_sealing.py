"""Sealing to two officers: both keys open it, in one order, with stock age; nothing less does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.emergency.sealing import ARMOR, seal, valid_recipient


def key() -> tuple[str, str]:
    """@return: secret key and recipient"""
    made = pyrage.x25519.Identity.generate()
    return str(made), str(made.to_public())


ANN, BOB, EVE = key(), key(), key()


def age(*words: str, given: bytes, ok: bool = True) -> bytes:
    program = shutil.which("age")
    assert program, "the Debian package age is missing: tools/setup.sh test installs it"
    done = subprocess.run([program, *words], input=given, capture_output=True, timeout=60)
    assert (done.returncode == 0) == ok, done.stderr
    return done.stdout


def test_two_officers_with_stock_age(tmp_path: Path) -> None:
    for name, one in (("ann", ANN), ("bob", BOB), ("eve", EVE)):
        (tmp_path / name).write_text(one[0] + "\n")
    files = {name: str(tmp_path / name) for name in ("ann", "bob", "eve")}
    sealed = seal(b"the password", ANN[1], BOB[1])
    assert sealed.startswith(ARMOR)
    inner = age("-d", "-i", files["ann"], given=sealed.encode())
    assert b"the password" not in inner
    assert age("-d", "-i", files["bob"], given=inner) == b"the password"
    # neither alone, not in the other order, nobody else
    age("-d", "-i", files["bob"], given=sealed.encode(), ok=False)
    age("-d", "-i", files["ann"], given=inner, ok=False)
    age("-d", "-i", files["eve"], given=sealed.encode(), ok=False)
    age("-d", "-i", files["eve"], given=inner, ok=False)


@given(st.binary(min_size=1, max_size=70_000))
def test_whatever_is_sealed_comes_back(contents: bytes) -> None:
    inner = pyrage.decrypt(seal(contents, ANN[1], BOB[1]).encode(), [pyrage.x25519.Identity.from_str(ANN[0])])
    assert pyrage.decrypt(inner, [pyrage.x25519.Identity.from_str(BOB[0])]) == contents


def test_one_key_twice_is_no_second_officer() -> None:
    for second in (ANN[1], ANN[1].upper(), f" {ANN[1]}\n"):
        with pytest.raises(ValueError, match="one officer"):
            seal(b"x", ANN[1], second)


def test_a_secret_key_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="secret key") as caught:
        valid_recipient(ANN[0])
    assert ANN[0] not in str(caught.value)


@given(st.text(max_size=80))
def test_what_is_no_recipient(text: str) -> None:
    with pytest.raises(ValueError, match=r"no age recipient|secret key"):
        valid_recipient(text)


def test_other_kinds_of_recipients_are_none() -> None:
    ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN"
    wrong = ANN[1][:-1] + ("q" if ANN[1][-1] != "q" else "p")
    for other in (ssh, wrong, ANN[1] + "\n" + BOB[1], f"{ANN[1]},{BOB[1]}", "age1"):
        with pytest.raises(ValueError, match="no age recipient"):
            valid_recipient(other)
