"""C{ssh -J gateway target} and the gateway's own commands, with stock OpenSSH at a real gateway."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sshd import LOGIN, SshGateway, SshServer, held_as, new_key
from tests.integration.tiny.running import until

KEYS = ("user:priya", "user:mo", "user:lee")


@pytest.fixture(scope="module")
def gateway(server: SshServer) -> Iterator[SshGateway]:
    with SshGateway(server) as started:
        started.identity("user:priya", groups=["ops"])
        started.identity("user:mo", groups=["ops"])
        started.identity("user:lee", groups=["leads"], duties=["approver"])
        for who in KEYS:
            started.register_key(who)
        yield started


def key_of(gateway: SshGateway, who: str) -> Path:
    return gateway.directory / who.partition(":")[2]


def jump(gateway: SshGateway, who: str, inner: str = "") -> list[str]:
    """ssh's words for a jump: its own configuration, because -J takes no options for the way there."""
    config = gateway.directory / f"config-{who.replace(':', '-')}"
    authorities = gateway.directory / "known_authorities"
    authorities.write_text(gateway.hoopctl("ssh", "ca", "--hosts", "web1").stdout)
    config.write_text(
        f"""
Host bastion
  HostName 127.0.0.1
  Port {gateway.ssh_port}
  UserKnownHostsFile {gateway.known_hosts}
  IdentityFile {key_of(gateway, who)}
Host web1
  ProxyJump bastion
  UserKnownHostsFile {authorities}
  IdentityFile {key_of(gateway, inner or who)}
Host *
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  IdentitiesOnly yes
  IdentityAgent none
  BatchMode yes
"""
    )
    return ["ssh", "-F", str(config)]


def run(words: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, input=text, capture_output=True, text=True, timeout=60)


def test_a_jump_ends_at_the_gateway_which_shows_its_authoritys_certificate(gateway: SshGateway) -> None:
    done = run([*jump(gateway, "user:priya"), f"{LOGIN}@web1", "cat; exit 5"], "through\n")
    assert (done.returncode, done.stdout) == (5, "through\n"), done.stderr
    session = gateway.json("sessions", "list")[0]
    assert (session["identity"], session["target"]) == ("user:priya", "web1")
    assert "through" in gateway.hoopctl("sessions", "replay", session["id"]).stdout


def test_a_jump_carries_bulk_both_ways(gateway: SshGateway, tmp_path: Path) -> None:
    content = os.urandom(6_000_000)
    source = tmp_path / "source"
    source.write_bytes(content)
    words = jump(gateway, "user:priya")
    done = subprocess.run([*words, f"{LOGIN}@web1", "cat"], input=content, capture_output=True, timeout=100)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(content).digest(), done.stderr[-500:]


def test_the_way_there_and_the_target_are_proven_as_one(gateway: SshGateway) -> None:
    refused = run([*jump(gateway, "user:priya", "user:mo"), f"{LOGIN}@web1", "true"])
    assert refused.returncode == 255
    assert "the way here was user:priya's, and this is user:mo" in refused.stderr


def test_a_jump_to_what_is_no_target_goes_nowhere(gateway: SshGateway, server: SshServer) -> None:
    words = [*jump(gateway, "user:priya"), "-W", f"127.0.0.1:{server.port}", "bastion"]
    refused = run(words)
    assert refused.returncode == 255
    assert "is no target of this gateway" in refused.stderr


def test_an_account_that_is_not_open_is_refused_with_what_to_do(gateway: SshGateway) -> None:
    refused = run([*jump(gateway, "user:priya"), "nobody@web1", "true"])
    assert refused.returncode == 255
    assert "the account 'nobody' is not open at web1" in refused.stderr


def test_whoever_comes_to_the_gateway_itself_is_told_what_there_is(gateway: SshGateway) -> None:
    bastion = [*jump(gateway, "user:priya"), "anything@bastion"]
    assert run([*bastion, "whoami"]).stdout == "user:priya: user\n"
    assert "approve ID [--max-rows N] REASON" in run([*bastion, "help"]).stdout
    unknown = run([*bastion, "rm", "-rf", "/"])
    assert (unknown.returncode, unknown.stdout) == (127, "")
    assert "rm is no command of the gateway itself" in unknown.stderr
    shell = run(bastion)
    assert shell.returncode == 127
    assert "no target called 'anything' is open to user:priya" in shell.stderr


def test_colleagues_decide_over_ssh_and_nobody_on_their_own(gateway: SshGateway, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    waiting = subprocess.Popen(
        [*gateway.ssh_by_key_words(key_of(gateway, "user:priya")), "web1@127.0.0.1", f"touch {mark}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    request = held_as(waiting)
    own, lee = ([*jump(gateway, who), "bastion"] for who in ("user:priya", "user:lee"))
    refused = run([*own, "approve", request, "me"])
    assert refused.returncode == 1
    assert "needs the duty approver" in refused.stderr
    assert request in run([*lee, "approvals"]).stdout
    assert f"  | touch {mark}" in run([*lee, "show", request]).stdout
    assert run([*lee, "approve", request]).returncode == 2
    approved = run([*lee, "approve", request, "go", "ahead"])
    assert (approved.returncode, approved.stdout) == (0, f"{request} is approved\n"), approved.stderr
    waiting.communicate(timeout=30)
    assert waiting.returncode == 0
    assert mark.exists()
    votes = gateway.json("approvals", "show", request)["votes"]
    assert [(vote["identity"], vote["reason"]) for vote in votes] == [("user:lee", "go ahead")]


def test_a_revoked_key_ends_what_was_open_at_the_gateway(gateway: SshGateway, tmp_path: Path) -> None:
    key = tmp_path / "key"
    new_key(key)
    identifier = gateway.hoopctl("ssh", "keys", "add", f"{key}.pub", who="user:lee").stdout.partition(":")[0]
    control = tmp_path / "control"
    words = ["-M", "-S", str(control), "-N"]
    master = subprocess.Popen(
        [*gateway.ssh_by_key_words(key, *words), "gate@127.0.0.1"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(control.exists, "the connection is there")
        ask = ["ssh", "-F", "none", "-S", str(control), "gate@127.0.0.1", "approvals"]
        assert run(ask).returncode == 0
        gateway.hoopctl("ssh", "keys", "revoke", identifier, who="user:lee")
        refused = run(ask)
        assert refused.returncode == 1
        assert "connect again" in refused.stderr
    finally:
        subprocess.run(["ssh", "-F", "none", "-S", str(control), "-O", "exit", "x"], capture_output=True)
        master.wait(20)
