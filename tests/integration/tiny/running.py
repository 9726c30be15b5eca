"""Starting, watching and talking to a tiny family from a test; what is started is ended here."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

ROOT = Path(__file__).parents[3]
T = TypeVar("T")

TIMES: dict[str, Any] = {"silent": 60.0, "drain": 2.0, "restart_delay": 0.05, "restart_delay_max": 0.5}


#: Seconds that anything may take. Nothing is measured by it: a machine may be twenty times slower than one thinks, and
#: whoever waits in vain fails for good, a minute later.
PATIENCE = 90.0


def until(what: Callable[[], T], why: str, limit: float = PATIENCE) -> T:
    """Wait until C{what()} is true. @raise AssertionError: not within C{limit} seconds."""
    end = time.monotonic() + limit
    while True:
        result = what()
        if result:
            return result
        assert time.monotonic() < end, f"not within {limit} s: {why}"
        time.sleep(0.02)


class Line:
    """One client connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.file = self.socket.makefile("rb")

    def ask(self, line: str) -> str:
        self.say(line)
        return self.hear()

    def say(self, line: str) -> None:
        self.socket.sendall(line.encode() + b"\n")

    def hear(self) -> str:
        answer = self.file.readline()
        if not answer:
            raise EOFError("the connection was closed")
        return answer.decode().strip()

    def who(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.ask("who"))
        return answer

    def close(self) -> None:
        self.file.close()
        self.socket.close()


class Running:
    """A family; a context manager that leaves no process behind."""

    def __init__(self, directory: Path, workers: int = 2, command: list[str] | None = None, **times: Any) -> None:
        self.directory = directory
        self.workers = workers
        self.times = TIMES | times
        self.configure()
        self.log = directory / "log"
        self.lines: list[Line] = []
        self.seen: set[int] = set()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command or [sys.executable, "-m", "tests.integration.tiny.family", str(directory)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.pid = self.process.pid

    def configure(self, **more: Any) -> None:
        values = {"listen": {"echo": {"port": 0, "workers": self.workers}}, "processes": self.times, **more}
        (self.directory / "family.json").write_text(json.dumps(values))

    def __enter__(self) -> Running:
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for line in self.lines:
            line.close()
        self.seen |= set(self.children())
        if alive(self.pid):
            os.kill(self.pid, signal.SIGKILL)
        self.process.wait()
        for pid in self.seen:
            if alive(pid) and "tests.integration.tiny" in command_of(pid):
                os.kill(pid, signal.SIGKILL)
        if value is not None:
            print(self.log.read_text(errors="replace"))

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def ready(self, times: int = 1) -> int:
        """Wait for the C{times}th readiness line. @return: the port."""
        until(lambda: self.text().count("hoopd: ready: ") >= times, f"{times} readiness lines")
        found = re.findall(r"ready: echo on 127\.0\.0\.1:(\d+) \(\d+ workers?\)", self.text())
        self.port = int(found[-1])
        self.seen |= set(self.children())
        return self.port

    def connect(self) -> Line:
        line = Line(self.port)
        self.lines.append(line)
        return line

    def children(self) -> dict[int, str]:
        """Process id to name of every living child of the supervisor."""
        found = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and parent_of(int(entry)) == self.pid:
                words = command_of(int(entry)).split()
                if len(words) > 2 and words[-3].endswith("child"):
                    found[int(entry)] = words[-1]
        return found

    def named(self, name: str) -> list[int]:
        return [pid for pid, one in self.children().items() if one == name]

    def reload(self) -> None:
        os.kill(self.pid, signal.SIGHUP)

    def term(self) -> int:
        os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(PATIENCE)


def parent_of(pid: int) -> int:
    """@return: the parent of a living process, 0 for one that is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            state, parent = stat.read().rpartition(")")[2].split()[:2]
    except OSError:
        return 0
    return 0 if state == "Z" else int(parent)


def command_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline") as command:
            return command.read().replace("\0", " ").strip()
    except OSError:
        return ""


def alive(pid: int) -> bool:
    return parent_of(pid) != 0
