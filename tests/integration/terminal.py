"""A program at a terminal of its own, and somebody who reads and types there."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from tests.integration.tiny.running import PATIENCE


def _own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """
    @ivar shown: all that has been shown so far.
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [*words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_own_terminal,
            env=None if environment is None else dict(environment),
        )
        os.close(theirs)
        self.shown = ""
        self._seen = 0

    def _read(self, limit: float) -> bool:
        """@return: whether there may be more."""
        if not select.select([self._ours], [], [], limit)[0]:
            return True
        try:
            octets = os.read(self._ours, 65536)
        except OSError:
            return False  # Linux's way to say that nobody has the other end any more
        self.shown += octets.decode(errors="replace")
        return bool(octets)

    def expect(self, text: str) -> str:
        """Read until C{text} is shown. @return: what came before it, since the last such. @raise AssertionError: it is not"""
        end = time.monotonic() + PATIENCE
        while (at := self.shown.find(text, self._seen)) < 0:
            assert time.monotonic() < end, f"never shown: {text!r}\n{self.shown}"
            assert self._read(0.5), f"ended without showing {text!r}\n{self.shown}"
        before, self._seen = self.shown[self._seen : at], at + len(text)
        return before

    def type(self, text: str) -> None:
        """Type C{text}; Enter is a newline."""
        os.write(self._ours, text.encode())

    def end(self) -> int:
        """Read to the end. @return: exit status"""
        end = time.monotonic() + PATIENCE
        while self._read(0.5):
            assert time.monotonic() < end, f"does not end\n{self.shown}"
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """kill -9: it says goodbye to nobody."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()
        os.close(self._ours)
