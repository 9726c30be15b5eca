"""The catalogue of each (target, database) in a worker: read over a connection of our own, shared by its sessions.

Read whole once. When a session saw DDL, and every C{catalogue_poll} seconds while sessions are open, digests of the
server's catalogs say which queries would answer differently, and those alone are asked again, in the same snapshot.
Not the queries nor the snapshot itself (L{hoopd.sql.catalogue}), nor the digests (L{hoopd.sql.catalogue_changes}).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopd.errors import HoopdError, TargetError
from hoopd.protocols.liveness import Liveness
from hoopd.protocols.postgres import backend, frontend
from hoopd.protocols.postgres.codec import HEADER_SIZE, INT32, Framer
from hoopd.protocols.postgres.estimator import Estimator
from hoopd.protocols.postgres.target import TargetConnection, connect, settings_for
from hoopd.sql.catalogue import OPTIONAL, QUERIES, Catalogue
from hoopd.sql.catalogue_changes import WATCH, Watched, changed, texts
from hoopd.values import Grant, Target

Row = tuple["str | None", ...]

#: the largest catalogue that is read: 64 MiB of rows is about half a million columns
CATALOGUE_MAX = 64 * 1024 * 1024
#: rows from which the snapshot is built in a thread: a thousand take 3 ms, and nobody else should wait for 100,000
MANY = 2000
#: a poll that the target does not answer for so long means that the connection is dead
ANSWER_TIMEOUT = 30.0


_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
#: no object of the database steers what is asked behind it
_OWN_NAMES = "SET LOCAL search_path = pg_catalog"


class Querist:
    """Asks simple queries on one connection, one after another.

    @ivar prepared: names of statements that the server keeps; None where it does not (behind a pooler, say).
    """

    def __init__(self, reactor: Any, connection: TargetConnection) -> None:
        self._reactor = reactor
        self._connection = connection
        self._framer = Framer()
        self._waiting: deque[tuple[bytes, Deferred[list[list[Row]]]]] = deque()
        self._results: list[list[Row]] = []
        self._size = 0
        self._error: TargetError | None = None
        self._timer: Any = None
        self.lost = ""
        self.prepared: set[str] | None = set()
        connection.begin(self._received, self._lost)

    def ask(self, *statements: str) -> Deferred[list[list[Row]]]:
        """@param statements: sent together.

        @return: Deferred of the rows of each that has any, values as text. @raise TargetError
        """
        return self.exchange(frontend.query("; ".join(statements).encode()))

    def exchange(self, octets: bytes) -> Deferred[list[list[Row]]]:
        """The same for messages that the server answers with one ReadyForQuery, rows with their description."""
        answer: Deferred[list[list[Row]]] = Deferred()
        if self.lost:
            answer.errback(Failure(TargetError(self.lost)))
            return answer
        self._waiting.append((octets, answer))
        if len(self._waiting) == 1:
            self._send()
        return answer

    def planned(self, name: str, sql: str) -> str:
        """C{sql} such that the server plans it once: planning costs ten times what the answer does."""
        if self.prepared is None:
            return sql
        if name in self.prepared:
            return f"EXECUTE hoopd_{name}"
        self.prepared.add(name)
        return f"PREPARE hoopd_{name} AS {sql}; EXECUTE hoopd_{name}"

    def close(self) -> None:
        """Close; what still waits for an answer fails."""
        self._connection.leave(self._reactor)
        self._lost("the catalogue is not needed any more")

    def _send(self) -> None:
        self._results, self._error, self._size = [], None, 0
        self._timer = self._reactor.callLater(ANSWER_TIMEOUT, self._connection.abort)
        self._connection.transport.write(self._waiting[0][0])

    def _received(self, data: bytes) -> None:
        buffer = self._framer.take(data)
        at, needed = 0, HEADER_SIZE
        while len(buffer) - at >= HEADER_SIZE:
            length = INT32.unpack_from(buffer, at + 1)[0]
            end = at + 1 + length
            if length < 4 or length > CATALOGUE_MAX:
                self._connection.abort()
                return
            if end > len(buffer):
                needed = 1 + length
                break
            self._message(buffer[at : at + 1], buffer[at + HEADER_SIZE : end])
            at = end
        self._framer.keep(buffer, at, needed)

    def _message(self, kind: bytes, payload: bytes) -> None:
        if kind == backend.DATA_ROW:
            self._size += len(payload)
            if self._size > CATALOGUE_MAX:
                self._connection.abort()
                return
            values = backend.parse_data_row(payload)
            row = tuple(None if each is None else each.decode("utf-8", "replace") for each in values)
            self._results[-1].append(row)
        elif kind == backend.ROW_DESCRIPTION:
            self._results.append([])
        elif kind == backend.ERROR:
            text = backend.parse_error(payload).get("M", b"").decode("utf-8", "replace")
            self._error = TargetError(f"the catalogue cannot be read: {text}")
        elif kind == backend.READY and self._waiting:
            self._timer.cancel()
            _, answer = self._waiting.popleft()
            results, error = self._results, self._error
            if self._waiting:
                self._send()
            if error is not None:
                answer.errback(Failure(error))
            else:
                answer.callback(results)

    def _lost(self, why: str) -> None:
        self.lost = why
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        waiting, self._waiting = self._waiting, deque()
        for _, answer in waiting:
            answer.errback(Failure(TargetError(why)))


async def _optional(querist: Querist, sql: str) -> list[Row]:
    """Rows, or none where a lock is not to be had at once: nobody waits for somebody else's ALTER or REFRESH."""
    try:
        (rows,) = await querist.ask(_BEGIN, _OWN_NAMES, "SET LOCAL lock_timeout = '1s'", sql, "ROLLBACK")
    except TargetError:
        if querist.lost:
            raise
        await querist.ask("ROLLBACK")
        return []
    return rows


class SharedCatalogue:
    """One database's catalogue and the sessions that use it.

    @ivar current: the last snapshot, or None before the first.
    @ivar estimator: asks the planner; over another connection, so that neither waits for the other.
    """

    log = Logger()

    def __init__(
        self,
        worker: Any,
        target: Target,
        database: str,
        poll: float,
        liveness: Liveness,
        empty: Callable[[], None],
    ) -> None:
        self.current: Catalogue | None = None
        self._worker = worker
        self._target = target
        self._database = database
        self._poll = poll
        self._liveness = liveness
        self._empty = empty
        self._users: dict[Any, tuple[Callable[[], Deferred[Grant]], Callable[[Catalogue], None]]] = {}
        self._querist: Querist | None = None
        self._reading: list[Deferred[Catalogue]] = []
        self._next: list[Deferred[Catalogue]] = []
        self._busy = False
        self._timer: Any = None
        self._watched: Watched = ()
        self.estimator = Estimator(worker.reactor, lambda: self._opened("hoopd-estimates"))

    def join(
        self, user: Any, grant: Callable[[], Deferred[Grant]], changed: Callable[[Catalogue], None]
    ) -> Deferred[Catalogue]:
        """A session begins to use it.

        @param grant: asked for when a connection must be opened.
        @param changed: called with each new snapshot.
        @return: Deferred of the present snapshot; fails with what connecting or reading fails with
        """
        self._users[user] = (grant, changed)
        if self.current is not None:
            done: Deferred[Catalogue] = Deferred()
            done.callback(self.current)
            return done
        return self.refresh()

    def leave(self, user: Any) -> None:
        """A session ended; with the last one the connection is closed."""
        self._users.pop(user, None)
        if self._users:
            return
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._querist is not None:
            self._querist.close()
            self._querist = None
        self.estimator.close()
        self._empty()

    def refresh(self) -> Deferred[Catalogue]:
        """Read it again. What is being read now may have begun before the caller's reason: so wait for the next."""
        done: Deferred[Catalogue] = Deferred()
        self._next.append(done)
        if not self._busy:
            self._begin()
        return done

    def _begin(self) -> None:
        self._busy = True
        self._reading, self._next = self._next, []
        Deferred.fromCoroutine(self._read()).addCallbacks(self._done, self._failed)

    async def _read(self) -> Catalogue:
        querist = await self._connected()
        try:
            return await self._reread(querist)
        except TargetError:
            if querist.lost:
                raise
            await querist.ask("ROLLBACK")
            if querist.prepared is None:
                raise
        # perhaps statements are not there when they are executed, because there is a pooler between
        querist.prepared = None
        return await self._read()

    async def _reread(self, querist: Querist) -> Catalogue:
        before = self.current
        session, watched = await self._watch(querist)
        wanted = {*changed(self._watched if before is not None else (), watched)}
        if before is not None and before.partial:
            wanted |= OPTIONAL
        asked = texts(wanted - OPTIONAL)
        answers = await querist.ask(*(querist.planned(name, sql) for name, sql in asked), "ROLLBACK")
        rows = {"session": session, **{name: found for (name, _), found in zip(asked, answers, strict=True)}}
        # behind the others: what is newer than they are does not fit them, and counts as unknown
        rows |= {name: await _optional(querist, sql) for name, sql in texts(wanted & OPTIONAL)}
        if sum(map(len, rows.values())) > MANY:
            made = await deferToThread(Catalogue.from_rows, rows, before)
        else:
            made = Catalogue.from_rows(rows, before)
        self._watched = watched
        return made

    @staticmethod
    async def _watch(querist: Querist, end: str = "") -> tuple[list[Row], Watched]:
        """What the session is like, under the role's own search_path, and the digests; leaves a transaction open.

        @param end: sent behind, to end it.
        """
        name, sql = QUERIES[0]
        session, watched = await querist.ask(
            _BEGIN, querist.planned(name, sql), _OWN_NAMES, querist.planned("watch", WATCH), *([end] if end else [])
        )
        return session, watched[0]

    async def _connected(self) -> Querist:
        if self._querist is None or self._querist.lost:
            self._querist = await self._opened("hoopd-catalogue")
        return self._querist

    async def _opened(self, name: str) -> Querist:
        failure: BaseException = TargetError("no session is left to read the catalogue for")
        for grant, _ in list(self._users.values()):
            try:
                settings = settings_for(self._target, self._database, name, {"client_encoding": "UTF8"})
                connection, _ = await connect(
                    self._worker.reactor, self._worker.vault, await grant(), self._target, settings, self._liveness
                )
            except HoopdError as error:
                failure = error
                continue
            querist = Querist(self._worker.reactor, connection)
            if not self._users:
                querist.close()
            return querist
        raise failure

    def _done(self, catalogue: Catalogue) -> None:
        changed = self.current is None or self.current.version != catalogue.version
        if changed:
            self.current = catalogue
        present = self.current if self.current is not None else catalogue
        waiting, self._reading = self._reading, []
        self._finished()
        for each in waiting:
            each.callback(present)
        if changed:
            fields = {"target": self._target.name, "database": self._database, "objects": len(catalogue.relations)}
            self._worker.event("catalogue.refreshed", {**fields, "why": ""})
            for _, tell in list(self._users.values()):
                tell(catalogue)

    def _failed(self, failure: Failure) -> None:
        if self._users:
            fields = {"target": self._target.name, "database": self._database, "why": failure.getErrorMessage()}
            self._worker.event("catalogue.failed", fields)
        waiting, self._reading = self._reading, []
        self._finished()
        for each in waiting:
            each.errback(failure)

    def _finished(self) -> None:
        self._busy = False
        if self._next:
            self._begin()
        elif self._users and (self._timer is None or not self._timer.active()):
            self._timer = self._worker.reactor.callLater(self._poll, self._look)

    def _look(self) -> None:
        if not self._busy:
            self._busy = True
            Deferred.fromCoroutine(self._changed()).addCallbacks(self._looked, self._failed)

    async def _changed(self) -> bool:
        querist = await self._connected()
        try:
            session, watched = await self._watch(querist, "ROLLBACK")
        except TargetError:
            if not querist.lost:
                await querist.ask("ROLLBACK")
            return True  # reading says what is wrong, if anything is
        known = self.current
        moved = known is None or Catalogue.from_rows({"session": session}, known).version != known.version
        return moved or watched != self._watched or (known is not None and known.partial)

    def _looked(self, changed: bool) -> None:
        if changed:
            self._begin()
        else:
            self._finished()


class Catalogues:
    """All catalogues of a worker.

    @param poll: seconds between looks for DDL that did not pass through us.
    """

    def __init__(self, worker: Any, poll: float, liveness: Liveness) -> None:
        self._worker = worker
        self._poll = poll
        self._liveness = liveness
        self._shared: dict[tuple[Target, str], SharedCatalogue] = {}

    def of(self, target: Target, database: str) -> SharedCatalogue:
        """The one of C{database} at C{target}; a target whose configuration changed is another."""
        key = (target, database)
        if key not in self._shared:
            self._shared[key] = SharedCatalogue(
                self._worker, target, database, self._poll, self._liveness, lambda: self._drop(key)
            )
        return self._shared[key]

    def _drop(self, key: tuple[Target, str]) -> None:
        self._shared.pop(key, None)
