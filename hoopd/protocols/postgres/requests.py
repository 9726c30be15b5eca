"""The client's half of a session: what each of its messages means, whether it may go on, what goes instead.

Pure: it appends to the state's outputs. A message that cannot be treated yet (a decision, a parse, a reply that must
come first) is left where it is: its method returns False and is called again. Specification: PostgreSQL documentation,
"Extended Query", "Pipelining", "COPY Operations".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from hoopd.display import utc
from hoopd.errors import PeerError
from hoopd.protocols.postgres import calls, frontend, records, wrap
from hoopd.protocols.postgres.bounds import bounds
from hoopd.protocols.postgres.frontend import Bind, Execute, Parse
from hoopd.protocols.postgres.judgement import Judgement, Refusal
from hoopd.protocols.postgres.names import UNSETTLED
from hoopd.protocols.postgres.permission import Outcome, Permission, fetched
from hoopd.protocols.postgres.session import (
    POISON,
    POISON_NAME,
    AskBreakGlass,
    AskEnd,
    Expected,
    Glass,
    Portal,
    Prepared,
    Run,
)
from hoopd.protocols.postgres.startup import check_reason, check_wait
from hoopd.protocols.postgres.state import TOGETHER, State

#: what may come while a COPY reads from the client: anything else would be taken by the server as part of it
_DURING_COPY = frozenset(b"dcfHSX")


class Requests:
    """One session's client half."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._permission = Permission(state)

    def treat(self, kind: int, buffer: bytes, at: int, end: int) -> bool:
        """Treat the message C{buffer[at:end]}. @return: False if it cannot be treated yet. @raise PeerError"""
        state = self.state
        if state.occupied:
            return False
        if state.copy_in is not None and kind not in _DURING_COPY:
            raise PeerError("a COPY reads from the client: only its data may come")
        return _METHODS[kind](self, buffer, at, end)

    # -- simple protocol ---------------------------------------------------------------------------------------

    def _query(self, buffer: bytes, at: int, end: int) -> bool:
        state = self.state
        text = frontend.parse_query(buffer[at + 5 : end])
        if state.skipping:
            return True  # the server would skip it as well
        if (state.uncertain and state.fifo) or state.unsettled:
            # definitions, settings or names change: what they are then is known when it has answered
            return self._permission.after_replies()
        judgement = state.judged(text, ())
        if judgement is None:
            return False
        if judgement.own:
            if not self._glass(judgement):
                return False
            refused = self._own(judgement)
            if refused is not None:
                self._refuse_query(state.route.next_operation(), judgement, refused)
                return True
            state.expect(Expected("query", own=judgement.own, own_value=self._shown(judgement), judgement=judgement))
            state.to_target.append(frontend.query(b""))
            return True
        if state.fifo and bounds(judgement).atomic:
            return self._permission.after_replies()  # whether it needs a transaction is known when all is answered
        outcome = self._permission.ask(judgement, None, text)
        if outcome is None:
            return False
        # the server drops both at the start of a simple query, before it parses it
        state.statements.forget(b"")
        state.portals.forget(b"")
        judgement, number, refusal = outcome.judgement, outcome.operation, outcome.refusal
        if refusal is not None:
            self._refuse_query(number, judgement, refusal)
            return True
        self._permission.record(number, judgement, None, outcome.approval)
        self._forward_query(outcome, buffer[at:end])
        return True

    def _forward_query(self, outcome: Outcome, raw: bytes) -> None:
        state, judgement, number = self.state, outcome.judgement, outcome.operation
        expected = Expected("query", number, judgement=judgement)
        within = bounds(judgement, outcome.ceiling, outcome.approval or "")
        cursor = fetched(judgement)
        if cursor is not None:
            within = within.within(cursor.bounds)
        # what is rolled back may be settled only then
        approval = None if within.atomic else outcome.approval
        loud = judgement.opening is not None
        expected.runs = deque(
            Run(number, each, approval=approval, bounds=within, started=state.now(), loud=loud)
            for each in judgement.statements
        )
        if not expected.runs:
            expected.runs.append(Run(number, None, approval=approval, bounds=within, started=state.now()))
        if within.atomic:
            wrap.begin(state, expected, raw, within, outcome.approval)
        else:
            state.expect(expected)
            state.to_target.append(raw)
        self._permission.follow(judgement, expected)

    def _refuse_query(self, number: int, judgement: Judgement, refusal: Refusal, bind: Bind | None = None) -> None:
        state = self.state
        self._permission.record(number, judgement, bind, None, refusal)
        state.expect(Expected("query", number, refusal=refusal))
        state.to_target.append(frontend.query(POISON))

    def _function_call(self, buffer: bytes, at: int, end: int) -> bool:
        state = self.state
        if state.skipping:
            return True
        if (state.uncertain and state.fifo) or state.unsettled:
            return self._permission.after_replies()
        call = frontend.parse_function_call(buffer[at + 5 : end])
        text = calls.statement(call)
        if text is None:
            refusal = Refusal(
                "42501",
                "only the server's large-object functions may be called by message",
                hint="Use SELECT function(…).",
            )
            self._refuse_unread(b"F"[0], f"FunctionCall of the function with oid {call.function}", refusal)
            return True
        judgement = state.judged(text, ())
        if judgement is None:
            return False
        portal = Portal(Prepared(text, (), b""), calls.bound(call))
        outcome = self._permission.ask(judgement, portal, text)
        if outcome is None:
            return False
        judgement, number, approval = outcome.judgement, outcome.operation, outcome.approval
        if outcome.refusal is not None:
            self._refuse_query(number, judgement, outcome.refusal, portal.bind)
            return True
        self._permission.record(number, judgement, portal.bind, approval)
        expected = Expected("query", number, judgement=judgement, called=True)
        run = Run(number, judgement.statements[0], portal, approval, started=state.now())
        run.formats, run.loud = portal.bind.results, judgement.opening is not None
        expected.runs.append(run)
        state.expect(expected)
        state.to_target.append(buffer[at:end])
        self._permission.follow(judgement, expected)
        return True

    def too_long(self, kind: int, length: int) -> bool:
        """A message that was too long to be read has gone by. @return: False if its refusal cannot be told yet."""
        state = self.state
        if state.occupied:
            return False
        if state.copy_in is not None:
            raise PeerError("a COPY reads from the client: only its data may come")
        if not state.skipping:
            why = f"a message of {length} bytes is too long to be judged (at most {state.limits.message})"
            refusal = Refusal("54000", why, hint="Use COPY for bulk; the operators set max_message.")
            self._refuse_unread(kind, f"({chr(kind)} message of {length} bytes, not read)", refusal)
        return True

    def _refuse_unread(self, kind: int, text: str, refusal: Refusal) -> None:
        state = self.state
        number = state.route.next_operation()
        frame = {"operation": number, "text": text, "decision": "deny", "why": refusal.why, "rules": []}
        state.route.record("operation", frame)
        state.route.event("operation.denied", records.event(frame))
        state.route.denied += 1
        if kind in b"QF":
            # a Query ends as a FunctionCall does: error, then ReadyForQuery
            state.expect(Expected("query", number, refusal=refusal))
            state.to_target.append(frontend.query(POISON))
        else:
            self._poison(Expected("parse", number, refusal=refusal))

    # -- extended protocol -------------------------------------------------------------------------------------

    def _parse(self, buffer: bytes, at: int, end: int) -> bool:
        state = self.state
        parse = frontend.parse_parse(buffer[at + 5 : end])
        if state.skipping:
            return True
        if state.unsettled:
            return self._permission.after_replies()
        judgement = state.judged(parse.text, parse.types)
        if judgement is None:
            return False
        refusal = state.judge.hopeless(judgement)
        if refusal is None and state.statements.full:
            refusal = Refusal("54000", "too many prepared statements in one session", hint="Close those not used.")
        if refusal is not None:
            number = state.route.next_operation()
            self._permission.record(number, judgement, None, None, refusal)
            state.expect(Expected("parse", number, refusal=refusal))
            state.to_target.append(Parse(parse.name, POISON).encode())
            return True
        prepared = Prepared(parse.text, parse.types, parse.name, bool(judgement.own))
        change = state.statements.propose(parse.name, prepared, state.segment)
        state.expect(Expected("parse", change=change, judgement=judgement))
        state.to_target.append(Parse(parse.name, b"").encode() if judgement.own else buffer[at:end])
        return True

    def _bind(self, buffer: bytes, at: int, end: int) -> bool:
        state = self.state
        bind = frontend.parse_bind(buffer[at + 5 : end])
        if state.skipping:
            return True
        if state.unsettled:
            return self._permission.after_replies()
        prepared = state.statements.find(bind.statement, state.segment)
        if prepared is UNSETTLED:
            return self._permission.after_replies()
        if prepared is None:
            self._unknown("26000", "prepared statement", bind.statement)
            return True
        if state.portals.full:
            self._poison(Expected("bind", refusal=Refusal("54000", "too many portals in one transaction")))
            return True
        # the server plans it now, and computes what is constant: errors of both may quote values
        portal = Portal(prepared, bind, settings=state.settings())
        judgement = state.judged(prepared.text, prepared.types, prepared.inner, portal.settings)
        if judgement is None:
            return False
        change = state.portals.propose(bind.portal, portal, state.segment)
        state.expect(Expected("bind", change=change, judgement=judgement))
        state.to_target.append(buffer[at:end])
        return True

    def _describe(self, buffer: bytes, at: int, end: int) -> bool:
        state = self.state
        named = frontend.parse_named(buffer[at + 5 : end], "Describe")
        if state.skipping:
            return True
        if state.unsettled:
            return self._permission.after_replies()
        expected, under = Expected("describe"), None
        if named.kind == b"S":
            prepared = state.statements.find(named.name, state.segment)
            if prepared is UNSETTLED:
                return self._permission.after_replies()
            expected.prepared = prepared
        else:
            portal = state.portals.find(named.name, state.segment)
            if portal is UNSETTLED:
                return self._permission.after_replies()
            if portal is not None:
                portal.describing = state.segment
                expected.portal, prepared = portal, portal.prepared
                expected.formats = portal.bind.results
                under = portal.settings
            else:
                prepared = None
        if prepared is not None:
            judgement = state.judged(prepared.text, prepared.types, prepared.inner, under)
            if judgement is None:
                return False
            expected.judgement, expected.own = judgement, judgement.own
            expected.own_value = self._shown(judgement)
        state.expect(expected)
        state.to_target.append(buffer[at:end])
        return True

    def _execute(self, buffer: bytes, at: int, end: int) -> bool:
        state = self.state
        execute = frontend.parse_execute(buffer[at + 5 : end])
        if state.skipping:
            return True
        if state.unsettled:
            return self._permission.after_replies()
        portal = state.portals.find(execute.portal, state.segment)
        if portal is UNSETTLED:
            return self._permission.after_replies()
        if portal is None:
            self._unknown("34000", "portal", execute.portal)
            return True
        prepared = portal.prepared
        judgement = state.judged(prepared.text, prepared.types, prepared.inner, portal.settings)
        if judgement is None:
            return False
        if bool(judgement.own) != prepared.own:
            self._poison(Expected("execute", refusal=Refusal("42501", "the statement means something else now")))
            return True
        if prepared.own:
            if not self._glass(judgement):
                return False
            refused = self._own(judgement)
            if refused is not None:
                self._poison(Expected("execute", refusal=refused))
                return True
            state.expect(Expected("execute", own=judgement.own, own_value=self._shown(judgement), judgement=judgement))
            state.to_target.append(buffer[at:end])
            return True
        timed = judgement.decision.limits.max_time is not None
        if timed and (len(state.fifo) >= TOGETHER or any(each.runs for each in state.fifo)):
            return self._permission.after_replies()  # its time begins when its turn comes
        outcome = self._permission.ask(judgement, portal, prepared.text)
        if outcome is None:
            return False
        if outcome.refusal is not None:
            self._permission.record(outcome.operation, outcome.judgement, portal.bind, None, outcome.refusal)
            self._poison(Expected("execute", outcome.operation, refusal=outcome.refusal))
            return True
        self._forward_execute(outcome, portal, execute, buffer[at:end])
        return True

    def _forward_execute(self, outcome: Outcome, portal: Portal, execute: Execute, raw: bytes) -> None:
        state, judgement, number, approval = self.state, outcome.judgement, outcome.operation, outcome.approval
        self._permission.record(number, judgement, portal.bind, approval)
        judged = judgement.statements[0] if judgement.statements else None
        if not portal.begun:
            portal.bounds = bounds(judgement, outcome.ceiling, approval or "")
        run = Run(number, judged, portal, approval, portal.bounds)
        run.formats, run.started, run.loud = portal.bind.results, state.now(), judgement.opening is not None
        prepared = portal.prepared
        if portal.columns is None and prepared.described is judgement:
            portal.columns = prepared.columns
        if _needs_columns(run) and portal.columns is None and portal.describing != state.segment:
            # drivers execute what they described long ago: the plan of masks needs the columns as they are now
            described = Expected("describe", number, swallow=True, prepared=prepared, portal=portal)
            described.judgement = judgement
            state.expect(described)
            state.to_target.append(frontend.describe(b"P", execute.portal))
        expected = Expected("execute", number, judgement=judgement, portal=portal)
        expected.runs.append(run)
        state.expect(expected)
        state.to_target.append(raw)
        state.segment_executes += 1
        if run.bounds.any:
            # what follows must not run if a limit cuts this one, and nothing commits it before its rows are counted
            state.barrier = True
            state.to_target.append(frontend.FLUSH_MESSAGE)
        self._permission.follow(judgement, expected)

    def _close(self, buffer: bytes, at: int, end: int) -> bool:
        state = self.state
        named = frontend.parse_named(buffer[at + 5 : end], "Close")
        if state.skipping:
            return True
        names: Any = state.statements if named.kind == b"S" else state.portals
        state.expect(Expected("close", change=names.propose(named.name, None, state.segment)))
        state.to_target.append(buffer[at:end])
        return True

    def _flush(self, buffer: bytes, at: int, end: int) -> bool:
        self.state.to_target.append(frontend.FLUSH_MESSAGE)
        return True

    def _sync(self, buffer: bytes, at: int, end: int) -> bool:
        state = self.state
        if state.copy_in is not None:
            return True  # the server ignores it there
        state.skipping = False
        state.segment += 1
        state.segment_executes = 0
        expected = Expected("sync")
        if state.variables.touched or state.unsettled:
            # outside a transaction block it ends what was set in it, or makes it last
            state.moves(expected)
        state.expect(expected)
        state.to_target.append(frontend.SYNC_MESSAGE)
        return True

    # -- COPY --------------------------------------------------------------------------------------------------

    def _copy_data(self, buffer: bytes, at: int, end: int) -> bool:
        state = self.state
        run = state.copy_in
        if run is None:
            # before CopyInResponse it must wait; with nothing running the server would drop it
            return not state.fifo or state.skipping or self._permission.after_replies()
        state.copied(run, buffer[at + 5 : end])
        state.to_target.append(buffer[at:end])
        return True

    def _copy_done(self, buffer: bytes, at: int, end: int) -> bool:
        state = self.state
        if state.copy_in is None:
            return not state.fifo or state.skipping or self._permission.after_replies()
        run, state.copy_in = state.copy_in, None
        state.copy_ended(run)
        state.to_target.append(buffer[at:end])
        if run.bounds.any and state.fifo and state.fifo[0].kind == "execute":
            state.barrier = True
            state.to_target.append(frontend.FLUSH_MESSAGE)
        return True

    def _terminate(self, buffer: bytes, at: int, end: int) -> bool:
        self.state.to_target.append(frontend.TERMINATE_MESSAGE)
        self.state.asks.append(AskEnd("the client closed the session"))
        return True

    # -- what they share ---------------------------------------------------------------------------------------

    def _unknown(self, sqlstate: str, what: str, name: bytes) -> None:
        # as exec_bind_message and exec_execute_message say it
        shown = name.decode("utf-8", "replace")
        why = f'{what} "{shown}" does not exist'
        if not name and sqlstate == "26000":
            why = "unnamed prepared statement does not exist"
        self._poison(
            Expected(
                "bind" if sqlstate == "26000" else "execute",
                refusal=Refusal(sqlstate, why),
            )
        )

    def _poison(self, expected: Expected) -> None:
        """Make the server fail here in its own way, so that its transaction and its skipping stay its own."""
        expected.kind = "parse"
        self.state.expect(expected)
        self.state.to_target.append(Parse(POISON_NAME, POISON).encode())

    def _own(self, judgement: Judgement) -> Refusal | None:
        """SET, RESET and SHOW of the gateway's settings, in whose place the server runs an empty statement."""
        if judgement.own == "show":
            return None
        if judgement.setting == "hoopd.break_glass":
            glass, self.state.glass = self.state.glass, None
            return glass.refusal if glass is not None else None
        value = judgement.reason if judgement.own == "set" else None
        try:
            if judgement.setting == "hoopd.wait":
                self.state.wait = check_wait(value)
            else:
                effect = judgement.analysis.statements[0].effect
                self.state.give_reason(check_reason(value), effect is not None and effect.local)
        except PeerError as error:
            return Refusal("22023", str(error))
        return None

    def _glass(self, judgement: Judgement) -> bool:
        """Have break glass opened or closed, if that is what is asked. @return: False: not answered yet"""
        state = self.state
        if judgement.setting != "hoopd.break_glass" or judgement.own == "show":
            return True
        if state.glass is None:
            if state.fifo:
                return self._permission.after_replies()
            state.glass = Glass()
            state.asks.append(AskBreakGlass(judgement.reason if judgement.own == "set" else None))
        return state.glass.answered

    def _shown(self, judgement: Judgement) -> str:
        if judgement.setting == "hoopd.wait":
            wait = self.state.wait
            return "" if wait is None else f"{wait:g}s" if wait else "ticket"
        if judgement.setting != "hoopd.break_glass":
            return self.state.reason or ""
        opening = self.state.judge.opening()
        return "" if opening is None else f"{opening.id} until {utc(opening.until)}: {opening.reason}"


def _needs_columns(run: Run) -> bool:
    """Whether rows of this run cannot be delivered, or recorded, without knowing their columns."""
    judged = run.judged
    if judged is None or "copy-out" in judged.statement.classes:
        return False
    return judged.opaque


_METHODS: dict[int, Callable[[Requests, bytes, int, int], bool]] = {
    b"Q"[0]: Requests._query,
    b"P"[0]: Requests._parse,
    b"B"[0]: Requests._bind,
    b"D"[0]: Requests._describe,
    b"E"[0]: Requests._execute,
    b"C"[0]: Requests._close,
    b"H"[0]: Requests._flush,
    b"S"[0]: Requests._sync,
    b"F"[0]: Requests._function_call,
    b"d"[0]: Requests._copy_data,
    b"c"[0]: Requests._copy_done,
    b"f"[0]: Requests._copy_done,
    b"X"[0]: Requests._terminate,
}
