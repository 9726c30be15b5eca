"""Watched shells with stock ssh on a real terminal, a real gateway and a real sshd: lines judged, held, recorded."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import pytest

from tests.integration.sshd import POLICY, SshGateway, SshServer
from tests.integration.tiny.running import until


@pytest.fixture(scope="module")
def gateway() -> Iterator[SshGateway]:
    with SshServer() as server, SshGateway(server, POLICY.replace("watch = false", "watch = true")) as started:
        started.identity("user:priya", groups=["ops"])
        started.identity("user:lee", groups=["leads"], duties=["approver"])
        yield started


class Terminal:
    """ssh as a person uses it. @ivar shown: all that came, as text"""

    def __init__(self, gateway: SshGateway, who: str = "user:priya", size: tuple[int, int] = (200, 30)) -> None:
        self.shown = ""
        self.master, slave = pty.openpty()
        self.resize(*size)
        self.process = subprocess.Popen(
            ["sshpass", "-e", "-P", "Token:", "ssh", *gateway.ssh_words("-t"), "web1@127.0.0.1"],
            env={**gateway.ssh_environment(who), "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        self.prompt()
        return self

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resized(self, columns: int, rows: int) -> None:
        """Another size, and ssh is told: the terminal that the signal would go to is sshpass's."""
        self.resize(columns, rows)
        (child,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGWINCH)

    def type(self, text: str | bytes) -> None:
        os.write(self.master, text if isinstance(text, bytes) else text.encode())

    def until(self, met: Callable[[], object], what: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < end, f"never: {what}\n{self.shown}"
            if select.select([self.master], [], [], 0.05)[0]:
                try:
                    self.shown += os.read(self.master, 65536).decode("utf-8", "replace")
                except OSError:
                    assert met(), f"it ended: {what}\n{self.shown}"

    def sees(self, text: str) -> str:
        """Wait for C{text}. @return: what was shown up to its end; that is seen no more"""
        self.until(lambda: text in self.shown, repr(text))
        before, _, self.shown = self.shown.partition(text)
        return before + text

    def prompt(self) -> None:
        self.until(lambda: re.search(r"[$#] (\x1b\[[0-9;?]*[a-zA-Z])*\Z", self.shown), "a prompt")

    def line(self, text: str) -> None:
        """Type a line at a prompt, once it is there."""
        self.prompt()
        self.shown = ""
        self.type(text)
        self.until(lambda: text in self.shown.replace("\r", "").replace("\n", ""), "its echo")
        self.type("\r")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(20)
        os.close(self.master)


def _size(terminal: Terminal) -> str:
    terminal.line("stty size")
    terminal.until(lambda: re.search(r"\d+ \d+\r?\n", terminal.shown), "a size")
    found = re.search(r"(\d+ \d+)\r?\n", terminal.shown)
    assert found is not None
    return found[1]


def lines(gateway: SshGateway, session: str, event: str = "operation.allowed") -> list[str]:
    return [each["text"] for each in gateway.events(event) if each["session"] == session]


def newest(gateway: SshGateway) -> str:
    found: str = gateway.json("sessions", "list")[0]["id"]
    return found


def test_lines_run_are_refused_and_are_on_record(gateway: SshGateway) -> None:
    with Terminal(gateway) as terminal:
        session = newest(gateway)
        terminal.line("echo one''two")
        terminal.sees("onetwo")
        terminal.line("cat /etc/shadow")
        terminal.sees("hoopd: refused: nobody reads that [rule example.deny.secret]")
        terminal.line("echo still''here")
        terminal.sees("stillhere")
        terminal.prompt()
        terminal.type(b"\x1b[A\x1b[A")
        terminal.sees("one''two")
        terminal.type("\r")
        terminal.sees("onetwo")
        assert lines(gateway, session) == ["shell", "echo one''two", "echo still''here", "echo one''two"]
        assert lines(gateway, session, "operation.denied") == ["cat /etc/shadow"]
        terminal.prompt()
        terminal.type(b"\x04")
        terminal.process.wait(30)
    replayed = gateway.hoopctl("sessions", "replay", session).stdout
    assert "echo still''here" in replayed


def test_a_held_line_runs_once_a_colleague_approves(gateway: SshGateway, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with Terminal(gateway) as terminal:
        terminal.line(f"touch {mark}")
        said = terminal.sees("to approve:")
        request = re.search(r"held for approval as (A-\w+)", said)
        assert request is not None, said
        assert not mark.exists()
        gateway.hoopctl("approvals", "approve", request[1], "--reason", "go", who="user:lee")
        terminal.sees("is approved: running it")
        until(mark.exists, "it has run")
        until(lambda: gateway.json("approvals", "show", request[1])["state"] == "executed", "it is settled")
        terminal.line("echo af''ter")
        terminal.sees("after")


def test_ctrl_c_withdraws_a_held_line(gateway: SshGateway, tmp_path: Path) -> None:
    mark = tmp_path / "never"
    with Terminal(gateway) as terminal:
        terminal.line(f"touch {mark}")
        said = terminal.sees("to approve:")
        request = re.search(r"held for approval as (A-\w+)", said)
        assert request is not None
        terminal.type(b"\x03")
        terminal.sees("hoopd: refused:")
        terminal.line("echo af''ter")
        terminal.sees("after")
        assert gateway.json("approvals", "show", request[1])["state"] == "cancelled"
        assert not mark.exists()


def test_editors_pagers_and_passwords_work(gateway: SshGateway, tmp_path: Path) -> None:
    file, script = tmp_path / "file", tmp_path / "ask"
    script.write_text("stty -echo; printf 'Password: '; read -r x; stty echo; echo; printf %s \"$x\" | sha1sum\n")
    script.chmod(0o755)
    with Terminal(gateway) as terminal:
        session = newest(gateway)
        terminal.line(f"vim -u NONE -n {file}")
        terminal.sees("\x1b[?1049h")
        terminal.type("ifirst\rtouch mark\x1b:wq\r")
        terminal.sees("\x1b[?1049l")
        terminal.line(f"less {file}")
        terminal.sees("touch mark")
        terminal.type("q")
        terminal.sees("\x1b[?1049l")
        terminal.line(f"{script}")
        terminal.sees("Password: ")
        terminal.type("hunter2\r")
        terminal.sees("f3bbbd66a63d4bf1747940578ec3d0103530e21d")
        terminal.line("echo af''ter")
        terminal.sees("after")
        assert file.read_text() == "first\ntouch mark\n"
        assert lines(gateway, session) == [
            "shell", f"vim -u NONE -n {file}", f"less {file}", str(script), "echo af''ter",
        ]  # fmt: skip
        terminal.prompt()
        terminal.type(b"\x04")
        terminal.process.wait(30)
    assert "hunter2" not in gateway.hoopctl("sessions", "replay", session).stdout


def test_a_resize_is_followed(gateway: SshGateway) -> None:
    with Terminal(gateway) as terminal:
        session = newest(gateway)
        terminal.resized(60, 20)
        long = f"echo {'word ' * 20}end"
        terminal.until(lambda: _size(terminal) == "20 60", "the host knows the size")
        terminal.prompt()
        terminal.shown = ""
        terminal.type(long)
        terminal.sees("end")
        terminal.type("\r")
        until(lambda: long in lines(gateway, session), "the long line is on record")


def test_a_shell_without_a_terminal_does_not_begin(gateway: SshGateway) -> None:
    done = gateway.ssh("user:priya", text="id\n")
    assert done.returncode == 126
    assert "watched, which takes a terminal" in done.stderr
    assert "uid=" not in done.stdout


def test_the_record_of_it_all_verifies(gateway: SshGateway) -> None:
    assert "as it was written" in gateway.ctl("audit", "verify", gateway.state).stdout
