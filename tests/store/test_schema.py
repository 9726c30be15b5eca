"""Migrations as values: splitting, order, and the noticing of edits."""

from __future__ import annotations

import pytest

from hoopd.errors import ConfigError
from hoopd.store.schema import digest, pending, statements


def test_statements_are_split_as_sqlite_does() -> None:
    assert statements("CREATE TABLE a (x); CREATE TABLE b (y)") == ["CREATE TABLE a (x);", "CREATE TABLE b (y);"]
    assert statements("INSERT INTO a VALUES ('x;y'); ;\n") == ["INSERT INTO a VALUES ('x;y');"]
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; DELETE FROM c; END;"
    assert statements(trigger + "SELECT 1") == [trigger, "SELECT 1;"]
    assert statements(" \n") == []
    with pytest.raises(ValueError, match="incomplete"):
        statements("INSERT INTO a VALUES ('x")


def test_order_is_kept_and_what_ran_is_left_out() -> None:
    migrations = [("b-1", "B"), ("a-1", "A"), ("a-2", "AA")]
    assert pending({"a-1": digest("A")}, migrations) == [("b-1", "B"), ("a-2", "AA")]


def test_edits_and_doubles_are_noticed_and_reindenting_is_not() -> None:
    with pytest.raises(ConfigError, match="a-1"):
        pending({"a-1": digest("A")}, [("a-1", "A B")])
    assert pending({"a-1": digest("A  B")}, [("a-1", "A\n    B")]) == []
    with pytest.raises(ValueError, match="two"):
        pending({}, [("a-1", "A"), ("a-1", "A")])
