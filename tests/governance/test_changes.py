"""Whose a change is, and what differs."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from hoopd.governance.changes import COMPARED, DIFFERENCE_MAX, Change, Confirmation, barred, changed, difference

CHANGE = Change(3, 0.0, "d" * 64, "v", "user:ann", "user:ann", True, {})
OTTO = Confirmation("user:otto", 1.0, "read it")


def test_nobody_approves_under_what_is_theirs_alone() -> None:
    assert barred(None, "user:ann") == ""
    assert "number 3) is user:ann's alone" in barred(CHANGE, "user:ann")
    assert barred(CHANGE, "user:Ann"), "names that look alike"
    assert barred(CHANGE, "user:lee") == ""
    assert barred(evolve(CHANGE, confirmed=(OTTO,)), "user:ann") == ""


def test_what_nobody_stands_for_is_nobodys_to_approve_under() -> None:
    unknown = evolve(CHANGE, by="", author="")
    assert "nobody knows whose" in barred(unknown, "user:lee")
    confirmed = evolve(unknown, confirmed=(OTTO,))
    assert barred(confirmed, "user:otto"), "it may be theirs"
    assert barred(confirmed, "user:lee") == ""


def test_who_signed_stands_for_it() -> None:
    signed = evolve(CHANGE, signers=("user:Ann", "user:lee"), serial=7)
    assert signed.people == ("user:Ann", "user:lee")
    assert barred(signed, "user:ann") == ""
    assert barred(evolve(signed, signers=("user:ann",)), "user:ann")


def test_difference() -> None:
    before = {"a.toml": "one\ntwo\n", "gone.toml": "x\n", "same": "s"}
    after = {"a.toml": "one\nthree\n", "new.toml": "y\n", "same": "s"}
    assert changed({"a": "1", "b": "2", "c": "3"}, {"b": "2", "c": "4", "d": "5"}) == {
        "added": ["d"],
        "removed": ["a"],
        "changed": ["c"],
    }
    text = difference(before, after)
    assert "--- a/a.toml\n+++ b/a.toml" in text
    assert "-two\n+three" in text
    assert "--- a/gone.toml\n+++ /dev/null" in text
    assert "--- /dev/null\n+++ b/new.toml" in text
    assert "same" not in text
    assert "\r" in difference({"a": "x\n"}, {"a": "x\r\n"}), "line ends are a difference"


def test_what_is_long_is_bounded() -> None:
    long = "\n".join(str(n) for n in range(COMPARED + 1))
    assert difference({"a": long}, {"a": "x"}).endswith(f"too long to compare: {COMPARED + 1} and 1 lines")
    text = difference({}, {"a": "x" * (DIFFERENCE_MAX + 100)})
    assert len(text) < DIFFERENCE_MAX + 100
    assert "more characters" in text


@given(
    st.dictionaries(st.text(max_size=5), st.text(max_size=30)),
    st.dictionaries(st.text(max_size=5), st.text(max_size=30)),
)
def test_there_is_a_difference_exactly_where_something_differs(before: dict[str, str], after: dict[str, str]) -> None:
    assert bool(difference(before, after)) == (before != after) or "" in (*before.values(), *after.values())
