"""Whether a reason is what a rule asks for; not where reasons come from.

Patterns are operators', reasons anybody's: RE2 (google-re2) matches in time linear in the reason, whatever the pattern.
Syntax: https://github.com/google/re2/wiki/Syntax (no lookaround, no back-references).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

HOW = "give one with PGOPTIONS='-c hoopd.reason=…' or SET hoopd.reason = '…', or beforehand with hoopctl request"

#: a pattern is a ticket number's form, not a programme; RE2's automaton grows with it
PATTERN_MAX = 500

_OPTIONS = re2.Options()
# what is wrong with a pattern is told to whoever wrote it, not to standard error
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 1 << 20


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    return re2.compile(pattern, _OPTIONS)


def problem(wanted: str) -> str:
    """Why C{wanted} is nothing that a rule can ask for, or C{""}."""
    if wanted in ("", "required"):
        return ""
    if len(wanted) > PATTERN_MAX:
        return f"is longer than {PATTERN_MAX} characters"
    try:
        _compiled(wanted)
    except re2.error as error:
        why = error.args[0] if error.args else ""
        return f"is neither required nor a regular expression of RE2: {why.decode() if isinstance(why, bytes) else why}"
    return ""


def fits(wanted: str, reason: str | None) -> bool:
    """Whether C{reason} is one that C{wanted} (C{"required"} or a pattern, found anywhere in it) asks for."""
    if not reason or not reason.strip():
        return False
    return wanted == "required" or _compiled(wanted).search(reason) is not None


def missing(wanted: str, human: str) -> tuple[str, str]:
    """What somebody is told whose reason does not fit: why, and how to give one.

    @param human: the same in words for people, such as C{"a ticket number, as OPS-123"}
    """
    if wanted == "required":
        return "a reason is required" + (f": {human}" if human else ""), HOW
    if human:
        return f"a reason is required: {human}", f"{HOW}; it must match {wanted}"
    return f"a reason that matches {wanted} is required", HOW
