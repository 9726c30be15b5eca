"""Parsing of large texts in child processes that can be killed; the Twisted side of L{hoopd.sql.child}.

One text at a time in each child; a child that takes longer than C{limits.parse_seconds}, dies, or answers with nonsense
is killed and the statement refused. Children start when they are first needed.
"""

from __future__ import annotations

import struct
import sys
from collections import deque
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopd.config.schema import Limits
from hoopd.sql.grammar import ParseTree, Unparsed, decode

#: two children: one slow text must not hold up every other large one
CHILDREN = 2
#: texts that may wait; at the largest statement this is 64 MiB in the worst case
QUEUE = 64


class _Child(ProcessProtocol):
    log = Logger()
    transport: Any

    def __init__(self, pool: ParserPool) -> None:
        self.pool = pool
        self.job: tuple[bytes, Deferred[ParseTree]] | None = None
        self.timer: Any = None
        self.chunks: list[bytes] = []
        self.size = 0

    def send(self, text: bytes, answer: Deferred[ParseTree]) -> None:
        self.job = (text, answer)
        self.timer = self.pool.reactor.callLater(self.pool.limits.parse_seconds, self.kill)
        self.transport.write(struct.pack("!I", len(text)) + text)

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
            text, deferred = job
            try:
                if answer[:1] != b"T":
                    raise Unparsed(answer[1:].decode(errors="replace"), syntax=answer[:1] == b"S")
                tree = decode(text, answer[1:])
            except Unparsed as problem:
                deferred.errback(Failure(problem))
            else:
                deferred.callback(tree)
        self.pool._free(self)

    def errReceived(self, data: bytes) -> None:
        self.log.warn("parser child: {text}", text=data.decode(errors="replace")[:500])

    def processEnded(self, reason: Failure) -> None:
        job, self.job = self.job, None
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        self.pool._dead(self)
        if job is not None:
            job[1].errback(Failure(Unparsed("the statement takes too much time or memory to be judged")))


class ParserPool:
    """
    @param reactor: IReactorProcess and IReactorTime.
    """

    def __init__(self, reactor: Any, limits: Limits) -> None:
        self.reactor = reactor
        self.limits = limits
        self._idle: list[_Child] = []
        self._children: set[_Child] = set()
        self._waiting: deque[tuple[bytes, Deferred[ParseTree]]] = deque()
        self._stopped: Deferred[None] | None = None

    def parse(self, text: bytes) -> Deferred[ParseTree]:
        """@return: Deferred of L{ParseTree}. @raise Unparsed: also when the pool is overrun."""
        if len(text) > self.limits.statement_max:
            return fail(Unparsed(f"the statement is longer than {self.limits.statement_max} bytes"))
        if len(self._waiting) >= QUEUE:
            return fail(Unparsed("too many large statements wait to be judged; try again"))
        answer: Deferred[ParseTree] = Deferred()
        self._waiting.append((text, answer))
        self._pump()
        return answer

    def stop(self) -> Deferred[None]:
        """Kill the children; what waits is refused.

        @return: Deferred of None once they are gone
        """
        waiting, self._waiting = self._waiting, deque()
        for child in list(self._children):
            child.kill()
        for _, answer in waiting:
            answer.errback(Failure(Unparsed("the gateway is stopping")))
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
            self._idle.pop().send(*self._waiting.popleft())

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
