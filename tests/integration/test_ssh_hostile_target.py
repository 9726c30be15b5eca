"""Hosts that mean harm: each attack ends its own session, with a word to user and operator, and nobody else's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.hostile_target import ACTS, EARLY, SIGNING_IN
from tests.integration.sshd import SshGateway, SshServer
from tests.integration.tiny.running import ROOT, until

POLICY = """
targets = ["*"]
allow.all = { who = ["group:ops"], do = ["exec", "opaque", "interpreter"], logins = ["*"] }
"""
#: attacks that a session survives, and the status that its client is told
SURVIVED = {
    "well": 0,
    "opens": 0,
    "asks-for-much": 0,
    "ends-twice": 3,
    "signalled": 255,
    "declines": 255,
    "close-twice": 255,
}


@pytest.fixture(scope="module")
def hostile() -> Iterator[dict[str, Any]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.hostile_target"], cwd=ROOT, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    line = process.stdout.readline()
    assert line, "the hostile host did not start"
    yield json.loads(line)
    process.stdin.close()
    process.stdout.close()
    process.wait(30)


@pytest.fixture(scope="module")
def gateway(server: SshServer, hostile: dict[str, Any]) -> Iterator[SshGateway]:
    more = "".join(
        f'\n[targets.{name}]\nprotocol = "ssh"\nhost = "127.0.0.1"\nport = {port}\nusername = "someone"\n'
        f'[targets.{name}.ssh]\nlogins = ["*"]\nhost_keys = ["{hostile["key"]}"]\n'
        for name, port in hostile["ports"].items()
    )
    with SshGateway(server, POLICY, more=more) as started:
        started.identity("user:priya", groups=["ops"])
        started.register_key("user:priya")
        yield started


@pytest.fixture(scope="module")
def bystander(gateway: SshGateway) -> Iterator[Any]:
    """A session at an honest host that lasts through it all, on the same worker."""
    process = subprocess.Popen(
        [*gateway.ssh_by_key_words(gateway.directory / "priya"), "web1@127.0.0.1",
         'while read line; do echo "$line"; done'],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("there\n")
    assert process.stdout.readline() == "there\n"
    yield process
    process.stdin.close()
    assert process.wait(30) == 0
    process.stdout.close()


def resident(gateway: SshGateway) -> int:
    """KiB of the only worker."""
    (worker,) = gateway.pids("worker/ssh")
    lines = Path(f"/proc/{worker}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if "VmRSS" in line)


def attacked(gateway: SshGateway, bystander: Any, to: str) -> subprocess.CompletedProcess[str]:
    """A command at a hostile host; whoever works elsewhere meanwhile notices nothing."""
    (worker,) = gateway.pids("worker/ssh")
    done = gateway.ssh_by_key(gateway.directory / "priya", "true", to=f"{to}@127.0.0.1")
    bystander.stdin.write(f"{to}\n")
    assert bystander.stdout.readline() == f"{to}\n"
    assert gateway.pids("worker/ssh") == [worker]
    for sign in ("\x1b", "\u202e", "\x07"):
        assert sign not in done.stdout + done.stderr
    return done


def told(gateway: SshGateway, done: subprocess.CompletedProcess[str]) -> None:
    """Both of them know what happened."""
    assert done.returncode == 255, done.stderr
    assert "hoopd: " in done.stderr
    assert "error of its own" not in done.stderr
    said = done.stderr.partition("hoopd: ")[2].splitlines()[0].strip()
    until(lambda: said in [each["what"] for each in events(gateway)], f"the log says: {said}")


def events(gateway: SshGateway) -> list[dict[str, Any]]:
    return [event for event in gateway.events("target.error") if "what" in event]


def test_the_list_of_attacks_is_the_host_s(hostile: dict[str, Any]) -> None:
    assert set(hostile["ports"]) == {*EARLY, "host", "wrong-signature"}
    assert (hostile["signing_in"], hostile["acts"]) == ([*SIGNING_IN], [*ACTS])


@pytest.mark.parametrize("name", [*EARLY, "wrong-signature"])
def test_before_there_are_keys(gateway: SshGateway, bystander: Any, name: str) -> None:
    told(gateway, attacked(gateway, bystander, name))


@pytest.mark.parametrize("account", [*SIGNING_IN])
def test_while_signing_in(gateway: SshGateway, bystander: Any, account: str) -> None:
    told(gateway, attacked(gateway, bystander, f"{account}%host"))


@pytest.mark.parametrize("account", [*ACTS])
def test_while_a_command_runs(gateway: SshGateway, bystander: Any, account: str) -> None:
    done = attacked(gateway, bystander, f"{account}%host")
    if account in SURVIVED:
        assert done.returncode == SURVIVED[account], done.stderr
    else:
        told(gateway, done)


def test_memory_is_what_it_was(gateway: SshGateway, bystander: Any) -> None:
    attacked(gateway, bystander, "well%host")
    assert resident(gateway) < 250_000


def test_no_attack_found_a_mistake_of_ours(gateway: SshGateway) -> None:
    assert "Traceback" not in gateway.text()
    assert "\x1b" not in gateway.text()


def test_the_record_of_it_all_verifies(gateway: SshGateway, bystander: Any) -> None:
    assert "as it was written" in gateway.ctl("audit", "verify", gateway.state).stdout
