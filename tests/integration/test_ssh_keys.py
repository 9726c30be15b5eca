"""Keys and certificates as proof at a real gateway with stock OpenSSH: registered, issued, revoked, rotated."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sshd import LOGIN, SshGateway, SshServer, new_key
from tests.integration.tiny.running import until


@pytest.fixture(scope="module")
def gateway(server: SshServer) -> Iterator[SshGateway]:
    with SshGateway(server) as started:
        started.identity("user:priya", groups=["ops"])
        started.identity("user:mo", groups=["ops"])
        started.identity("agent:deploy", groups=["ops"])
        yield started


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ed25519", ()),
        ("ecdsa", ("-b", "256")),
        ("ecdsa", ("-b", "384")),
        ("ecdsa", ("-b", "521")),
        ("rsa", ("-b", "2048")),
        ("rsa", ("-b", "4096")),
    ],
)
def test_a_registered_key_is_its_owner_until_it_is_revoked(
    gateway: SshGateway, tmp_path: Path, kind: str, options: tuple[str, ...]
) -> None:
    key = new_key(tmp_path / "id", kind, *options)
    assert gateway.ssh_by_key(key, "true").returncode == 255
    added = gateway.hoopctl("ssh", "keys", "add", f"{key}.pub", who="user:priya").stdout
    assert "is user:priya until" in added
    done = gateway.ssh_by_key(key, "id", "-un")
    assert (done.returncode, done.stdout) == (0, f"{LOGIN}\n"), done.stderr
    assert gateway.json("sessions", "list")[0]["identity"] == "user:priya"
    again = gateway.hoopctl("ssh", "keys", "add", f"{key}.pub", who="user:mo", ok=False)
    assert "registered already" in again.stderr
    identifier = added.partition(":")[0]
    gateway.hoopctl("ssh", "keys", "revoke", identifier, who="user:priya")
    assert gateway.ssh_by_key(key, "true").returncode == 255


@pytest.mark.parametrize("algorithm", ["rsa-sha2-256", "rsa-sha2-512", "ssh-rsa"])
def test_an_rsa_key_signs_with_today_s_hashes_alone(gateway: SshGateway, tmp_path: Path, algorithm: str) -> None:
    key = new_key(tmp_path / "id", "rsa", "-b", "3072")
    gateway.hoopctl("ssh", "keys", "add", f"{key}.pub", who="user:priya")
    only = ("-o", f"PubkeyAcceptedAlgorithms={algorithm}")
    assert gateway.ssh_by_key(key, "true", options=only).returncode == (255 if algorithm == "ssh-rsa" else 0)


def test_a_certificate_stands_for_the_token_and_falls_with_it(gateway: SshGateway, tmp_path: Path) -> None:
    key = new_key(tmp_path / "id")
    made = gateway.hoopctl("ssh", "cert", key, "--lifetime", "1h", who="user:priya").stdout
    assert "-cert.pub: user:priya until" in made
    shown = subprocess.run(["ssh-keygen", "-Lf", f"{key}-cert.pub"], capture_output=True, text=True, check=True).stdout
    assert "user certificate" in shown
    assert "Critical Options: (none)" in shown
    done = gateway.ssh_by_key(key, "echo", "in")
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
    session = gateway.json("sessions", "list")[0]
    assert session["identity"] == "user:priya"
    # another token's certificate goes with that token, live sessions too
    token = gateway.hoopctl("tokens", "issue", "--for", "for a day", who="user:priya").stdout.strip()
    other = tmp_path / "other"
    new_key(other)
    gateway.ctl("ssh", "cert", other, token=token)
    assert gateway.ssh_by_key(other, "true").returncode == 0
    tokens = gateway.json("tokens", "list", who="user:priya")
    (identifier,) = [each["id"] for each in tokens if each["description"] == "for a day"]
    running = subprocess.Popen(
        [*gateway.ssh_by_key_words(other), "web1@127.0.0.1", "echo started; sleep 60"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stdout.readline() == "started\n"
    gateway.hoopctl("tokens", "revoke", identifier, who="user:priya")
    rest, _ = running.communicate(timeout=20)
    assert running.returncode == 255
    assert "hoopd ends this session" in rest
    assert gateway.ssh_by_key(other, "true").returncode == 255


def test_the_groups_of_a_local_identity_are_those_of_now(gateway: SshGateway, tmp_path: Path) -> None:
    key = new_key(tmp_path / "id")
    gateway.hoopctl("ssh", "cert", key, who="user:mo")
    assert gateway.ssh_by_key(key, "true").returncode == 0
    gateway.hoopctl("identities", "groups", "user:mo", "nothing")
    refused = gateway.ssh_by_key(key, "true")
    assert refused.returncode == 127
    assert "is open to user:mo" in refused.stderr
    gateway.hoopctl("identities", "groups", "user:mo", "ops")
    gateway.hoopctl("identities", "disable", "user:mo", "--why", "left")
    assert "Permission denied" in gateway.ssh_by_key(key, "true").stderr
    gateway.hoopctl("identities", "enable", "user:mo")


def test_certificates_of_others_and_of_hosts_are_none(gateway: SshGateway, tmp_path: Path) -> None:
    key, authority = new_key(tmp_path / "id"), tmp_path / "authority"
    new_key(authority)
    subprocess.run(
        ["ssh-keygen", "-q", "-s", authority, "-I", "user:priya", "-n", "user:priya", f"{key}.pub"], check=True
    )
    assert "Permission denied" in gateway.ssh_by_key(key, "true").stderr


def test_people_register_their_own_and_administrators_those_of_agents(gateway: SshGateway, tmp_path: Path) -> None:
    key = new_key(tmp_path / "id")
    other = gateway.hoopctl("ssh", "keys", "add", f"{key}.pub", "--identity", "user:mo", who="user:priya", ok=False)
    assert "people register their own keys" in other.stderr
    assert gateway.hoopctl("ssh", "keys", "add", f"{key}.pub", "--identity", "user:mo", ok=False).returncode == 1
    gateway.hoopctl("ssh", "keys", "add", f"{key}.pub", "--identity", "agent:deploy")
    assert gateway.ssh_by_key(key, "true").returncode == 0
    assert gateway.json("sessions", "list")[0]["kind"] == "agent"
    narrow = gateway.hoopctl("tokens", "issue", "--scope", "do:exec", who="user:priya").stdout.strip()
    wide = gateway.ctl("ssh", "keys", "add", f"{key}.pub", token=narrow, ok=False)
    assert "wider than the proof" in wide.stderr


def test_an_authority_is_rotated_and_nobody_is_locked_out(
    gateway: SshGateway, server: SshServer, tmp_path: Path
) -> None:
    key = new_key(tmp_path / "id")
    gateway.hoopctl("ssh", "cert", key, who="user:priya")
    for kind in ("user", "client"):
        gateway.hoopctl("ssh", "rotate", kind, "publish")
        assert gateway.ssh_by_key(key, "true").returncode == 0
    assert len(gateway.hoopctl("ssh", "ca").stdout.splitlines()) == 2
    server.authorities.write_text(gateway.hoopctl("ssh", "ca").stdout)
    for kind in ("user", "client"):
        gateway.hoopctl("ssh", "rotate", kind, "activate")
        assert gateway.ssh_by_key(key, "true").returncode == 0, kind
        gateway.hoopctl("ssh", "rotate", kind, "retire")
    assert len(gateway.hoopctl("ssh", "ca").stdout.splitlines()) == 1
    # the host trusts the new one; the person's certificate was the old one's
    assert gateway.ssh_by_key(key, "true").returncode == 255
    gateway.hoopctl("ssh", "cert", key, who="user:priya")
    assert gateway.ssh_by_key(key, "true").returncode == 0
    again = gateway.hoopctl("ssh", "rotate", "user", "retire", ok=False)
    assert "none is trusted" in again.stderr


def test_what_was_registered_and_issued_is_in_the_log(gateway: SshGateway) -> None:
    until(lambda: gateway.events("ssh.certified") and gateway.events("ssh.key-revoked"), "the log says so")
    assert gateway.events("ssh.key-added")[-1]["identity"] == "agent:deploy"
