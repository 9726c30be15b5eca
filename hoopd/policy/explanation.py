"""An explanation as text for a person at a terminal."""

from __future__ import annotations

from hoopd.policy.snapshot import Explanation
from hoopd.values import Identity, Target

_VERDICTS = {"allow": "ALLOWED", "deny": "REFUSED", "hold": "HELD until approved"}


def render(explanation: Explanation, identity: Identity, target: Target, text: str, masks: tuple[str, ...] = ()) -> str:
    """What would happen, by which rules, and why. C{masks}: lines about masked output, if known."""
    decision = explanation.decision
    lines = [f"{identity.name} on {target.name}: {text.strip()}", ""]
    verdict = _VERDICTS[decision.verdict]
    if decision.observed:
        verdict = f"ALLOWED (observed; it would be {_VERDICTS[decision.observed]})"
    lines.append(f"  {verdict}" + (f": {decision.why}" if decision.why else ""))
    for terms in decision.holds:
        people = " or ".join(terms.by)
        lines.append(f"  {terms.rule}: {terms.quorum} of {people} must approve within {terms.wait:g} s")
        if terms.max_rows is not None:
            lines.append(f"  {terms.rule}: rolled back if it touches more than {terms.max_rows} rows")
        elif terms.max_rows_factor is not None:
            lines.append(
                f"  {terms.rule}: rolled back if it touches more than {terms.max_rows_factor:g} × the estimate"
            )
    limits = decision.limits
    if limits.max_rows is not None:
        lines.append(f"  at most {limits.max_rows} rows")
    if limits.max_bytes is not None:
        lines.append(f"  at most {limits.max_bytes} bytes")
    if limits.max_time is not None:
        lines.append(f"  at most {limits.max_time:g} s")
    if limits.max_changes is not None:
        lines.append(f"  rolled back if it changes more than {limits.max_changes} rows")
    if decision.watched and decision.verdict != "deny":
        lines.append("  watched: each line that is typed is judged as a command")
    if explanation.around:
        lines.append(f"  NOT watched: what is typed goes around {', '.join(explanation.around)}")
    if decision.best is not None:
        lines.append(
            f"  {_VERDICTS[decision.best]} if the target's estimate of its rows (op.rows) is as the rules want"
        )
    if decision.hint:
        lines.append(f"  {decision.hint}")
    lines += ["", "  rules:"]
    for finding in explanation.findings:
        lines.append(f"    {'*' if finding.matched else ' '} {finding.rule}: {finding.because}")
    if not explanation.findings:
        lines.append("      none speaks of this target")
    lines += [
        f"    * {mask.rule}: {', '.join(mask.columns or mask.detect)} shown as {mask.show}"
        for mask in explanation.masks
    ]
    lines += [f"  {line}" for line in masks]
    return "\n".join(lines)
