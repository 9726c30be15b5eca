"""What names of identities, groups and subjects may look like; pure.

Names end up in policies, lists, logs and an approver's eyes. Those that come from elsewhere are taken as they are or not at
all: never normalised, because two spellings that we made one would be two people at their provider.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from hoopd.values import Kind

#: what this gateway gives out itself: lower case, so that no two differ by case alone
_LOCAL = re.compile(r"[a-z0-9][a-z0-9._@/+:-]{0,127}")
#: OpenID Connect Core section 2: a subject has at most 255 characters
_MAX = 255
_PREFIX: dict[str, Kind] = {"user": "human", "agent": "agent"}


def foreign(text: Any) -> str | None:
    """
    @param text: a subject or group that somebody else gave.
    @return: it, or None if it is no text, empty, too long, or has another normal form, an invisible or control
        character, or odd white space: look-alikes of another name.
    """
    if not isinstance(text, str) or not 0 < len(text) <= _MAX or not unicodedata.is_normalized("NFKC", text):
        return None
    if any(unicodedata.category(letter)[0] in "CZ" and letter != " " for letter in text) or text != text.strip():
        return None
    return text


def split_name(name: str) -> tuple[Kind, str]:
    """
    @param name: C{"user:priya"} or C{"agent:ci"}, of a local identity.
    @return: kind and subject.
    @raise ValueError: it is not one.
    """
    prefix, _, subject = name.partition(":")
    if prefix not in _PREFIX or not _LOCAL.fullmatch(subject):
        raise ValueError(
            f"{name[:140]!r} is no identity: user:NAME or agent:NAME, with lower case letters, digits and . _ @ / + : -"
        )
    return _PREFIX[prefix], subject


def valid_groups(groups: Any) -> tuple[str, ...]:
    """@return: C{groups}, sorted, once each. @raise ValueError: one of them is no name."""
    for group in groups:
        if foreign(group) is None:
            raise ValueError(f"{str(group)[:140]!r} cannot name a group")
    return tuple(sorted(set(groups)))


def folded(name: str) -> str:
    """C{name} without what tells look-alikes apart: case, and Unicode's compatibility forms."""
    return unicodedata.normalize("NFKC", name).casefold()


def same_person(name: str, other: str | None) -> bool:
    """Whether two names may be one person's: names that look alike must not review or confirm each other."""
    return other is not None and folded(name) == folded(other)
