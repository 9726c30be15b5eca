"""Names: those of others are taken as they are or not at all, our own are plain."""

from __future__ import annotations

from typing import Any

import pytest

from hoopd.identity.names import foreign, split_name, valid_groups


@pytest.mark.parametrize(
    "text", ["priya", "Priya Ñ", "repo:org/app:ref:refs/heads/main", "auth0|5f7c", "日本", "x" * 255]
)
def test_names_of_others(text: str) -> None:
    assert foreign(text) == text


@pytest.mark.parametrize(
    "text",
    [None, 1, b"x", "", "x" * 256, " a", "a ", "a\tb", "a\u00a0b", "a\u200d", "\ufeffa", "a\u2028b", "ｆ", "\ud800"],
)
def test_what_is_no_name(text: Any) -> None:
    assert foreign(text) is None


def test_our_own() -> None:
    assert split_name("user:priya") == ("human", "priya")
    assert split_name("agent:ci/orders@main") == ("agent", "ci/orders@main")
    for wrong in (
        "priya",
        "user:",
        "user:Priya",
        "root:x",
        "user:a b",
        "user:-a",
        "user:a\n",
        "user:é",
        "USER:a",
        "user:" + "a" * 129,
    ):
        with pytest.raises(ValueError):
            split_name(wrong)


def test_groups() -> None:
    assert valid_groups(["b", "a", "b"]) == ("a", "b")
    with pytest.raises(ValueError):
        valid_groups(["a", "b\n"])
