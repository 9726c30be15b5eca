"""The log: one safe line an event, never in the way."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.audit import log
from hoopd.audit.events import UnknownName
from hoopd.audit.log import JsonLog, line
from hoopd.secret import Secret


def test_a_line() -> None:
    assert line("session.closed", 1_790_000_000.25, {"session": "S-1", "identity": "user:priya", "why": "bye"}) == (
        '{"v":1,"event":"session.closed","at":"2026-09-21T14:13:20.250000Z",'
        '"session":"S-1","identity":"user:priya","why":"bye"}'
    )


def test_what_is_not_classified_and_secrets_do_not_appear() -> None:
    written = line("vault.put", 0, {"secret": "orders", "value": "hunter2", "new": "hunter2", "by": Secret("hunter2")})
    assert "hunter2" not in written
    assert json.loads(written)["value"] == "[redacted]"


def test_a_field_cannot_pass_for_the_line_itself() -> None:
    assert json.loads(line("vault.put", 0, {"event": "x", "v": 9, "at": "never"}))["event"] == "vault.put"


@given(text=st.text())
@settings(max_examples=200)
def test_no_field_breaks_a_line_or_moves_a_cursor(text: str) -> None:
    written = line("session.closed", 0, {"why": text})
    assert written.isascii()
    assert written.isprintable()
    assert json.loads(written)["why"] == text


def test_hostile_values_are_bounded_and_plain() -> None:
    fields: dict[str, Any] = {"why": "x" * 100_000, "session": b"\xff\x00", "identity": frozenset({"b", "a"})}
    read = json.loads(line("session.closed", 0, fields))
    assert read["why"].endswith("(100000 characters)")
    assert read["session"] == "\\xff\x00"
    assert read["identity"] == ["a", "b"]


def test_lines_arrive_in_order_in_a_file(tmp_path: Path) -> None:
    made = JsonLog(str(tmp_path / "log"), clock=lambda: 0.0)
    for number in range(500):
        made.event("audit.log-dropped", {"lines": number})
    made.close()
    made.close()
    read = [json.loads(each)["lines"] for each in (tmp_path / "log").read_text().splitlines()]
    assert read == list(range(500))
    assert (tmp_path / "log").stat().st_mode & 0o777 & ~0o640 == 0


def test_lines_are_gathered_and_none_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []

    class Counting:
        open, close = staticmethod(os.open), staticmethod(os.close)

        def write(self, fd: int, content: bytes) -> int:
            writes.append(bytes(content))
            return os.write(fd, content)

    # so long that only the end can end it: what is logged meanwhile is one write, and close does not wait
    monkeypatch.setattr(log, "GATHER", 3600.0)
    made = JsonLog(str(tmp_path / "log"), clock=lambda: 0.0, system=Counting())
    for number in range(50):
        made.event("audit.log-dropped", {"lines": number})
    made.close()
    assert len(writes) == 1
    assert len((tmp_path / "log").read_text().splitlines()) == 50


def test_a_line_is_there_soon_without_another_behind_it(tmp_path: Path) -> None:
    made = JsonLog(str(tmp_path / "log"), clock=lambda: 0.0)
    made.event("session.closed", {"session": "S-1"})
    for _ in range(10_000):
        if (tmp_path / "log").stat().st_size:
            break
        threading.Event().wait(0.001)
    assert json.loads((tmp_path / "log").read_text())["session"] == "S-1"
    made.close()


def test_numbers_and_text_that_have_no_short_form_are_written_all_the_same() -> None:
    fields = {"session": "\udc80", "why": 2**70, "identity": float("nan")}
    read = json.loads(line("session.closed", 0, fields))
    assert read["session"] == "\udc80"
    assert read["why"] == 2**70


def test_a_misspelt_name_is_an_error(tmp_path: Path) -> None:
    made = JsonLog(str(tmp_path / "log"))
    with pytest.raises(UnknownName):
        made.event("sesion.closed", {})
    made.close()


class Stuck:
    """A system whose writes wait until they are let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.written = b""

    def open(self, *args: Any) -> int:
        return os.open("/dev/null", os.O_WRONLY)

    def close(self, fd: int) -> None:
        os.close(fd)

    def write(self, fd: int, content: bytes) -> int:
        self.go.wait(10)
        self.written += bytes(content[:50])
        return len(content[:50])


def test_a_reader_that_does_not_read_blocks_nobody_and_is_told_what_it_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log, "QUEUE_MAX", 10)
    system = Stuck()
    made = JsonLog("somewhere", clock=lambda: 0.0, system=system)
    for _ in range(1000):
        made.event("session.closed", {"session": "S-1"})
    system.go.set()
    while made._lines:
        threading.Event().wait(0.001)
    made.event("session.closed", {"session": "S-2"})
    made.close()
    lines = [json.loads(each) for each in system.written.decode().splitlines()]
    dropped = sum(each["lines"] for each in lines if each["event"] == "audit.log-dropped")
    assert dropped > 900
    kept = [each for each in lines if each["event"] == "session.closed"]
    assert len(kept) - 1 + dropped == 1000
    assert lines[-1]["session"] == "S-2"
