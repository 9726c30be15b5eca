"""A notice in words that every format shares, and as JSON for programs; pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hoopd.notices.notice import KINDS, Notice, Value

#: under every notice by which somebody could decide
PROOF = (
    "This message decides nothing, and neither does knowing it: deciding needs your own proof of identity, in hoopctl."
)


def facts(notice: Notice) -> list[tuple[str, str]]:
    """@return: names and values, as people read them."""
    return [(name.removesuffix("_at").replace("_", " "), _said(name, value)) for name, value in notice.fields.items()]


def _said(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return moment(value) if name.endswith("_at") else f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, list):
        return ", ".join(value) or "-"
    return value or "-"


def moment(seconds: float) -> str:
    """@return: a time as C{2026-11-21 03:27:15 UTC}; the number where it is no time of the calendar."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}"


def what(notice: Notice) -> str:
    """@return: what has happened, for a notice of this kind."""
    return KINDS.get(notice.kind, notice.kind)


def missing(characters: int) -> str:
    """@return: that so many characters of the text are not here, or nothing."""
    return f"… {characters} more characters are not shown here" if characters else ""


def document(notice: Notice, id: str) -> bytes:
    """The notice for programs: the body of a webhook, the standard input of a command. ASCII only.

    @param id: the idempotency key, the same in every attempt.
    """
    return json.dumps(
        {
            "type": notice.kind,
            "id": id,
            "timestamp": datetime.fromtimestamp(notice.at, UTC).isoformat(timespec="milliseconds"),
            "data": {
                "subject": notice.subject,
                "revision": notice.revision,
                "title": notice.title,
                **({"fields": dict(notice.fields)} if notice.fields else {}),
                **({"text": notice.text, "text_left_out": notice.left_out} if notice.text else {}),
                **({"act": list(notice.act)} if notice.act else {}),
            },
        }
    ).encode()
