"""The values that the two halves of a session share: what runs, what is expected of the server, what is asked.

Not their behaviour (L{hoopd.protocols.postgres.requests}, L{hoopd.protocols.postgres.replies}).
"""

from __future__ import annotations

from collections import deque
from typing import Any

from attrs import Factory, define, field, frozen

from hoopd.protocols.postgres.backend import Column
from hoopd.protocols.postgres.bounds import NONE, Bounds, Over
from hoopd.protocols.postgres.copied import CopyMasker, CopyScanner
from hoopd.protocols.postgres.frontend import Bind
from hoopd.protocols.postgres.judgement import Judged, Judgement, Refusal
from hoopd.protocols.postgres.names import Change
from hoopd.protocols.postgres.rows import Masks
from hoopd.sql.analysis import Question, SessionSettings
from hoopd.sql.catalogue import Catalogue
from hoopd.values import HeldOperation

#: fails in the server's raw parser, in every state of a transaction, and says in its log whose doing it is
POISON = b"= refused by hoopd"
#: never stored, because its Parse always fails; named, so that the client's unnamed statement is not dropped
POISON_NAME = b"hoopd_refused"


@define(eq=False)
class Prepared:
    """A prepared statement as the client named it.

    @ivar own: answered by the gateway; the server holds an empty statement in its place.
    @ivar inner: made by SQL: C{text} is the PREPARE or DECLARE, what is in it is meant.
    @ivar columns: what a Describe of it (or of a portal of it) said, under C{described}.
    @ivar described: the judgement that C{columns} belongs to: another search_path may mean other tables.
    """

    text: bytes
    types: tuple[int, ...]
    name: bytes
    own: bool = False
    inner: bool = False
    columns: tuple[Column, ...] | None = None
    described: Judgement | None = None


@define(eq=False)
class Portal:
    """A portal as the client bound it, or a cursor that it declared.

    @ivar begun: its Execute has been suspended: more of the same follows. Cursors of SQL are begun by DECLARE.
    @ivar settings: under which the server planned it.
    @ivar depth: savepoints around it, and one; rolling back to one of them drops it.
    @ivar hold: it outlives its transaction if that commits; C{kept} once it has.
    """

    prepared: Prepared
    bind: Bind
    begun: bool = False
    rows: int = 0
    octets: int = 0
    #: seconds that its Executes took so far
    spent: float = 0.0
    bounds: Bounds = NONE
    columns: tuple[Column, ...] | None = None
    #: segment in which a Describe of it was sent
    describing: int = -1
    settings: SessionSettings | None = None
    depth: int = 0
    hold: bool = False
    kept: bool = False

    def outlives(self, committed: bool) -> bool:
        """Whether it is there after the end of a transaction."""
        self.kept = self.kept or (self.hold and committed)
        if self.kept:
            self.depth = 0
        return self.kept

    def lifted(self, depth: int) -> bool:
        """A savepoint was released: it belongs to what is around."""
        self.depth = min(self.depth, depth)
        return True


@define(eq=False)
class Run:
    """One statement at the server.

    @ivar operation: id of its operation frame.
    @ivar judged: None where the text could not be read (a target that only observes).
    @ivar masks: per column, once columns are known; None is no mask at all.
    @ivar limit: rows that may be delivered, or None: those of C{bounds}.
    @ivar over: the bound that was passed; C{cut} where it is one of what is delivered: nothing more is.
    @ivar touched: rows by its command tag, where those are counted.
    @ivar began: when its turn at the server came, as far as somebody looked; C{started} is when it was sent.
    """

    operation: int
    judged: Judged | None
    portal: Portal | None = None
    approval: str | None = None
    bounds: Bounds = NONE
    over: Over = ""
    touched: int = 0
    formats: tuple[int, ...] = ()
    columns: tuple[Column, ...] | None = None
    ready: bool = False
    masks: Masks | None = None
    copier: CopyMasker | None = None
    copy_scanner: CopyScanner | None = None
    record_masks: Masks | None = None
    rows: int = 0
    octets: int = 0
    #: under break glass: more of the result is recorded
    loud: bool = False
    kept: int = 0
    kept_octets: int = 0
    digest: Any = None
    named: bool = False
    cut: bool = False
    copying: bool = False
    started: float = 0.0
    began: float | None = None

    @property
    def limit(self) -> int | None:
        return self.bounds.rows

    @property
    def counted(self) -> Portal | None:
        """What the rows come from, if there may be more of them: limits are on all together."""
        source = self.judged.statement.source if self.judged is not None else None
        if source is not None and isinstance(source.source, Portal):
            return source.source
        return self.portal


@define(eq=False)
class Wrap:
    """A simple query that changes rows under a ceiling: nothing of it is kept, or told, before its rows are counted.

    @ivar own: the transaction is ours: BEGIN before it, COMMIT or ROLLBACK behind it; else it is the client's.
    @ivar body: what the server owes for the query itself.
    @ivar step: begin, body or end (with C{commit}: what was sent there).
    @ivar last: the message that tells its end, kept back; C{done} is the tag in it.
    @ivar tag: that of our own BEGIN, COMMIT or ROLLBACK.
    @ivar failed: the SQLSTATE of an error of the server, or C{""}.
    """

    body: Expected
    raw: bytes
    bounds: Bounds
    approval: str | None
    own: bool
    step: str = "begin"
    commit: bool = False
    touched: int = 0
    over: Over = ""
    last: bytes = b""
    tag: str = ""
    done: str = ""
    failed: str = ""


@define(eq=False)
class Expected:
    """One reply, or series of replies, that the server owes.

    @ivar kind: query, parse, bind, describe, execute, close or sync.
    @ivar refusal: what the client is told in place of the failure that our replacement causes.
    @ivar swallow: it was our own message: the client is told nothing of its success.
    @ivar muted: the client was told of an error already; nothing more until ReadyForQuery.
    """

    kind: str
    operation: int = 0
    refusal: Refusal | None = None
    swallow: bool = False
    change: Change[Any] | None = None
    prepared: Prepared | None = None
    portal: Portal | None = None
    judgement: Judgement | None = None
    runs: deque[Run] = Factory(deque)
    own: str = ""
    #: what SHOW hoopd.reason answers
    own_value: str = ""
    formats: tuple[int, ...] = ()
    muted: bool = False
    ddl: bool = False
    #: a function was called by message: one value comes
    called: bool = False
    #: it may change settings or names: what comes behind is judged when it is answered
    moves: bool = False
    wrap: Wrap | None = None


@define(eq=False)
class Held:
    """An operation that waits for approval. @ivar state: asked, released or refused. @ivar ceiling: the approval's."""

    operation: int
    state: str = "asked"
    approval: str = ""
    refusal: Refusal | None = None
    ceiling: int | None = None


@frozen
class AskHold:
    """Have this approved and claimed; answer with released() or refused()."""

    operation: int
    held: HeldOperation = field(repr=False)
    in_transaction: bool
    #: seconds that the client is ready to wait; None is as long as the rules let it
    wait: float | None = None


@frozen
class AskEstimate:
    """What the target's planner expects of these statements; answer with estimated().

    @ivar texts: one statement each, and None for one that is not to be explained.
    @ivar relations: object ids of what they touch.
    @ivar types, formats, values: of their parameters.
    """

    texts: tuple[bytes | None, ...]
    relations: tuple[int, ...]
    search_path: tuple[str, ...]
    types: tuple[int, ...] = ()
    formats: tuple[int, ...] = ()
    values: tuple[bytes | None, ...] = field(default=(), repr=False)


@define(eq=False)
class Estimate:
    """The answer to L{AskEstimate}, once it is there: rows of each statement, None where that is not known."""

    rows: tuple[int | None, ...] | None = None


@define(eq=False)
class Glass:
    """SET or RESET of hoopd.break_glass, until the broker has answered. @ivar refusal: its answer, if it is no"""

    answered: bool = False
    refusal: Refusal | None = None


@frozen
class AskBreakGlass:
    """Break glass for C{reason}, or close what is open; answer with glass_answered()."""

    reason: str | None


@frozen
class AskParse:
    """Have this text read outside this process; answer with parsed()."""

    text: bytes
    question: Question
    catalogue: Catalogue = field(eq=False, repr=False)


@frozen
class AskRefresh:
    """The catalogue may have changed: read it again; answer with refreshed() if C{waiting}."""

    waiting: bool


@frozen
class AskCancel:
    """Send a CancelRequest to the target; answer with cancelled()."""


@frozen
class AskEnd:
    """The client said goodbye, or must go: end the session."""

    why: str


Ask = AskHold | AskEstimate | AskBreakGlass | AskParse | AskRefresh | AskCancel | AskEnd


@frozen
class CoreLimits:
    """Bounds of one session. Sizes in bytes.

    @ivar message: largest message that must be held whole to be judged or masked.
    @ivar statement_inline: larger statements are parsed in a killable child.
    """

    message: int = 16 * 1024 * 1024
    statement_inline: int = 8192
    statement_max: int = 1024 * 1024
    queue: int = 1024 * 1024
    record_rows: int = 1000
    record_bytes: int = 1024 * 1024
    loud_rows: int = 100_000
    loud_bytes: int = 64 * 1024 * 1024
