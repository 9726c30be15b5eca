"""Which words meet, and which only repeat what others say."""

import pytest

from hoopd.policy.words import meets, narrowed


@pytest.mark.parametrize(("do", "classes", "expected"), [
    ((), ("read",), True),
    (("write",), ("update",), True),
    (("update",), ("write",), True),
    (("update",), ("update", "read"), True),
    (("update",), ("delete",), False),
    (("update",), ("insert", "read"), False),
    (("ddl",), ("write",), False),
    (("read",), ("write", "ddl"), False),
])  # fmt: skip
def test_a_rule_meets_what_a_time_is_asked_for(do: tuple[str, ...], classes: tuple[str, ...], expected: bool) -> None:
    assert meets(do, classes) is expected


def test_the_broad_word_of_a_narrow_one_opens_nothing_by_itself() -> None:
    assert narrowed(("update", "write")) == ("update",)
    assert narrowed(("read", "insert", "write", "create", "ddl")) == ("read", "insert", "create")
    # a function that nobody knows writes in ways that have no narrower word
    assert narrowed(("function", "write")) == ("function", "write")
