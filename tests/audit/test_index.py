"""The index of sessions."""

from __future__ import annotations

import pytest
from attrs import evolve

from hoopd.audit.index import SessionIndex
from hoopd.audit.tables import MIGRATIONS
from hoopd.store.memory import MemoryStore
from hoopd.values import SessionSummary
from tests.audit.parts import now

ONE = SessionSummary("S-1", "user:priya", "human", None, "orders", "postgres", "::1:5", 100.0, recording="2026/S-1")
TWO = evolve(ONE, id="S-2", identity="agent:helper", kind="agent", act="user:priya", started_at=200.0)
THREE = evolve(ONE, id="S-3", identity="user:lea", target="billing", started_at=300.0)


def index() -> SessionIndex:
    made = SessionIndex(MemoryStore(MIGRATIONS))
    for each in (ONE, TWO, THREE):
        now(made.insert(each))
    return made


def test_found_newest_first_by_what_is_given() -> None:
    made = index()
    assert now(made.find()) == [THREE, TWO, ONE]
    assert now(made.find(identity="user:priya")) == [TWO, ONE]
    assert now(made.find(target="billing")) == [THREE]
    assert now(made.find("user:lea", "orders")) == []
    assert now(made.find(until=200.0)) == [ONE]
    assert now(made.find(limit=1)) == [THREE]


def test_since_finds_those_that_still_ran() -> None:
    made = index()
    now(made.end("S-1", 150.0, "bye", 3, 1, 1))
    assert now(made.find(since=160.0)) == [THREE, TWO]
    assert now(made.find(since=140.0, until=250.0)) == [TWO, now(made.get("S-1"))]


def test_the_first_end_counts() -> None:
    made = index()
    now(made.end("S-1", 150.0, "bye", 3, 1, 2))
    now(made.end("S-1", 999.0, "lost", 0, 0, 0))
    assert now(made.get("S-1")) == evolve(ONE, ended_at=150.0, ended_why="bye", operations=3, denied=1, held=2)


def test_unknown() -> None:
    with pytest.raises(KeyError):
        now(index().get("S-9"))
