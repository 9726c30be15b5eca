"""Notices show everything, hide nothing, and say what they leave out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.audit.events import UnknownName
from hoopd.display import visible
from hoopd.notices.notice import FIELD_MAX, LIST_MAX, TEXT_MAX, notice


def test_hidden_characters_are_visible_everywhere() -> None:
    made = notice(
        "approval.held",
        "A-1",
        "user:priya\u202e",
        1.0,
        {"reason": "a\u200bb\r\nBcc: x", "tables": ["t\x00"], "gone": None, "rows": 7},
        "DELETE\u2066\n\tFROM t",
        ("hoopctl\x1b[2J",),
    )
    assert made.title == "user:priya<U+202E>"
    assert made.fields == {"reason": "a<U+200B>b<U+000D><U+000A>Bcc: x", "tables": ["t<U+0000>"], "rows": 7}
    assert made.text == "DELETE<U+2066>\n\tFROM t"
    assert made.act == ("hoopctl<U+001B>[2J",)


def test_what_is_left_out_is_counted() -> None:
    made = notice(
        "approval.held", "A-1", "x" * 5000, 1.0, {"reason": "y" * 3000, "tables": ["t"] * 60}, "z" * (TEXT_MAX + 9)
    )
    assert made.title == "x" * FIELD_MAX + "… (3000 more characters)"
    assert made.fields["reason"] == "y" * FIELD_MAX + "… (1000 more characters)"
    assert made.fields["tables"] == [*["t"] * LIST_MAX, "… and 10 more"]
    assert (len(made.text), made.left_out) == (TEXT_MAX, 9)


def test_an_unknown_kind_is_our_mistake() -> None:
    with pytest.raises(UnknownName):
        notice("approval.heldd", "A-1", "", 1.0)


@given(st.text(), st.text(), st.lists(st.text()))
def test_any_text_is_safe(title: str, text: str, words: list[str]) -> None:
    made = notice("approval.held", title, title, 1.0, {"a": title, "b": words}, text)
    assert visible(made.subject) == made.subject
    assert visible(made.text, keep="\n\t") == made.text
    for value in (made.fields["a"], *made.fields["b"]):  # type: ignore[misc]
        assert visible(str(value)) == value
