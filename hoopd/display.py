"""Text from elsewhere as a terminal may show it: nothing invisible, nothing that moves the cursor or turns the order; pure.

The only such function: hoopctl's tables, what approvers see, replays and scrubbed statements all come through here. What
is hidden: control, format (bidirectional, zero-width), surrogate, private and unassigned characters and the line and
paragraph separators (Unicode Standard, section 4.5: general categories), what a renderer leaves out although it is a
letter or a mark (section 5.21: default ignorable), and spaces that look like the space and are not: PostgreSQL takes a
no-break space for a part of a name. An approver must see what would run.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
#: shown as they are: U+3000 is as wide as a character of the text that it stands in, and cannot be taken for a space
_SPACES = frozenset(" \u3000")
#: default ignorable, and not in a hidden category: fillers, joiners and variation selectors; the blank Braille pattern
_IGNORED = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)


def utc(seconds: float) -> str:
    """@return: a time in epoch seconds as C{2026-11-21 03:27:15Z}: gateway, target and witness agree on UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def visible(text: str, keep: str = "") -> str:
    """
    @param keep: hidden characters that may stay, such as newline and tab in a statement.
    @return: C{text} with every other hidden character written as C{<U+202E>}.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"<U+{ord(character):04X}>" if character not in keep and _hidden(character) else character for character in text
    )


def _hidden(character: str) -> bool:
    if character in _SPACES:
        return False
    return unicodedata.category(character) in _HIDDEN or character in _IGNORED


def spoken(seconds: float) -> str:
    """C{seconds} as people say them: to the nearest minute (the clocks of two processes differ by moments, and 16 min
    of a 15-minute rule would puzzle), below two minutes in seconds."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"
