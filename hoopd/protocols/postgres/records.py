"""What a session's recording says of its operations: the fields of its frames; not their writing.

Kinds and fields are those of L{hoopd.audit.events.FRAMES}. Everything that comes here is scrubbed or masked already,
but for bound parameters, which this module hides where they may be compared with masked columns.
"""

from __future__ import annotations

import hashlib
from typing import Any

from hoopd.protocols.postgres.frontend import Bind
from hoopd.protocols.postgres.judgement import Judgement, Refusal

#: a longer parameter is recorded as size and hash; approvers and auditors do not read 8 KiB values
PARAMETER_MAX = 8192

HIDDEN = "…"


def parameters(judgement: Judgement, bind: Bind | None) -> list[Any] | None:
    """Bound values as a recording keeps them."""
    if bind is None or not bind.values:
        return None
    if judgement.hide_parameters:
        return [None if value is None else HIDDEN for value in bind.values]
    shown: list[Any] = []
    for number, value in enumerate(bind.values):
        binary = bind.formats[number if len(bind.formats) > 1 else 0] if bind.formats else 0
        if value is None:
            shown.append(None)
        elif len(value) > PARAMETER_MAX:
            shown.append({"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()})
        elif binary:
            shown.append({"hex": value.hex()})
        else:
            shown.append(value.decode("utf-8", "backslashreplace"))
    return shown


def operation(
    number: int,
    judgement: Judgement,
    decision: str,
    reason: str | None,
    bind: Bind | None = None,
    refusal: Refusal | None = None,
    approval: str | None = None,
) -> dict[str, Any]:
    """The operation frame, written before anything is forwarded."""
    said, opening = judgement.decision, judgement.opening
    masks = {mask.rule for statement in judgement.statements for mask in statement.masks}
    return {
        "operation": number,
        "text": judgement.redacted,
        "parameters": parameters(judgement, bind),
        "statement": bind.statement.decode("utf-8", "replace") if bind is not None and bind.statement else None,
        "classes": sorted(judgement.classes),
        "objects": list(judgement.objects),
        "decision": decision,
        "observed": said.observed,
        "rules": list(refusal.rules if refusal is not None and refusal.rules else said.rules),
        "why": refusal.why if refusal is not None else said.why,
        "hint": refusal.hint if refusal is not None else said.hint,
        "masks": sorted(masks),
        "observed_masks": sorted({rule for each in judgement.statements for rule in each.observed_masks}),
        "approval": approval,
        "reason": reason,
        "policy": said.policy,
        # only where glass is broken: what was let pass, if anything
        **({} if opening is None else {"break_glass": opening.id, "skipped": list(said.skipped)}),
    }


def event(frame: dict[str, Any]) -> dict[str, Any]:
    """The fields of a frame that go to the log as well."""
    left_out = ("decision", "statement", "masks", "observed_masks", "parameters", "break_glass", "skipped")
    return {name: value for name, value in frame.items() if name not in left_out}
