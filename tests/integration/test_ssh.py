"""Stock OpenSSH through a real gateway to a real sshd: judged, held, recorded; no credential of the host at the client's."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.sshd import LOGIN, POLICY, SshGateway, SshServer, held_as
from tests.integration.tiny.running import until


@pytest.fixture(scope="module")
def gateway(server: SshServer) -> Iterator[SshGateway]:
    with SshGateway(server) as started:
        started.identity("user:priya", groups=["ops"])
        started.identity("user:lee", groups=["leads"], duties=["approver"])
        started.identity("user:mo")
        yield started


def frames(gateway: SshGateway, session: str = "") -> str:
    """What hoopctl replays of a session, the newest one if none is named."""
    found = session or gateway.json("sessions", "list")[0]["id"]
    return gateway.hoopctl("sessions", "replay", found).stdout


def test_a_command_runs_with_its_input_output_and_status(gateway: SshGateway, server: SshServer) -> None:
    done = gateway.ssh("user:priya", "cat; echo to stderr >&2; id -un; exit 3", text="from stdin\n")
    assert done.returncode == 3
    assert done.stdout == f"from stdin\n{LOGIN}\n"
    assert "to stderr" in done.stderr
    # the host's own log says for whom it was
    assert "hoopd user:priya S-" in server.text()
    assert "from stdin" in frames(gateway)


def test_a_refusal_says_why_and_nothing_reaches_the_host(gateway: SshGateway) -> None:
    done = gateway.ssh("user:priya", "cat /etc/shadow")
    assert done.returncode == 126
    assert done.stdout == ""
    assert "hoopd: refused: nobody reads that [rule example.deny.secret]" in done.stderr
    assert "ask the platform team" in done.stderr
    until(lambda: "cat /etc/shadow" in [each["text"] for each in gateway.events("operation.denied")], "the log says so")


@pytest.mark.parametrize(
    "command",
    [
        "sh -c 'cat /etc/shadow'",
        "c\\at /etc/shadow",
        "cat $(echo /etc/shadow)",
        "f() { cat /etc/shadow; }; f",
        "eval 'ls'",
    ],
)
def test_a_refusal_is_not_got_around_by_writing_it_otherwise(gateway: SshGateway, command: str) -> None:
    done = gateway.ssh("user:priya", command)
    assert (done.returncode, done.stdout) == (126, ""), done.stderr
    assert "example.deny.secret" in done.stderr


def test_who_has_no_rule_gets_no_session_and_learns_nothing_of_targets(gateway: SshGateway) -> None:
    refused = gateway.ssh("user:mo", "true")
    assert refused.returncode == 127
    assert "no target called 'web1' is open to user:mo" in refused.stderr
    nowhere = gateway.ssh("user:mo", "true", to="nowhere@127.0.0.1")
    assert (nowhere.returncode, nowhere.stdout) == (127, "")
    assert nowhere.stderr.replace("nowhere", "web1") == refused.stderr
    wrong = subprocess.run(
        ["sshpass", "-p", "hoopd_wrong", "-P", "Token:", "ssh", *gateway.ssh_words(), "web1@127.0.0.1", "true"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert wrong.returncode in (5, 255)
    assert "web1" not in wrong.stderr.replace("web1@127.0.0.1", "")


def test_a_held_command_runs_once_a_colleague_approves(gateway: SshGateway, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    waiting = gateway.ssh_started("user:priya", f"touch {mark}")
    request = held_as(waiting)
    assert not mark.exists()
    own = gateway.hoopctl("approvals", "approve", request, "--reason", "me", who="user:priya", ok=False)
    assert own.returncode == 1
    gateway.hoopctl("approvals", "approve", request, "--reason", "go", who="user:lee")
    out, _ = waiting.communicate(timeout=30)
    assert waiting.returncode == 0, out
    assert mark.exists()
    until(lambda: gateway.json("approvals", "show", request)["state"] == "executed", "it is settled")
    assert gateway.json("approvals", "show", request)["outcome"] == "exit 0"


def test_a_denied_request_ends_the_command(gateway: SshGateway, tmp_path: Path) -> None:
    mark = tmp_path / "never"
    waiting = gateway.ssh_started("user:priya", f"touch {mark}")
    request = held_as(waiting)
    gateway.hoopctl("approvals", "deny", request, "--reason", "not today", who="user:lee")
    out, _ = waiting.communicate(timeout=30)
    assert waiting.returncode == 126
    assert "not today" in out
    assert not mark.exists()


def test_who_goes_away_runs_nothing(gateway: SshGateway, tmp_path: Path) -> None:
    mark = tmp_path / "never"
    waiting = gateway.ssh_started("user:priya", f"touch {mark}")
    request = held_as(waiting)
    waiting.send_signal(signal.SIGKILL)
    waiting.wait()
    assert waiting.stdout is not None
    waiting.stdout.close()
    subprocess.run(["pkill", "-KILL", "-f", str(mark)], check=False)
    session = gateway.json("approvals", "show", request)["session"]
    until(
        lambda: any(each["id"] == session and each["ended_at"] for each in gateway.json("sessions", "list")),
        "the session is over",
    )
    gateway.hoopctl("approvals", "approve", request, "--reason", "late", who="user:lee", ok=False)
    assert not mark.exists()
    assert gateway.json("approvals", "show", request)["state"] in ("approved", "cancelled")


def test_an_interactive_shell_has_a_terminal_and_is_replayed(gateway: SshGateway) -> None:
    done = gateway.ssh("user:priya", options=("-tt",), text="stty size; echo mar''ker; exit 4\n")
    assert done.returncode == 4
    assert "marker" in done.stdout
    assert "marker" in frames(gateway)
    session = gateway.json("sessions", "list")[0]["id"]
    assert "marker" in gateway.hoopctl("sessions", "replay", session, "--terminal").stdout
    header, *events = map(json.loads, gateway.hoopctl("sessions", "export", session).stdout.splitlines())
    assert header["version"] == 2
    assert "marker" in "".join(event[2] for event in events if event[1] == "o")


def test_signals_of_the_host_arrive(gateway: SshGateway) -> None:
    done = gateway.ssh("user:priya", "kill -TERM $$")
    assert done.returncode == 255
    until(
        lambda: "signal TERM" in [each["tag"] for each in gateway.events("operation.finished")], "the end is on record"
    )


def test_files_go_both_ways_with_sftp_and_scp(gateway: SshGateway, tmp_path: Path) -> None:
    content = os.urandom(5_000_000)
    source, there, back = tmp_path / "source", tmp_path / "there", tmp_path / "back"
    source.write_bytes(content)
    words = gateway.ssh_words()
    words[words.index("-p")] = "-P"
    for kind in ((), ("-O",)):
        for path in (there, back):
            path.unlink(missing_ok=True)
        for one, other in ((source, f"web1@127.0.0.1:{there}"), (f"web1@127.0.0.1:{there}", back)):
            copied = subprocess.run(
                ["sshpass", "-e", "-P", "Token:", "scp", "-q", *kind, *words, str(one), str(other)],
                env=gateway.ssh_environment("user:priya"), capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            assert copied.returncode == 0, copied.stderr
        assert hashlib.sha256(back.read_bytes()).digest() == hashlib.sha256(content).digest()


def test_forwards_are_refused_unless_a_rule_opens_them(gateway: SshGateway, server: SshServer) -> None:
    done = gateway.ssh("user:priya", options=("-W", f"127.0.0.1:{server.port}"))
    assert done.returncode == 255
    assert "no rule allows user:priya to forward-local on web1" in done.stderr
    remote = gateway.ssh("user:priya", "true", options=("-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"))
    assert remote.returncode == 255
    until(
        lambda: ["forward-remote"] in [each["classes"] for each in gateway.events("operation.denied")],
        "the log says so",
    )


def test_several_channels_of_one_connection(gateway: SshGateway, tmp_path: Path) -> None:
    control = tmp_path / "control"
    master = subprocess.Popen(
        ["sshpass", "-e", "-P", "Token:", "ssh", *gateway.ssh_words("-M", "-S", str(control), "-N"), "web1@127.0.0.1"],
        env=gateway.ssh_environment("user:priya"), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(control.exists, "the master is there")
        many = [
            subprocess.Popen(
                ["ssh", "-F", "none", "-S", str(control), "-p", str(gateway.ssh_port), "web1@127.0.0.1",
                 f"sleep 0.2; echo {number}"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            )
            for number in range(8)
        ]  # fmt: skip
        for number, each in enumerate(many):
            assert each.communicate(timeout=30)[0] == f"{number}\n"
    finally:
        subprocess.run(["ssh", "-F", "none", "-S", str(control), "-O", "exit", "web1@127.0.0.1"], capture_output=True)
        master.wait(20)


@contextlib.contextmanager
def shared(gateway: SshGateway, control: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """One connection of user:priya; what is yielded runs a command over it."""
    master = subprocess.Popen(
        ["sshpass", "-e", "-P", "Token:", "ssh", *gateway.ssh_words("-M", "-S", str(control), "-N"), "web1@127.0.0.1"],
        env=gateway.ssh_environment("user:priya"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    words = ["ssh", "-F", "none", "-S", str(control), "-p", str(gateway.ssh_port)]

    def run(command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*words, "web1@127.0.0.1", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    try:
        until(control.exists, "the master is there")
        yield run
    finally:
        subprocess.run([*words, "-O", "exit", "web1@127.0.0.1"], capture_output=True)
        master.wait(20)


def test_several_holds_at_once_on_one_connection(gateway: SshGateway, tmp_path: Path) -> None:
    marks = [tmp_path / f"mark{number}" for number in range(4)]
    with shared(gateway, tmp_path / "control") as run:
        waiting = [run(f"touch {mark}") for mark in marks]
        requests = [held_as(each) for each in waiting]
        assert len(set(requests)) == 4
        assert {gateway.json("approvals", "show", each)["state"] for each in requests} == {"pending"}
        # beside them the connection is as fast as ever
        assert run("echo beside").communicate(timeout=30)[0] == "beside\n"
        # in another order, one refused, one given up by closing its channel
        gateway.hoopctl("approvals", "approve", requests[2], "--reason", "go", who="user:lee")
        waiting[2].communicate(timeout=30)
        assert [mark.exists() for mark in marks] == [False, False, True, False]
        gateway.hoopctl("approvals", "deny", requests[0], "--reason", "no", who="user:lee")
        assert "no" in waiting[0].communicate(timeout=30)[0]
        waiting[3].send_signal(signal.SIGINT)
        waiting[3].communicate(timeout=30)
        until(lambda: gateway.json("approvals", "show", requests[3])["state"] == "cancelled", "it is withdrawn")
        assert gateway.json("approvals", "show", requests[1])["state"] == "pending"
        gateway.hoopctl("approvals", "approve", requests[1], "--reason", "go", who="user:lee")
        waiting[1].communicate(timeout=30)
    assert [each.returncode for each in waiting[:3]] == [126, 0, 0]
    assert [mark.exists() for mark in marks] == [False, True, True, False]


def test_identical_commands_at_once_are_requests_of_their_own(gateway: SshGateway, tmp_path: Path) -> None:
    log = tmp_path / "log"
    gateway.policy(POLICY.replace("touch *", "tee *"))
    gateway.reload()
    with shared(gateway, tmp_path / "control") as run:
        waiting = [run(f"tee -a {log} <<< run") for _ in range(3)]
        requests = [held_as(each) for each in waiting]
        assert len(set(requests)) == 3
        for request in reversed(requests):
            gateway.hoopctl("approvals", "approve", request, "--reason", "go", who="user:lee")
        for each in waiting:
            assert "run\n" in each.communicate(timeout=30)[0]
    assert log.read_text() == "run\n" * 3
    gateway.policy(POLICY)
    gateway.reload()


def test_whoever_interrupts_withdraws(gateway: SshGateway, tmp_path: Path) -> None:
    waiting = subprocess.Popen(
        ["setsid", "-w", "sshpass", "-e", "-P", "Token:", "ssh", *gateway.ssh_words(), "web1@127.0.0.1",
         f"touch {tmp_path / 'never'}"],
        env=gateway.ssh_environment("user:priya"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    request = held_as(waiting)
    client = subprocess.run(["pgrep", "-fx", f"ssh .* touch {tmp_path / 'never'}"], capture_output=True, text=True)
    os.kill(int(client.stdout.split()[0]), signal.SIGINT)
    waiting.communicate(timeout=30)
    until(lambda: gateway.json("approvals", "show", request)["state"] == "cancelled", "it is withdrawn")


def test_a_broker_that_dies_over_several_holds_lets_each_run_once(gateway: SshGateway, tmp_path: Path) -> None:
    marks = [tmp_path / f"mark{number}" for number in range(3)]
    with shared(gateway, tmp_path / "control") as run:
        waiting = [run(f"touch {mark}") for mark in marks]
        requests = [held_as(each) for each in waiting]
        gateway.kill_broker()
        for request in reversed(requests):
            gateway.hoopctl("approvals", "approve", request, "--reason", "go", who="user:lee")
        for each in waiting:
            each.communicate(timeout=60)
    assert [each.returncode for each in waiting] == [0, 0, 0]
    assert all(mark.exists() for mark in marks)
    until(
        lambda: {gateway.json("approvals", "show", each)["state"] for each in requests} == {"executed"},
        "each ran and is settled",
    )


def test_a_slow_reader_costs_bounded_memory_and_loses_nothing(gateway: SshGateway) -> None:
    process = subprocess.Popen(
        ["sshpass", "-e", "-P", "Token:", "ssh", *gateway.ssh_words(), "web1@127.0.0.1",
         "head -c 100000000 /dev/zero"],
        env=gateway.ssh_environment("user:priya"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    (worker,) = gateway.pids("worker/ssh")
    assert process.stdout.read(1) == b"\0"
    time.sleep(2)
    resident = next(
        int(line.split()[1]) for line in Path(f"/proc/{worker}/status").read_text().splitlines() if "VmRSS" in line
    )
    assert resident < 200_000, f"{resident} KiB"
    size = 1
    while chunk := process.stdout.read(1 << 20):
        size += len(chunk)
    assert process.wait(60) == 0
    assert size == 100_000_000


def test_a_host_that_is_another_one_is_not_reached(gateway: SshGateway, server: SshServer) -> None:
    old = server.host_key
    server.stop()
    server.new_host_key()
    server.start()
    refused = gateway.ssh("user:priya", "true")
    assert refused.returncode == 255
    assert "CHANGED" in refused.stderr
    assert server.fingerprint in refused.stderr
    gateway.hoopctl("ssh", "trust", "web1", server.fingerprint)
    assert gateway.ssh("user:priya", "echo well").stdout == "well\n"
    assert gateway.json("ssh", "hosts")[0]["fingerprint"] == server.fingerprint
    gateway.hoopctl("ssh", "distrust", "web1", server.fingerprint)
    assert gateway.ssh("user:priya", "true").returncode == 255
    assert old != server.host_key
    gateway.hoopctl("ssh", "trust", "web1", server.fingerprint)


def test_the_record_of_it_all_verifies(gateway: SshGateway) -> None:
    verified = gateway.ctl("audit", "verify", gateway.state)
    assert "as it was written" in verified.stdout
