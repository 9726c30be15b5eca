"""What is told of the rules: who, what changed by name, why refused; and nothing of what is in them."""

from __future__ import annotations

from typing import Any

from hoopd.notices import rule_sets
from tests.notices.parts import START

FIELDS: dict[str, Any] = {
    "number": 7, "by": "user:ann", "author": "user:ann", "digest": "d" * 64, "previous": "e" * 64, "version": "v1",
    "rules": True, "serial": 3, "signers": ["user:lee", "user:kim"], "added": ["policies.d/a new.toml " + "1" * 64],
    "removed": ["policies.d/an old.toml"], "changed": ["policies.d/orders.toml " + "a" * 64, "targets.d/orders.toml " + "b" * 64],
}  # fmt: skip


def test_a_change() -> None:
    told = rule_sets.told("loaded", FIELDS, START)
    assert (told.kind, told.subject) == ("policy.changed", "change-7")
    assert told.title == "change 7 of the rules is in force, by user:ann"
    assert told.fields["signers"] == ["user:lee", "user:kim"]
    assert told.fields["added"] == ["policies.d/a new.toml"]
    assert told.fields["changed"] == ["policies.d/orders.toml", "targets.d/orders.toml"]
    assert told.fields["removed"] == ["policies.d/an old.toml"]
    assert told.act == ("hoopctl policy diff 7",)


def test_one_that_nobody_asked_for_and_of_settings_alone() -> None:
    told = rule_sets.told(
        "loaded", {**FIELDS, "by": "", "author": "", "signers": [], "removed": [], "rules": False}, START
    )
    assert told.title == "change 7 of the settings is in force, by a start or signal"
    assert {"author", "signers", "removed"}.isdisjoint(told.fields)


def test_a_refusal_each_time() -> None:
    told = rule_sets.told("refused", {"by": "user:ann", "why": "\u202eit was changed"}, START)
    assert (told.kind, told.fields) == ("policy.refused", {"by": "user:ann", "why": "<U+202E>it was changed"})
    again = rule_sets.told("refused", {"by": "user:ann", "why": "it was changed"}, START + 1)
    assert told.subject != again.subject
