"""A real shell on a real terminal behind the core of a session that watches it: what it ran is on a file of its own.

The core is L{tests.protocols.ssh.playbook}'s with the clock of the machine; nothing of SSH's transport is in it.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from hoopd.protocols.ssh import messages
from hoopd.protocols.ssh.messages import number, string
from hoopd.shell.watch import Watch
from hoopd.values import Decision
from tests.protocols.ssh.playbook import HOLD, Judged, Play

#: how each shell is started without anybody's own settings, and how it notes what it runs
_SHELLS = {
    "bash": (["bash", "--noprofile", "--rcfile", "{rc}", "-i"],
             "PS1='\\u@\\h:\\w\\$ '\nHISTFILE=\n"
             "PS0='$(printf \"%s\\0\" \"$(fc -ln -0)\" >>{log})'\n"),
    "dash": (["dash", "-i"], "PS1='$ '\n"),
    "zsh": (["zsh", "-f", "-i"],
            "PROMPT='%n@%m:%~%# '\nRPROMPT='[%?]'\nunsetopt beep\n"
            "preexec() {{ printf '%s\\0' \"$1\" >>{log} }}\n"),
}  # fmt: skip


class Shell(Play):
    """
    @param kind: C{bash}, C{dash} or C{zsh}.
    @ivar shown: all that the client was sent.
    """

    def __init__(
        self,
        kind: str = "bash",
        size: tuple[int, int] = (80, 24),
        judge: Callable[[Any], str] | None = None,
        more: str = "",
    ) -> None:
        super().__init__()
        self.kind = kind
        self.shown = b""
        self.decide = judge or (lambda operation: "allow")
        self.core.seconds = self.core.runs.seconds = time.monotonic
        self._size = size
        self._more = more
        self._came = time.monotonic()
        self._timers: list[tuple[float, Callable[[], None]]] = []
        assert shutil.which(kind), f"{kind} is missing: apt-get install {kind}"
        self.home = Path(tempfile.mkdtemp(prefix="hoopd-watched-"))
        self.log = self.home / "log"

    def _judge(self, operation: Any) -> Judged:
        if operation.classes == {"shell"}:
            return Judged(Decision("allow", ("web.allow.shell",), watched=True))
        verdict: Any = self.decide(operation)
        return Judged(Decision(verdict, ("web.rule",), f"because {verdict}", "", HOLD if verdict == "hold" else ()))

    def _later(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        one = (time.monotonic() + seconds, call)
        self._timers.append(one)
        return lambda: self._timers.remove(one) if one in self._timers else None

    def __enter__(self) -> Shell:
        words, rc = _SHELLS[self.kind]
        file = self.home / (".zshrc" if self.kind == "zsh" else "rc")
        file.write_text(rc.format(log=self.log) + self._more)
        words = [word.format(rc=file) for word in words]
        if self.kind == "zsh":
            words.remove("-f")
        environment = {
            "PATH": os.environ["PATH"], "TERM": "xterm", "HOME": str(self.home), "ZDOTDIR": str(self.home), "LC_ALL": "C.UTF-8",
            "ENV": str(file), "USER": "x",
        }  # fmt: skip
        self.master, slave = pty.openpty()
        self._resize_terminal(*self._size)
        self.process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, cwd=self.home, env=environment, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)
        os.set_blocking(self.master, False)
        self.number = self.opened()
        details = string(b"xterm") + number(self._size[0]) + number(self._size[1]) + number(0) * 2 + string(b"")
        self.request(self.number, "pty-req", details)
        self.target(messages.SUCCESS, number(self.number))
        self.request(self.number, "shell")
        self.target(messages.SUCCESS, number(self.number))
        self.to_client()
        self.to_target()
        return self

    def _resize_terminal(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print("shown:", self.shown.decode("utf-8", "backslashreplace"))
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)
        os.close(self.master)
        shutil.rmtree(self.home, ignore_errors=True)

    # -- what the person does ----------------------------------------------------------------------------------

    def types(self, *keys: bytes | str) -> None:
        """Each in a packet of its own, at once."""
        self._came = time.monotonic()
        for key in keys:
            octets = key if isinstance(key, bytes) else key.encode()
            self.client(messages.DATA, number(self.number) + string(octets))
            self._pump()

    def resizes(self, columns: int, rows: int) -> None:
        self.request(self.number, "window-change", number(columns) + number(rows) + number(0) * 2, False)
        self._resize_terminal(columns, rows)
        self._came = time.monotonic()
        self._pump()

    def until(self, met: Callable[[], Any], what: str, seconds: float = 20) -> None:
        """Let it go on until something is so."""
        end = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < end, f"never: {what}\n{self.shown.decode('utf-8', 'backslashreplace')}"
            self.turn(0.02)

    def prompted(self, seconds: float = 60) -> None:
        """Let it go on until nothing waits and the shell is at its prompt, with nothing typed."""

        def there() -> bool:
            watch = self.watch
            watch.look()
            left = watch._left().rstrip()
            at = left[-1:] in ("$", "#", "%") and (self.kind == "dash" or watch.screen.editor)
            return at and not self._busy and self.still()

        # bash 5.2 may take an interrupt only with the next key: people press Enter then
        end = time.monotonic() + seconds
        while time.monotonic() < end and not there():
            if self.still(3) and not self._busy:
                self.types("\r")
            self.turn(0.02)
        assert there(), f"never: a prompt\n{self.shown.decode('utf-8', 'backslashreplace')}"

    @property
    def _busy(self) -> bool:
        channel = self.core.channel(self.number)
        return bool(channel.paused or channel.kept)

    def still(self, seconds: float = 0.1) -> bool:
        """Nothing came, and nothing was typed, for a while."""
        return time.monotonic() - self._came > seconds

    def settled(self) -> None:
        """Let it go on until nothing waits, and nothing comes for a while."""
        self.until(lambda: not self._busy and self.still(0.2), "quiet", 60)

    def turn(self, seconds: float) -> bool:
        """@return: something came"""
        ready = bool(select.select([self.master], [], [], seconds)[0])
        if ready:
            try:
                octets = os.read(self.master, 32768)
            except OSError:
                octets = b""
            if octets:
                self._came = time.monotonic()
                self.target(messages.DATA, number(self.number) + string(octets))
        now = time.monotonic()
        for one in [each for each in self._timers if each[0] <= now]:
            if one in self._timers:
                self._timers.remove(one)
                one[1]()
        self._pump()
        return ready

    def _pump(self) -> None:
        for kind, payload in self.to_client():
            if kind in (messages.DATA, messages.EXTENDED_DATA):
                octets = messages.read_data(kind, payload)[2]
                self.shown += octets
        for kind, payload in self.to_target():
            if kind == messages.DATA:
                octets = messages.read_data(kind, payload)[2]
                while octets:
                    try:
                        octets = octets[os.write(self.master, octets) :]
                    except BlockingIOError:
                        time.sleep(0.01)
            elif kind == messages.WINDOW_ADJUST:
                continue

    # -- what came of it ---------------------------------------------------------------------------------------

    @property
    def watch(self) -> Watch:
        watch: Watch = self.core.channel(self.number).run.passage._watch
        return watch

    def lines(self) -> list[str]:
        """What was judged and let run, in order."""
        return [
            fields["text"] for kind, fields in self.route.frames
            if kind == "operation" and fields["decision"] != "deny" and fields["classes"] != ["shell"]
        ]  # fmt: skip

    def refused(self) -> list[str]:
        return [
            fields["text"] for kind, fields in self.route.frames if kind == "operation" and fields["decision"] == "deny"
        ]

    def ran(self) -> list[str]:
        """What the shell itself says that it ran."""
        if not self.log.exists():
            return []
        said = self.log.read_bytes().decode("utf-8", "replace").split("\0")[:-1]
        return [each.strip() for each in said]
