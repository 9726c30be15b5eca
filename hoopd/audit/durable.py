"""fdatasync(2) in a thread, shared by all who ask at the same time; not what is written, nor when.

Whoever asks while one runs is answered by the next one: the running one may have begun before the bytes came. A
failed flush is final. The kernel may have dropped the pages and forgotten the error, so that a second one that
succeeds proves nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from hoopd.errors import RecordError

#: runs a function in a thread: C{deferToThread}, or a test's own
InThread = Callable[..., "Deferred[Any]"]


class GroupedSync:
    """
    @param fd: the descriptor; L{close} closes it.
    @param what: the file, for people.
    @param in_thread: called with a function and its arguments; Deferred of what it returned.
    @param system: C{fdatasync} and C{close}, as of the C{os} module.
    """

    def __init__(self, fd: int, what: str, in_thread: InThread = deferToThread, system: Any = os) -> None:
        self._fd = fd
        self._what = what
        self._in_thread = in_thread
        self._system = system
        self._running = False
        self._waiting: list[Deferred[None]] = []
        self._failed: RecordError | None = None
        self._closing = False

    def sync(self) -> Deferred[None]:
        """@return: Deferred of None once everything written so far is on disk. @raise hoopd.errors.RecordError"""
        if self._failed is not None:
            return fail(Failure(self._failed))
        if self._closing:
            return fail(Failure(RecordError(f"{self._what} is closed")))
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        if not self._running:
            self._run()
        return done

    def _run(self) -> None:
        self._running = True
        served, self._waiting = self._waiting, []
        self._in_thread(self._system.fdatasync, self._fd).addCallbacks(
            lambda _: self._ran(served), lambda failure: self._ran(served, failure)
        )

    def _ran(self, served: list[Deferred[None]], failure: Failure | None = None) -> None:
        self._running = False
        if failure is not None:
            self._failed = RecordError(f"{self._what} could not be flushed to disk: {failure.getErrorMessage()}")
            served, self._waiting = served + self._waiting, []
        elif self._waiting:
            self._run()
        if self._closing and not self._running:
            self._system.close(self._fd)
        for done in served:
            if done.called:
                continue  # its caller gave up
            if self._failed is not None:
                done.errback(Failure(self._failed))
            else:
                done.callback(None)

    def close(self) -> None:
        """Close the descriptor, after the flushes that were asked for: a thread may be using it."""
        if self._closing:
            return
        self._closing = True
        if not self._running:
            self._system.close(self._fd)
