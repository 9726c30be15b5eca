"""The cache of judgements is bounded, and merged decisions only tighten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.flow.judge import Judgements, merged
from hoopd.values import Decision, HoldTerms, Limits, Unreasoned

VERDICTS = st.sampled_from(["allow", "hold", "deny"])


def test_the_least_recently_used_goes_first() -> None:
    cache: Judgements[int] = Judgements(2)
    made: list[int] = []

    def find(key: int, keep: bool = True) -> int:
        return cache.find(key, lambda: made.append(key) or key, lambda _: keep)  # type: ignore[func-returns-value]

    for key in (1, 2, 1, 3, 1, 2):
        assert find(key) == key
    assert made == [1, 2, 3, 2]
    assert len(cache) == 2


def test_heavy_entries_push_out_more_than_one() -> None:
    cache: Judgements[int] = Judgements(100, weigh=lambda value: value, octets=10)
    for value in (1, 2, 3, 4):
        cache.find(value, lambda value=value: value, lambda _: True)  # type: ignore[misc]
    assert len(cache) == 4
    cache.find(8, lambda: 8, lambda _: True)
    assert len(cache) == 1
    assert 8 in cache
    assert cache.find(11, lambda: 11, lambda _: True) == 11
    assert len(cache) == 0
    cache.find(10, lambda: 10, lambda _: True)
    assert 10 in cache


def test_what_may_not_be_kept_is_made_anew() -> None:
    cache: Judgements[object] = Judgements()
    first = cache.find("k", object, lambda _: False)
    assert cache.find("k", object, lambda _: False) is not first
    assert "k" not in cache


@given(st.lists(VERDICTS, min_size=1, max_size=5))
def test_the_strictest_verdict_counts(verdicts: list) -> None:
    found = merged(Decision(verdict, (f"r{number}",)) for number, verdict in enumerate(verdicts))
    weight = ["allow", "hold", "deny"].index
    assert found.verdict == max(verdicts, key=weight)
    assert len(found.rules) == len(verdicts)


def test_limits_tighten_and_holds_gather() -> None:
    hold = Decision("hold", ("h",), holds=(HoldTerms("h", ("group:a",)),), limits=Limits(5), cacheable=False)
    other = Decision("hold", ("g",), holds=(HoldTerms("g", ("group:b",)),), limits=Limits(3))
    found = merged([Decision("allow"), hold, other, hold])
    assert [terms.rule for terms in found.holds] == ["h", "g"]
    assert (found.limits.max_rows, found.cacheable) == (3, False)
    assert merged([hold, Decision("deny", ("d",))]).holds == ()


def test_what_lacks_reasons_alone_would_be_held_and_what_lacks_more_is_refused() -> None:
    one, two = HoldTerms("one", ("group:l",)), HoldTerms("two", ("group:l",))
    lacking = Decision(
        "deny", ("one",), "a reason", "give one", (one,), unreasoned=Unreasoned(("A",), "a reason", "give one")
    )
    other = Decision("deny", ("two",), "a ticket", "", (two,), unreasoned=Unreasoned(("A", "B"), "a ticket", ""))
    found = merged([Decision("allow"), lacking, other])
    assert (found.verdict, found.holds) == ("deny", (one, two))
    assert found.unreasoned == Unreasoned(("A", "B"), "a reason", "give one")
    held = merged([lacking, Decision("hold", ("two",), holds=(two,))])
    assert (held.verdict, held.holds) == ("deny", (one, two))
    for refused in (merged([lacking, Decision("deny", ("d",))]), merged([Decision("deny", ("d",)), lacking])):
        assert (refused.unreasoned, refused.holds) == (None, ())


def test_nothing_is_not_allowed() -> None:
    with pytest.raises(ValueError):
        merged([])
