"""What observe mode let pass and enforcement would not: counted per hour from sealed recordings; broker only.

An index in the store, for hoopctl policy observed; the recordings are the record. What was counted and how far each
recording was read are one transaction: a broker that is killed counts nothing twice and leaves nothing out. Memory
is that of one piece of one recording, rows are bounded by L{STATEMENTS} and L{KEPT}.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import Factory, define, frozen
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from hoopd.audit import recording, transfers
from hoopd.audit.durable import InThread
from hoopd.audit.recording import Entry, Frame, FrameReader
from hoopd.audit.transfers import Moved

HOUR = 3600
#: seconds that counts are kept: a quarter is longer than anybody observes before deciding
KEPT = 90 * 86400
#: statements told apart, of one identity under one rule in one hour; the others are counted together. Of 100 people
#: under 10 rules that is 50,000 rows of under 2 kB an hour at the very worst.
STATEMENTS = 50
#: rows of an answer, and statements named in each
FOUND_MAX = 500
NAMED = 10
#: bytes of a recording read at once; after each piece others have their turn
PIECE = 1024 * 1024
#: an operation whose record is larger than this is not looked at: statements end at 1 MiB by default
OPERATION_MAX = 8 * 1024 * 1024
#: characters kept of a statement's shape, of an example, of a reason
SHAPE_MAX, EXAMPLE_MAX, WHY_MAX = 300, 1000, 300

_OPERATION = 2
_READ = frozenset({_OPERATION, transfers.CODE})
_LITERAL = re.compile(r"'(?:[^']|'')*'|\$([A-Za-z_]*)\$.*?\$\1\$|\b\d+(?:\.\d+)?\b", re.DOTALL)
_LISTED = re.compile(r"\?(?:\s*,\s*\?)+")


def shape(text: str) -> str:
    """A statement without its constants and line ends, to count alike ones together."""
    without = _LISTED.sub("?, …", _LITERAL.sub("?", text[:20_000]))
    joined = " ".join(without.split())
    return joined if len(joined) <= SHAPE_MAX else f"{joined[:SHAPE_MAX]}…"


@frozen
class Finding:
    """One operation under one rule, that enforcement would have treated otherwise.

    @ivar outcome: C{deny}, C{hold} or C{mask}.
    @ivar rule: its id; empty where no rule allowed it.
    """

    outcome: str
    rule: str
    text: str
    why: str
    operation: int
    at: float


def findings(entry: Entry) -> Iterator[Finding]:
    """What one record tells: nothing, or one finding for each rule."""
    fields = entry.fields
    text, number = str(fields.get("text") or ""), fields.get("operation")
    operation = number if isinstance(number, int) else 0
    observed = fields.get("observed")
    if observed in ("deny", "hold"):
        why = str(fields.get("why") or "")[:WHY_MAX]
        for rule in _words(fields.get("rules")) or [""]:
            yield Finding(observed, rule, text, why, operation, entry.at)
    for rule in _words(fields.get("observed_masks")):
        yield Finding("mask", rule, text, "", operation, entry.at)


def _words(value: Any) -> list[str]:
    return [str(each)[:200] for each in value[:100]] if isinstance(value, list) else []


@define
class Piece:
    """A part of a recording, read. C{offset} and C{sequence}: where the next one begins. @ivar more: there is more.

    @ivar moved: files that went either way, for L{hoopd.audit.transfers}.
    """

    found: list[Finding]
    offset: int
    sequence: int
    more: bool
    moved: list[Moved] = Factory(list)


def read(path: Path, session: str, offset: int, sequence: int, end: int) -> Piece:
    """Read on from C{offset}, up to C{end} or a piece beyond it; blocking.

    @raise OSError: the file is not there.
    """
    reader = FrameReader()
    if offset:
        reader.session, reader.next_offset, reader.next_sequence = session, offset, sequence
    found: list[Finding] = []
    moved: list[Moved] = []
    parts: list[Frame] = []
    with open(path, "rb") as file:
        file.seek(offset)
        left = end - offset
        while left > 0 and reader.problem is None:
            octets = file.read(min(left, PIECE))
            if not octets:
                break
            left -= len(octets)
            for frame in reader.feed(octets):
                if frame.code not in _READ:
                    parts = []
                    continue
                parts.append(frame)
                if sum(len(part.payload) for part in parts) > OPERATION_MAX:
                    parts = [frame]
                if not frame.more:
                    found += _findings(parts)
                    moved += _moved(parts)
                    parts = []
            if not parts and reader.next_offset - offset >= PIECE:
                break
    begun = parts[0] if parts else None
    at = begun.offset if begun is not None else reader.next_offset
    # where nothing can be read any more (it was tampered with, which the ledger tells), nothing comes after it either
    stuck = reader.problem is not None or at == offset
    following = begun.sequence if begun is not None else reader.next_sequence
    return Piece(found, at, following, at < end and not stuck, moved)


def _findings(parts: list[Frame]) -> Iterator[Finding]:
    if parts[0].code != _OPERATION:
        return
    payload = b"".join(part.payload for part in parts)
    if b'"observed":"' in payload or b'"observed_masks":["' in payload:
        try:
            for entry in recording.entries(parts):
                yield from findings(entry)
        except recording.RecordingError:
            return  # no JSON: the seal's hash covers it, and there is nothing to count


def _moved(parts: list[Frame]) -> list[Moved]:
    if parts[0].code != transfers.CODE:
        return []
    try:
        return [transfers.moved(entry) for entry in recording.entries(parts)]
    except recording.RecordingError:
        return []  # as above


class ObservedIndex:
    """
    @param store: L{hoopd.interfaces.IStore} with L{hoopd.audit.tables}.
    @param directory: of the recordings.
    @param clock: IReactorTime.
    """

    log = Logger()

    def __init__(
        self, store: Any, directory: str | os.PathLike[str], clock: Any, in_thread: InThread = deferToThread
    ) -> None:
        self._store = store
        self._directory = Path(directory)
        self._clock = clock
        self._in_thread = in_thread
        self._waiting: dict[str, tuple[int, bool]] = {}
        self._running = False
        self._stopped = False
        self._idle: list[Deferred[None]] = []
        self._pruned = -1

    # -- counting ----------------------------------------------------------------------------------------------

    async def start(self, live: Callable[[str], bool]) -> None:
        """Read what the broker before us did not come to.

        @param live: whether a session goes on: what it writes from now on is told by L{sealed}.
        """
        rows = await self._store.transact(lambda tx: tx.execute("SELECT session, path FROM observed_progress"))
        for session, path in rows:
            try:
                size = os.stat(self._directory / path).st_size
            except OSError:
                size = 0
            if not live(session):
                self.sealed(session, size, True)

    def sealed(self, session: str, end: int, closed: bool) -> None:
        """A recording is sealed up to C{end} bytes; C{closed}: that is all of it."""
        self._waiting[session] = (end, closed)
        if not self._running and not self._stopped:
            self._running = True
            Deferred.fromCoroutine(self._run()).addErrback(
                lambda failure: self.log.failure("observed operations are not counted", failure=failure)
            )

    def idle(self) -> Deferred[None]:
        """@return: Deferred of None once everything that was sealed so far is counted."""
        done: Deferred[None] = Deferred()
        if self._running:
            self._idle.append(done)
        else:
            done.callback(None)
        return done

    def stop(self) -> Deferred[None]:
        """Finish the piece at hand; the next broker goes on from there. @return: Deferred of None."""
        self._stopped = True
        self._waiting.clear()
        return self.idle()

    async def _run(self) -> None:
        try:
            while self._waiting:
                session = next(iter(self._waiting))
                end, closed = self._waiting.pop(session)
                await self._count(session, end, closed)
        finally:
            self._running = False
            idle, self._idle = self._idle, []
            for done in idle:
                done.callback(None)

    async def _count(self, session: str, end: int, closed: bool) -> None:
        more = True
        while more and not self._stopped:
            row = await self._store.transact(lambda tx: _progress(tx, session))
            if row is None:
                return
            path, offset, sequence, *who = row
            try:
                piece = await self._in_thread(read, self._directory / path, session, offset, sequence, end)
            except OSError as problem:
                self.log.warn("{session} cannot be read: {why}", session=session, why=problem)
                piece, closed = Piece([], offset, sequence, False), True
            more = piece.more
            done = closed and not more
            await self._store.transact(lambda tx, piece=piece, who=who, done=done: _keep(tx, session, who, piece, done))
        await self._prune()

    async def _prune(self) -> None:
        hour = int(self._clock.seconds() // HOUR)
        if hour != self._pruned:
            self._pruned = hour
            oldest = hour - KEPT // HOUR
            await self._store.transact(lambda tx: tx.execute("DELETE FROM observed WHERE hour < ?", (oldest,)))
            await self._store.transact(lambda tx: transfers.prune(tx, oldest * HOUR))

    # -- finding -----------------------------------------------------------------------------------------------

    def find(
        self, since: float = 0.0, target: str | None = None, identity: str | None = None
    ) -> Deferred[list[dict[str, Any]]]:
        """What would have been, by rule, target and identity, most frequent first, L{FOUND_MAX} at most.

        @param since: seconds since the epoch; whole hours are counted, so that the first may reach back before it.
        @return: Deferred of mappings: outcome, rule, target, identity, act, count, first, last, why, statements, others,
            example.
        """
        conditions, values = ["last >= ?"], [since]
        for column, value in (("target", target), ("identity", identity)):
            if value is not None:
                conditions.append(f"{column} = ?")
                values.append(value)  # type: ignore[arg-type]
        where = " AND ".join(conditions)
        found: Deferred[list[dict[str, Any]]] = self._store.transact(lambda tx: _find(tx, where, values))
        return found


_KEY = ("outcome", "rule", "target", "identity", "act")


def _find(tx: Any, where: str, values: list[Any]) -> list[dict[str, Any]]:
    columns = ", ".join(_KEY)
    groups = tx.execute(
        f"SELECT {columns}, SUM(count), MIN(first), MAX(last), COUNT(DISTINCT statement) FROM observed WHERE {where} "
        f"GROUP BY {columns} ORDER BY 6 DESC, {columns} LIMIT ?",
        (*values, FOUND_MAX),
    )
    answer = []
    same = " AND ".join(f"{column} = ?" for column in _KEY)
    for *key, count, first, last, distinct in groups:
        statements = tx.execute(
            f"SELECT statement, SUM(count) FROM observed WHERE {where} AND {same} AND statement <> '' "
            "GROUP BY statement ORDER BY 2 DESC, 1 LIMIT ?",
            (*values, *key, NAMED),
        )
        ((why, session, operation, text, at),) = tx.execute(
            f"SELECT why, session, operation, example, last FROM observed WHERE {where} AND {same} "
            "ORDER BY last DESC LIMIT 1",
            (*values, *key),
        )
        answer.append(
            {
                **dict(zip(_KEY, key, strict=True)),
                "count": count,
                "first": first,
                "last": last,
                "why": why,
                "statements": [{"text": shape, "count": times} for shape, times in statements],
                "others": distinct - len(statements),
                "example": {"session": session, "operation": operation, "text": text, "at": at},
            }
        )
    return answer


def _progress(tx: Any, session: str) -> tuple[Any, ...] | None:
    rows = tx.execute(
        "SELECT p.path, p.next_offset, p.next_sequence, s.target, s.identity, s.act FROM observed_progress p "
        "JOIN sessions s ON s.id = p.session WHERE p.session = ?",
        (session,),
    )
    return rows[0] if rows else None


def _keep(tx: Any, session: str, who: list[Any], piece: Piece, done: bool) -> None:
    target, identity, act = who
    if piece.moved:
        transfers.keep(tx, session, target, identity, act, piece.moved)
    for key, found in _merged(piece.found).items():
        hour, outcome, rule, statement = key
        place = (hour, target, identity, act or "", outcome, rule)
        if not _known(tx, place, statement):
            statement = ""
        last = found[-1]
        tx.execute(
            "INSERT INTO observed (hour, target, identity, act, outcome, rule, statement, why, count, first, last, "
            "session, operation, example) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (hour, target, identity, act, outcome, rule, statement) DO UPDATE SET "
            "count = observed.count + excluded.count, last = excluded.last, why = excluded.why, "
            "session = excluded.session, operation = excluded.operation, example = excluded.example",
            (
                *place,
                statement,
                last.why,
                len(found),
                found[0].at,
                last.at,
                session,
                last.operation,
                _example(last.text),
            ),
        )
    if done:
        tx.execute("DELETE FROM observed_progress WHERE session = ?", (session,))
    else:
        tx.execute(
            "UPDATE observed_progress SET next_offset = ?, next_sequence = ? WHERE session = ?",
            (piece.offset, piece.sequence, session),
        )


def _example(text: str) -> str:
    return text if len(text) <= EXAMPLE_MAX else f"{text[:EXAMPLE_MAX]}… ({len(text)} characters)"


def _merged(found: list[Finding]) -> Mapping[tuple[int, str, str, str], list[Finding]]:
    merged: dict[tuple[int, str, str, str], list[Finding]] = {}
    for each in found:
        key = (int(each.at // HOUR), each.outcome, each.rule, shape(each.text))
        merged.setdefault(key, []).append(each)
    return merged


def _known(tx: Any, place: tuple[Any, ...], statement: str) -> bool:
    """Whether a statement has a row of its own, or may still have one."""
    same = "hour = ? AND target = ? AND identity = ? AND act = ? AND outcome = ? AND rule = ?"
    if tx.execute(f"SELECT 1 FROM observed WHERE {same} AND statement = ?", (*place, statement)):
        return True
    ((count,),) = tx.execute(f"SELECT COUNT(*) FROM observed WHERE {same} AND statement <> ''", place)
    return bool(count < STATEMENTS)
