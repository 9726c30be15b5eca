"""What terminals send, cut into keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.shell.keys import BEGUN, KEY


@pytest.mark.parametrize(
    ("octets", "kinds"),
    [
        (b"ls -l\r", ["text", "enter"]),
        ("漢字\n".encode(), ["text", "enter"]),
        (b"a\x7f\x15", ["text", "back", "kill"]),
        (b"\x1b[A\x1bOB\x1bf\x1b[1;5C", ["other"] * 4),
        (b"\x1b[200~x\x1b[201~", ["paste", "text", "paste"]),
        (b"\x0f\x16\x18", ["refused"] * 3),
        (b"\x03\x1a\x1c\x04\x11", ["stop"] * 3 + ["end", "resume"]),
        (b"\x1b\r", ["other", "enter"]),
        (b"\x1b", ["other"]),
        (b"\t\x01", ["other", "other"]),
    ],
)
def test_keys(octets: bytes, kinds: list[str]) -> None:
    assert [found.lastgroup for found in KEY.finditer(octets)] == kinds


@given(st.binary(max_size=60))
def test_every_octet_is_of_a_key_and_no_end_of_a_line_is_within_another(octets: bytes) -> None:
    found = list(KEY.finditer(octets))
    assert b"".join(each[0] for each in found) == octets
    assert all(each.lastgroup == "enter" for each in found if b"\r" in each[0] or b"\n" in each[0])


@pytest.mark.parametrize(
    ("octets", "begun"),
    [(b"x\x1b[", b"\x1b["), (b"\x1b[20", b"\x1b[20"), (b"\x1b[201", b"\x1b[201"), (b"\x1b", b""), (b"\x1b[A", b"")],
)
def test_what_may_become_a_bracket_is_told(octets: bytes, begun: bytes) -> None:
    found = BEGUN.search(octets)
    assert (found[0] if found else b"") == begun
