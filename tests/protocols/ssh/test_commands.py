"""What can be typed behind C{ssh gateway}, as what is asked of the broker."""

from __future__ import annotations

import pytest

from hoopd.protocols.ssh.commands import asked
from hoopd.protocols.ssh.lobby import UNKNOWN_STATUS

ASKED = [
    (["approvals"], "approvals.list", {"state": "pending"}),
    (["whoami"], "whoami", {}),
    (["show", "A-1"], "approvals.show", {"id": "A-1"}),
    (["approve", "A-1", "looks", "right"], "approvals.approve", {"id": "A-1", "reason": "looks right"}),
    (["deny", "A-1", "no"], "approvals.deny", {"id": "A-1", "reason": "no"}),
    (
        ["approve", "A-1", "--max-rows", "20", "a", "few"],
        "approvals.approve",
        {"id": "A-1", "reason": "a few", "max_rows": 20},
    ),
    (["approve", "A-1", "--max-rows=0", "go"], "approvals.approve", {"id": "A-1", "reason": "go", "max_rows": 0}),
    # behind the reason has begun it is part of it, and who says no sets no number
    (["approve", "A-1", "go", "--max-rows", "5"], "approvals.approve", {"id": "A-1", "reason": "go --max-rows 5"}),
    (["deny", "A-1", "--max-rows", "5"], "approvals.deny", {"id": "A-1", "reason": "--max-rows 5"}),
]


@pytest.mark.parametrize(("words", "verb", "arguments"), ASKED, ids=lambda one: str(one)[:40])
def test_what_is_typed_is_asked(words: list[str], verb: str, arguments: dict[str, object]) -> None:
    found = asked(words)
    assert (found.verb, found.arguments) == (verb, arguments)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["approve", "A-1"], "a reason is missing: approve A-1 REASON"),
        (["deny", "A-1", " "], "a reason is missing"),
        (["approve", "A-1", "--max-rows"], "takes a number of rows, not nothing"),
        (["approve", "A-1", "--max-rows", "many", "go"], "not many"),
        (["approve", "A-1", "--max-rows", "-5", "go"], "not -5"),
        (["approve", "A-1", "--max-rows", "\u0661", "go"], "takes a number of rows"),
        (["approve", "A-1", "--max-rows", "9" * 5000, "go"], "takes a number of rows"),
        (["approve", "A-1", "--max-rows", "5"], "a reason is missing"),
    ],
)
def test_what_is_missing_is_said(words: list[str], said: str) -> None:
    found = asked(words)
    assert (found.verb, found.status) == ("", 2)
    assert said in found.text


@pytest.mark.parametrize("words", [["ls"], ["show"], ["approvals", "all"], ["approve"], ["\x1b[2J"]])
def test_what_is_no_command_is_said_to_be_none(words: list[str]) -> None:
    found = asked(words)
    assert (found.verb, found.status) == ("", UNKNOWN_STATUS)
    assert "\x1b" not in found.text
