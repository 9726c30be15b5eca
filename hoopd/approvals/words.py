"""What approvers are told about the rows of a request, in words; of an approval as hoopctl and consoles get it, pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def rows(approval: Mapping[str, Any]) -> str:
    """The estimate and the ceiling."""
    estimated, most = approval["estimated_rows"], approval["max_rows"]
    if approval["kind"] != "operation":
        return "" if most is None else f"rolled back if one of them touches more than {most}"
    guess = "the target gives no estimate" if estimated is None else f"about {estimated}, as the target estimates"
    return f"{guess}; rolled back if it touches more than {most}" if most is not None else f"{guess}; no ceiling"


def warnings(approval: Mapping[str, Any]) -> list[str]:
    """What else somebody should see before they say yes."""
    facts = approval["facts"]
    found = []
    if facts.get("where") is False:
        found.append("no WHERE, or one that narrows nothing")
    if facts.get("in_transaction"):
        found.append("in an open transaction: its requester may still roll it back")
    if facts.get("no_ceiling"):
        found.append(f"no row ceiling can be kept: {facts['no_ceiling']}")
    return found
