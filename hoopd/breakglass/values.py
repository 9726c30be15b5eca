"""One use of break glass, from its opening to its review; frozen. Who may review it: L{hoopd.breakglass.reviews}."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from hoopd.values import Opening

Verdict = Literal["", "ok", "misuse"]


@frozen
class Use:
    """
    @ivar proof: how the person was proven who opened it: a revoked token ends what was opened with it.
    @ivar groups: groups at the opening.
    @ivar review_by: who may review: names and groups.
    @ivar auditors: the rule names no reviewers: auditors may, too.
    @ivar review_due: until when; later the right lapses.
    @ivar skipped: operations that it let pass.
    @ivar reminded_at: when somebody was last told that the review is overdue.
    """

    opening: Opening
    kind: Literal["human", "agent"]
    groups: frozenset[str]
    proof: str
    notify: tuple[str, ...]
    review_by: tuple[str, ...]
    auditors: bool
    review_due: float
    skipped: int = 0
    ended_at: float | None = None
    ended_by: str = ""
    ended_why: str = ""
    reviewed_at: float | None = None
    reviewed_by: str = ""
    verdict: Verdict = ""
    findings: str = ""
    reminded_at: float | None = None

    @property
    def id(self) -> str:
        return self.opening.id

    def overdue(self, now: float) -> bool:
        """Whether its review should have been closed by now."""
        return self.reviewed_at is None and now >= self.review_due
