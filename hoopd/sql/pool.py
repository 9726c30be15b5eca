"""Large texts read in child processes that can be killed; the Twisted side of L{hoopd.sql.child}.

One text at a time in each child; a child that takes longer than C{limits.parse_seconds}, dies, or answers with nonsense
is killed and the statement refused. Children start when they are first needed.
"""

from __future__ import annotations

import struct
import sys
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopd.config.schema import Limits
from hoopd.sql.analysis import Question, Reading
from hoopd.sql.catalogue import Catalogue
from hoopd.sql.grammar import Unparsed
from hoopd.sql.packed import pack_catalogue, pack_question, unpack_reading

#: two children: one slow text must not hold up every other large one
CHILDREN = 2
#: texts that may wait; at the largest statement this is 64 MiB in the worst case
QUEUE = 64
#: catalogues kept in the form in which children take them: of as many databases as are asked about at a time
CATALOGUES = 4

_PAIR = struct.Struct("!II")


@frozen(eq=False)
class _Job:
    """@ivar version: of the catalogue that the child must have, which is C{catalogue}; empty where it needs none."""

    request: bytes
    decode: Callable[[bytes], Any]
    answer: Deferred[Any]
    version: str = ""
    catalogue: bytes = b""


class _Child(ProcessProtocol):
    log = Logger()
    transport: Any

    def __init__(self, pool: ParserPool) -> None:
        self.pool = pool
        self.job: _Job | None = None
        self.version = ""
        self.timer: Any = None
        self.chunks: list[bytes] = []
        self.size = 0

    def send(self, job: _Job) -> None:
        self.job = job
        self.timer = self.pool.reactor.callLater(self.pool.limits.parse_seconds, self.kill)
        if job.version and job.version != self.version:
            self.version = job.version
            self._write(b"C" + job.catalogue)
        self._write(job.request)

    def _write(self, request: bytes) -> None:
        self.transport.write(struct.pack("!I", len(request)))
        self.transport.write(request)

    def kill(self) -> None:
        try:
            self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            pass  # it is about to be reported

    def outReceived(self, data: bytes) -> None:
        self.chunks.append(data)
        self.size += len(data)
        if self.size < 4:
            return
        whole = b"".join(self.chunks) if len(self.chunks[0]) < 4 else self.chunks[0]
        (length,) = struct.unpack_from("!I", whole)
        if self.size < 4 + length:
            return
        answer = b"".join(self.chunks)[4 : 4 + length]
        self.chunks, self.size = [], 0
        self._answered(answer)

    def _answered(self, answer: bytes) -> None:
        job, self.job = self.job, None
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        if job is not None:
            try:
                if answer[:1] in (b"S", b"E"):
                    why, _, redacted = answer[1:].decode(errors="replace").partition("\n")
                    raise Unparsed(why, syntax=answer[:1] == b"S", redacted=redacted)
                if answer[:1] != job.request[:1]:
                    raise Unparsed("the statement could not be judged")
                made = job.decode(answer[1:])
            except Unparsed as problem:
                job.answer.errback(Failure(problem))
            else:
                job.answer.callback(made)
        self.pool._free(self)

    def errReceived(self, data: bytes) -> None:
        self.log.warn("parser child: {text}", text=data.decode(errors="replace")[:500])

    def processEnded(self, reason: Failure) -> None:
        job, self.job = self.job, None
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        self.pool._dead(self)
        if job is not None:
            job.answer.errback(Failure(Unparsed("the statement takes too much time or memory to be judged")))


class ParserPool:
    """
    @param reactor: IReactorProcess and IReactorTime.
    """

    def __init__(self, reactor: Any, limits: Limits) -> None:
        self.reactor = reactor
        self.limits = limits
        self._idle: list[_Child] = []
        self._children: set[_Child] = set()
        self._waiting: deque[_Job] = deque()
        self._packed: OrderedDict[str, bytes] = OrderedDict()
        self._stopped: Deferred[None] | None = None

    def read(self, text: bytes, question: Question, catalogue: Catalogue) -> Deferred[Reading]:
        """@return: Deferred of what C{text} means. @raise Unparsed: it is refused; also when the pool is overrun."""
        return Deferred.fromCoroutine(self._read(text, question, catalogue))

    async def _read(self, text: bytes, question: Question, catalogue: Catalogue) -> Reading:
        packed = await self._catalogue(catalogue)
        answer: Deferred[Reading] = Deferred()
        self._ask(
            text,
            _Job(
                b"R" + pack_question(text, question),
                lambda octets: unpack_reading(octets, question, catalogue),
                answer,
                catalogue.version,
                packed,
            ),
        )
        return await answer

    def split(self, text: bytes) -> Deferred[list[tuple[int, int]]]:
        """@return: Deferred of where the statements of C{text} begin and end. @raise Unparsed: as L{read}"""
        answer: Deferred[list[tuple[int, int]]] = Deferred()
        self._ask(text, _Job(b"T" + text, lambda octets: list(_PAIR.iter_unpack(octets)), answer))
        return answer

    async def _catalogue(self, catalogue: Catalogue) -> bytes:
        """Packed in a thread: a large one takes a second, of which everybody else gets a part that way."""
        version = catalogue.version
        if version not in self._packed:
            self._packed[version] = await deferToThread(pack_catalogue, catalogue)
            if len(self._packed) > CATALOGUES:
                self._packed.popitem(last=False)
        return self._packed[version]

    def _ask(self, text: bytes, job: _Job) -> None:
        why = ""
        if len(text) > self.limits.statement_max:
            why = f"the statement is longer than {self.limits.statement_max} bytes"
        elif len(self._waiting) >= QUEUE:
            why = "too many large statements wait to be judged; try again"
        elif self._stopped is not None:
            why = "the gateway is stopping"
        if why:
            job.answer.errback(Failure(Unparsed(why)))
            return
        self._waiting.append(job)
        self._pump()

    def stop(self) -> Deferred[None]:
        """Kill the children; what waits is refused.

        @return: Deferred of None once they are gone
        """
        waiting, self._waiting = self._waiting, deque()
        for child in list(self._children):
            child.kill()
        for job in waiting:
            job.answer.errback(Failure(Unparsed("the gateway is stopping")))
        self._stopped = Deferred()
        if not self._children:
            self._stopped.callback(None)
        return self._stopped

    def _pump(self) -> None:
        while self._waiting:
            if not self._idle and len(self._children) < CHILDREN:
                child = _Child(self)
                self._children.add(child)
                self.reactor.spawnProcess(
                    child,
                    sys.executable,
                    [sys.executable, "-m", "hoopd.sql.child", str(self.limits.parse_memory)],
                    env={"PYTHONPATH": ":".join(part for part in sys.path if part), "LANG": "C.UTF-8"},
                )
                self._idle.append(child)
            if not self._idle:
                return
            self._idle.pop().send(self._waiting.popleft())

    def _free(self, child: _Child) -> None:
        if child in self._children:
            self._idle.append(child)
        self._pump()

    def _dead(self, child: _Child) -> None:
        self._children.discard(child)
        if child in self._idle:
            self._idle.remove(child)
        if self._stopped is None:
            self._pump()
        elif not self._children and not self._stopped.called:
            self._stopped.callback(None)
