"""Exits, seen through the reactor and reaped."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from hoopd.roles import launch
from hoopd.roles.exits import Exit


class Exits(TestCase):
    timeout = 60

    def python(self, code: str) -> int:
        return launch.run([sys.executable, "-c", code], [])

    async def test_status_and_signal(self) -> None:
        for code, expected in (
            ("raise SystemExit(3)", "exited with status 3"),
            ("import os; os.kill(os.getpid(), 9)", "killed by signal 9"),
        ):
            ended: Deferred[str] = Deferred()
            pid = self.python(code)
            Exit(reactor, pid, ended.callback)
            assert await ended == expected
            assert not os.path.exists(f"/proc/{pid}"), "reaped"  # noqa: ASYNC240

    def test_not_a_child_of_ours(self) -> None:
        with pytest.raises(ChildProcessError):
            Exit(reactor, os.getppid(), lambda how: None)

    async def test_descriptors_and_signals_of_what_is_run(self) -> None:
        """Only what is given is there, though much more is open here; no signal is blocked or ignored."""
        result = os.memfd_create("result", os.MFD_CLOEXEC)
        given = os.memfd_create("given", os.MFD_CLOEXEC)
        ended: Deferred[str] = Deferred()
        code = (
            "import os, signal\n"
            "print(sorted(int(fd) for fd in os.listdir('/proc/self/fd')), signal.getsignal(signal.SIGHUP),"
            " signal.pthread_sigmask(signal.SIG_BLOCK, []), os.getpgrp() == os.getpid(), os.readlink('/proc/self/fd/5'))"
        )
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            pid = launch.run([sys.executable, "-c", code], [(result, 1), (given, 5), (None, 6), (result, 2)])
        finally:
            signal.signal(signal.SIGHUP, before)
        Exit(reactor, pid, ended.callback)
        assert await ended == "exited with status 0", os.pread(result, 4096, 0)
        said = os.pread(result, 4096, 0).decode()
        os.close(result)
        os.close(given)
        # 3 is the listing itself
        assert said.strip() == "[0, 1, 2, 3, 5] 0 set() True /memfd:given (deleted)"
