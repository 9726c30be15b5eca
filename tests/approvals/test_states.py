"""The table of states, against the sentences it stands for."""

from typing import get_args

import pytest

from hoopd.approvals.states import FINAL, FIRST_USE, OUTCOMES, TRANSITIONS, Happening, IllegalTransition, after
from hoopd.values import ApprovalState

STATES = get_args(ApprovalState)
HAPPENINGS = get_args(Happening)


def test_every_state_is_in_the_table_and_every_way_leads_to_one() -> None:
    assert set(TRANSITIONS) == set(STATES)
    assert {state for ways in TRANSITIONS.values() for state in ways.values()} == set(STATES)
    assert {happening for ways in TRANSITIONS.values() for happening in ways} == set(HAPPENINGS)


def test_what_is_not_in_the_table_is_an_error_that_names_both() -> None:
    for state in STATES:
        for happening in HAPPENINGS:
            if happening in TRANSITIONS[state]:
                assert after(state, happening) == TRANSITIONS[state][happening]
            else:
                with pytest.raises(IllegalTransition, match=f"{state}.*{happening}"):
                    after(state, happening)


def test_nothing_runs_that_was_not_approved_and_nothing_runs_again() -> None:
    assert {state for state, ways in TRANSITIONS.items() if "claim" in ways} == {"approved"}
    assert {state for state, ways in TRANSITIONS.items() if "use" in ways} == {"granted"}
    assert set(FIRST_USE.values()) == {"claimed"}
    # from claimed no way leads back to where it could be claimed
    reached = {"claimed"}
    for _ in STATES:
        reached |= {to for state in reached for to in TRANSITIONS[state].values()}
    assert reached == {"claimed", "executed", "failed", "unknown"}
    assert {after("claimed", happening) for happening in OUTCOMES.values()} == {"executed", "failed", "unknown"}
    assert {"executed", "failed", "unknown", "denied", "expired", "cancelled", "ended"} == FINAL
