"""Scopes only ever narrow."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.identity.scopes import duties, known, narrower, valid_scopes


def test_words() -> None:
    assert valid_scopes(["do:read", "target:orders-*", "do:read"]) == ("do:read", "target:orders-*")
    for wrong in ([], ["openid"], ["do:"], ["do: read"], ["duty:root"], ["target:a\n"], ["x:y"], ["do:read", "x"]):
        with pytest.raises(ValueError):
            valid_scopes(wrong)
    with pytest.raises(ValueError):
        valid_scopes(f"target:t{n}" for n in range(65))
    assert known("target:a/b.c_d") is True
    assert known("TARGET:a") is False


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        (None, None, True),
        (("do:read",), None, True),
        (None, ("do:read",), False),
        (("do:read",), ("do:read", "do:write"), True),
        (("do:read", "do:write"), ("do:read",), False),
        (("do:read", "target:a"), ("do:read",), True),
        (("do:read",), ("do:read", "target:a"), False),  # would be every target
        (("target:orders-1",), ("target:orders-*",), True),
        (("target:orders-*",), ("target:orders-1",), False),
        (("target:orders-*",), ("target:orders-*",), True),
        (("target:orders-1*",), ("target:orders-*",), False),  # true, and not worth reasoning about
        (("target:*",), ("target:orders-*",), False),
        (("target:a", "do:write"), ("target:*",), True),
        (("do:read", "duty:approver"), ("do:read",), False),
        (("do:read", "duty:user"), ("do:read",), True),
        (("do:read", "duty:approver"), ("do:read", "duty:approver"), True),
    ],
)
def test_narrower(inner: tuple[str, ...] | None, outer: tuple[str, ...] | None, expected: bool) -> None:
    assert narrower(inner, outer) is expected


def test_duties_under_scopes() -> None:
    held = frozenset({"user", "approver", "administrator"})
    assert duties(held, None) == held
    assert duties(held, ("do:read",)) == {"user"}
    assert duties(held, ("duty:approver",)) == {"user", "approver"}
    assert duties(frozenset({"user"}), ("duty:administrator",)) == {"user"}


def allows(scopes: tuple[str, ...], target: str, act: str) -> bool:
    """What policy makes of scopes: each category that is named restricts."""
    for category, value in (("target:", target), ("do:", act)):
        named = [scope.removeprefix(category) for scope in scopes if scope.startswith(category)]
        if named and not any(fnmatch.fnmatchcase(value, one) for one in named):
            return False
    return True


_scopes = st.lists(
    st.sampled_from(["target:a", "target:ab", "target:a*", "target:*", "target:b", "do:read", "do:write", "do:*"]),
    min_size=1,
).map(lambda words: tuple(sorted(set(words))))


@settings(max_examples=300, deadline=None)
@given(_scopes, _scopes, st.sampled_from(["a", "ab", "abc", "b", "c"]), st.sampled_from(["read", "write", "drop"]))
def test_a_narrower_list_allows_nothing_more(
    inner: tuple[str, ...], outer: tuple[str, ...], target: str, act: str
) -> None:
    if narrower(inner, outer) and allows(inner, target, act):
        assert allows(outer, target, act)
