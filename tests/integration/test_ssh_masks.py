"""Masks and limits on stock OpenSSH through a real gateway: what is seen, what is on record, and that no file holds a value."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sshd import SshGateway, SshServer, held_as
from tests.integration.tiny.running import until

CARD = "4111111111111111"
IBAN = "DE89370400440532013000"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n-----END PRIVATE KEY-----\n"
SECRET = re.compile(rb"4111[ -]?1111[ -]?1111[ -]?1111|" + IBAN.encode() + rb"|MIIEvQIBADAN|1111111111111111")

POLICY = """
targets = ["web1"]
mask.values = { detect = ["card", "iban", "key"], show = "last4", except = ["group:fraud"] }
allow.ops   = { who = ["group:ops", "group:fraud", "group:careful"], do = ["exec", "opaque", "interpreter", "shell", "download", "upload"] }
allow.small = { who = ["group:small"], do = ["exec", "opaque", "interpreter", "shell"], max_bytes = "1KiB" }
allow.brief = { who = ["group:brief"], do = ["exec", "opaque", "interpreter", "shell"], max_time = "2s" }
hold.touch  = { who = ["group:careful"], do = ["exec"], commands = ["touch *"], by = ["group:leads"], wait = "60s" }
break_glass.oncall = { who = ["group:ops"], skip = ["masks"], for = "10m" }
test."user:priya (sftp) get /tmp/x" = ["mask.values"]
identity."user:priya" = { groups = ["ops"] }
"""


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    with SshServer() as started:
        yield started


@pytest.fixture(scope="module")
def gateway(server: SshServer) -> Iterator[SshGateway]:
    with SshGateway(server, POLICY) as started:
        started.identity("user:priya", groups=["ops"])
        started.identity("user:finn", groups=["fraud"])
        started.identity("user:sam", groups=["small"])
        started.identity("user:bo", groups=["brief"])
        started.identity("user:cleo", groups=["careful"])
        started.identity("user:lee", groups=["leads"], duties=["approver"])
        yield started


@pytest.fixture
def values(tmp_path: Path) -> Path:
    path = tmp_path / "values"
    path.write_text(f"card {CARD}\niban {IBAN}\n{KEY}end\n")
    return path


def replayed(gateway: SshGateway) -> str:
    """What hoopctl replays of the newest session."""
    return gateway.hoopctl("sessions", "replay", gateway.json("sessions", "list")[0]["id"]).stdout


def holding(gateway: SshGateway, pattern: re.Pattern[bytes]) -> list[str]:
    """Files of the gateway in which it is: recordings, store, log and whatever else there is."""
    files = [path for path in gateway.directory.rglob("*") if path.is_file()]
    return [str(path) for path in files if pattern.search(path.read_bytes())]


def leaks(gateway: SshGateway) -> list[str]:
    """Files of the gateway that hold a value."""
    return holding(gateway, SECRET)


def test_output_is_masked_on_both_streams_and_in_the_record(gateway: SshGateway, values: Path) -> None:
    done = gateway.ssh("user:priya", f"cat {values}; cat {values} >&2")
    shown = "card ****1111\niban ****3000\n****\nend\n"
    assert done.stdout == shown
    assert done.stderr.endswith(shown)
    kept = replayed(gateway)
    assert "card ****1111" in kept
    # values would be found as well, if they were there
    assert [name for name in holding(gateway, re.compile(rb"card \*{4}1111")) if name.endswith(".hoopd-rec")]
    assert leaks(gateway) == []


def test_who_is_excepted_sees_values_and_the_record_does_not(gateway: SshGateway, values: Path) -> None:
    done = gateway.ssh("user:finn", f"cat {values}")
    assert done.stdout == values.read_text()
    assert "card ****1111" in replayed(gateway)
    assert leaks(gateway) == []


def test_a_value_that_comes_in_pieces_is_masked(gateway: SshGateway) -> None:
    done = gateway.ssh("user:priya", "printf 'a 41111'; sleep .3; printf 1111; sleep .3; printf '1111111 b\\n'")
    assert done.stdout == "a ****1111 b\n"
    slow = gateway.ssh("user:priya", "printf 'a 411111111'; sleep 2; printf '1111111 b\\n'")
    # more than its beginning is never seen, however long it takes
    assert slow.stdout == "a 411111**** b\n"
    assert leaks(gateway) == []


def test_colours_and_stray_octets_hide_nothing(gateway: SshGateway) -> None:
    done = gateway.ssh(
        "user:priya", "printf '4111\\033[31m11111111\\033[0m1111 b\\n'; printf '4111\\001111111111111 c\\n'"
    )
    assert done.stdout == "****1111\x1b[31m\x1b[0m b\n****1111 c\n"
    assert leaks(gateway) == []


def test_values_in_commands_are_masked_wherever_they_are_kept(gateway: SshGateway, tmp_path: Path) -> None:
    waiting = gateway.ssh_started("user:cleo", f"touch {tmp_path / 'x'} # {CARD}")
    request = held_as(waiting)
    assert CARD not in str(gateway.json("approvals", "show", request))
    gateway.hoopctl("approvals", "approve", request, "--reason", "go", who="user:lee")
    waiting.communicate(timeout=60)
    gateway.ssh("user:priya", f"true {CARD}")
    until(lambda: "true ****1111" in [each["text"] for each in gateway.events("operation.allowed")], "it is logged")
    assert leaks(gateway) == []


def test_a_shell_echoes_at_once_and_masks_what_it_shows(gateway: SshGateway, values: Path) -> None:
    leader, follower = pty.openpty()
    shell = subprocess.Popen(
        ["sshpass", "-e", "-P", "Token:", "ssh", "-tt", *gateway.ssh_words(), "web1@127.0.0.1"],
        env=gateway.ssh_environment("user:priya"), stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    seen = b""

    def read(wanted: bytes, seconds: float = 60) -> None:
        nonlocal seen
        until = time.monotonic() + seconds
        while wanted not in seen and time.monotonic() < until:
            if select.select([leader], [], [], 0.2)[0]:
                try:
                    seen += os.read(leader, 65536)
                except OSError:
                    break
        assert wanted in seen, seen[-2000:]

    os.write(leader, b"PS1='rea''dy> '\n")
    read(b"ready> ")
    seen = b""
    os.write(leader, f"cat {values}\n".encode())
    read(b"\r\nend\r\n")
    assert b"card ****1111\r\niban ****3000\r\n****\r\nend\r\n" in seen
    for octet in CARD.encode():
        os.write(leader, bytes([octet]))
        time.sleep(0.02)
    os.write(leader, b"\x15exit\n")
    shell.wait(60)
    os.close(leader)
    assert not SECRET.search(seen)
    kept = replayed(gateway)
    assert "card ****1111" in kept
    assert leaks(gateway) == []


def test_files_are_refused_under_masks_and_the_message_says_what_permits_them(
    gateway: SshGateway, values: Path
) -> None:
    words = ["-F", "none", "-P", str(gateway.ssh_port), *gateway.ssh_words()[4:]]
    copied = subprocess.run(
        ["sshpass", "-e", "-P", "Token:", "scp", *words, f"web1@127.0.0.1:{values}", f"{values}.out"],
        env=gateway.ssh_environment("user:priya"), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert copied.returncode != 0
    assert "cannot be masked" in copied.stderr
    assert 'transfers = "pass"' in copied.stderr
    assert not Path(f"{values}.out").exists()
    legacy = gateway.ssh("user:priya", f"scp -f {values}")
    assert (legacy.returncode, legacy.stdout) == (126, "")
    for command in (f"rsync --server --sender -e.LsfxCIvu . {values}", "git-upload-pack /tmp"):
        refused = gateway.ssh("user:priya", command)
        assert (refused.returncode, refused.stdout) == (126, ""), command
        assert "example.mask.values" in refused.stderr
    fetched = subprocess.run(
        ["sshpass", "-e", "-P", "Token:", "scp", *words, f"web1@127.0.0.1:{values}", f"{values}.out"],
        env=gateway.ssh_environment("user:finn"), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert fetched.returncode == 0, fetched.stderr
    assert Path(f"{values}.out").read_bytes() == values.read_bytes()
    sent = subprocess.run(
        ["sshpass", "-e", "-P", "Token:", "scp", *words, str(values), f"web1@127.0.0.1:{values}.in"],
        env=gateway.ssh_environment("user:priya"), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert sent.returncode == 0, sent.stderr
    assert Path(f"{values}.in").read_bytes() == values.read_bytes()
    for options in ((), ("-O",)):
        named = f"{values}-{CARD}"
        sent = subprocess.run(
            ["sshpass", "-e", "-P", "Token:", "scp", *options, *words, str(values), f"web1@127.0.0.1:{named}"],
            env=gateway.ssh_environment("user:priya"), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert sent.returncode == 0, sent.stderr
        assert Path(named).read_bytes() == values.read_bytes()
    until(
        lambda: [each for each in gateway.events("transfer.finished") if "****1111" in each["path"]] != [],
        "it is listed",
    )
    assert leaks(gateway) == []


def test_much_output_passes_masked_and_whole(gateway: SshGateway) -> None:
    line = "Nov 21 10:56:31 web1 sshd[1234]: Accepted publickey for deploy from 10.0.0.12 port 53122 ssh2: ED25519 SHA256:abcde"
    began = time.monotonic()
    done = gateway.ssh("user:priya", f"yes '{line}' | head -c 104857600; echo; echo {CARD}", timeout=300, text="")
    taken = time.monotonic() - began
    print(f"100 MB masked in {taken:.1f} s")
    assert len(done.stdout) == 104857600 + len("\n****1111\n")
    assert done.stdout.endswith("\n****1111\n")


def test_output_ends_at_max_bytes_with_the_rule(gateway: SshGateway) -> None:
    done = gateway.ssh("user:sam", "yes")
    assert done.returncode == 153
    assert len(done.stdout) == 1024
    assert "hoopd: ended: more than 1024 bytes of output [rule example.allow.small]" in done.stderr
    until(lambda: [each["limit"] for each in gateway.events("operation.limited")] != [], "it is logged")
    assert "more than 1024 bytes of output" in replayed(gateway)


def test_a_command_ends_at_max_time(gateway: SshGateway) -> None:
    done = gateway.ssh("user:bo", "echo begun; exec sleep 600")
    assert (done.returncode, done.stdout) == (124, "begun\n")
    assert "hoopd: ended: it took longer than 2 s [rule example.allow.brief]" in done.stderr
    assert "it took longer than 2 s" in replayed(gateway)


def test_what_runs_in_a_terminal_ends_at_the_host_too(gateway: SshGateway, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    done = gateway.ssh("user:bo", f"echo $$ > {mark}; exec sleep 600", options=("-tt",))
    assert done.returncode == 124
    pid = int(mark.read_text())
    until(lambda: not Path(f"/proc/{pid}").exists(), "the host has hung up")


def test_break_glass_shows_values_and_the_record_stays_masked(gateway: SshGateway, values: Path) -> None:
    gateway.hoopctl("break-glass", "open", "web1", "--reason", "INC-42: cards are charged twice", who="user:priya")
    done = gateway.ssh("user:priya", f"cat {values}")
    assert done.stdout == values.read_text(), done.stderr
    assert "card ****1111" in replayed(gateway)
    until(lambda: gateway.events("break-glass.operation") != [], "each operation that passes is logged")
    assert leaks(gateway) == []
