"""A simple query under a row ceiling: counted by its command tags before it is kept, or told to be done.

Outside a transaction we begin one, and end it with COMMIT, or with ROLLBACK where it touched more rows than it may; the
client sees what it would see without. In the client's own transaction a query that went too far is followed by one sure
to fail, so that the server itself aborts. Each message is sent when the one before is answered: no statement can
run without the transaction that it needs. In the extended protocol the implicit transaction lasts until Sync, and
L{hoopd.protocols.postgres.replies} does the same before that is passed on.
"""

from __future__ import annotations

from collections.abc import Callable

from hoopd.errors import TargetError
from hoopd.protocols.postgres import bounds, frontend
from hoopd.protocols.postgres.bounds import Bounds
from hoopd.protocols.postgres.errors import response
from hoopd.protocols.postgres.results import Results
from hoopd.protocols.postgres.session import POISON, Expected, Run, Wrap
from hoopd.protocols.postgres.state import State
from hoopd.sql.counting import counted, counting


def begin(state: State, body: Expected, raw: bytes, within: Bounds, approval: str | None) -> None:
    """Send the Query C{raw}, in a transaction. The server owes nothing else now."""
    wrap = Wrap(body, raw, within, approval, own=state.status == b"I")
    state.wrap = body.wrap = wrap
    if wrap.own:
        _send(state, wrap, "begin", b"BEGIN")
    else:
        _body(state, wrap)


def _send(state: State, wrap: Wrap, step: str, text: bytes) -> None:
    wrap.step, wrap.tag = step, ""
    state.expect(Expected("query", wrap.body.operation, swallow=True, judgement=wrap.body.judgement, wrap=wrap))
    state.to_target.append(frontend.query(text))


def _body(state: State, wrap: Wrap) -> None:
    wrap.step = "body"
    for run in wrap.body.runs:
        run.started = state.now()
    state.expect(wrap.body)
    state.to_target.append(wrap.raw)


class Wraps:
    """What the server's answers mean to a wrapped query.

    @param record_error: C{(operation, SQLSTATE, text, source)}
    """

    def __init__(self, state: State, results: Results, record_error: Callable[[int, str, str, str], None]) -> None:
        self.state = state
        self.results = results
        self._record_error = record_error

    def completed(self, wrap: Wrap, run: Run, tag: str, octets: bytes) -> bytes:
        """One statement of it ended well. @return: what the client is told of that now"""
        body = wrap.body
        if run.judged is not None and counting(run.judged.statement)[0] == "changed":
            wrap.touched += counted(tag)
        wrap.done = tag
        if wrap.bounds.changes is not None and wrap.touched > wrap.bounds.changes:
            if not wrap.over:
                wrap.over = "changes"
                self.results.tell_passed(body.operation, wrap.bounds, "changes", touched=wrap.touched)
        elif run.cut:
            # it ended before the cancel came
            wrap.over = run.over
        if wrap.over:
            body.muted = True
            return b""
        if body.runs:
            return octets
        wrap.last = octets
        return b""

    def ready(self, wrap: Wrap, status: bytes, octets: bytes) -> bytes:
        """ReadyForQuery came in the present step. @return: what the client is told now. @raise TargetError"""
        state = self.state
        if wrap.step == "begin":
            if status == b"T":
                _body(state, wrap)
                return b""
            if not wrap.failed:
                raise TargetError("the target did not begin a transaction")
            return self._done(wrap, "failed", f"not run: {wrap.failed}", octets)
        if wrap.step == "body":
            return self._ran(wrap, status, octets)
        if status != b"I":
            raise TargetError("the target did not end a transaction")
        if not wrap.commit:
            return self._undone(wrap, octets)
        if wrap.failed:
            return self._done(wrap, "failed", f"not committed: {wrap.failed}", octets)
        if wrap.tag != "COMMIT":
            raise TargetError("the target did not commit")
        return self._done(wrap, "executed", wrap.done, wrap.last + octets)

    def _ran(self, wrap: Wrap, status: bytes, octets: bytes) -> bytes:
        state = self.state
        gone = bool(wrap.over or wrap.failed)
        if wrap.own:
            if status == b"I":
                raise TargetError("a statement under a row ceiling ended its transaction itself")
            wrap.commit = status == b"T" and not gone
            _send(state, wrap, "end", b"COMMIT" if wrap.commit else b"ROLLBACK")
            return b""
        if not gone:
            return self._done(wrap, "executed", wrap.done, wrap.last + octets)
        if status != b"T":
            return self._undone(wrap, octets)
        refusal = bounds.told(wrap.bounds, wrap.over or "rows", wrap.touched)
        state.expect(Expected("query", wrap.body.operation, refusal=refusal))
        state.to_target.append(frontend.query(POISON))
        return self._done(wrap, "failed", refusal.why, b"")

    def _undone(self, wrap: Wrap, octets: bytes) -> bytes:
        if not wrap.over:
            return self._done(wrap, "failed", wrap.failed, octets)
        refusal = bounds.told(wrap.bounds, wrap.over, wrap.touched)
        self._record_error(wrap.body.operation, refusal.sqlstate, refusal.why, "gateway")
        return self._done(wrap, "failed", refusal.why, response(refusal) + octets)

    def _done(self, wrap: Wrap, outcome: str, detail: str, octets: bytes) -> bytes:
        self.state.wrap = None
        if wrap.approval is not None:
            self.state.route.settle(wrap.approval, outcome, detail)
        return octets
