"""The family of processes, for real: the supervisor and children of hoopd around roles that fit a page.

Everything here is killed at some moment, and what the design promises of that is looked at from outside: by a
client's connection, by the process table, by files.
"""

from __future__ import annotations

import collections
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.tiny.running import PATIENCE, ROOT, Line, Running, alive, until

pytestmark = pytest.mark.integration


def connected_to(family: Running, name: str) -> Line:
    """A connection that the worker C{name} accepted."""
    for _ in range(50):
        line = family.connect()
        if line.who()["name"] == name:
            return line
        line.close()
    raise AssertionError(f"{name} accepts nothing")


def test_four_workers_share_400_spaced_arrivals(tmp_path: Path) -> None:
    with Running(tmp_path, workers=4) as family:
        family.ready()
        until(lambda: family.text().count("Serving starting") == 4, "all workers accept")
        accepted: collections.Counter[str] = collections.Counter()
        for _ in range(400):
            line = Line(family.port)
            accepted[str(line.who()["name"])] += 1
            line.close()
            time.sleep(0.002)
        assert sum(accepted.values()) == 400
        assert len(accepted) == 4
        assert max(accepted.values()) <= 200, accepted
        assert family.term() == 0


def test_any_process_may_be_killed_at_any_moment(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    moments = random.Random(seed)
    with Running(tmp_path) as family:
        family.ready()
        until(lambda: family.text().count("Serving starting") == 2, "both workers accept")
        line = connected_to(family, "worker/echo/1")
        worker = line.who()["pid"]
        session = line.ask("admit")
        for victim in ("broker", "verifier", "control", "worker/echo/2", "broker", "worker/echo/2"):
            time.sleep(moments.random() * 0.3)
            (pid,) = until(lambda victim=victim: family.named(victim), f"{victim} is there")
            os.kill(pid, signal.SIGKILL)
            assert line.ask("hello") == "hello", f"alive while {victim} is dead"
            until(lambda pid=pid, victim=victim: family.named(victim) not in ([], [pid]), f"{victim} is there again")
            # the connection is served by the broker that lives, and its session is known to it
            assert line.ask("broker") in {str(pid) for pid in family.named("broker")}
        assert line.who()["pid"] == worker
        assert (tmp_path / "state" / f"session-{session}").exists(), "the session goes on"
        other = family.connect()
        assert other.ask("admit") != session
        # a worker that dies ends its own sessions, and only those
        gone = (tmp_path / "state" / "gone").read_text().split()
        assert {name.rpartition(":")[0] for name in gone} == {"worker/echo/2"}
        assert family.term() == 0


def test_a_watch_outlives_the_broker(tmp_path: Path) -> None:
    with Running(tmp_path, workers=1) as family:
        family.ready()
        line = family.connect()
        line.say("watch a7")
        other = family.connect()
        assert other.ask("hello") == "hello", "one that waits holds up nobody"
        for _ in range(2):
            (broker,) = family.named("broker")
            os.kill(broker, signal.SIGKILL)
            until(lambda broker=broker: family.named("broker") not in ([], [broker]), "a new broker")
            assert other.ask("broker") == str(family.named("broker")[0])
        (tmp_path / "state" / "decided-a7").touch()
        assert line.hear() == "approved"
        assert family.term() == 0


def test_a_silent_worker_is_killed_and_replaced(tmp_path: Path) -> None:
    with Running(tmp_path, silent=6.0) as family:
        family.ready()
        until(lambda: family.text().count("Serving starting") == 2, "both workers accept")
        line = connected_to(family, "worker/echo/2")
        (worker,) = family.named("worker/echo/1")
        os.kill(worker, signal.SIGSTOP)
        until(lambda: family.named("worker/echo/1") not in ([], [worker]), "killed and replaced")
        assert f"worker/echo/1 ({worker}) is silent: killed" in family.text()
        assert line.ask("hello") == "hello"
        assert family.term() == 0


def test_reload_keeps_process_and_connections(tmp_path: Path) -> None:
    with Running(tmp_path, workers=1) as family:
        port = family.ready()
        old = family.connect()
        before = old.who()
        session = old.ask("admit")
        old.say("watch a7")

        # a broken configuration changes nothing
        children = family.children()
        (tmp_path / "family.json").write_text("{")
        family.reload()
        until(lambda: "reload refused: broken: family.json" in family.text(), "the reasons are told")
        assert family.children() == children
        # not even what is started afterwards reads it
        (verifier,) = family.named("verifier")
        os.kill(verifier, signal.SIGKILL)
        until(lambda: family.named("verifier") not in ([], [verifier]), "restarted with the old configuration")
        probe = family.connect()
        assert probe.who()["policy"] == before["policy"]
        probe.close()

        # nor does one that asks for an address that is taken
        family.configure(listen={"echo": {"port": 0, "workers": 1}, "other": {"port": port, "workers": 1}})
        family.reload()
        until(lambda: f"listen.other: 127.0.0.1:{port}" in family.text(), "the address is named")

        # a good one is taken by new processes, on the same listener, in the same supervisor
        family.configure(policy="second")
        family.reload()
        assert family.ready(2) == port
        until(lambda: len(family.named("worker/echo/1")) == 2, "an old worker with a connection, and a new one")
        new = until(lambda: one if (one := family.connect()).who()["generation"] == 2 else None, "served anew")
        assert "second" in new.who()["policy"]
        assert alive(family.pid)

        # the old connection goes on in its old process, with the new broker and its policy
        after = old.ask("hello")
        assert after == "hello"
        (tmp_path / "state" / "decided-a7").touch()
        assert old.hear() == "approved"
        now = old.who()
        assert (now["pid"], now["generation"]) == (before["pid"], 1)
        assert "second" in now["policy"]
        assert old.ask("broker") == str(family.named("broker")[0])
        assert (tmp_path / "state" / f"session-{session}").exists()
        assert not (tmp_path / "state" / "gone").exists(), "a broker that was replaced gives no worker up"
        old.close()
        until(lambda: before["pid"] not in family.children(), "the old worker ends with its last connection")
        assert new.ask("hello") == "hello"
        assert family.term() == 0


def test_the_broker_may_ask_for_a_reload(tmp_path: Path) -> None:
    import socket

    def administer(verb: str) -> str:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(PATIENCE)
            control.connect(str(tmp_path / "control.sock"))
            control.sendall(verb.encode() + b"\n")
            return control.makefile().readline().strip()

    with Running(tmp_path, workers=1) as family:
        family.ready()
        until(lambda: (tmp_path / "control.sock").exists(), "control is there")
        assert "sessions.list" in administer("sessions.list")
        good = (tmp_path / "family.json").read_text()
        (tmp_path / "family.json").write_text("{")
        assert "broken: family.json" in administer("reload")
        (tmp_path / "family.json").write_text(good)
        assert administer("reload") == "reloading"
        family.ready(2)
        assert family.term() == 0


def test_twenty_reloads_leak_nothing(tmp_path: Path) -> None:
    with Running(tmp_path, workers=1) as family:
        family.ready()
        line = family.connect()
        line.ask("admit")

        def descriptors() -> int:
            return len(os.listdir(f"/proc/{family.pid}/fd"))

        def settled() -> bool:
            # broker, verifier, control, one worker, and the one with the connection
            return len(family.children()) == 5

        family.reload()
        family.ready(2)
        until(settled, "the first reload is over")
        before = (descriptors(), line.who()["descriptors"])
        for count in range(3, 22):
            family.reload()
            family.ready(count)
        until(settled, "the last reload is over")
        # exits and ends of the last reload may still be on their way to the supervisor
        until(lambda: descriptors() <= before[0], f"as many descriptors as before: {before[0]}")
        assert line.who()["descriptors"] <= before[1]
        # a worker that drains without limit since the first reload ends within SIGTERM's
        assert family.term() == 0


def test_sigterm_drains_up_to_the_limit(tmp_path: Path) -> None:
    with Running(tmp_path, drain=6.0) as family:
        family.ready()
        polite, stubborn = family.connect(), family.connect()
        assert polite.ask("hello") == stubborn.ask("hello") == "hello"
        children = list(family.children())
        began = time.monotonic()
        os.kill(family.pid, signal.SIGTERM)
        until(lambda: not accepts(family.port), "nothing new is accepted")
        assert polite.ask("still here?") == "still here?"
        assert stubborn.ask("admit"), "the broker serves what drains"
        polite.close()
        assert family.process.wait(PATIENCE) == 0
        assert time.monotonic() - began >= 5.9
        with pytest.raises((EOFError, ConnectionError)):
            stubborn.ask("hello")
        assert [pid for pid in children if alive(pid)] == []


def accepts(port: int) -> bool:
    try:
        Line(port).close()
    except ConnectionRefusedError:
        return False
    return True


def test_children_that_lose_the_supervisor_drain_and_end(tmp_path: Path) -> None:
    with Running(tmp_path, workers=2, drain=PATIENCE) as family:
        family.ready()
        line = family.connect()
        line.ask("admit")
        children = list(family.children())
        assert len(children) == 5
        os.kill(family.pid, signal.SIGKILL)
        family.process.wait()
        until(lambda: not accepts(family.port), "nothing new is accepted")
        assert line.ask("hello") == "hello"
        assert line.ask("broker").isdigit(), "the broker stays while a worker drains"
        line.close()
        until(lambda: not [pid for pid in children if alive(pid)], "no orphan is left")


def test_a_supervisor_that_follows_a_killed_one_starts(tmp_path: Path) -> None:
    with Running(tmp_path, workers=1, drain=PATIENCE) as first:
        first.ready()
        line = first.connect()
        assert line.ask("admit")
        os.kill(first.pid, signal.SIGKILL)
        first.process.wait()
        directory = tmp_path / "again"
        directory.mkdir()
        # the same state: its broker must wait for the one that still drains
        os.symlink(tmp_path / "state", directory / "state")
        with Running(directory, workers=1) as second:
            until(lambda: "waiting for the broker before this one to end" in second.text(), "the new broker waits")
            assert line.ask("hello") == "hello"
            line.close()
            second.ready()
            assert second.connect().ask("hello") == "hello"
            assert second.term() == 0


TAC = """
import sys
from twisted.application.service import Application
from tests.integration.tiny.family import make
from hoopd.roles import reexec

directory = {directory!r}
again = reexec.twistd_argv(
    [sys.executable, "-m", "tests.integration.tiny.twistd"],
    {{"pidfile": "twistd.pid", "logfile": "twistd.log", "rundir": "/"}}, directory, ["--python", directory + "/family.tac"],
)
service = make(directory, again, directory + "/twistd.pid", directory + "/twistd.log.children")
application = Application("tiny")
service.setServiceParent(application)
"""


def test_twistd_as_a_daemon_keeps_its_process_over_a_reload(tmp_path: Path) -> None:
    (tmp_path / "family.tac").write_text(TAC.format(directory=str(tmp_path)))
    command = [
        sys.executable,
        "-m",
        "tests.integration.tiny.twistd",
        "--rundir=/",
        f"--pidfile={tmp_path}/twistd.pid",
        f"--logfile={tmp_path}/twistd.log",
        "--python",
        str(tmp_path / "family.tac"),
    ]
    with Running(tmp_path, workers=1, command=command) as family:
        assert family.process.wait(PATIENCE) == 0, "the daemon has started"
        family.log = tmp_path / "twistd.log"
        pidfile = tmp_path / "twistd.pid"
        family.pid = int(until(pidfile.read_text, "a pidfile"))
        family.ready()
        line = family.connect()
        assert line.ask("hello") == "hello"
        family.reload()
        family.ready(2)
        assert int(pidfile.read_text()) == family.pid
        assert line.ask("hello") == "hello"
        assert "Serving starting" in (tmp_path / "twistd.log.children").read_text()
        os.kill(family.pid, signal.SIGTERM)
        until(lambda: not alive(family.pid), "it ends")
        assert not pidfile.exists()
        assert not family.children()


def test_twistd_lists_hoopd() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "tests.integration.tiny.twistd", "--help"], cwd=ROOT, capture_output=True, check=True
    )
    assert b"hoopd" in said.stdout
