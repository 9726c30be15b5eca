"""The obligations of rules that opened something: each limit's lowest value, and whose it is; not their keeping."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hoopd.values import Limits


def of_rules(rules: Sequence[Any]) -> Limits:
    """@param rules: the allow rules that matched"""
    rows = _lowest((rule.table.max_rows, rule.id) for rule in rules)
    octets = _lowest((rule.table.max_bytes, rule.id) for rule in rules)
    time = _lowest((rule.table.max_time, rule.id) for rule in rules)
    changes = _lowest((rule.table.max_changes, rule.id) for rule in rules)
    return _limits(rows, octets, time, changes)


def time_of(rules: Sequence[Any]) -> Limits:
    """Only their limit on time. @param rules: the allow rules that give access"""
    time = _lowest((rule.table.max_time, rule.id) for rule in rules)
    return Limits(max_time=time[0], time_rule=time[1])


def tightest(limits: Iterable[Limits]) -> Limits:
    """Those of operations that run together: each the lowest."""
    each = list(limits)
    return _limits(
        _lowest((one.max_rows, one.rows_rule) for one in each),
        _lowest((one.max_bytes, one.bytes_rule) for one in each),
        _lowest((one.max_time, one.time_rule) for one in each),
        _lowest((one.max_changes, one.changes_rule) for one in each),
    )


def _limits(rows: Any, octets: Any, time: Any, changes: Any) -> Limits:
    return Limits(rows[0], octets[0], time[0], changes[0], rows[1], octets[1], time[1], changes[1])


def _lowest(values: Iterable[tuple[Any, str]]) -> tuple[Any, str]:
    said = [pair for pair in values if pair[0] is not None]
    return min(said, key=lambda pair: pair[0]) if said else (None, "")
