"""What crosses a re-exec, and what is refused."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from attrs import evolve

from hoopd.ipc import memfd, wire
from hoopd.ipc.wire import WireError
from hoopd.roles import reexec
from hoopd.roles.reexec import ListenerState, MemberState, State


def left_behind(state: State | bytes) -> dict[str, str]:
    content = state if isinstance(state, bytes) else wire.encode(state)
    return {reexec.VARIABLE: str(memfd.write("test", content)), "OTHER": "x"}


def test_state_crosses_and_its_descriptors_are_closed_on_the_next_exec() -> None:
    control, listener = os.pipe()
    os.set_inheritable(control, True)
    os.set_inheritable(listener, True)
    state = State(
        reexec.VERSION,
        os.getpid(),
        7,
        [MemberState("broker", "broker", 7, "", 4711, control, "ready")],
        [ListenerState("postgres", "127.0.0.1", 5432, listener)],
        b"{}",
    )
    environment = left_behind(state)
    assert reexec.resumed(environment) == state
    assert environment == {"OTHER": "x"}
    assert not os.get_inheritable(control)
    assert not os.get_inheritable(listener)
    os.close(control)
    os.close(listener)


def test_a_first_life_has_nothing_before_it() -> None:
    assert reexec.resumed({}) is None


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"[]",
        State(reexec.VERSION + 1, os.getpid(), 1),
        State(reexec.VERSION, os.getpid() + 1, 1),
    ],
)
def test_state_of_another_is_refused(state: Any) -> None:
    with pytest.raises(WireError):
        reexec.resumed(left_behind(state))


def test_what_is_no_descriptor_is_refused() -> None:
    with pytest.raises(WireError):
        reexec.resumed({reexec.VARIABLE: "../x"})


def test_a_failed_exec_changes_nothing(tmp_path: Any) -> None:
    fd = os.memfd_create("control", os.MFD_CLOEXEC)
    pidfile = tmp_path / "pid"
    pidfile.write_text(str(os.getpid()))
    before = len(os.listdir("/proc/self/fd"))
    state = State(reexec.VERSION, os.getpid(), 1, [MemberState("broker", "broker", 1, "", 1, fd, "ready")])
    with pytest.raises(OSError):
        reexec.execute(["/nonexistent/python"], evolve(state, settings=b"{}"), str(pidfile))
    assert not os.get_inheritable(fd)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(reexec.WAITING_SIGNALS) == set()
    assert len(os.listdir("/proc/self/fd")) == before
    assert pidfile.read_text() == str(os.getpid())
    os.close(fd)


TWISTD = [
    ("in front", {"nodaemon": 1, "pidfile": "/w/twistd.pid"}, ["--rundir=/w/.", "--pidfile=/w/twistd.pid"]),
    (
        "a daemon, with everything by default",
        {"pidfile": "/w/twistd.pid", "rundir": "."},
        ["--rundir=/w/.", "--pidfile=/w/twistd.pid", "--logfile=/w/twistd.log"],
    ),
    (
        "a daemon elsewhere",
        {"pidfile": "/run/x.pid", "rundir": "/", "logfile": "/var/log/x", "umask": 0o027},
        ["--rundir=/", "--pidfile=/run/x.pid", "--logfile=/var/log/x", "--umask=27"],
    ),
    ("no pidfile", {"nodaemon": 1, "pidfile": "", "logfile": "-"}, ["--rundir=/w/.", "--pidfile="]),
    (
        "syslog",
        {"pidfile": "", "syslog": 1, "prefix": "hoopd"},
        ["--rundir=/w/.", "--pidfile=", "--syslog", "--prefix=hoopd"],
    ),
]


@pytest.mark.parametrize(("name", "options", "expected"), TWISTD, ids=[row[0] for row in TWISTD])
def test_twistd_goes_on_in_front_with_what_it_had(name: str, options: dict[str, Any], expected: list[str]) -> None:
    argv = reexec.twistd_argv(["python", "twistd"], options, "/w", ["hoopd", "--config", "/etc/hoopd"])
    assert argv == ["python", "twistd", "--nodaemon", *expected, "hoopd", "--config", "/etc/hoopd"]


def test_the_interpreter_keeps_its_options() -> None:
    argv = reexec.interpreter_argv("/usr/bin/twistd", ["python", "-W", "error", "-u", "/usr/bin/twistd", "-n", "hoopd"])
    assert argv[1:] == ["-W", "error", "-u", "/usr/bin/twistd"]
