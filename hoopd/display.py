"""Text from elsewhere as a terminal may show it: nothing invisible, nothing that moves the cursor or turns the order; pure.

What is hidden: control, format (bidirectional, zero-width), surrogate, private and unassigned characters, and the
line and paragraph separators (Unicode Standard, section 4.5: general categories). An approver must see what would run.
"""

from __future__ import annotations

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def visible(text: str, keep: str = "") -> str:
    """
    @param keep: hidden characters that may stay, such as newline and tab in a statement.
    @return: C{text} with every other hidden character written as C{<U+202E>}.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in keep or unicodedata.category(character) not in _HIDDEN
        else f"<U+{ord(character):04X}>"
        for character in text
    )
