import pytest

from hoopd.config.structure import ConfigErrors
from hoopd.flow.judge import merged
from hoopd.policy.explanation import render
from hoopd.values import Decision, Limits
from tests.policy.test_snapshot import ORDERS, PRIYA, judge, load

BASE = 'targets = ["orders"]\n'


def test_each_limit_is_the_lowest_and_names_its_rule() -> None:
    policy = load(
        BASE
        + """allow.a = { do = ["read"], max_rows = 5, max_bytes = "1KiB", max_time = "2m" }
allow.b = { do = ["read"], max_rows = 7, max_bytes = 10, max_time = "1s", max_changes = 3 }
"""
    )
    limits = judge(policy, "SELECT * FROM t").limits
    assert limits == Limits(5, 10, 1.0, 3, "p.allow.a", "p.allow.b", "p.allow.b", "p.allow.b")
    assert judge(load(BASE + 'allow.a = { do = ["read"] }'), "SELECT * FROM t").limits == Limits()


def test_limits_of_a_whole_text() -> None:
    one = Decision("allow", limits=Limits(max_rows=5, rows_rule="a", max_time=3.0, time_rule="a"))
    other = Decision("allow", limits=Limits(max_rows=4, rows_rule="b"))
    assert merged([one, other]).limits == Limits(max_rows=4, rows_rule="b", max_time=3.0, time_rule="a")


@pytest.mark.parametrize("limit", ["max_rows = -1", "max_time = 0", 'max_bytes = "x"', "max_changes = -5"])
def test_limits_that_are_none(limit: str) -> None:
    with pytest.raises(ConfigErrors, match="max_"):
        load(BASE + f'allow.a = {{ do = ["read"], {limit} }}')


BULK = (
    BASE
    + """allow.all = { do = ["read", "write"], except = ["group:none"] }
allow.small = { do = ["truncate"], when = "op.rows < 10" }
hold.bulk = { do = ["update", "delete"], when = "op.rows > 1000 || !op.where", by = ["group:dba"], max_rows_factor = 2 }
deny.huge = { do = ["delete"], when = "op.rows > 100000", why = "in batches" }
"""
)


def test_rows_are_asked_for_only_where_they_decide() -> None:
    policy = load(BULK)
    assert judge(policy, "SELECT * FROM t").best is None
    assert judge(policy, "INSERT INTO t VALUES (1)").best is None
    # !op.where holds it whatever the number is
    update = judge(policy, "UPDATE t SET a = 1")
    assert (update.verdict, update.best) == ("hold", None)
    delete = judge(policy, "DELETE FROM t")
    assert (delete.verdict, delete.rules, delete.best) == ("deny", ("p.deny.huge",), "hold")
    some = judge(policy, "DELETE FROM t WHERE id < 5")
    assert (some.verdict, some.best) == ("deny", "allow")
    assert judge(policy, "UPDATE t SET a = 1 WHERE id < 5").best == "allow"


def test_rows_that_are_known_decide() -> None:
    policy = load(BULK)
    text = "DELETE FROM t WHERE id < 5"
    assert [judge(policy, text, rows=rows).verdict for rows in (5, 5000, 500000)] == ["allow", "hold", "deny"]
    assert {judge(policy, text, rows=rows).best for rows in (5, 5000, 500000)} == {None}
    held = judge(policy, text, rows=5000)
    assert held.holds[0].max_rows_factor == 2.0


def test_an_allow_may_turn_on_rows() -> None:
    policy = load(BASE + 'allow.a = { do = ["read"], when = "has(op.rows) && op.rows < 10" }')
    found = judge(policy, "SELECT * FROM t")
    assert (found.verdict, found.best) == ("deny", "allow")
    assert judge(policy, "SELECT * FROM t", rows=3).verdict == "allow"


def test_a_text_is_as_its_statements() -> None:
    policy = load(BULK)
    known, turning = judge(policy, "SELECT * FROM t"), judge(policy, "DELETE FROM t WHERE id < 5")
    assert merged([known, known]).best is None
    assert merged([known, turning]).best == "allow"
    assert merged([known, turning, judge(policy, "DELETE FROM t")]).best == "hold"


def test_an_explanation_tells_of_it() -> None:
    policy = load(BULK)
    from hoopd.policy.statements import operation
    from hoopd.sql.analysis import SessionSettings, analyse

    (statement,) = analyse(b"UPDATE t SET a = 1 WHERE id < 5", SessionSettings(), None).statements
    explained = policy.explain(PRIYA, ORDERS, operation(statement), 0.0)
    text = render(explained, PRIYA, ORDERS, "UPDATE")
    assert "2 × the estimate" in text
    assert "ALLOWED if the target's estimate" in text
