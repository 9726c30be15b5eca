"""What a proof's scopes leave of its identity's rights: C{target:PATTERN} and C{do:WORD}. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hoopd.policy.words import listing, uncovered
from hoopd.values import Identity, Operation, Target


def in_scope(identity: Identity, target: Target) -> bool:
    wanted = [word[7:] for word in identity.scopes or () if word.startswith("target:")]
    return not wanted or any(fnmatchcase(target.name, pattern) for pattern in wanted)


def out_of_scope(identity: Identity, target: Target, operation: Operation) -> str:
    """Why the proof's scopes leave this operation out, or C{""}."""
    if identity.scopes is None:
        return ""
    if not in_scope(identity, target):
        return f"the token's scopes leave out {target.name}"
    doing = [word[3:] for word in identity.scopes if word.startswith("do:")]
    if doing:
        missing = uncovered(operation.classes, doing)
        if missing:
            return f"the token's scopes leave out {listing(missing)}"
    return ""
