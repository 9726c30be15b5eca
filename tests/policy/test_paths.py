"""Patterns of paths: what opens is certain of every path, what tightens speaks of whatever it may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.policy.paths import Places, concerns, opens, problem


@pytest.mark.parametrize(("pattern", "path", "expected"), [
    ("/srv/in/*", "/srv/in/a", True),
    ("/srv/in/*", "/srv/in", False),
    ("/srv/in/*", "/srv/in/a/b", False),
    ("/srv/in/**", "/srv/in", True),
    ("/srv/in/**", "/srv/in/a/b", True),
    ("/srv/in/**", "/srv/inner", False),
    ("/srv/*/log", "/srv/a/log", True),
    ("/srv/**/log", "/srv/log", True),
    ("/srv/**/log", "/srv/a/b/log", True),
    ("/srv/**/log", "/srv/a/b/logs", False),
    ("**/id_?sa", "/home/x/.ssh/id_rsa", True),
    ("**", "/", True),
    ("/", "/", True),
    ("/*", "/", False),
    ("/srv/a.b", "/srv/aXb", False),
])  # fmt: skip
def test_patterns(pattern: str, path: str, expected: bool) -> None:
    places = Places((path,))
    assert opens([pattern], places) is expected
    assert concerns([pattern], places) is expected
    assert problem(pattern) == ""


@pytest.mark.parametrize(("pattern", "path", "home", "open_", "meant"), [
    ("~/in/*", "/home/d/in/a", "/home/d", True, True),
    ("~/in/*", "/home/e/in/a", "/home/d", False, False),
    ("~/in/*", "~/in/a", "", True, True),
    ("~/in/*", "~/out/a", "", False, False),
    ("~", "/home/d", "/home/d", True, True),
    ("/home/d/in/*", "~/in/a", "/home/d", True, True),
    # how the two lie nobody knows: opened is nothing, and what tightens counts
    ("/home/d/in/*", "~/in/a", "", False, True),
    ("~/in/*", "/home/d/in/a", "", False, True),
    ("**/id_rsa", "~/.ssh/id_rsa", "", True, True),
    ("**/d/x", "~/x", "", False, False),
    ("~/*", "/[x]/a", "/[x]", True, True),
    ("~/*", "/x/a", "/[x]", False, False),
])  # fmt: skip
def test_the_home(pattern: str, path: str, home: str, open_: bool, meant: bool) -> None:
    places = Places((path,), home)
    assert (opens([pattern], places), concerns([pattern], places)) == (open_, meant)


def test_all_paths_are_opened_and_any_is_meant() -> None:
    both = Places(("/srv/a", "/etc/b"))
    assert not opens(["/srv/*"], both)
    assert opens(["/srv/*", "/etc/*"], both)
    assert concerns(["/etc/*"], both)
    assert not concerns(["/usr/*"], both)


def test_paths_that_nobody_knows() -> None:
    assert not opens(["**"], Places(None))
    assert concerns(["/x"], Places(None))


def test_a_tree_is_opened_whole_and_meant_for_what_is_in_it() -> None:
    tree = Places(("/srv/a",), tree=True)
    assert opens(["/srv/**"], tree)
    assert not opens(["/srv/*"], tree)
    assert not opens(["/srv/a"], tree)
    assert concerns(["/srv/a/secret/key"], tree)
    assert concerns(["/srv/*/secret"], tree)
    assert not concerns(["/srv/b/secret"], tree)
    assert concerns(["~/secret"], Places(("/home",), "/home/d", tree=True))


def test_what_leads_to_something_may_be_looked_at() -> None:
    for path in ("/", "/srv", "/srv/in", "/srv/in/a"):
        assert opens(["/srv/in/*"], Places((path,), way="stat")), path
    assert not opens(["/srv/in/*"], Places(("/etc",), way="stat"))
    assert not opens(["/srv/in/*"], Places(("/srv/in/a/b",), way="stat"))
    assert opens(["/srv/in/*"], Places(("/srv/in",), way="ls"))
    assert not opens(["/srv/in/*"], Places(("/srv",), way="ls"))
    assert opens(["/srv/in/**"], Places(("/srv/in/a",), way="ls"))
    # a rule that tightens speaks of what it names, and no more
    assert not concerns(["/srv/in/*"], Places(("/srv",), way="stat"))


@pytest.mark.parametrize("pattern", ["", "srv", "/srv/", "/a/../b", "/a/./b", "/a//b", "/a/b**", "~x/a", "*"])
def test_mistakes(pattern: str) -> None:
    assert problem(pattern)


@given(st.lists(st.sampled_from(["a", "b", "*", "**"]), min_size=1, max_size=6),
       st.lists(st.sampled_from(["a", "b", "c"]), max_size=6))  # fmt: skip
def test_they_mean_what_a_plain_definition_says(parts: list[str], names: list[str]) -> None:
    def means(parts: list[str], names: list[str]) -> bool:
        if not parts:
            return not names
        if parts[0] == "**":
            return any(means(parts[1:], names[skipped:]) for skipped in range(len(names) + 1))
        return bool(names) and parts[0] in ("*", names[0]) and means(parts[1:], names[1:])

    pattern, places = "/" + "/".join(parts), Places(("/" + "/".join(names),))
    assert opens([pattern], places) is concerns([pattern], places) is means(parts, names)


@given(st.sampled_from(["/a/*", "/a/**", "~/a", "**/b", "/**/a/*"]), st.lists(st.sampled_from("ab"), max_size=4),
       st.sampled_from(["", "/a", "/b/a"]), st.booleans(), st.booleans())  # fmt: skip
def test_what_is_opened_is_meant_by_the_same_pattern(
    pattern: str, names: list[str], home: str, below: bool, tree: bool
) -> None:
    path = "/".join(("~" if below else "", *names)) or "/"
    places = Places((path,), home, tree)
    assert concerns([pattern], places) or not opens([pattern], places)
