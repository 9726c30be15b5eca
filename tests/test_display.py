"""What is hidden is written out: for approvers, for who replays, and in every table."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.display import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("DELETE FROM orders", "DELETE FROM orders"),
        ("é 日本 \u3000 🙂", "é 日本 \u3000 🙂"),
        ("a\x1b[2Jb", "a<U+001B>[2Jb"),
        ("a\x9b1m\x7f\r\n\t", "a<U+009B>1m<U+007F><U+000D><U+000A><U+0009>"),
        ("/*\u202e*/ \u2066x\u2069", "/*<U+202E>*/ <U+2066>x<U+2069>"),
        ("or\u200bders\ufeff\u2060\u00ad", "or<U+200B>ders<U+FEFF><U+2060><U+00AD>"),
        ("a\u2028b\u2029", "a<U+2028>b<U+2029>"),
        ("DROP\u00a0TABLE\u2003x", "DROP<U+00A0>TABLE<U+2003>x"),
        (
            "a\u3164\u115f\uffa0\u2800\u034f\ufe0f\U000e0101",
            "a<U+3164><U+115F><U+FFA0><U+2800><U+034F><U+FE0F><U+E0101>",
        ),
        ("\ud800 \ue000 \U000e0041", "<U+D800> <U+E000> <U+E0041>"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_what_is_kept() -> None:
    assert visible("a\n\tb\x1b", keep="\n\t") == "a\n\tb<U+001B>"


@given(text=st.text(max_size=40))
@settings(max_examples=300)
def test_nothing_hidden_is_left_and_twice_is_as_once(text: str) -> None:
    shown = visible(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")]
    assert visible(shown) == shown
