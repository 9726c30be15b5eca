"""Whether an operation of an SSH session may be forwarded now, and what is recorded of it first: decide, hold, record.

Pure; the asking of approvers and the waiting for the disk are the adapter's, by L{Ask}. Not what the operations are
(L{hoopd.protocols.ssh.operations}).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, frozen

from hoopd.errors import Unavailable
from hoopd.policy import unmaskable
from hoopd.protocols.ssh import operations
from hoopd.protocols.ssh.operations import Refusal, Wanted
from hoopd.values import Decision, HeldOperation, Opening, Operation


@frozen
class Granted:
    """An operation that may be forwarded now.

    @ivar operation: its number.
    @ivar approval: the approval that it runs under, or None.
    @ivar decision: what policy said last.
    @ivar wanted: what was asked for.
    """

    operation: int
    approval: str | None
    decision: Decision
    wanted: Wanted | None = None


Go = Callable[[Granted], None]
Stop = Callable[[Refusal], None]


@frozen
class Judged:
    """@ivar opening: break glass in use when it was judged."""

    decision: Decision
    opening: Opening | None = None


@define(eq=False)
class Ask:
    """Something that is not answered at once: an approval, or the disk. Answered by L{Permission.released} or
    L{Permission.refused}, once.

    @ivar held: what is to be approved and claimed; None: the record is to be on disk.
    @ivar tell: whom to tell while it waits, or None.
    @ivar channel: number of the channel that waits for it, or None.
    """

    number: int
    wanted: Wanted
    go: Go
    stop: Stop
    held: HeldOperation | None = None
    tell: Callable[[str], None] | None = None
    channel: int | None = None
    granted: Granted | None = None
    answered: bool = False


@frozen
class BreakGlass:
    """Break glass is to be opened for the session's identity on its target, before what follows is judged. Answered once."""

    reason: str
    opened: Callable[[Opening], None]
    refused: Stop


class Permission:
    """
    @param route: L{hoopd.flow.route.Route}
    @param judge: C{(operation) -> Judged}
    @param context: C{() -> str}: session state that approvals are bound to.
    @ivar viewing: L{hoopd.protocols.ssh.views.Viewing}: what is masked; None is nothing.
    @ivar asks: what the adapter has to see to; it empties the list.
    """

    def __init__(
        self,
        session: str,
        route: Any,
        judge: Callable[[Operation], Judged],
        context: Callable[[], str],
        viewing: Any = None,
    ) -> None:
        self.viewing = viewing
        self.asks: list[Ask | BreakGlass] = []
        self._session = session
        self._route = route
        self._judge = judge
        self._context = context

    def seek(
        self,
        wanted: Wanted,
        go: Go,
        stop: Stop,
        tell: Callable[[str], None] | None = None,
        channel: int | None = None,
        known: bool = False,
    ) -> None:
        """Have C{wanted} judged. C{go(granted)} is called when it may be forwarded, C{stop} when it may not.

        @param tell: tells the requester while it waits for approval.
        @param channel: number of the channel that waits for it.
        @param known: it is on record as allowed, and need not be again: its operation is then 0.
        """
        judged = self._judge(wanted.operation)
        decision = judged.decision
        if known and decision.verdict == "allow" and judged.opening is None and self._passes():
            go(Granted(0, None, decision))
            return
        number = self._route.next_operation()
        try:
            self._route.gate()
        except Unavailable as error:
            self._refuse(number, wanted, judged, Refusal.of(error), stop)
            return
        if decision.verdict == "deny":
            self._refuse(number, wanted, judged, Refusal(decision.why, decision.rules, decision.hint), stop)
        elif decision.verdict == "hold":
            held = operations.held(self._redacted(wanted), decision, self._session, self._context())
            self.asks.append(Ask(number, wanted, go, stop, held, tell, channel))
            fields = operations.event(
                operations.frame(number, self._redacted(wanted), decision, "hold"), "hint", "observed"
            )
            self._route.event("operation.held", fields)
        else:
            self._pass(number, wanted, judged, None, go, stop)

    def follow(self, granted: Granted, wanted: Wanted, go: Go, stop: Stop) -> None:
        """Something comes of what was permitted before, and is an operation of its own: judged by the rules of now, and not held.

        @param granted: what it comes of.
        """
        number = self._route.next_operation()
        judged = self._judge(wanted.operation)
        decision = judged.decision
        try:
            self._route.gate()
        except Unavailable as error:
            self._refuse(number, wanted, judged, Refusal.of(error), stop)
            return
        if decision.verdict == "hold" and granted.approval is None:
            why = "it is held for approval since the rules changed, and nobody has approved it: ask for it again"
            self._refuse(number, wanted, judged, Refusal(why, decision.rules, decision.hint), stop)
        elif decision.verdict == "deny":
            self._refuse(number, wanted, judged, Refusal(decision.why, decision.rules, decision.hint), stop)
        else:
            self._pass(number, wanted, judged, None, go, stop)

    def _passes(self) -> bool:
        try:
            self._route.gate()
        except Unavailable:
            return False
        return True

    def judged(self, operation: Operation) -> Decision:
        """What policy says of C{operation}, which is not forwarded: nothing is recorded."""
        return self._judge(operation).decision

    def refuse(self, wanted: Wanted, refusal: Refusal, stop: Stop) -> None:
        """C{wanted} does not run, whatever policy says of it: that is on record."""
        self._refuse(self._route.next_operation(), wanted, self._judge(wanted.operation), refusal, stop)

    def released(self, ask: Ask, approval: str | None) -> None:
        """C{ask} is answered with yes. @param approval: it was claimed under this; None: break glass, or the disk"""
        if ask.answered:
            return
        ask.answered = True
        if ask.granted is not None:
            ask.go(ask.granted)
            return
        judged = self._judge(ask.wanted.operation)
        if judged.decision.verdict == "deny":
            # policy changed while people decided
            refusal = Refusal(judged.decision.why, judged.decision.rules, judged.decision.hint)
            if approval is not None:
                self._route.settle(approval, "failed", refusal.why)
            self._refuse(ask.number, ask.wanted, judged, refusal, ask.stop)
            return
        self._pass(ask.number, ask.wanted, judged, approval, ask.go, ask.stop, True)

    def refused(self, ask: Ask, error: BaseException) -> None:
        """C{ask} is answered with no."""
        if ask.answered:
            return
        ask.answered = True
        refusal = Refusal.of(error)
        if ask.granted is not None:
            # it is on record, and not on disk: it must not run
            if ask.granted.approval is not None:
                self._route.settle(ask.granted.approval, "failed", refusal.why)
            ask.stop(refusal)
            return
        self._refuse(ask.number, ask.wanted, self._judge(ask.wanted.operation), refusal, ask.stop)

    def _pass(
        self,
        number: int,
        wanted: Wanted,
        judged: Judged,
        approval: str | None,
        go: Go,
        stop: Stop,
        held: bool = False,
    ) -> None:
        decision = judged.decision
        masks, would = self._masks(wanted)
        frame = operations.frame(
            number,
            self._redacted(wanted),
            decision,
            "hold" if approval else "allow",
            None,
            approval,
            judged.opening,
            masks,
            would,
        )
        self._route.record("operation", frame)
        self._loud(judged, "hold" if approval else "allow", frame)
        self._route.operations += 1
        self._route.event("operation.allowed", operations.event(frame, "why", "hint"))
        granted = Granted(number, approval, decision, wanted)
        if self._route.durable(wanted.operation.classes, held):
            self.asks.append(Ask(number, wanted, go, stop, granted=granted))
        else:
            go(granted)

    def _refuse(self, number: int, wanted: Wanted, judged: Judged, refusal: Refusal, stop: Stop) -> None:
        frame = operations.frame(number, self._redacted(wanted), judged.decision, "deny", refusal, None, judged.opening)
        self._route.record("operation", frame)
        self._loud(judged, "deny", frame)
        self._route.denied += 1
        self._route.event("operation.denied", operations.event(frame, "observed", "approval"))
        stop(refusal)

    def shown(self, raw: bytes) -> str:
        """C{raw} as it may be recorded and logged."""
        return operations.short(operations.scanned(operations.shown(raw), self._scanner))

    @property
    def _scanner(self) -> Callable[[bytes], bytes]:
        return _same if self.viewing is None else self.viewing.redacted

    def _redacted(self, wanted: Wanted) -> Wanted:
        """C{wanted} as it may be recorded, logged, and shown to approvers."""
        return operations.redacted(wanted, self._scanner)

    def _masks(self, wanted: Wanted) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Rules of masks that the output of C{wanted} is under, and would be under."""
        if self.viewing is None or not unmaskable.shows(wanted.operation):
            return (), ()
        return self.viewing.rules(), self.viewing.would()

    def _loud(self, judged: Judged, verdict: str, frame: dict[str, Any]) -> None:
        opening = judged.opening
        if opening is None:
            return
        told = {name: frame[name] for name in ("operation", "rules", "classes", "objects", "text", "reason")}
        told |= {"use": opening.id, "rule": opening.rule, "act": opening.act, "decision": verdict}
        self._route.event("break-glass.operation", told)


def _same(text: bytes) -> bytes:
    return text
