"""What people ask of an SSH server as the operations that policy judges, and as frames of the record; pure.

Not the judging (L{hoopd.policy}) nor the wire (L{hoopd.protocols.ssh.messages}). The words are those of docs/policy.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve, frozen

from hoopd.display import visible
from hoopd.errors import HoopdError
from hoopd.protocols.ssh.messages import string
from hoopd.values import Decision, HeldOperation, Opening, Operation

#: variables that say how to speak to a person, and nothing about what runs; what sshd accepts on Debian, and the colours
HARMLESS = ("LANG", "LC_*", "TERM", "COLORTERM", "NO_COLOR", "TZ")

#: a longer command is recorded whole and shown to approvers as far as this, with what was left out
SHOWN_MAX = 8192


@frozen
class Wanted:
    """An operation as it arrived.

    @ivar operation: what policy judges.
    @ivar exact: everything that an approval is bound to, besides identity, target and account.
    """

    operation: Operation
    exact: bytes

    @property
    def text(self) -> str:
        return self.operation.text


@frozen
class Refusal:
    """Why an operation does not run, for whoever asked for it."""

    why: str
    rules: tuple[str, ...] = ()
    hint: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Refusal:
        """@param error: of ours; anything else is our own mistake, of which nobody outside learns more."""
        if not isinstance(error, HoopdError):
            return cls("the gateway met an error of its own; its log says more")
        return cls(str(error), getattr(error, "rules", ()), getattr(error, "hint", ""))

    @property
    def line(self) -> str:
        """One line for a terminal."""
        rules = f" [rule {', '.join(self.rules)}]" if self.rules else ""
        hint = f"\nhoopd: hint: {visible(self.hint)}" if self.hint else ""
        return f"hoopd: refused: {visible(self.why)}{rules}{hint}"


def shown(raw: bytes) -> str:
    """C{raw} as people may read it: nothing invisible, and nothing left out without saying so."""
    return visible(raw.decode("utf-8", "backslashreplace"), keep="\n\t")


def short(text: str) -> str:
    """As much of C{text} as people read, and how much was left out."""
    if len(text) <= SHOWN_MAX:
        return text
    return f"{text[:SHOWN_MAX]}… [{len(text) - SHOWN_MAX} more characters]"


def redacted(one: Wanted, scanner: Callable[[bytes], bytes]) -> Wanted:
    """C{one} with a text that may be recorded and shown to approvers. @param scanner: takes out what masks look for"""
    operation = one.operation
    text, objects = (
        short(scanned(operation.text, scanner)),
        tuple(scanned(each, scanner) for each in operation.objects),
    )
    return evolve(one, operation=evolve(operation, text=text, objects=objects))


def scanned(text: str, scanner: Callable[[bytes], bytes]) -> str:
    """C{text} without what C{scanner} takes out."""
    return scanner(text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")


def exact(kind: str, *parts: bytes) -> bytes:
    """What an approval of a request is bound to, so that no two requests have the same. @param kind: of the request"""
    return kind.encode() + b"\0" + b"".join(map(string, parts))


def wanted(
    classes: frozenset[str],
    text: bytes,
    login: str,
    reason: str | None,
    facts: Mapping[str, Any] | None = None,
    objects: tuple[str, ...] = (),
    *,
    exact: bytes,
) -> Wanted:
    """
    @param text: what is asked for, in words that people know: the command itself, C{shell}, C{sftp} …
    @param login: the account at the target.
    @param exact: what an approval is bound to (L{exact}).
    """
    operation = Operation(
        protocol="ssh",
        classes=classes,
        text=shown(text),
        objects=objects,
        facts={"login": login, **(facts or {})},
        reason=reason,
    )
    return Wanted(operation, exact)


def held(
    one: Wanted, decision: Decision, session: str, context: str, facts: Mapping[str, Any] | None = None
) -> HeldOperation:
    """@param context: account and environment that the meaning depends on."""
    operation = one.operation
    return HeldOperation(
        session=session,
        protocol="ssh",
        statement=one.exact,
        parameters=b"",
        context=context,
        redacted=operation.text,
        classes=tuple(sorted(operation.classes)),
        objects=operation.objects,
        reason=operation.reason,
        holds=decision.holds,
        policy=decision.policy,
        skipped=decision.skipped,
        break_glass=decision.break_glass,
        facts=facts or {},
    )


def frame(
    number: int,
    one: Wanted,
    decision: Decision,
    verdict: str,
    refusal: Refusal | None = None,
    approval: str | None = None,
    opening: Opening | None = None,
    masks: tuple[str, ...] = (),
    would: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The operation frame, written before anything is forwarded.

    @param masks: ids of the rules of masks that its output is under.
    @param would: the same, where the target is only observed.
    """
    operation = one.operation
    return {
        "operation": number,
        "text": operation.text,
        "parameters": None,
        "statement": None,
        "classes": sorted(operation.classes),
        "objects": list(operation.objects),
        "decision": verdict,
        "observed": decision.observed,
        "rules": list(refusal.rules if refusal is not None and refusal.rules else decision.rules),
        "why": refusal.why if refusal is not None else decision.why,
        "hint": refusal.hint if refusal is not None else decision.hint,
        "masks": sorted(masks),
        "observed_masks": sorted(would),
        "approval": approval,
        "reason": operation.reason,
        "policy": decision.policy,
        **({} if opening is None else {"break_glass": opening.id, "skipped": list(decision.skipped)}),
    }


def event(fields: Mapping[str, Any], *without: str) -> dict[str, Any]:
    """The fields of a frame that go to the log as well."""
    left_out = ("decision", "statement", "masks", "observed_masks", "parameters", "break_glass", "skipped", *without)
    return {name: value for name, value in fields.items() if name not in left_out}
