"""The limits and the row ceiling that one run of statements is under, and what its user is told beyond them; pure.

Limits are policy's obligations on what comes back (L{hoopd.values.Limits}); a ceiling is on the rows that a writing
statement touches, from policy or from an approval, and is kept by rollback (L{hoopd.protocols.postgres.wrap}).
"""

from __future__ import annotations

import math
from typing import Literal

from attrs import evolve, frozen

from hoopd.protocols.postgres.judgement import Judgement, Refusal
from hoopd.sql.counting import Counting, counting

Over = Literal["", "rows", "bytes", "time", "changes", "parts"]

#: program_limit_exceeded; query_canceled is what a statement_timeout says
LIMIT, TIMEOUT = "54000", "57014"


@frozen
class Bounds:
    """C{None} is no bound. C{…_by}: the rule, or approval, whose it is.

    @ivar rows, octets: of what the client is sent.
    @ivar seconds: that one statement may take.
    @ivar changes: rows that the text may touch.
    @ivar atomic: it changes rows: who is told that a bound ended it finds nothing of it done.
    """

    rows: int | None = None
    rows_by: str = ""
    octets: int | None = None
    octets_by: str = ""
    seconds: float | None = None
    seconds_by: str = ""
    changes: int | None = None
    changes_by: str = ""
    atomic: bool = False

    @property
    def any(self) -> bool:
        return not (self.rows is None and self.octets is None and self.seconds is None and self.changes is None)

    def within(self, cursor: Bounds) -> Bounds:
        """The same for rows of a cursor, which were bounded as well when it was declared."""
        if cursor.rows is None or (self.rows is not None and self.rows <= cursor.rows):
            return self
        return evolve(self, rows=cursor.rows, rows_by=cursor.rows_by)

    def by(self, over: Over) -> str:
        """Whose bound it is: C{rule …} or C{approval …}."""
        whose = {"bytes": self.octets_by, "time": self.seconds_by, "changes": self.changes_by, "parts": self.changes_by}
        return whose.get(over, self.rows_by)


NONE = Bounds()


def kind(judgement: Judgement) -> tuple[Counting, str]:
    """How the rows of a text are counted, and for C{"untold"} why they are not: the worst of its statements counts."""
    found = [counting(each.statement) for each in judgement.statements]
    if not found:
        return ("untold", "hoopd could not read the statement") if judgement.analysis.refused else ("none", "")
    which, why = min(found, key=lambda each: _WORST.index(each[0]))
    if which == "changed" and any("transaction" in each.statement.classes for each in judgement.statements):
        return "untold", "the text begins or ends transactions itself"
    return which, why


def unkeepable(judgement: Judgement, ceiling: int | None = None) -> Refusal | None:
    """Why no row ceiling that rules or approvers (C{ceiling}) set can be kept, as a refusal."""
    decision = judgement.decision
    rules = [terms.rule for terms in decision.holds if terms.max_rows is not None or terms.max_rows_factor is not None]
    if decision.limits.max_changes is not None:
        rules.append(decision.limits.changes_rule)
    if not rules and ceiling is None:
        return None
    which, why = kind(judgement)
    if which != "untold":
        return None
    hint = "Write it so that the server counts the rows: one INSERT, UPDATE, DELETE, MERGE or COPY a statement."
    return Refusal("42501", f"its row ceiling cannot be kept: {why}", tuple(rules), hint)


def uncounted(judgement: Judgement) -> str:
    """Why approvers cannot set a row ceiling, or C{""}."""
    which, why = kind(judgement)
    return why if which == "untold" else ""


def row_ceiling(judgement: Judgement, approved: int | None = None) -> int | None:
    """The lowest of what the rules that hold say at most, and the approval."""
    said = [terms.max_rows for terms in judgement.decision.holds if terms.max_rows is not None]
    return min([*said, *([] if approved is None else [approved])], default=None)


def guessless(judgement: Judgement, ceiling: int | None) -> Refusal | None:
    """Why a ceiling that is a multiple of the estimate is none, where there is no estimate and no number was said."""
    rules = tuple(terms.rule for terms in judgement.decision.holds if terms.max_rows_factor is not None)
    if ceiling is not None or not rules or kind(judgement)[0] == "none":
        return None
    hint = "Ask again; who approves it has to say how many rows it may touch."
    return Refusal("42501", "its row ceiling cannot be told: the target gives no estimate", rules, hint)


def proposed_ceiling(judgement: Judgement) -> int | None:
    """The row ceiling of an approval whose approvers say no number: the rules' own, or so many times the estimate."""
    rows = judgement.rows
    factors = [terms.max_rows_factor for terms in judgement.decision.holds if terms.max_rows_factor is not None]
    guessed = None if rows is None or not factors else math.ceil(rows * min(factors))
    return row_ceiling(judgement, guessed)


def bounds(judgement: Judgement, ceiling: int | None = None, approval: str = "") -> Bounds:
    """@param ceiling: of the C{approval} that it runs under."""
    limits = judgement.decision.limits
    rows, rows_by = limits.max_rows, f"rule {limits.rows_rule}"
    changes, changes_by = None, ""
    which: Counting = "none"
    if not (ceiling is None and limits.max_changes is None and rows is None and limits.max_bytes is None):
        which, _ = kind(judgement)
    if which == "changed":
        changes, changes_by = limits.max_changes, f"rule {limits.changes_rule}"
        if ceiling is not None and (changes is None or ceiling < changes):
            changes, changes_by = ceiling, f"approval {approval}"
    elif which == "shown" and ceiling is not None and (rows is None or ceiling < rows):
        rows, rows_by = ceiling, f"approval {approval}"
    return Bounds(
        rows,
        rows_by,
        limits.max_bytes,
        f"rule {limits.bytes_rule}",
        limits.max_time,
        f"rule {limits.time_rule}",
        changes,
        changes_by,
        which == "changed" and not (rows is None and limits.max_bytes is None and changes is None),
    )


_WORST: tuple[Counting, ...] = ("untold", "changed", "shown", "none")


def told(bounds: Bounds, over: Over, touched: int = 0) -> Refusal:
    """What the user is told of a run that passed a bound."""
    by = bounds.by(over)
    rules = (by.removeprefix("rule "),) if by.startswith("rule ") else ()
    code, hint = LIMIT, "Narrow the statement, or add LIMIT."
    match over:
        case "bytes":
            why = f"the result has more than {bounds.octets} bytes, which is all that {by} allows"
        case "time":
            why = f"the statement took longer than {bounds.seconds:g} s, which is all that {by} allows"
            code, hint = TIMEOUT, "It was cancelled at the target. Narrow it."
        case "changes":
            why = f"rolled back: it touched {touched} rows, and {by} allows {bounds.changes}"
            hint = "Nothing of it was kept. Narrow it, or ask for more rows."
        case "parts":
            why = f"rolled back: rows fetched in parts are not counted, and {by} has a row ceiling"
            hint = "Nothing of it was kept. Fetch all rows at once (fetch size 0)."
        case _:
            why = f"the result has more than {bounds.rows} rows, which is all that {by} allows"
    return Refusal(code, why, rules, hint)
