"""Changes of the rules: what one is, whose it is, and what differs between two sets of files; pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from attrs import field, frozen

from hoopd.governance.signers import person

#: lines of one file that are compared with those of another: difflib's time grows with their product
COMPARED = 5000
#: characters of what differs; files are kept whole
DIFFERENCE_MAX = 256 * 1024


@frozen
class Confirmation:
    """Somebody besides the author says that a change is right."""

    by: str
    at: float
    reason: str


@frozen
class Change:
    """One set of files that came into force.

    @ivar number: counted from 1.
    @ivar version: of the policy, as decisions carry it.
    @ivar by: who had it loaded; empty where it came with a start or a signal.
    @ivar author: the person behind that, empty where none is known.
    @ivar rules: whether anything that rules depend on changed, not only hoopd.toml.
    @ivar files: path to SHA-256 of everything.
    @ivar serial, signers: of the manifest; None and empty where nothing was signed.
    """

    number: int
    at: float
    digest: str
    version: str
    by: str
    author: str
    rules: bool
    files: Mapping[str, str]
    serial: int | None = None
    signers: tuple[str, ...] = ()
    confirmed: tuple[Confirmation, ...] = field(factory=tuple)

    @property
    def people(self) -> tuple[str, ...]:
        """Everybody who stands for it, once each."""
        known = [*self.signers, *([self.author] if self.author else []), *(each.by for each in self.confirmed)]
        found: dict[str, str] = {}
        for name in known:
            found.setdefault(person(name), name)
        return tuple(found.values())


def barred(change: Change | None, name: str) -> str:
    """Why C{name} may not approve under rules whose last change is C{change}, or C{""}."""
    if change is None:
        return ""
    people = change.people
    if not people:
        return f"nobody knows whose the last change of the rules is (number {change.number}), and nobody confirmed it"
    if len(people) == 1 and person(people[0]) == person(name):
        return f"the last change of the rules (number {change.number}) is {name}'s alone"
    return ""


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, list[str]]:
    """@param before, after: path to digest. @return: C{added}, C{removed} and C{changed} to sorted paths."""
    return {
        "added": sorted(set(after) - set(before)),
        "removed": sorted(set(before) - set(after)),
        "changed": sorted(path for path in set(after) & set(before) if after[path] != before[path]),
    }


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """What differs, as C{diff -u} shows it. @param before, after: path to text."""
    parts: list[str] = []
    for path in sorted({*before, *after}):
        old, new = before.get(path), after.get(path)
        if old != new:
            parts += _of_file(path, old, new)
    text = "\n".join(parts)
    if len(text) > DIFFERENCE_MAX:
        text = f"{text[:DIFFERENCE_MAX]}\n… and {len(text) - DIFFERENCE_MAX} more characters"
    return text


def _of_file(path: str, old: str | None, new: str | None) -> list[str]:
    was, now = (text.split("\n") if text is not None else [] for text in (old, new))
    named = ("/dev/null" if old is None else f"a/{path}", "/dev/null" if new is None else f"b/{path}")
    if max(len(was), len(now)) > COMPARED:
        return [f"--- {named[0]}", f"+++ {named[1]}", f"too long to compare: {len(was)} and {len(now)} lines"]
    return list(difflib.unified_diff(was, now, *named, lineterm=""))
