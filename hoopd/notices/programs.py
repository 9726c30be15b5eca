"""One program of the operator's, run once with a notice on its standard input; bounded in time and memory, no shell."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from hoopd.config.channels import program_problems
from hoopd.notices.deliveries import Outcome, Run

_CONFINED = str(Path(__file__).with_name("confined.py"))

#: all that a program finds in its environment; what it needs beyond, its arguments or files say
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


class _Program(ProcessProtocol):
    def __init__(self, given: bytes) -> None:
        self.ended: Deferred[Any] = Deferred()
        self._given = given

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(self._given)
        transport.closeStdin()

    def processExited(self, reason: Failure) -> None:
        # ProcessDone or ProcessTerminated, as a result: neither is an error of ours
        self.ended.callback(reason.value)


async def run(reactor: Any, order: Run) -> Outcome:
    """@return: L{Outcome}: delivered is exit status 0 in time."""
    problems = program_problems(order.argv[0])
    if problems:
        return Outcome(False, problems[0])
    program = _Program(order.input)
    seconds = math.ceil(order.seconds)
    argv = [sys.executable, "-I", "-S", _CONFINED, *map(str, (os.getpid(), order.memory, seconds)), *order.argv]
    # what it prints is nobody's: it may quote the notice, and logs of ours are read by others
    nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        started = reactor.spawnProcess(
            program, sys.executable, argv, env=ENVIRONMENT, path="/", childFDs={0: "w", 1: nothing, 2: nothing}
        )
    except OSError as problem:
        return Outcome(False, f"cannot be started: {problem.strerror}")
    finally:
        os.close(nothing)
    pid, late = started.pid, False

    def too_late() -> None:
        nonlocal late
        late = True
        try:
            _end(pid)
        except ProcessLookupError:
            started.signalProcess("KILL")  # it had not made its session yet

    timer = reactor.callLater(order.seconds, too_late)
    ended = await program.ended
    if timer.active():
        timer.cancel()
    with contextlib.suppress(ProcessLookupError):
        _end(pid)  # what it left running
    started.loseConnection()
    if late:
        return Outcome(False, f"killed after {order.seconds:g} s")
    if isinstance(ended, ProcessDone):
        return Outcome(True, "exit status 0")
    how = f"exit status {ended.exitCode}" if ended.signal is None else f"ended by signal {ended.signal}"
    return Outcome(False, how)


def _end(session: int) -> None:
    """Kill what is left of the program's session. It is named by its leader's number, which stays taken meanwhile.

    @raise ProcessLookupError: nothing is left, or the session is not made yet.
    """
    os.killpg(session, signal.SIGKILL)
