"""What notices say of the rules: another set is in force, or one was refused; from a leaf's fields to a notice; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from hoopd.notices.notice import Notice, notice

_LISTS = ("added", "removed", "changed")
_DIGEST = re.compile(" [0-9a-f]{64}$")


def told(act: str, fields: Mapping[str, Any], at: float) -> Notice:
    """
    @param act: C{"loaded"} or C{"refused"}, as in the ledger's leaf.
    @param fields: of that leaf (L{hoopd.governance.service}); its difference is left to those who may see it.
    @param at: epoch seconds.
    """
    by = fields["by"] or "a start or signal"
    if act == "refused":
        return notice(
            "policy.refused",
            f"reload-{int(at * 1000)}",
            f"the files that {by} wanted in force were refused",
            at,
            {"by": by, "why": fields["why"]},
        )
    number = fields["number"]
    return notice(
        "policy.changed",
        f"change-{number}",
        f"change {number} of {'the rules' if fields['rules'] else 'the settings'} is in force, by {by}",
        at,
        {
            "change": number,
            "by": by,
            "author": fields["author"] or None,
            "signers": fields["signers"] or None,
            "digest": fields["digest"],
            "version": fields["version"],
            # the names alone: their digests are in the ledger
            **{name: [_DIGEST.sub("", each) for each in fields[name]] or None for name in _LISTS},
        },
        act=(f"hoopctl policy diff {number}",),
    )


def within(notices: Any, clock: Any) -> Callable[[Any, str, Mapping[str, Any]], None]:
    """@param notices: L{hoopd.notices.service.Notices}. @param clock: its seconds are seconds since the epoch.

    @return: for L{hoopd.governance.service.RuleSets.within}.
    """

    def post(tx: Any, act: str, fields: Mapping[str, Any]) -> None:
        notices.post(tx, told(act, fields, clock.seconds()))

    return post
