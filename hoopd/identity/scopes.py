"""Scopes: words that narrow what a proof may do, and when one list of them is narrower than another; pure.

A scope is C{category:value}: C{target:orders-*} (name pattern), C{do:read} (operation class) or C{duty:approver}.
A category that is named at all restricts to its values: C{("target:orders-*",)} is every operation on those
targets. Duties are the exception, on the safe side: a proof with scopes has the duty C{user} and whatever it names by
C{duty:}, nothing else. No scopes (None) is unrestricted; a list is never empty.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from hoopd.values import DUTIES

_SCOPE = re.compile(r"(target|do|duty):([A-Za-z0-9*?][A-Za-z0-9._*?/-]{0,127})")
#: one person's token for a few targets needs a handful
_MAX = 64


def known(word: str) -> bool:
    """@return: whether C{word} is a scope of ours (tokens of providers carry others too)."""
    return _SCOPE.fullmatch(word) is not None


def valid_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """@return: C{scopes}, sorted, once each. @raise ValueError: none at all, or one that is not ours."""
    result = tuple(sorted(set(scopes)))
    for scope in result:
        if not known(scope) or (scope.startswith("duty:") and scope[5:] not in DUTIES):
            raise ValueError(f"{scope[:140]!r} is no scope: target:PATTERN, do:CLASS or duty:DUTY")
    if not 0 < len(result) <= _MAX:
        raise ValueError(f"a scoped token has 1 to {_MAX} scopes")
    return result


def duties(held: frozenset[str], scopes: tuple[str, ...] | None) -> frozenset[str]:
    """@return: the duties that remain of C{held} under C{scopes}."""
    if scopes is None:
        return held
    named = {scope[5:] for scope in scopes if scope.startswith("duty:")}
    return held & ({"user"} | named)


def _values(scopes: tuple[str, ...], category: str) -> list[str]:
    return [scope.partition(":")[2] for scope in scopes if scope.partition(":")[0] == category]


def _covers(outer: str, inner: str) -> bool:
    if outer == inner or outer == "*":
        return True
    # between two patterns only equality is decided: anything else is refused rather than reasoned about
    return not set(inner) & set("*?") and fnmatch.fnmatchcase(inner, outer)


def narrower(inner: tuple[str, ...] | None, outer: tuple[str, ...] | None) -> bool:
    """@return: whether C{inner} permits nothing that C{outer} does not."""
    if outer is None:
        return True
    if inner is None:
        return False
    for category in ("target", "do"):
        allowed, wanted = _values(outer, category), _values(inner, category)
        if allowed and not (wanted and all(any(_covers(one, value) for one in allowed) for value in wanted)):
            return False
    return set(_values(inner, "duty")) <= set(_values(outer, "duty")) | {"user"}
