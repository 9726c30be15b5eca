"""States of a held operation and the transitions that are legal; everything else is an error that names both.

::

    pending --approve--> approved --claim--> claimed --settle--> executed | failed | unknown
       |                    |
       +--deny--> denied    +--expire--> expired
       +--expire--> expired
       +--withdraw--> cancelled   (approved too)

C{claimed} is on disk before the operation is forwarded; a claimed one whose end is not known becomes C{unknown} and never
runs again.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from hoopd.errors import HoopdError
from hoopd.values import ApprovalState

TRANSITIONS: Mapping[tuple[ApprovalState, str], ApprovalState] = MappingProxyType(
    {
        ("pending", "approve"): "approved",
        ("pending", "deny"): "denied",
        ("pending", "expire"): "expired",
        ("pending", "withdraw"): "cancelled",
        ("approved", "claim"): "claimed",
        ("approved", "expire"): "expired",
        ("approved", "withdraw"): "cancelled",
        ("claimed", "executed"): "executed",
        ("claimed", "failed"): "failed",
        ("claimed", "unknown"): "unknown",
    }
)

#: nothing leads out of these
FINAL: frozenset[ApprovalState] = frozenset({"executed", "failed", "unknown", "denied", "expired", "cancelled"})


class IllegalTransition(HoopdError):
    """An event that cannot happen in this state."""


def after(state: ApprovalState, event: str) -> ApprovalState:
    """@raise IllegalTransition"""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"{event!r} cannot happen to an operation that is {state}") from None
