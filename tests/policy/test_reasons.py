import time

import pytest

from hoopd.config.structure import ConfigErrors
from hoopd.policy import reasons
from tests.policy.test_snapshot import judge, load

BASE = 'targets = ["orders"]\n'
HELD = (
    BASE
    + """allow.all = { do = ["read", "write"] }
hold.write = { do = ["write"], by = ["group:dba"], reason = "^OPS-[0-9]+", reason_hint = "a ticket number, as OPS-123" }
"""
)


def test_a_hold_asks_for_a_reason_too() -> None:
    policy = load(HELD)
    for reason in (None, "", "  ", "please", "see OPS-1"):
        refused = judge(policy, "DELETE FROM t", reason=reason)
        assert (refused.verdict, refused.rules) == ("deny", ("p.hold.write",))
        assert refused.why == "a reason is required: a ticket number, as OPS-123"
        assert "SET hoopd.reason" in refused.hint
        assert "^OPS-[0-9]+" in refused.hint
    assert judge(policy, "DELETE FROM t", reason="OPS-7 refund").verdict == "hold"
    assert judge(policy, "SELECT FROM t").verdict == "allow"


def test_what_is_said_without_a_hint() -> None:
    assert reasons.missing("required", "")[0] == "a reason is required"
    assert reasons.missing("^X", "")[0] == "a reason that matches ^X is required"


def test_no_pattern_takes_long() -> None:
    # backtracking needs 2**1000 steps for it
    policy = load(BASE + 'allow.a = { do = ["read"], reason = "^(a+)+$" }')
    began = time.monotonic()
    assert judge(policy, "SELECT 1 FROM t", reason="a" * 1000 + "!").verdict == "deny"
    assert time.monotonic() - began < 30
    assert judge(policy, "SELECT 1 FROM t", reason="a" * 1000).verdict == "allow"


@pytest.mark.parametrize("pattern", ["(", "(?=a)", r"(a)\\1", "x" * 501])
def test_patterns_that_are_none(pattern: str) -> None:
    with pytest.raises(ConfigErrors, match="reason"):
        load(BASE + f'allow.a = {{ do = ["read"], reason = "{pattern}" }}')
