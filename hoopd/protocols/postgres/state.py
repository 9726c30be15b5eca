"""What one session knows, and what it has to send: shared by its two halves.

Pure: outputs are lists that the adapter empties. Not the treatment of messages
(L{hoopd.protocols.postgres.requests}, L{hoopd.protocols.postgres.replies}).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from attrs import evolve

from hoopd.errors import TargetError
from hoopd.protocols.postgres.bounds import NONE, Bounds
from hoopd.protocols.postgres.frontend import Bind
from hoopd.protocols.postgres.judgement import Judge, Judgement
from hoopd.protocols.postgres.names import Namespace
from hoopd.protocols.postgres.session import (
    Ask,
    AskParse,
    CoreLimits,
    Estimate,
    Expected,
    Glass,
    Held,
    Portal,
    Prepared,
    Run,
    Wrap,
)
from hoopd.sql.analysis import Reading, SessionSettings, Statement
from hoopd.sql.catalogue import FIRST_USER_OID, Catalogue
from hoopd.sql.functions import QUIET, trusted
from hoopd.sql.grammar import Unparsed
from hoopd.sql.lineage import Field
from hoopd.sql.named import Definition, Named
from hoopd.sql.variables import FOLLOWED, Effect, Variables
from hoopd.sql.views import coverage
from hoopd.values import Mask

#: effects that give names a meaning, or take it
_NAMING = frozenset({"prepare", "declare", "deallocate", "close", "discard"})

#: words for what may run code that nobody has read, or end a transaction by itself
_CODE = frozenset({"do", "call", "function", "maintenance"})

#: statements that use names of prepared statements or cursors
_BY_NAME = re.compile(rb"\b(?:execute|fetch|move)\b", re.IGNORECASE)


def _encoding(name: str) -> str:
    """An encoding's name as it is compared: the server takes several spellings."""
    plain = name.lower().replace("-", "").replace("_", "")
    return "utf8" if plain == "unicode" else plain


#: messages that one operation of a driver is made of, and some more
TOGETHER = 8

#: Each statement of a text is analysed and judged for itself, which takes up to 0.1 ms: with more of them than this, others
#: would wait for more than 10 ms. No other text of 8 KiB that was tried takes longer.
STATEMENTS_INLINE = 100


class State:
    """
    @param route: L{hoopd.flow.route.Route}, or what offers its C{gate record durable next_operation event settle}.
    @param database: its name at the target.
    @param parameters: what the target reported at start-up.
    @param now: seconds of a steady clock, for durations.
    @param search_path: as the client set it at start-up.
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
    @ivar variables: settings that the client changed, as far as the server has agreed.
    @ivar failed: an error came since the last ReadyForQuery.
    @ivar touched: something masked was touched since the transaction began: its end may fail with values in the text.
    @ivar unfollowed: code ran that nobody knows: settings and names may be others than are known.
    @ivar barrier: nothing of the client is treated until the statement that runs has ended.
    @ivar wrap: a query under a row ceiling is on its way: nothing but its COPY input is treated.
    @ivar estimate: what the target expects the operation at hand to touch, while that is asked or used.
    @ivar implicit: approvals, with command tags, of what was executed in an implicit transaction that has not ended.
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
        parameters: Mapping[bytes, bytes],
        reason: str | None,
        now: Callable[[], float],
        search_path: tuple[str, ...] | None = None,
    ) -> None:
        self.judge = judge
        self.route = route
        self.limits = limits
        self.catalogue = catalogue
        self.masker = masker
        self.session = session
        self.database = database
        self.parameters = dict(parameters)
        self.reason = self._lasting_reason = self._began_reason = reason
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
        self.estimate: Estimate | None = None
        self.wrap: Wrap | None = None
        self.implicit: list[tuple[str, str]] = []
        self.temporary = 0
        self.uncertain = False
        self.stale = False
        self.variables = Variables()
        self.failed = False
        self.unfollowed = False
        self.touched = False
        self._began = search_path
        self._parameters_began = parameters
        self._moving = False
        self._parsing: AskParse | None = None
        self._parsed: tuple[AskParse, Reading | Unparsed] | None = None
        self._settings: tuple[Catalogue, SessionSettings] | None = None

    @property
    def occupied(self) -> bool:
        """Whether what the client sends has to wait."""
        return self.barrier or self.cancelling or (self.wrap is not None and self.copy_in is None)

    def settle(self, outcome: str, detail: str = "") -> None:
        """The implicit transaction ended, and with it what was approved in it."""
        ended, self.implicit = self.implicit, []
        for approval, tag in ended:
            self.route.settle(approval, outcome, detail or tag)

    def due(self) -> tuple[Run, float] | None:
        """The run at the server whose time is limited, and when that is over, by the clock C{now}."""
        # parse, bind and describe are answered with their execute, and take no time to speak of
        run = next((each.runs[0] for each in islice(self.fifo, TOGETHER) if each.runs), None)
        if run is None or run.bounds.seconds is None:
            return None
        if run.began is None:
            run.began = self.now()
        spent = run.counted.spent if run.counted is not None else 0.0
        return run, run.began + run.bounds.seconds - spent

    def give_reason(self, reason: str | None, local: bool = False) -> None:
        """C{reason} counts from here on. @param local: until the transaction is over, and no longer"""
        self.reason = reason
        if not local:
            self._lasting_reason = reason

    def lasting_reason(self) -> None:
        """A transaction is over, or about to be: what was given for it alone does not count behind it."""
        self.reason = self._lasting_reason

    def first_reason(self) -> None:
        """The session is as it began: what a pool asks for between two users of one connection."""
        self.give_reason(self._began_reason)

    def expect(self, expected: Expected) -> None:
        """The server owes a reply."""
        self.fifo.append(expected)
        self.flushed = False

    def moves(self, expected: Expected) -> None:
        """Its success changes settings or names."""
        expected.moves = self._moving = True

    def is_move(self, effect: Effect) -> bool:
        """Whether what comes behind a statement with C{effect} can be judged only when the server has answered it."""
        if effect.kind in ("set", "reset"):
            return effect.name is None or effect.name in FOLLOWED
        if effect.kind in ("commit", "rollback", "rollback-to"):
            return self.variables.touched
        return effect.kind in _NAMING

    @property
    def unsettled(self) -> bool:
        """What settings and names are depends on an answer that has not come."""
        if self._moving and not any(each.moves for each in self.fifo):
            self._moving = False
        return self._moving

    def parameter(self, name: bytes, value: bytes) -> None:
        """The server reported a setting."""
        self.parameters[name] = value
        self._settings = None

    def settings(self) -> SessionSettings:
        """What a statement's meaning depends on now."""
        known = self._settings
        catalogue = self.catalogue
        if known is None or known[0] is not catalogue or known[1].temporary != self.temporary:
            fresh = SessionSettings(
                database=self.database,
                role=catalogue.role,
                standard_conforming_strings=self._reported(b"standard_conforming_strings", "on") == "on",
                client_encoding=self._reported(b"client_encoding", "UTF8"),
                temporary=self.temporary,
                variables=self.variables.plain,
                began=self._began,
            )
            known = self._settings = (catalogue, fresh.resolved(catalogue))
        return known[1]

    def _reported(self, name: bytes, wanted: str) -> str:
        """A setting by which texts are read: what the server last reported and what it has agreed to since.

        It reports before ReadyForQuery only, so that both count until then: C{wanted} is what both must be.
        """
        default = self._parameters_began.get(name, wanted.encode())
        last = self.parameters.get(name, default).decode("ascii", "replace")
        value = self.variables.get(name.decode())
        agreed = value if isinstance(value, str) else default.decode("ascii", "replace")
        for each in (last, agreed):
            if _encoding(each) != _encoding(wanted):
                return each
        return wanted

    def moved(self, run: Run, tag: str) -> None:
        """A statement has succeeded. @raise TargetError: what it did cannot be followed"""
        judged = run.judged
        if judged is None:
            return
        if not (judged.plan.untouched and judged.record_plan.untouched):
            self.touched = True
        self.did(judged.statement, tag, run.bounds)

    def did(self, statement: Statement, tag: str = "", bounds: Bounds = NONE) -> None:
        """What a successful run of C{statement} changes. @raise TargetError: what it did cannot be followed"""
        effect = statement.effect
        if effect is None:
            return
        if effect.kind == "commit" and tag.startswith("ROLLBACK"):
            effect = evolve(effect, kind="rollback")
        try:
            variables = self.variables.after(effect)
        except LookupError:
            raise TargetError("the transaction went back to a savepoint that is not known") from None
        self.set_variables(variables)
        self._renamed(effect, statement, bounds)

    def forwarded(self, statement: Statement) -> None:
        """What the mere running of a statement leaves uncertain, whether it succeeds or not."""
        if not self.unfollowed and statement.classes & _CODE and self.judge.masks():
            self.unfollowed = self._runs_unknown(statement)

    def _runs_unknown(self, statement: Statement) -> bool:
        """Whether code runs that may change settings or names by itself, or commit what a later error would undo."""
        if statement.classes & {"do", "call"}:
            return True
        if "maintenance" in statement.classes and (self.variables.touched or self.unsettled):
            return True
        path, trust = statement.settings.search_path, self.judge.trusted_functions
        return any(not trusted(each, trust, path) and each not in QUIET for each in statement.unknown_functions)

    def set_variables(self, variables: Variables) -> None:
        if variables != self.variables:
            self.variables = variables
            self._settings = None

    def _renamed(self, effect: Effect, statement: Statement, bounds: Bounds) -> None:
        kind, name = effect.kind, (effect.name or "").encode()
        if kind == "prepare":
            self.statements.define(name, Prepared(statement.text, (), name, inner=True))
        elif kind == "declare":
            prepared = Prepared(statement.text, (), name, inner=True)
            portal = Portal(prepared, Bind(name, b""), begun=True, settings=statement.settings)
            portal.depth, portal.hold = len(self.variables.levels), effect.value == "hold"
            portal.bounds = bounds
            self.portals.define(name, portal)
        elif kind in ("deallocate", "close") and name:
            names: Namespace[Any] = self.statements if kind == "deallocate" else self.portals
            names.define(name, None)
        elif kind == "deallocate" or (kind == "discard" and effect.name == "all"):
            self.statements.keep_known(lambda _: False)
        if (kind == "close" and not name) or (kind == "discard" and effect.name == "all"):
            self.portals.keep_known(lambda _: False)
        elif kind in ("commit", "rollback"):
            self.transaction_over(kind == "commit")
        elif kind == "rollback-to":
            depth = len(self.variables.levels)
            self.portals.keep_known(lambda portal: portal.depth < depth)
        elif kind == "release":
            depth = len(self.variables.levels)
            self.portals.keep_known(lambda portal: portal.lifted(depth))

    def transaction_over(self, committed: bool) -> None:
        """A transaction ended: portals do, and cursors WITH HOLD if it did not commit."""
        self.lasting_reason()
        self.set_variables(self.variables.ended(committed))
        self.portals.keep_known(lambda portal: portal.outlives(committed))

    # -- names in statements (L{hoopd.sql.named.Named}) ----------------------------------------------------------

    def statement(self, name: str) -> Definition | None:
        found = self.statements.find(name.encode(), self.segment)
        if not isinstance(found, Prepared) or found.own:
            return None
        return Definition(found.text, found.inner)

    def cursor(self, name: str) -> Definition | None:
        found = self.portals.find(name.encode(), self.segment)
        if not isinstance(found, Portal) or found.prepared.own:
            return None
        return Definition(found.prepared.text, found.prepared.inner, found.settings, found)

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

    def context(self, meanings: tuple[str, ...] = ()) -> str:
        """The session state that an approval is bound to. @param meanings: of names that the statement uses"""
        settings = self.settings()
        return json.dumps(
            [
                settings.database,
                settings.role,
                settings.search_path,
                settings.standard_conforming_strings,
                settings.client_encoding,
                *meanings,
            ]
        )

    def judged(
        self, text: bytes, types: tuple[int, ...], inner: bool = False, under: SessionSettings | None = None
    ) -> Judgement | None:
        """@param under: instead of the present settings.

        @return: the judgement on C{text}; None while it is not known.
        """
        if self.stale or self._parsing is not None:
            return None
        settings, limits = under or self.settings(), self.limits
        uncertain = self.uncertain or self.unfollowed
        # keywords cannot be written any other way
        names = self if not inner and _BY_NAME.search(text) else None

        def judge(reading: Reading | None = None) -> Judgement:
            return self.judge.judge(
                text, settings, self.catalogue, types, self.reason, uncertain, reading, inner, names
            )

        if len(text) <= limits.statement_inline and text.count(b";") <= STATEMENTS_INLINE:
            return judge()
        if len(text) > limits.statement_max:
            return self.judge.unparsed(text, Unparsed(f"the statement is longer than {limits.statement_max} bytes"))
        if self.judge.known(text, settings, self.catalogue, types, self.reason, uncertain, inner):
            return judge()
        parsed, self._parsed = self._parsed, None
        told: tuple[tuple[str, str], ...] = ()
        if parsed is not None and parsed[0].text == text:
            ask, reading = parsed
            if isinstance(reading, Unparsed):
                return self.judge.unparsed(text, reading)
            told = (*((kind, name) for kind, name, _ in ask.question.names), *reading.missing)
        else:
            reading = None
        question = self.judge.question(settings, self.catalogue, types, inner, self._told(names, told))
        if reading is not None and not reading.missing and reading.question == question:
            return judge(reading)
        self._parsing = AskParse(text, question, self.catalogue)
        self.asks.append(self._parsing)
        return None

    def _told(
        self, names: Named | None, wanted: tuple[tuple[str, str], ...]
    ) -> tuple[tuple[str, str, Definition | None], ...]:
        """What the session's names stand for, of those that a text was found to use."""
        if names is None:
            return tuple((kind, name, None) for kind, name in wanted)
        return tuple(
            (kind, name, names.statement(name) if kind == "statement" else names.cursor(name)) for kind, name in wanted
        )

    def parsed(self, reading: Reading | Unparsed) -> None:
        """The answer to L{AskParse}."""
        if self._parsing is not None:
            self._parsed = (self._parsing, reading)
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
