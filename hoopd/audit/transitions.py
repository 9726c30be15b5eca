"""Whether the ledger's leaves of approvals tell a legal life: nothing run unapproved, nothing run twice; pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hoopd.approvals.states import FIRST_USE, IllegalTransition, after
from hoopd.audit.leaves import Leaf


def check_approvals(leaves: Iterable[Leaf]) -> tuple[set[str], list[str]]:
    """
    @return: ids of approvals that were claimed, and what does not fit, as sentences.
    """
    lives: dict[str, list[dict[str, Any]]] = {}
    claimed: set[str] = set()
    problems: list[str] = []
    for leaf in leaves:
        if leaf.kind != "approval":
            continue
        fields = dict(leaf.fields)
        id = str(fields.get("approval"))
        life = lives.setdefault(id, [])
        if fields in life:
            continue  # sent once more after a crash: told twice, happened once
        problem = _follows(id, life, fields, lives)
        if problem:
            problems.append(f"leaf {leaf.index}: {problem}")
        life.append(fields)
        if fields.get("state") == "claimed":
            claimed.add(id)
    return claimed, problems


def _use(id: str, fields: dict[str, Any], lives: dict[str, list[dict[str, Any]]]) -> str:
    """Whether a use of a grant is one that the grant tells of."""
    grant, _, number = id.rpartition("/")
    told = [leaf for leaf in lives.get(grant, ()) if leaf.get("event") == "use"]
    if fields.get("grant") != grant or not number.isdigit() or not 1 <= int(number) <= len(told):
        return f"{id} is a use that {grant or 'no grant'} does not tell of"
    if fields.get("state") != FIRST_USE["use"] or fields.get("revision") != 0:
        return f"{id} begins as {fields.get('state')!r} in revision {fields.get('revision')}"
    steps = told[int(number) - 1].get("steps")
    if steps and (int(number) > len(steps) or steps[int(number) - 1] != fields.get("digest")):
        return f"{id} is for another operation than the one that was approved"
    return ""


def _follows(
    id: str, life: list[dict[str, Any]], fields: dict[str, Any], lives: dict[str, list[dict[str, Any]]]
) -> str:
    if not life and fields.get("event") == "use":
        return _use(id, fields, lives)
    if not life:
        if fields.get("event") != "request" or fields.get("revision") != 0:
            return f"{id} begins with {fields.get('event')!r}, not with its request"
        return ""
    last = life[-1]
    if fields.get("revision") != last.get("revision", 0) + 1 or fields.get("was") != last.get("state"):
        return (
            f"{id} goes from {fields.get('was')} in revision {fields.get('revision')}, "
            f"and was {last.get('state')} in revision {last.get('revision')}"
        )
    if fields.get("digest") != last.get("digest"):
        return f"{id} is for another operation than before"
    try:
        if after(last["state"], fields["event"]) != fields.get("state"):
            return f"{id} is said to be {fields.get('state')} after {fields.get('event')}"
    except (IllegalTransition, KeyError) as error:
        return f"{id}: {error}"
    return ""
