"""Errors that name the guilty; not their wire form, which each protocol adapter owns.

A peer's bytes, a policy's refusal, an operator's file, a target behind us, a service of ours that is
away: each has its own class, and each is turned into the protocol's own error once, at the adapter.
Anything else that is raised is our bug.
"""

from __future__ import annotations


class HoopdError(Exception):
    """Base of every error that hoopd raises on purpose."""


class PeerError(HoopdError):
    """The other side's bytes break its protocol: the peer is told, the connection ends."""


class Denied(HoopdError):
    """Policy, identity or duty says no.

    @ivar why: one sentence for the person who was refused.
    @ivar rules: ids of the rules that refused, such as C{"orders.deny.drop"}; empty where no rule allowed.
    @ivar hint: whom to ask, or what to do; empty where there is nothing to add.
    """

    def __init__(self, why: str, rules: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.rules = tuple(rules)
        self.hint = hint


class AuthenticationFailed(Denied):
    """The proof of identity does not hold. Carries nothing that tells an outsider which part failed."""


class ConfigError(HoopdError):
    """An operator's file is wrong.

    @ivar file: path of the file, or C{""}.
    @ivar key: dotted path of table and key, such as C{"listen.postgres.port"}, or C{""}.
    @ivar suggestion: what to write instead, or C{""}.
    """

    def __init__(self, problem: str, file: str = "", key: str = "", suggestion: str = "") -> None:
        self.problem = problem
        self.file = file
        self.key = key
        self.suggestion = suggestion
        where = ": ".join(part for part in (file, key) if part)
        message = f"{where}: {problem}" if where else problem
        super().__init__(f"{message} ({suggestion})" if suggestion else message)


class TargetError(HoopdError):
    """A target behind us misbehaves or is away. The text is safe to show to the user."""


class Unavailable(HoopdError):
    """A service of ours cannot answer now (broker away, store locked): fail closed, say so, may be retried."""


class RecordError(HoopdError):
    """The record cannot be written (disk full, descriptor refused): nothing may be forwarded."""
