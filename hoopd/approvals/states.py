"""The life of a held operation as a table; pure, and not who may cause a transition (L{hoopd.approvals.quorum}).

An approved operation is claimed once, on disk, before it is forwarded. From there only its outcome leads on, and an
outcome that nobody can know is its own end: what may have run is never run again. An approval that reaches further than
one run is granted; each use of it is an approval of its own, which begins claimed.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from hoopd.errors import HoopdError
from hoopd.values import ApprovalState

Happening = Literal[
    "vote",
    "approve",
    "grant",
    "deny",
    "expire",
    "withdraw",
    "revoke",
    "claim",
    "use",
    "end",
    "executed",
    "failed",
    "unknown",
]

#: what may happen in each state, and where it leads
TRANSITIONS: Mapping[ApprovalState, Mapping[Happening, ApprovalState]] = MappingProxyType(
    {
        "pending": MappingProxyType(
            {
                # one of several votes that are needed
                "vote": "pending",
                "approve": "approved",
                # for a session, a window, or several statements
                "grant": "granted",
                "deny": "denied",
                "expire": "expired",
                "withdraw": "cancelled",
            }
        ),
        "approved": MappingProxyType(
            {
                "claim": "claimed",
                "expire": "expired",
                "withdraw": "cancelled",
                # by an approver, or because one is entitled no longer
                "revoke": "cancelled",
            }
        ),
        "granted": MappingProxyType(
            {
                "use": "granted",
                # its time is over, its session has ended, or the policy has changed
                "end": "ended",
                # several statements: not begun, or not finished, in time
                "expire": "expired",
                "withdraw": "cancelled",
                "revoke": "cancelled",
                # several statements: the last one was executed, or one was not
                "executed": "executed",
                "failed": "failed",
                "unknown": "unknown",
            }
        ),
        "claimed": MappingProxyType({"executed": "executed", "failed": "failed", "unknown": "unknown"}),
        "executed": MappingProxyType({}),
        "failed": MappingProxyType({}),
        "unknown": MappingProxyType({}),
        "denied": MappingProxyType({}),
        "expired": MappingProxyType({}),
        "cancelled": MappingProxyType({}),
        "ended": MappingProxyType({}),
    }
)

#: what a use of a granted approval begins with: its first leaf in the ledger
FIRST_USE: Mapping[Happening, ApprovalState] = MappingProxyType({"use": "claimed"})

#: states that nothing leads out of
FINAL: frozenset[ApprovalState] = frozenset(state for state, ways in TRANSITIONS.items() if not ways)

#: how a claimed operation ends, as L{hoopd.interfaces.IApprovals.settle} names it
OUTCOMES: Mapping[str, Happening] = MappingProxyType({"executed": "executed", "failed": "failed", "unknown": "unknown"})


class IllegalTransition(HoopdError):
    """This cannot happen in this state.

    @ivar state, happening: which.
    """

    def __init__(self, state: ApprovalState, happening: str) -> None:
        super().__init__(f"an approval that is {state} knows no {happening!r}")
        self.state = state
        self.happening = happening


def after(state: ApprovalState, happening: Happening) -> ApprovalState:
    """@return: the state that follows. @raise IllegalTransition"""
    try:
        return TRANSITIONS[state][happening]
    except KeyError:
        raise IllegalTransition(state, happening) from None
