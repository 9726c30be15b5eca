"""Seeing processes end: pidfd_open(2) in the reactor; not what to do about it.

A pidfd is readable when its process has ended. Unlike SIGCHLD handlers this works in the same way for children
started before the supervisor re-executed itself: they are still ours to wait for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer


@implementer(IReadDescriptor)
class Exit:
    """Calls C{ended(text)} once when our child C{pid} has ended, and reaps it.

    @raise ChildProcessError: C{pid} is no child of ours, or has been waited for already.
    """

    log = Logger()

    def __init__(self, reactor: Any, pid: int, ended: Callable[[str], None]) -> None:
        # WNOWAIT: only a look, to be sure that the number still is our child's before we rely on it
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        self._reactor = reactor
        self._ended = ended
        self._fd = os.pidfd_open(pid)
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "exits"

    def doRead(self) -> None:
        result = os.waitid(os.P_PIDFD, self._fd, os.WEXITED | os.WNOHANG)
        if result is None:
            return
        self._reactor.removeReader(self)
        os.close(self._fd)
        self._fd = -1
        by_signal = result.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
        self._ended(f"{'killed by signal' if by_signal else 'exited with status'} {result.si_status}")

    def connectionLost(self, reason: Any) -> None:
        """The reactor stops."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
