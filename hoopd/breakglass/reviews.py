"""Who may close the review of a use of break glass, and what a review must say; pure."""

from __future__ import annotations

from hoopd.breakglass.values import Use
from hoopd.identity.names import same_person
from hoopd.policy.rules import names
from hoopd.values import Identity

#: characters of reasons and findings: a page
TEXT_MAX = 4000


def text(given: str, what: str) -> str:
    """@return: C{given} without space around it. @raise ValueError: nothing, too long, or not to be shown."""
    stripped = given.strip()
    if not stripped:
        raise ValueError(f"{what} is empty: say it in a sentence, for whoever reads the record")
    if len(stripped) > TEXT_MAX:
        raise ValueError(f"{what} is longer than {TEXT_MAX} characters")
    if any(not each.isprintable() and each not in "\n\t" for each in stripped):
        raise ValueError(f"{what} contains characters that cannot be shown")
    return stripped


def refusal(use: Use, identity: Identity) -> str:
    """Why C{identity} may not review C{use}, as a sentence, or nothing if it may."""
    opening = use.opening
    if identity.kind != "human" or identity.act is not None:
        return "agents do not review, and nobody through one"
    if same_person(identity.name, opening.identity) or same_person(identity.name, opening.act):
        return "nobody reviews what they did themselves"
    if use.ended_at is None:
        return f"{use.id} is still open: close it first"
    if any(names(pattern, identity) for pattern in use.review_by):
        return ""
    if use.auditors and "auditor" in identity.duties:
        return ""
    return f"{identity.name} is none of those who review this: {reviewers(use)}"


def reviewers(use: Use) -> str:
    """Who may review, for people."""
    named = [*use.review_by, *(["an auditor"] if use.auditors else [])]
    return " or ".join(named) or "an auditor"
