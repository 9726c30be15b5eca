"""Whether an operation may be forwarded now, and what is recorded of it first: decide, hold, record.

Pure; the asking of approvers is the adapter's. Not the messages (L{hoopd.protocols.postgres.requests}).
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from attrs import frozen

from hoopd.errors import PeerError, Unavailable
from hoopd.protocols.postgres import frontend, records
from hoopd.protocols.postgres.bounds import guessless, proposed_ceiling, row_ceiling, uncounted, unkeepable
from hoopd.protocols.postgres.errors import refusal as as_refusal
from hoopd.protocols.postgres.frontend import Bind
from hoopd.protocols.postgres.judgement import Judgement, Refusal
from hoopd.protocols.postgres.session import AskEstimate, AskHold, Estimate, Expected, Held, Portal
from hoopd.protocols.postgres.startup import check_reason, check_wait
from hoopd.protocols.postgres.state import State
from hoopd.sql import estimates
from hoopd.values import HeldOperation, Opening

#: what the server's scanner takes for space (scan.l: space)
_SPACE = b" \t\n\r\f\v"
_LINE_END = re.compile(rb"[\n\r]")
_COMMENT = re.compile(rb"/\*|\*/")


@frozen
class Outcome:
    """An operation may be forwarded, under C{approval} if it was held, or is refused.

    @ivar judgement: what it was decided by: the one asked about, with the number of rows where that was asked for.
    @ivar ceiling: rows that it may touch, by its approval.
    """

    judgement: Judgement
    operation: int
    refusal: Refusal | None = None
    approval: str | None = None
    ceiling: int | None = None


class Permission:
    """One session's way from a judgement to a recorded operation."""

    def __init__(self, state: State) -> None:
        self.state = state

    def ask(self, judgement: Judgement, portal: Portal | None, text: bytes) -> Outcome | None:
        """Whether an operation may be forwarded now.

        @return: None while that is not known.
        """
        state = self.state
        if state.held is not None and state.held.state == "asked":
            return None
        if state.estimate is not None and state.estimate.rows is None:
            return None
        outcome = self._outcome(judgement, portal, text)
        if outcome is not None:
            state.held = state.estimate = None
        return outcome

    def _outcome(self, judgement: Judgement, portal: Portal | None, text: bytes) -> Outcome | None:
        state = self.state
        held = state.held
        # rows of what runs already; break glass that was opened since is written down all the same
        begun = (portal is not None and portal.begun) or fetched(judgement) is not None
        begun = begun and not judgement.decision.break_glass
        refusal = state.judge.hopeless(judgement)
        if refusal is None and held is None:
            try:
                state.route.gate()
            except Unavailable as error:
                refusal = as_refusal(error)
        if refusal is None and not begun and asks_rows(judgement):
            if state.fifo:
                # what came before is answered first: drivers need those replies, and its outcome decides on ours
                self.after_replies()
                return None
            ask = question(state, judgement, portal) if state.estimate is None else None
            if ask is not None:
                state.estimate = Estimate()
                state.asks.append(ask)
                return None
            rows = state.estimate.rows if state.estimate is not None else None
            judgement = state.judge.with_rows(judgement, rows or ())
        refusal = refusal or judgement.outright or unkeepable(judgement)
        if held is not None:
            return self._released(judgement, held, refusal)
        waits = judgement.decision.verdict == "hold" or judgement.unreasoned is not None
        if refusal is not None or not waits or begun:
            return Outcome(judgement, state.route.next_operation(), refusal)
        if state.fifo:
            self.after_replies()
            return None
        self._ask_hold(judgement, portal, text)
        return None

    def _released(self, judgement: Judgement, held: Held, refusal: Refusal | None) -> Outcome:
        """People have decided."""
        number = held.operation
        if held.refusal is not None:
            return Outcome(judgement, number, held.refusal)
        ceiling = row_ceiling(judgement, held.ceiling)
        if ceiling is None:
            ceiling = proposed_ceiling(judgement)
        # policy, or what the statement means, may have changed meanwhile
        refusal = refusal or unkeepable(judgement, ceiling) or guessless(judgement, ceiling)
        if refusal is not None:
            self.state.route.settle(held.approval, "failed", refusal.why)
            return Outcome(judgement, number, refusal)
        return Outcome(judgement, number, None, held.approval, ceiling)

    def after_replies(self) -> bool:
        """Have the server answer what it was sent. @return: False: not yet"""
        state = self.state
        if not state.flushed:
            state.to_target.append(frontend.FLUSH_MESSAGE)
            state.flushed = True
        return False

    def _ask_hold(self, judgement: Judgement, portal: Portal | None, text: bytes) -> None:
        """Have people decide. The server owes nothing now."""
        state = self.state
        number = state.route.next_operation()
        in_transaction = state.status != b"I" or state.segment_executes > 0
        bind = portal.bind if portal is not None else None
        held = held_operation(state, judgement, text, bind, in_transaction)
        state.held = Held(number)
        state.asks.append(AskHold(number, held, in_transaction, state.wait))
        if judgement.unreasoned is not None:
            return  # it runs if it was asked for ahead, or is refused
        fields = records.event(records.operation(number, judgement, "hold", state.reason, bind))
        fields.pop("hint", None)
        fields.pop("observed", None)
        state.route.event("operation.held", fields)

    def record(
        self,
        number: int,
        judgement: Judgement,
        bind: Bind | None,
        approval: str | None,
        refusal: Refusal | None = None,
    ) -> None:
        """Write the operation frame; nothing of the operation has been forwarded yet."""
        state = self.state
        # an empty approval is none: break glass let it pass
        verdict = "deny" if refusal is not None else "hold" if approval else "allow"
        approval = approval or None
        frame = records.operation(number, judgement, verdict, state.reason, bind, refusal, approval)
        state.route.gather("operation", frame)
        fields = records.event(frame)
        if judgement.opening is not None:
            self._loud(judgement.opening, verdict, fields)
        if refusal is not None:
            state.route.denied += 1
            fields.pop("observed", None)
            fields.pop("approval", None)
            state.route.event("operation.denied", fields)
            return
        state.route.operations += 1
        fields.pop("why", None)
        fields.pop("hint", None)
        state.route.event("operation.allowed", fields)
        passed = approval is not None or bool(judgement.decision.break_glass)
        if state.route.durable(judgement.classes, passed):
            state.sync_needed = True

    def _loud(self, opening: Opening, verdict: str, fields: dict[str, Any]) -> None:
        wanted = ("operation", "rules", "classes", "objects", "text", "reason")
        told = {name: fields[name] for name in wanted}
        told |= {"use": opening.id, "rule": opening.rule, "act": opening.act, "decision": verdict}
        self.state.route.event("break-glass.operation", told)

    def follow(self, judgement: Judgement, expected: Expected) -> None:
        """What a forwarded text changes in the session, as far as we keep track of it."""
        state = self.state
        for each in judgement.statements:
            statement, effect = each.statement, each.statement.effect
            state.forwarded(statement)
            if "ddl" in statement.classes:
                expected.ddl = state.uncertain = True
            if effect is None:
                continue
            if (effect.kind == "discard" and effect.name == "all") or (effect.kind == "reset" and effect.name is None):
                state.first_reason()
            elif effect.kind in ("commit", "rollback"):
                state.lasting_reason()
            if effect.kind == "temporary":
                state.temporary += 1
            elif state.is_move(effect):
                state.moves(expected)
            elif effect.name == "hoopd.reason" and effect.kind in ("set", "reset"):
                try:
                    state.give_reason(check_reason(effect.value), effect.local)
                except PeerError:
                    state.give_reason(None)  # no reason is better than one that approvers cannot read
            elif effect.name == "hoopd.wait" and effect.kind in ("set", "reset"):
                with suppress(PeerError):  # as long as it was before
                    state.wait = check_wait(effect.value)


def asks_rows(judgement: Judgement) -> bool:
    """Whether the number of rows matters: to the rules, or to people."""
    decision = judgement.decision
    return bool(judgement.statements) and (decision.best is not None or bool(decision.holds))


def question(state: State, judgement: Judgement, portal: Portal | None = None) -> AskEstimate | None:
    """What the target's planner can be asked of an operation, if anything."""
    settings = state.settings()
    types = portal.prepared.types if portal is not None else ()
    statements = [each.statement for each in judgement.statements]
    texts = estimates.explainable(statements, settings, state.catalogue, types)
    if state.uncertain or not any(texts):
        return None
    bind = portal.bind if portal is not None else Bind(b"", b"")
    relations = {each.oid for statement in statements for each in statement.relations}
    return AskEstimate(texts, tuple(relations), settings.search_path, types, bind.formats, bind.values)


def _facts(judgement: Judgement, in_transaction: bool) -> dict[str, Any]:
    """What approvers should know besides, where there is something to know."""
    facts: dict[str, Any] = {}
    if not all(each.statement.facts.get("where", True) for each in judgement.statements):
        facts["where"] = False
    if in_transaction:
        facts["in_transaction"] = True
    if len(judgement.statements) > 1:
        facts["statements"] = len(judgement.statements)
    why = uncounted(judgement)
    if why:
        facts["no_ceiling"] = why
    return facts


def held_operation(
    state: State, judgement: Judgement, text: bytes, bind: Bind | None = None, in_transaction: bool = False
) -> HeldOperation:
    """What an approval is asked for, and bound to.

    The same for a simple query and for an Execute without parameters: drivers differ in that, and it changes nothing.
    """
    values = bind is not None and bind.values
    decision = judgement.decision
    return HeldOperation(
        session=state.session,
        protocol="postgres",
        statement=exact(text),
        parameters=Bind(b"", b"", bind.formats, bind.values).encode() if bind is not None and values else b"",
        context=state.context(judgement.meanings),
        redacted=judgement.redacted,
        classes=tuple(sorted(judgement.classes)),
        objects=judgement.objects,
        reason=state.reason,
        holds=decision.holds,
        policy=decision.policy,
        skipped=decision.skipped,
        break_glass=decision.break_glass,
        unreasoned=judgement.unreasoned,
        estimated_rows=judgement.rows,
        max_rows=proposed_ceiling(judgement),
        facts=_facts(judgement, in_transaction),
    )


def exact(text: bytes) -> bytes:
    """C{text} without what clients add and drop around a statement: space, comments before it, semicolons after it."""
    at = 0
    while True:
        rest = text[at:]
        start = at + len(rest) - len(rest.lstrip(_SPACE))
        if text.startswith(b"--", start):
            line = _LINE_END.search(text, start)
            at = line.end() if line else len(text)
        elif text.startswith(b"/*", start):
            at = _comment_end(text, start)
        else:
            return text[start:].rstrip(_SPACE + b";")


def _comment_end(text: bytes, at: int) -> int:
    depth = 0
    for match in _COMMENT.finditer(text, at):
        depth += 1 if match.group() == b"/*" else -1
        if depth == 0:
            return match.end()
    return len(text)


def fetched(judgement: Judgement) -> Portal | None:
    """The cursor that the text asks for more rows of: it was approved when it was declared."""
    if len(judgement.statements) != 1:
        return None
    source = judgement.statements[0].statement.source
    cursor = source.source if source is not None else None
    return cursor if isinstance(cursor, Portal) and cursor.begun else None
