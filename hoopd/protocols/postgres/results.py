"""The results of one session's statements: rows and COPY output masked, limited, counted and kept for the recording.

Pure: it appends to the state's outputs. Which statement a row belongs to is
L{hoopd.protocols.postgres.replies}' matter; which columns are masked is the plan's (L{hoopd.sql.lineage}).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from hoopd.errors import TargetError
from hoopd.masking.typed import column_masker, text_scanner
from hoopd.protocols.postgres import backend
from hoopd.protocols.postgres.backend import Column
from hoopd.protocols.postgres.bounds import Bounds, Over, told
from hoopd.protocols.postgres.codec import HEADER_SIZE, INT16
from hoopd.protocols.postgres.copied import CopyMasker, CopyScanner
from hoopd.protocols.postgres.rows import Masks, Redact, mask_rows, nothing, pass_over, sample
from hoopd.protocols.postgres.session import AskCancel, AskRefresh, Run
from hoopd.protocols.postgres.state import State
from hoopd.sql.lineage import Field, OutputPlan
from hoopd.values import Mask


class _All(Sequence["Redact | None"]):
    """Every column, however many there are, is masked by the same, wholly if by nothing else."""

    def __init__(self, by: Redact = nothing) -> None:
        self.by = by

    def __len__(self) -> int:
        return 0xFFFF

    def __getitem__(self, number: Any) -> Any:
        return self.by


class _Always(Sequence[int]):
    """One format for all columns, however many there are."""

    def __init__(self, format: int) -> None:
        self._format = format

    def __len__(self) -> int:
        return 0xFFFF

    def __getitem__(self, number: Any) -> Any:
        return self._format


class Results:
    """What becomes of the output of statements."""

    def __init__(self, state: State) -> None:
        self.state = state

    # -- rows --------------------------------------------------------------------------------------------------

    def streams(self, run: Run) -> bool:
        """Whether a row may pass in pieces: nothing in it is looked for."""
        if not run.ready:
            self.prepare(run, None)
        return run.masks is None and not run.bounds.any and run.portal is None and self._kept(run)

    def _kept(self, run: Run) -> bool:
        rows, octets = self._bounds(run)
        return run.kept >= rows or run.kept_octets >= octets

    def _bounds(self, run: Run) -> tuple[int, int]:
        limits = self.state.limits
        return (limits.loud_rows, limits.loud_bytes) if run.loud else (limits.record_rows, limits.record_bytes)

    def rows(self, run: Run, buffer: bytes, at: int, stop: int, count: int) -> bytes:
        """C{count} whole DataRow messages from C{at} to C{stop}. @return: what the client is sent of them"""
        if not run.ready:
            self.prepare(run, None)
        if isinstance(run.masks, _All) or isinstance(run.record_masks, _All):
            self._widen(run, INT16.unpack_from(buffer, at + HEADER_SIZE)[0])
        if run.cut:
            return b""
        if run.limit is not None:
            allowed = self._allowed(run)
            if count > allowed:
                stop, count = self._cut(run, buffer, at, stop, allowed), allowed
        if not count:
            return b""
        if run.masks is None:
            octets = buffer if not at and stop == len(buffer) else buffer[at:stop]
        else:
            octets = mask_rows(buffer, at, stop, run.masks)
        if run.bounds.octets is not None:
            octets, count = self._fitting(run, octets, count)
            stop = pass_over(buffer, at, stop, count)
        self._keep(run, octets, buffer, at, stop)
        run.rows += count
        run.octets += len(octets)
        counted = run.counted
        if counted is not None:
            counted.rows += count
            counted.octets += len(octets)
        return octets

    def _fitting(self, run: Run, octets: bytes, count: int) -> tuple[bytes, int]:
        """What of C{count} messages is within the bound of bytes, whole messages only, and how many they are."""
        sent = run.counted.octets if run.counted is not None else run.octets
        room = (run.bounds.octets or 0) - sent
        if len(octets) <= room:
            return octets, count
        at = fit = 0
        while (end := pass_over(octets, at, len(octets), 1)) <= room:
            at, fit = end, fit + 1
        self.passed(run, "bytes")
        return octets[:at], fit

    @staticmethod
    def _widen(run: Run, width: int) -> None:
        """Nothing is known of the columns but, now, their number."""
        same = run.record_masks is run.masks
        if isinstance(run.masks, _All):
            run.masks = [run.masks.by] * width
        if same:
            run.record_masks = run.masks
        elif isinstance(run.record_masks, _All):
            run.record_masks = [run.record_masks.by] * width

    def _allowed(self, run: Run) -> int:
        counted = run.counted
        seen = counted.rows if counted is not None else run.rows
        return max(0, (run.limit or 0) - seen)

    def _cut(self, run: Run, buffer: bytes, at: int, stop: int, allowed: int) -> int:
        """The row limit is passed. @return: where the rows that may go end"""
        self.passed(run, "rows")
        return pass_over(buffer, at, stop, allowed)

    def passed(self, run: Run, over: Over) -> None:
        """A bound was passed: the server is to stop, and to fail if it has ended."""
        if run.over:
            return
        run.over = over
        run.cut = over != "time"
        if over not in ("changes", "parts"):
            # the statement still runs
            self.state.cancelling = True
            self.state.asks.append(AskCancel())
        self.tell_passed(run.operation, run.bounds, over, run)

    def tell_passed(self, operation: int, bounds: Bounds, over: Over, run: Run | None = None, touched: int = 0) -> None:
        """Record it, and log it."""
        state = self.state
        rows, octets = (run.rows, run.octets) if run is not None else (touched, 0)
        touched = run.touched if run is not None else touched
        refusal = told(bounds, over, touched)
        fields: dict[str, Any] = {"operation": operation, "decision": "deny"}
        fields |= {"rules": list(refusal.rules), "why": refusal.why}
        state.route.record("decision", fields)
        del fields["decision"]
        state.route.event("operation.limited", {**fields, "limit": over, "rows": rows, "bytes": octets})

    def _keep(self, run: Run, octets: bytes, buffer: bytes, at: int, stop: int) -> None:
        """Rows for the recording: as delivered, or masked further where the identity is excepted from a mask."""
        same = run.record_masks is run.masks
        if same:
            if run.digest is None:
                run.digest = hashlib.sha256()
            run.digest.update(octets)
        if self._kept(run):
            return
        wanted = self._bounds(run)[0] - run.kept
        if same:
            kept = sample(octets, 0, len(octets), wanted, None, self._formats(run))
        else:
            kept = sample(buffer, at, stop, wanted, run.record_masks, self._formats(run))
        fields: dict[str, object] = {"operation": run.operation, "rows": kept}
        if not run.named:
            run.named = True
            fields["columns"] = [column.name.decode("utf-8", "replace") for column in run.columns or ()]
            fields["masked"] = [number for number, mask in enumerate(run.record_masks or ()) if mask is not None]
        run.kept += len(kept)
        run.kept_octets += sum(len(value or "") for row in kept for value in row)
        self.state.route.gather("rows", fields)

    @staticmethod
    def _formats(run: Run) -> Sequence[int]:
        if run.portal is None:
            return ()
        if len(run.formats) == 1:
            return run.formats * len(run.columns or ()) or _Always(run.formats[0])
        return run.formats

    # -- masks -------------------------------------------------------------------------------------------------

    def prepare(self, run: Run, columns: tuple[Column, ...] | None) -> None:
        """The columns of a run are known (or never will be): which of them are masked."""
        run.ready = True
        judged, portal = run.judged, run.portal
        if columns is None and portal is not None:
            columns = portal.columns
        run.columns = columns
        if judged is None:
            unknown = self.state.judge.record_masks() or self.state.judge.record_detectors()
            run.record_masks = _All() if unknown else run.masks
            return
        run.masks = self._masks(run, judged.plan, columns, judged.in_force, judged.detect)
        if judged.record_plan is judged.plan and judged.record_detect == judged.detect:
            run.record_masks = run.masks
        else:
            run.record_masks = self._masks(run, judged.record_plan, columns, (), judged.record_detect)

    def _masks(
        self,
        run: Run,
        plan: OutputPlan,
        columns: tuple[Column, ...] | None,
        masks: tuple[Mask, ...],
        detect: tuple[Mask, ...],
    ) -> Masks | None:
        scanner = self.state.masker().scanner(detect) if detect else None
        if columns is None:
            if plan.untouched:
                return None if scanner is None else _All(scanner.whole)
            return _All()
        formats = run.formats
        if len(formats) not in (0, 1, len(columns)):
            raise TargetError("the target described another number of columns than it was asked for")
        each = [formats[number if len(formats) > 1 else 0] if formats else 0 for number in range(len(columns))]
        fields = [
            Field(column.name, column.table_oid, column.attribute, column.type_oid, format)
            for column, format in zip(columns, each, strict=True)
        ]
        chosen = plan.for_fields(fields)
        if plan.untouched and masks:
            chosen = self._drifted(fields, chosen, masks)
        if scanner is None and not any(mask is not None for mask in chosen):
            return None
        masker = self.state.masker()
        made: list[Redact | None] = []
        for mask, field in zip(chosen, fields, strict=True):
            if mask is not None:
                made.append(column_masker(masker, mask, field.type_oid, field.format))
            else:
                made.append(None if scanner is None else text_scanner(scanner, field.type_oid, field.format))
        return made if any(each is not None for each in made) else None

    def _drifted(
        self, fields: list[Field], chosen: tuple[Mask | None, ...], masks: tuple[Mask, ...]
    ) -> tuple[Mask | None, ...]:
        """A table that the catalogue does not know: somebody's DDL has not been seen yet."""
        state = self.state
        found = state.drifted(fields, masks)
        if not any(found):
            return chosen
        state.asks.append(AskRefresh(False))
        return found

    def function_result(self, run: Run, value: bytes | None) -> bytes | None:
        """The value of a function that was called by message, or NULL where it may show what is masked."""
        judged = run.judged
        field = Field(b"", 0, 0, 0, 0)
        if value is not None and judged is not None and judged.plan.for_fields([field])[0] is not None:
            value = None
        if value is not None and judged is not None and judged.detect:
            value = self.state.masker().scanner(judged.detect).whole(value)
        run.rows, run.octets = 1, len(value or b"")
        hashed = judged is not None and judged.record_detect == judged.detect
        if value is not None and judged is not None and hashed and judged.record_plan.for_fields([field])[0] is None:
            # a piece of a large object is counted and hashed, as COPY is
            run.digest = hashlib.sha256(value)
        return value

    # -- COPY --------------------------------------------------------------------------------------------------

    def copy_begins(self, run: Run, columns: int, binary: bool) -> None:
        """CopyOutResponse came."""
        judged = run.judged
        if judged is not None and "copy-out" not in judged.statement.classes:
            raise TargetError("the target sends COPY output that no statement announced")
        run.copying = run.ready = True
        if judged is not None:
            run.copier = self._copy_masker(judged.plan, columns, binary)
            if judged.detect:
                run.copy_scanner = CopyScanner(self.state.masker().scanner(judged.detect), binary)
            same = judged.record_plan is judged.plan and judged.record_detect == judged.detect
            run.record_masks = run.masks if same else _All()
        elif self.state.judge.record_masks() or self.state.judge.record_detectors():
            run.record_masks = _All()

    def _copy_masker(self, plan: OutputPlan, columns: int, binary: bool) -> CopyMasker | None:
        if plan.untouched:
            return None
        copy = plan.copy
        if copy is None:
            raise TargetError("COPY output that cannot be masked was not refused")
        if columns != len(copy.masks) or binary != (copy.format.kind == "binary"):
            raise TargetError("the target sends other COPY output than was asked for")
        masker = self.state.masker()
        masks = [
            None if mask is None else column_masker(masker, mask, type_oid, int(binary))
            for mask, type_oid in zip(copy.masks, copy.types, strict=True)
        ]
        return CopyMasker(copy.format, masks, copy.names)

    def copy_lines(self, run: Run, buffer: bytes, at: int, stop: int, count: int) -> bytes:
        """C{count} whole CopyData messages from C{at} to C{stop}; PostgreSQL sends a line in each.

        @return: what the client is sent, which may be nothing
        """
        if not run.copying:
            raise TargetError("the target sent COPY data outside a COPY")
        if run.cut:
            return b""
        if run.limit is not None:
            allowed = max(0, run.limit - run.rows)
            if count > allowed:
                stop, count = self._cut(run, buffer, at, stop, allowed), allowed
        if not count:
            return b""
        octets = buffer[at:stop]
        for each in (run.copier, run.copy_scanner):
            octets = octets if each is None else self._masked_lines(each, octets)
        if run.bounds.octets is not None:
            octets, count = self._fitting(run, octets, count)
            stop = pass_over(buffer, at, stop, count)
        if run.record_masks is run.masks:
            if run.digest is None:
                run.digest = hashlib.sha256()
            run.digest.update(octets)
        run.rows += count
        run.octets += len(octets)
        return octets

    @staticmethod
    def _masked_lines(copier: CopyMasker | CopyScanner, buffer: bytes) -> bytes:
        lines: list[bytes] = []
        at, stop = 0, len(buffer)
        while at < stop:
            end = pass_over(buffer, at, stop, 1)
            lines.append(backend.message(backend.COPY_DATA, copier.message(buffer[at + HEADER_SIZE : end])))
            at = end
        return b"".join(lines)

    # -- the end -----------------------------------------------------------------------------------------------

    def finish(self, run: Run, tag: str, outcome: str, code: str = "") -> None:
        """A statement ended: its result frame, and what becomes of its approval."""
        state = self.state
        if run.counted is not None and run.began is not None:
            run.counted.spent += state.now() - run.began
        state.route.gather(
            "result",
            {
                "operation": run.operation,
                "tag": tag or (f"ERROR {code}" if code else ""),
                "rows": run.rows,
                "bytes": run.octets,
                "kept": run.kept,
                "sha256": run.digest.hexdigest() if run.digest is not None else None,
                "duration": round(state.now() - run.started, 6),
            },
        )
        if run.approval is not None:
            head = state.fifo[0] if state.fifo else None
            more = head is not None and head.kind == "query" and len(head.runs) > 1
            if outcome == "executed" and head is not None and head.kind == "execute":
                # its implicit transaction ends with Sync; a client's own transaction is the client's matter
                state.implicit.append((run.approval, tag))
            elif outcome != "executed" or not more:
                state.route.settle(run.approval, outcome, tag or code)

    def not_run(self, run: Run) -> None:
        """It was sent, and the server skipped it."""
        if run.judged is None:
            return
        self.state.route.record("result", {"operation": run.operation, "tag": "not run", "rows": 0, "bytes": 0})
        if run.approval is not None:
            self.state.route.settle(run.approval, "failed", "not run: an error came before it")
