"""SQL statements as the operations that policy judges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hoopd.sql.analysis import Statement
from hoopd.values import Operation


def operation(statement: Statement, reason: str | None = None, facts: Mapping[str, Any] | None = None) -> Operation:
    """@param facts: more facts, such as C{rows}, over the statement's own"""
    return Operation(
        protocol="postgres",
        classes=statement.classes,
        text=statement.text.decode(errors="replace"),
        objects=statement.objects,
        facts={**statement.facts, **(facts or {})},
        reason=reason,
    )
