"""What people type, SQL statements or commands, as the operations that policy judges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from hoopd.policy import commands
from hoopd.sql.analysis import SessionSettings, Statement, analyse
from hoopd.values import Operation, Target


@frozen
class Reading:
    """What a text comes to on a target. @ivar refused: why it is refused before any rule, or C{""}"""

    operations: tuple[Operation, ...] = ()
    refused: str = ""


def read(text: str, target: Target, reason: str | None = None, facts: Mapping[str, Any] | None = None) -> Reading:
    """@param facts: more facts, such as C{rows}, over the text's own"""
    if target.protocol == "ssh":
        made = commands.operation(text, target.username, reason)
        return Reading((evolve(made, facts={**made.facts, **(facts or {})}),))
    analysis = analyse(text.encode(), SessionSettings(), None)
    return Reading(tuple(operation(each, reason, facts) for each in analysis.statements), analysis.refused or "")


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
