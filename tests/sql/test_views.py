"""Views that cannot be traced stay unknown; order and number of views do not matter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.sql import views
from hoopd.sql.views import coverage
from tests.sql.world import CARD, MASKS, OID, catalogue

CARDS, PAN2 = OID["cards_v"], OID["pan_v2"]
BASE = (str(CARDS), "SELECT customers.id, customers.card AS pan FROM public.customers")


def shown(*definitions: tuple[str, str]) -> dict[int, str]:
    """Of the columns of cards_v and pan_v2: what is shown, where there is a mask."""
    found = coverage(MASKS, catalogue(definitions=list(definitions)))
    return {
        oid: " ".join(
            f"{number}:{found.columns[oid, number].show}" for number in (1, 2) if (oid, number) in found.columns
        )
        if oid in found.traced
        else "unknown"
        for oid in (CARDS, PAN2)
    }


@pytest.mark.parametrize(
    "definition",
    [
        "",
        "SELECT customers.id FROM public.customers",
        "SELECT customers.id AS x, customers.card AS pan FROM public.customers",
        "SELECT customers.* FROM public.elsewhere customers",
        "SELECT customers.id, customers.card AS pan FROM public.customers WHERE customers.card ~~ '4%'",
        "SELECT customers.id, customers.card AS pan FROM public.customers ORDER BY customers.card",
        "VALUES (1)",
        "DELETE FROM public.customers",
        "SELECT customers.id, customers.card AS pan FROM public.customers; SELECT 1",
        "SELECT 1 FROM",
    ],
)
def test_what_is_not_a_plain_query_with_those_columns_stays_unknown(definition: str) -> None:
    assert shown((str(CARDS), definition))[CARDS] == "unknown"


def test_a_view_over_an_unknown_one_shows_nothing() -> None:
    assert shown((str(CARDS), ""), (str(PAN2), "SELECT cards_v.pan FROM public.cards_v"))[PAN2] == "1:full"


@given(st.permutations([BASE, (str(PAN2), "SELECT cards_v.pan FROM public.cards_v")]))
def test_views_are_traced_behind_those_that_they_read(definitions: list[tuple[str, str]]) -> None:
    assert shown(*definitions) == {CARDS: "2:last4", PAN2: "1:last4"}


def test_a_union_shows_what_the_stronger_mask_shows() -> None:
    text = "SELECT customers.id, customers.card AS pan FROM public.customers UNION ALL SELECT 1, customers.email FROM public.customers"
    assert shown((str(CARDS), text))[CARDS] == "2:hash"


def test_a_pattern_that_names_the_view_counts_as_well() -> None:
    masks = (CARD, type(CARD)("m.all", ("cards_v.*",), "null"))
    found = coverage(masks, catalogue(definitions=[BASE]))
    assert found.columns[CARDS, 1].show == found.columns[CARDS, 2].show == "null"


def test_more_definitions_than_the_bound_stay_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "DEFINITIONS_MAX", 10)
    # another catalogue than any that is cached
    definition = BASE[1] + " LIMIT 7"
    assert shown((str(CARDS), definition))[CARDS] == "unknown"
