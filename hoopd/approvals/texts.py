"""Bounds on what people write: reasons and outcomes; pure."""

from __future__ import annotations

#: characters of a reason or an outcome: a paragraph or two
TEXT_MAX = 4000


def check_reason(reason: str) -> None:
    """@raise ValueError: none, or too long."""
    if not reason.strip():
        raise ValueError("a decision needs a reason")
    if len(reason) > TEXT_MAX:
        raise ValueError(f"a reason has at most {TEXT_MAX} characters")


def cut(text: str) -> str:
    """An outcome's text, bounded: what is longer is in the recording."""
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}… ({len(text)} characters)"
