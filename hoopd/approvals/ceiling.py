"""How many rows an approval lets its operation touch: what one yes may say, and what several come to; pure.

Not the keeping, which is the worker's: by rollback (L{hoopd.protocols.postgres.bounds}).
"""

from __future__ import annotations

from collections.abc import Iterable

from hoopd.approvals.scope import least
from hoopd.values import Approval, Vote


def chosen(approval: Approval, rows: int | None) -> int | None:
    """The row ceiling of one yes; None is none.

    @param rows: what its approver said, or None: as it was proposed.
    @raise ValueError: more than a rule lets anybody grant, none where one is needed, or no sense; for the approver.
    """
    if rows is None:
        guessed = [terms.rule for terms in approval.holds if terms.max_rows_factor is not None]
        if guessed and approval.max_rows is None and approval.kind == "operation":
            raise ValueError(f"{guessed[0]} sets a ceiling by the target's estimate, and there is none: say --max-rows")
        return approval.max_rows
    if rows < 0:
        raise ValueError("a row ceiling is a number of rows")
    why = approval.facts.get("no_ceiling")
    if why:
        raise ValueError(f"a row ceiling could not be kept: {why}")
    for terms in approval.holds:
        if terms.max_rows is not None and rows > terms.max_rows:
            raise ValueError(f"{terms.rule} lets nobody approve more than {terms.max_rows} rows")
    return rows


def agreed(votes: Iterable[Vote]) -> int | None:
    """What all who said yes said yes to: the lowest."""
    return least(*(vote.max_rows for vote in votes if vote.approve))
