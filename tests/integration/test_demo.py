"""The demo itself, which checks everything it shows; and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.tiny.running import PATIENCE, ROOT, until

pytestmark = pytest.mark.integration


def started(base: Path, *words: str) -> subprocess.Popen[str]:
    # env: as a background job of a script would start it, with SIGINT ignored
    return subprocess.Popen(
        ["env", "--ignore-signal=INT", sys.executable, str(ROOT / "tools" / "demo.py"), *words],
        env={**os.environ, "HOOPD_DEMO_BASE": str(base), "DEMO_ONCE": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def of_session(session: int) -> list[int]:
    """Process ids of what lives in the session C{session} (proc(5), field 6)."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z" and int(fields[3]) == session:
                found.append(int(entry))
    return found


def test_the_show(tmp_path: Path) -> None:
    demo = started(tmp_path, "--once")
    said, _ = demo.communicate(timeout=280)
    assert demo.returncode == 0, said
    for claim in (
        "****1111",
        "42501",
        "UPDATE 1",
        "web1.deny.secrets",
        "load average",
        "the record is as it was written",
        "THE RECORD FAILED",
    ):
        assert claim in said
    assert "4111111111111111" not in said
    assert not (tmp_path / ".demo").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_goes_on_until_it_is_told_to_end_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    demo = started(tmp_path)
    assert demo.stdout is not None
    said = ""
    for line in demo.stdout:
        said += line
        if "Ctrl-C here ends everything" in line:
            break
    assert "try it" in said, said
    database = int(re.findall(r"listening on 127\.0\.0\.1:(\d+)", said)[0])
    supervisors = of_twistd(tmp_path)
    assert len(supervisors) == 1
    sessions = [demo.pid, os.getsid(supervisors[0])]
    os.kill(demo.pid, number)
    rest = demo.stdout.read()
    assert demo.wait(PATIENCE) == 0, said + rest
    assert not (tmp_path / ".demo").exists()
    until(lambda: not any(of_session(session) for session in sessions), "every process is gone")
    assert str(database) not in listening()


def of_twistd(base: Path) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                here = os.readlink(f"/proc/{entry}/cwd")
            except OSError:
                continue
            if here == str(base) and b"hoopd" in words and b"--nodaemon" in words:
                found.append(int(entry))
    return found


def listening() -> set[str]:
    """Local TCP ports in state LISTEN (proc(5), net/tcp)."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return {str(int(words[1].split(":")[1], 16)) for words in map(str.split, lines) if words[3] == "0A"}


def test_a_second_demo_does_not_disturb_the_first(tmp_path: Path) -> None:
    first = started(tmp_path)
    try:
        until(lambda: (tmp_path / ".demo" / "pid").exists() and (tmp_path / ".demo" / "pid").read_text(), "it runs")
        second = started(tmp_path, "--once")
        said, _ = second.communicate(timeout=PATIENCE)
        assert second.returncode == 1
        assert "runs already" in said
        assert first.poll() is None
    finally:
        os.kill(first.pid, signal.SIGTERM)
        first.communicate(timeout=PATIENCE)
    assert not (tmp_path / ".demo").exists()
