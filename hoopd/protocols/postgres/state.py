"""What one session knows, and what it has to send: shared by its two halves.

Pure: outputs are lists that the adapter empties. Not the treatment of messages
(L{hoopd.protocols.postgres.requests}, L{hoopd.protocols.postgres.replies}).
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hoopd.protocols.postgres.judgement import Judge, Judgement
from hoopd.protocols.postgres.names import Namespace
from hoopd.protocols.postgres.session import Ask, AskParse, CoreLimits, Expected, Glass, Held, Portal, Prepared, Run
from hoopd.sql.analysis import SessionSettings
from hoopd.sql.catalogue import FIRST_USER_OID, Catalogue
from hoopd.sql.coverage import coverage
from hoopd.sql.grammar import ParseTree, Unparsed
from hoopd.sql.lineage import Field
from hoopd.values import Mask


class State:
    """
    @param route: L{hoopd.flow.route.Route}, or what offers its C{gate record durable next_operation event settle}.
    @param database: its name at the target.
    @param parameters: what the target reported at start-up.
    @param now: seconds of a steady clock, for durations.
    @ivar to_client, to_target: bytes to send, in order.
    @ivar sync_needed: the recording must be on disk before C{to_target} is sent.
    @ivar asks: what the adapter is to do.
    @ivar status: transaction status of the last ReadyForQuery.
    @ivar segment: counts Syncs that were sent; C{segment_executes} counts Executes since.
    @ivar skipping: the server reads nothing until Sync.
    @ivar uncertain: definitions were changed and not read again yet.
    @ivar stale: nothing is judged until the catalogue was read again.
    @ivar cancelling: a CancelRequest is on its way: what is sent now might be hit by it.
    @ivar wait: seconds that the client is ready to wait for approval; None is as long as the rules say.
    @ivar barrier: nothing of the client is treated until the statement that runs has ended.
    """

    def __init__(
        self,
        judge: Judge,
        route: Any,
        limits: CoreLimits,
        catalogue: Catalogue,
        masker: Callable[[], Any],
        session: str,
        database: str,
        parameters: dict[bytes, bytes],
        reason: str | None,
        now: Callable[[], float],
    ) -> None:
        self.judge = judge
        self.route = route
        self.limits = limits
        self.catalogue = catalogue
        self.masker = masker
        self.session = session
        self.database = database
        self.parameters = parameters
        self.reason = reason
        self.wait: float | None = None
        self.now = now
        self.to_client: list[bytes] = []
        self.to_target: list[bytes] = []
        self.sync_needed = False
        self.asks: list[Ask] = []
        self.status = b"I"
        self.fifo: deque[Expected] = deque()
        self.statements: Namespace[Prepared] = Namespace()
        self.portals: Namespace[Portal] = Namespace()
        self.segment = 0
        self.segment_executes = 0
        self.skipping = False
        self.flushed = False
        self.barrier = False
        self.cancelling = False
        self.copy_in: Run | None = None
        self.held: Held | None = None
        self.glass: Glass | None = None
        self.temporary = 0
        self.uncertain = False
        self.stale = False
        self._parsing: bytes | None = None
        self._parsed: tuple[bytes, ParseTree | Unparsed] | None = None
        self._settings: SessionSettings | None = None

    def expect(self, expected: Expected) -> None:
        """The server owes a reply."""
        self.fifo.append(expected)
        self.flushed = False

    def parameter(self, name: bytes, value: bytes) -> None:
        """The server reported a setting."""
        self.parameters[name] = value
        self._settings = None

    def settings(self) -> SessionSettings:
        """What a statement's meaning depends on now."""
        known = self._settings
        catalogue = self.catalogue
        if known is None or known.temporary != self.temporary or known.search_path is not catalogue.search_path:
            known = self._settings = SessionSettings(
                database=self.database,
                role=catalogue.role,
                search_path=catalogue.search_path,
                standard_conforming_strings=self.parameters.get(b"standard_conforming_strings", b"on") == b"on",
                client_encoding=self.parameters.get(b"client_encoding", b"UTF8").decode("ascii", "replace"),
                temporary=self.temporary,
            )
        return known

    def drifted(self, fields: Sequence[Field], masks: tuple[Mask, ...]) -> tuple[Mask | None, ...]:
        """Masks of columns that a plan without masks did not foresee: the catalogue is behind the database."""
        cover = coverage(masks, self.catalogue)
        found: list[Mask | None] = []
        for each in fields:
            oid = each.table_oid
            if oid < FIRST_USER_OID or each.attribute <= 0:
                found.append(None)
            elif oid not in self.catalogue.relations:
                found.append(cover.worst)
            else:
                mask = cover.columns.get((oid, each.attribute))
                found.append(mask if mask is not None or oid in cover.traced else cover.tainted.get(oid))
        return tuple(found)

    def context(self) -> str:
        """The session state that an approval is bound to."""
        settings = self.settings()
        return json.dumps(
            [
                settings.database,
                settings.role,
                settings.search_path,
                settings.standard_conforming_strings,
                settings.client_encoding,
            ]
        )

    def judged(self, text: bytes, types: tuple[int, ...]) -> Judgement | None:
        """@return: the judgement on C{text} in the present state; None while it is not known."""
        if self.stale or self._parsing is not None:
            return None
        settings, limits = self.settings(), self.limits
        if len(text) <= limits.statement_inline:
            return self.judge.judge(text, settings, self.catalogue, types, self.reason, self.uncertain)
        if len(text) > limits.statement_max:
            return self.judge.unparsed(text, f"the statement is longer than {limits.statement_max} bytes", False)
        if self.judge.known(text, settings, self.catalogue, types, self.reason, self.uncertain):
            return self.judge.judge(text, settings, self.catalogue, types, self.reason, self.uncertain)
        parsed = self._parsed
        if parsed is None or parsed[0] != text:
            self._parsing = text
            self.asks.append(AskParse(text))
            return None
        self._parsed = None
        tree = parsed[1]
        if isinstance(tree, Unparsed):
            return self.judge.unparsed(text, str(tree), tree.syntax)
        return self.judge.judge(text, settings, self.catalogue, types, self.reason, self.uncertain, tree)

    def parsed(self, tree: ParseTree | Unparsed) -> None:
        """The answer to L{AskParse}."""
        if self._parsing is not None:
            self._parsed = (self._parsing, tree)
            self._parsing = None

    # -- what the client sends to a COPY -----------------------------------------------------------------------

    def copied(self, run: Run, octets: bytes) -> None:
        """COPY input passed; its content is counted and hashed, never kept."""
        if run.digest is None:
            run.digest = hashlib.sha256()
        run.digest.update(octets)
        run.octets += len(octets)

    def copy_ended(self, run: Run) -> None:
        """The client ended its COPY input."""
        digest = run.digest.hexdigest() if run.digest is not None else hashlib.sha256().hexdigest()
        fields = {"operation": run.operation, "text": None, "bytes": run.octets, "sha256": digest}
        self.route.record("input", fields)
        run.digest, run.octets = None, 0
