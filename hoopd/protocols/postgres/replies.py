"""The server's half of a session: what each of its messages answers, and what of it the client may see.

Pure: it appends to the state's outputs. The order of replies is the server's; what is expected is a queue. What does
not fit is the target's fault and ends the session, because a reply that is matched to the wrong statement is a leak.
Specification: PostgreSQL documentation, "Message Flow".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hoopd.errors import PeerError, TargetError
from hoopd.protocols.postgres import backend, withhold
from hoopd.protocols.postgres.backend import Column
from hoopd.protocols.postgres.bounds import told
from hoopd.protocols.postgres.codec import HEADER_SIZE
from hoopd.protocols.postgres.errors import response
from hoopd.protocols.postgres.frontend import Parse
from hoopd.protocols.postgres.judgement import Judgement
from hoopd.protocols.postgres.results import Results
from hoopd.protocols.postgres.session import POISON, POISON_NAME, AskRefresh, Expected, Run
from hoopd.protocols.postgres.state import State
from hoopd.protocols.postgres.wrap import Wraps
from hoopd.sql.counting import counted, counting

_TEXT = 25


def _shown(expected: Expected) -> tuple[Column, ...]:
    """The columns of SHOW of one of our own settings, answered by ourselves."""
    name = expected.judgement.setting if expected.judgement is not None else "hoopd.reason"
    return (Column(name.encode(), 0, 0, _TEXT),)


class Replies:
    """One session's server half."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.results = Results(state)
        self._wraps = Wraps(state, self.results, self._record_error)

    def treat(self, kind: int, buffer: bytes, at: int, end: int) -> None:
        """Treat one message that is neither DataRow nor CopyData. @raise TargetError"""
        method = _METHODS.get(kind)
        if method is None:
            raise TargetError(f"the target sent a message that is not expected: {bytes((kind,))!r}")
        try:
            method(self, buffer, at, end)
        except PeerError as error:
            raise TargetError(f"the target broke the protocol: {error}") from None

    # -- rows --------------------------------------------------------------------------------------------------

    def streams(self) -> bool:
        """Whether a DataRow that is not wholly here may pass in pieces."""
        return not self._head("query", "execute").muted and self.results.streams(self._running())

    def rows(self, buffer: bytes, at: int, stop: int, count: int) -> None:
        """C{count} whole DataRow messages from C{at} to C{stop}."""
        expected = self._head("query", "execute")
        octets = self.results.rows(self._running(), buffer, at, stop, count)
        if octets:
            self._tell(expected, octets)

    # -- what completes ----------------------------------------------------------------------------------------

    def _completed(self, kind: str, octets: bytes) -> None:
        expected = self._head(kind)
        self.state.fifo.popleft()
        if expected.change is not None:
            expected.change.settle(True)
        self._tell(expected, octets)

    def _parse_complete(self, buffer: bytes, at: int, end: int) -> None:
        self._completed("parse", buffer[at:end])

    def _bind_complete(self, buffer: bytes, at: int, end: int) -> None:
        self._completed("bind", buffer[at:end])

    def _close_complete(self, buffer: bytes, at: int, end: int) -> None:
        self._completed("close", buffer[at:end])

    def _parameters(self, buffer: bytes, at: int, end: int) -> None:
        self._tell(self._head("describe"), buffer[at:end])

    def _row_description(self, buffer: bytes, at: int, end: int) -> None:
        state = self.state
        columns = backend.parse_row_description(buffer[at + HEADER_SIZE : end])
        expected = self._head("describe", "query")
        if expected.kind == "query":
            run = self._running()
            run.formats = ()
            self.results.prepare(run, columns)
            self._tell(expected, buffer[at:end])
            return
        state.fifo.popleft()
        self._described(expected, columns)
        self._tell(expected, buffer[at:end])

    def _described(self, expected: Expected, columns: tuple[Column, ...]) -> None:
        prepared, portal = expected.prepared, expected.portal
        if portal is not None:
            portal.columns = columns
            prepared = portal.prepared
        if prepared is not None:
            prepared.columns, prepared.described = columns, expected.judgement

    def _no_data(self, buffer: bytes, at: int, end: int) -> None:
        expected = self._head("describe")
        self.state.fifo.popleft()
        if expected.own == "show":
            self._tell(expected, backend.row_description(_shown(expected)))
            return
        self._described(expected, ())
        self._tell(expected, buffer[at:end])

    def _command_complete(self, buffer: bytes, at: int, end: int) -> None:
        expected = self._head("query", "execute")
        tag = buffer[at + HEADER_SIZE : end - 1].decode("utf-8", "replace")
        if expected.swallow and expected.wrap is not None:
            expected.wrap.tag = tag
            return
        run = self._running()
        if expected.refusal is not None:
            raise TargetError("the target ran what it cannot parse")
        self.results.finish(run, tag, "executed")
        self.state.moved(run, tag)
        if expected.kind == "query":
            self._next(expected)
            if expected.wrap is not None:
                self._tell(expected, self._wraps.completed(expected.wrap, run, tag, buffer[at:end]))
            elif run.cut:
                self._limit_error(expected, run)
                expected.muted = True
            else:
                self._tell(expected, buffer[at:end])
            return
        self.state.fifo.popleft()
        if run.bounds.changes is not None and run.judged is not None:
            run.touched = counted(tag) if counting(run.judged.statement)[0] == "changed" else 0
            if run.touched > run.bounds.changes:
                self.results.passed(run, "changes")
        self._ended(run, buffer[at:end])

    def _ended(self, run: Run, octets: bytes) -> None:
        """An Execute ended well."""
        state = self.state
        state.barrier = False
        if not run.cut:
            state.to_client.append(octets)
            return
        # a bound was passed, and nobody interrupted it, or too late: the server must fail all the same, or it would be
        # kept, and what the client sent behind would run although it was told of an error
        refusal = told(run.bounds, run.over, run.touched)
        state.fifo.appendleft(Expected("parse", run.operation, refusal=refusal))
        state.to_target.append(Parse(POISON_NAME, POISON).encode())

    def _function_result(self, buffer: bytes, at: int, end: int) -> None:
        expected = self._head("query")
        if not expected.called or not expected.runs:
            raise TargetError("the target sent the result of a function that was not called")
        run = expected.runs.popleft()
        value = self.results.function_result(run, backend.parse_function_result(buffer[at + HEADER_SIZE : end]))
        self.results.finish(run, "FUNCTION", "executed")
        self._tell(expected, backend.function_result(value))

    def _suspended(self, buffer: bytes, at: int, end: int) -> None:
        self._head("execute")
        run = self._running()
        self.state.fifo.popleft()
        if run.portal is not None:
            run.portal.begun = True
        self.results.finish(run, "suspended", "executed")
        if run.bounds.changes is not None:
            # it has changed all that it changes, and says how much only when the last row is fetched
            self.results.passed(run, "parts")
        self._ended(run, buffer[at:end])

    def _empty_query(self, buffer: bytes, at: int, end: int) -> None:
        expected = self._head("query", "execute")
        if expected.kind == "execute":
            self.state.fifo.popleft()
            self.state.barrier = False
        if not expected.own:
            while expected.runs:
                self.results.finish(expected.runs[0], "", "executed")
                expected.runs.popleft()
            self._tell(expected, buffer[at:end])
            return
        if expected.own == "show":
            if expected.kind == "query":
                self._tell(expected, backend.row_description(_shown(expected)))
            self._tell(expected, backend.data_row((expected.own_value.encode(),)))
        self._tell(expected, backend.command_complete(expected.own.upper()))

    def _ready(self, buffer: bytes, at: int, end: int) -> None:
        state = self.state
        if end - at != 6 or buffer[at + 5 : end] not in (b"I", b"T", b"E"):
            raise TargetError("the target broke the protocol: ReadyForQuery")
        expected = self._head("query", "sync")
        state.fifo.popleft()
        state.status = buffer[at + 5 : end]
        state.copy_in = None
        if expected.kind == "query":
            state.barrier = False
            for run in expected.runs:
                self.results.not_run(run)
        state.settle("executed")
        if state.status == b"I":
            state.transaction_over(not state.failed and (expected.wrap is None or expected.wrap.commit))
            state.touched = False
        octets = buffer[at:end]
        if expected.wrap is not None:
            octets = self._wraps.ready(expected.wrap, state.status, octets)
        if state.status == b"I" and state.uncertain and not state.fifo:
            self._definitions_changed()
        state.failed = False
        if octets:
            state.to_client.append(octets)

    def _definitions_changed(self) -> None:
        state = self.state
        # who sees everything need not wait for the new catalogue; who has masks is judged by it and nothing else
        waiting = bool(state.judge.masks())
        state.uncertain = False
        state.stale = waiting
        state.asks.append(AskRefresh(waiting))

    # -- errors and what comes unasked ---------------------------------------------------------------------------

    def _error(self, buffer: bytes, at: int, end: int) -> None:
        state = self.state
        payload = buffer[at + HEADER_SIZE : end]
        fields = backend.parse_error(payload)
        code = fields.get("C", b"").decode("ascii", "replace")
        state.copy_in = None
        state.barrier = False
        state.failed = True
        if not state.fifo:
            self._pass_error(payload, None, 0)
            return
        head = state.fifo[0]
        run = head.runs[0] if head.runs else None
        # whatever came before it in an implicit transaction is rolled back with it
        state.settle("failed", f"rolled back: {head.refusal.why if head.refusal is not None else code}")
        if head.refusal is not None and code == "42601":
            told = response(head.refusal)
            self._record_error(head.operation, head.refusal.sqlstate, head.refusal.why, "gateway")
            if not head.muted:
                state.to_client.append(told)
        elif run is not None and (run.cut or (run.over and code == "57014")):
            if head.wrap is not None:
                head.wrap.over, head.muted = run.over, True
            else:
                self._limit_error(head, run)
        elif not head.muted:
            self._pass_error(payload, head, head.operation)
        if run is not None:
            self.results.finish(run, "", "failed", code)
            head.runs.popleft()
        if head.wrap is not None:
            head.wrap.failed = code
        if head.kind in ("query", "sync"):
            return
        self._skip_to_sync()

    def _skip_to_sync(self) -> None:
        """The server reads no more until Sync: what was sent since is not answered and changes nothing."""
        state = self.state
        while state.fifo and state.fifo[0].kind != "sync":
            expected = state.fifo.popleft()
            if expected.change is not None:
                expected.change.settle(False)
            for run in expected.runs:
                self.results.not_run(run)
        if not state.fifo:
            state.skipping = True

    def _pass_error(self, payload: bytes, head: Expected | None, operation: int) -> None:
        state = self.state
        if self._withheld(head):
            payload = withhold.scrubbed(payload)
        recorded = self._recorded(payload, head)
        detect = state.judge.detectors()
        if detect:
            payload = withhold.scanned(payload, state.masker().scanner(detect))
        code = recorded.get("C", b"").decode("ascii", "replace")
        text = recorded.get("M", b"").decode("utf-8", "replace")
        self._record_error(operation, code, text, "target", recorded.get("S", b"ERROR").decode("utf-8", "replace"))
        state.to_client.append(backend.message(backend.ERROR, payload))

    def _recorded(self, payload: bytes, head: Expected | None) -> Mapping[str, bytes]:
        """An error's or notice's fields as they are recorded."""
        detect = self.state.judge.record_detectors()
        if self._record_withheld(head):
            payload = withhold.scrubbed(payload)
        if detect:
            payload = withhold.scanned(payload, self.state.masker().scanner(detect))
        return backend.parse_error(payload)

    def _record_error(self, operation: int, code: str, text: str, source: str, severity: str = "ERROR") -> None:
        fields = {"operation": operation, "severity": severity, "code": code, "text": text, "from": source}
        self.state.route.record("error", fields)

    def _withheld(self, head: Expected | None) -> bool:
        """Whether a text of the server may quote what is masked for this identity."""
        judgement = self._judgement(head)
        if judgement is None:
            return bool(self.state.judge.masks()) and (head is None or self.state.touched)
        return any(each.masked for each in judgement.statements) or self._late(judgement)

    def _late(self, judgement: Judgement) -> bool:
        """Whether what fails may be of another statement: a constraint that waits for the end of the transaction."""
        return self.state.touched and "transaction" in judgement.classes

    def _record_withheld(self, head: Expected | None) -> bool:
        judgement = self._judgement(head)
        if judgement is None:
            return bool(self.state.judge.record_masks()) and (head is None or self.state.touched)
        return any(not each.record_plan.untouched for each in judgement.statements) or self._late(judgement)

    @staticmethod
    def _judgement(head: Expected | None) -> Judgement | None:
        return head.judgement if head is not None else None

    def _notice(self, buffer: bytes, at: int, end: int) -> None:
        state = self.state
        head = state.fifo[0] if state.fifo else None
        payload = buffer[at + HEADER_SIZE : end]
        recorded = self._recorded(payload, head)
        shown = {name: recorded.get(code, b"").decode("utf-8", "replace") for code, name in _NOTICE_FIELDS.items()}
        state.route.record("notice", {"operation": head.operation if head is not None else 0, **shown})
        if head is not None and head.muted:
            return
        detect = state.judge.detectors()
        if self._withheld(head):
            payload = withhold.scrubbed(payload)
        if detect:
            payload = withhold.scanned(payload, state.masker().scanner(detect))
        state.to_client.append(backend.message(backend.NOTICE, payload))

    def _notification(self, buffer: bytes, at: int, end: int) -> None:
        state = self.state
        if state.judge.masks():
            state.to_client.append(withhold.notification(buffer[at + HEADER_SIZE : end]))
        elif detect := state.judge.detectors():
            scanner = state.masker().scanner(detect)
            state.to_client.append(withhold.scanned_notification(buffer[at + HEADER_SIZE : end], scanner))
        else:
            state.to_client.append(buffer[at:end])

    def _parameter_status(self, buffer: bytes, at: int, end: int) -> None:
        state = self.state
        name, value = backend.parse_parameter_status(buffer[at + HEADER_SIZE : end])
        state.parameter(name, value)
        head = state.fifo[0] if state.fifo else None
        if not self._withheld(head) or name in (b"client_encoding", b"standard_conforming_strings"):
            state.to_client.append(buffer[at:end])

    # -- COPY --------------------------------------------------------------------------------------------------

    def _copy_in(self, buffer: bytes, at: int, end: int) -> None:
        state = self.state
        expected = self._head("query", "execute")
        run = self._running()
        if run.judged is not None and "copy-in" not in run.judged.statement.classes:
            raise TargetError("the target asks for COPY input that no statement announced")
        state.copy_in = run
        if expected.kind == "execute":
            state.barrier = False
            # a Sync that was sent along before is read and ignored by the COPY
            while len(state.fifo) > 1 and state.fifo[1].kind == "sync":
                del state.fifo[1]
        self._tell(expected, buffer[at:end])

    def _copy_out(self, buffer: bytes, at: int, end: int) -> None:
        expected = self._head("query", "execute")
        columns, binary = backend.parse_copy_response(buffer[at + HEADER_SIZE : end])
        self.results.copy_begins(self._running(), columns, binary)
        self._tell(expected, buffer[at:end])

    def copy_data(self, buffer: bytes, at: int, stop: int, count: int) -> None:
        """C{count} whole CopyData messages from C{at} to C{stop}."""
        expected = self._head("query", "execute")
        octets = self.results.copy_lines(self._running(), buffer, at, stop, count)
        if octets:
            self._tell(expected, octets)

    def _copy_done(self, buffer: bytes, at: int, end: int) -> None:
        expected = self._head("query", "execute")
        run = self._running()
        run.copying = False
        if not run.cut:
            self._tell(expected, buffer[at:end])

    # -- what they share ---------------------------------------------------------------------------------------

    def _head(self, *kinds: str) -> Expected:
        fifo = self.state.fifo
        if not fifo or fifo[0].kind not in kinds:
            waited = fifo[0].kind if fifo else "nothing"
            raise TargetError(f"the target broke the protocol: an answer to {kinds[0]} while {waited} is expected")
        return fifo[0]

    def _running(self) -> Run:
        expected = self._head("query", "execute")
        if not expected.runs:
            # more results than statements: nothing is known of it, so all of it is masked
            judgement = expected.judgement
            if judgement is None or judgement.decision.observed is None:
                raise TargetError("the target sent more results than there were statements")
            expected.runs.append(Run(expected.operation, None))
        return expected.runs[0]

    def _next(self, expected: Expected) -> None:
        run = expected.runs.popleft()
        if run.judged is None and not expected.runs:
            expected.runs.append(Run(run.operation, None))
        if expected.runs:
            # a text's statements share their time: the server tells of one's end when the next has output, or has ended
            expected.runs[0].began = run.began
            expected.runs[0].over = "time" if run.over == "time" else ""

    def _tell(self, expected: Expected, octets: bytes) -> None:
        if not expected.swallow and not expected.muted:
            self.state.to_client.append(octets)

    def _limit_error(self, expected: Expected, run: Run) -> None:
        refusal = told(run.bounds, run.over, run.touched)
        self._record_error(run.operation, refusal.sqlstate, refusal.why, "gateway")
        if not expected.muted:
            self.state.to_client.append(response(refusal))


_NOTICE_FIELDS = {"S": "severity", "C": "code", "M": "text"}

_METHODS: dict[int, Callable[[Replies, bytes, int, int], None]] = {
    b"1"[0]: Replies._parse_complete,
    b"2"[0]: Replies._bind_complete,
    b"3"[0]: Replies._close_complete,
    b"t"[0]: Replies._parameters,
    b"T"[0]: Replies._row_description,
    b"n"[0]: Replies._no_data,
    b"C"[0]: Replies._command_complete,
    b"I"[0]: Replies._empty_query,
    b"s"[0]: Replies._suspended,
    b"E"[0]: Replies._error,
    b"Z"[0]: Replies._ready,
    b"S"[0]: Replies._parameter_status,
    b"N"[0]: Replies._notice,
    b"A"[0]: Replies._notification,
    b"G"[0]: Replies._copy_in,
    b"H"[0]: Replies._copy_out,
    b"c"[0]: Replies._copy_done,
    b"V"[0]: Replies._function_result,
}
