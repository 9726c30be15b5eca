"""The ways to a host: what it shows and what compares with it, what signs in, and keys renewed under way."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.integration.ssh_peers import Loop, PasswordHost, listen
from tests.integration.sshd import LOGIN, SshGateway, SshServer, new_key
from tests.integration.tiny.running import PATIENCE, until

KINDS = ("ed25519", "ecdsa", "rsa")
PASSWORD = "the host's own 6f1e"
POLICY = """
targets = ["*"]
allow.ops = { who = ["group:ops"], do = ["exec", "opaque", "interpreter"] }
"""
#: a host by name: ways that it takes, rounds of its dialogue
ASKING: dict[str, tuple[tuple[str, ...], list[list[tuple[str, bool]]]]] = {
    "plain": (("password",), []),
    "pam": (("dialogue",), [[("Password: ", False)]]),
    "talks": (("dialogue",), [[], [("Password: ", False)], []]),
    "both": (("password", "dialogue"), [[("Password: ", False)]]),
    "second-factor": (("dialogue",), [[("Password: ", False)], [("Verification code \x1b[31m: ", False)]]),
    "two-at-once": (("dialogue",), [[("Password: ", False), ("Code: ", False)]]),
    "name-first": (("dialogue",), [[("Name: ", True)]]),
    "expired": (("password", "expired"), []),
    "keys-only": (("publickey",), []),
}


def table(name: str, port: int, pins: list[str], **ssh: Any) -> str:
    """One more target."""
    credential = f'credential = "{ssh.pop("credential")}"\n' if "credential" in ssh else ""
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in ssh.items())
    return (
        f'\n[targets.{name}]\nprotocol = "ssh"\nhost = "127.0.0.1"\nport = {port}\nusername = "{LOGIN}"\n{credential}'
        f"[targets.{name}.ssh]\nhost_keys = {json.dumps(pins)}\n{lines}"
    )


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    with SshServer("RekeyLimit 128K", kinds=KINDS) as started:
        yield started


@pytest.fixture(scope="module")
def certified(authority: Path) -> Iterator[SshServer]:
    server = SshServer(kinds=KINDS)
    server.certify(authority, "-n", "127.0.0.1,*.example", "-V", "-1h:+1d")
    with server as started:
        yield started


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_key(tmp_path_factory.mktemp("authority") / "hosts")


def certificates(authority: Path, servers: dict[str, tuple[str, ...]]) -> dict[str, SshServer]:
    """Hosts whose certificates are no good."""
    made = {}
    for name, options in servers.items():
        made[name] = SshServer()
        made[name].certify(authority, *options)
        made[name].start()
    return made


@pytest.fixture(scope="module")
def wrong(authority: Path) -> Iterator[dict[str, SshServer]]:
    made = certificates(
        authority,
        {"elsewhere": ("-n", "web2.example", "-V", "-1h:+1d"), "late": ("-n", "127.0.0.1", "-V", "-2h:-1h")},
    )
    yield made
    for each in made.values():
        each.__exit__(None, None, None)


@pytest.fixture(scope="module")
def asked() -> list[Any]:
    """What the hosts that take passwords were given."""
    return []


@pytest.fixture(scope="module")
def asking(asked: list[Any]) -> Iterator[dict[str, tuple[int, str]]]:
    """Port and host key of each of C{ASKING}."""
    with Loop() as loop:
        key = asyncssh.generate_private_key("ssh-ed25519")
        public = " ".join(key.export_public_key().decode().split()[:2])
        servers = {
            name: loop.run(listen(key, lambda ways=ways, rounds=rounds: PasswordHost(PASSWORD, ways, rounds, asked)))
            for name, (ways, rounds) in ASKING.items()
        }
        yield {name: (server.sockets[0].getsockname()[1], public) for name, server in servers.items()}
        for server in servers.values():
            server.close()


@pytest.fixture(scope="module")
def gateway(
    server: SshServer,
    certified: SshServer,
    wrong: dict[str, SshServer],
    authority: Path,
    asking: dict[str, tuple[int, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SshGateway]:
    keys = tmp_path_factory.mktemp("keys")
    trusted = "@cert-authority " + " ".join(authority.with_suffix(".pub").read_text().split()[:2])
    more = "".join(table(f"pinned-{kind}", server.port, [server.public(kind)]) for kind in KINDS)
    more += table("by-authority", certified.port, [trusted])
    more += table("by-key-inside", certified.port, [certified.public("rsa")])
    more += table("unknown-authority", certified.port, [])
    more += "".join(table(f"certified-{name}", each.port, [trusted]) for name, each in wrong.items())
    signing = {"ed25519": (), "ecdsa": ("-b", "384"), "rsa": ("-b", "2048")}
    for kind in signing:
        more += table(f"key-{kind}", server.port, [server.host_key], sign_in="key", credential=f"of-{kind}")
    more += table("key-none", server.port, [server.host_key], sign_in="key", credential="of-none")
    for name, (port, public) in asking.items():
        more += table(f"asks-{name}", port, [public], sign_in="password", credential="of-password")
    with SshGateway(server, POLICY, more=more, kinds=KINDS) as started:
        started.identity("user:priya", groups=["ops"])
        certified.authorities.write_text(started.hoopctl("ssh", "ca").stdout)
        for kind, options in signing.items():
            private = new_key(keys / kind, kind, *options)
            started.hoopctl("vault", "put", f"of-{kind}", text=private.read_text())
            with server.authorized.open("a") as lines:
                lines.write(private.with_suffix(".pub").read_text())
        started.hoopctl("vault", "put", "of-none", text="no key at all")
        started.hoopctl("vault", "put", "of-password", text=PASSWORD)
        yield started


def reached(gateway: SshGateway, target: str, *options: str) -> None:
    done = gateway.ssh("user:priya", "echo", "there", to=f"{target}@127.0.0.1", options=options)
    assert (done.returncode, done.stdout) == (0, "there\n"), done.stderr


def refused(gateway: SshGateway, target: str) -> str:
    """What whoever wants to go there is told; the operator is told the same."""
    done = gateway.ssh("user:priya", "echo", "there", to=f"{target}@127.0.0.1")
    assert (done.returncode, done.stdout) == (255, ""), done.stderr
    until(lambda: target in [each["target"] for each in gateway.events("target.error")], "the log says so")
    said = next(each["what"] for each in reversed(gateway.events("target.error")) if each["target"] == target)
    assert said.split("(")[0].strip() in done.stderr.replace("\r", "")
    return done.stderr


# -- what a host shows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_host_with_several_keys_is_asked_for_the_one_that_is_pinned(gateway: SshGateway, kind: str) -> None:
    reached(gateway, f"pinned-{kind}")


def test_a_host_certificate_is_good_for_whom_it_names(gateway: SshGateway) -> None:
    reached(gateway, "by-authority")
    assert "it does not name 127.0.0.1" in refused(gateway, "certified-elsewhere")
    assert "it is not valid now" in refused(gateway, "certified-late")


def test_a_pinned_key_is_good_inside_a_certificate_of_whomever(gateway: SshGateway, certified: SshServer) -> None:
    reached(gateway, "by-key-inside")
    said = refused(gateway, "unknown-authority")
    assert f"hoopctl ssh trust unknown-authority {certified.fingerprint}" in said
    gateway.hoopctl("ssh", "trust", "unknown-authority", certified.fingerprint)
    reached(gateway, "unknown-authority")


# -- what signs in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_of_the_vault_signs_in(gateway: SshGateway, server: SshServer, kind: str) -> None:
    reached(gateway, f"key-{kind}")
    accepted = [line for line in server.text().splitlines() if "Accepted publickey" in line]
    assert f" {kind.upper()} " in accepted[-1]


def test_what_is_no_key_signs_in_nowhere(gateway: SshGateway) -> None:
    assert "the vault holds no usable SSH key for target key-none" in refused(gateway, "key-none")


@pytest.mark.parametrize("name", ["plain", "pam", "talks", "both"])
def test_a_password_of_the_vault_signs_in_also_where_it_is_asked_for(
    gateway: SshGateway, asked: list[Any], name: str
) -> None:
    before = len(asked)
    done = gateway.ssh("user:priya", "hello", to=f"asks-{name}@127.0.0.1")
    assert (done.returncode, done.stdout) == (0, "ran hello\n"), done.stderr
    given = [each for each in asked[before:] if each[2] not in ([], "")]
    if name in ("plain", "both"):
        assert given == [("password", LOGIN, PASSWORD)]
    else:
        assert given == [("dialogue", LOGIN, [PASSWORD])]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("second-factor", "the host asks for more than a password: Verification code <U+001B>[31m:"),
        ("two-at-once", "the host asks for more than a password: Password:"),
        ("name-first", "the host asks for more than a password: Name:"),
        ("expired", f"the password for {LOGIN} has expired, the host wants a new one"),
        ("keys-only", f"the password for {LOGIN} was not accepted; it takes publickey"),
    ],
)
def test_a_host_that_wants_more_than_a_password_is_told_of(
    gateway: SshGateway, asked: list[Any], name: str, why: str
) -> None:
    before = len(asked)
    assert why in refused(gateway, f"asks-{name}")
    # the password answers one question, without echo; nothing else has it
    given = [each for each in asked[before:] if PASSWORD in each[2]]
    assert len(given) == (1 if name in ("second-factor", "expired") else 0)


def test_a_wrong_password_is_said_and_not_shown(gateway: SshGateway) -> None:
    gateway.hoopctl("vault", "put", "of-password", text="another one 77")
    try:
        for name in ("plain", "pam"):
            said = refused(gateway, f"asks-{name}")
            assert f"the password for {LOGIN} was not accepted" in said
            assert "another one 77" not in said + gateway.text()
    finally:
        gateway.hoopctl("vault", "put", "of-password", text=PASSWORD)


def test_no_password_is_in_the_log(gateway: SshGateway) -> None:
    assert PASSWORD not in gateway.text()


# -- keys renewed under way --------------------------------------------------------------------------------------


def test_a_session_goes_on_while_the_host_renews_its_keys(gateway: SshGateway) -> None:
    content = os.urandom(3_000_000)
    done = subprocess.run(
        ["sshpass", "-e", "-P", "Token:", "ssh", *gateway.ssh_words(), "web1@127.0.0.1", "cat; sleep 1; echo after"],
        env=gateway.ssh_environment("user:priya"), input=content, capture_output=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(content + b"after\n").digest()


@pytest.mark.parametrize("name", ["TERM", "INT", "USR1"])
def test_signals_reach_the_command(gateway: SshGateway, name: str) -> None:
    # sshd takes them for others than root only
    async def talk() -> None:
        async with asyncssh.connect(
            "127.0.0.1", gateway.ssh_port, username="asks-plain", password=gateway.tokens["user:priya"],
            known_hosts=str(gateway.known_hosts), config=None, agent_path=None, client_keys=None, login_timeout=60,
        ) as connection:  # fmt: skip
            process = await connection.create_process("wait")
            assert await process.stdout.readline() == "ready\n"
            process.send_signal(name)
            done = await process.wait()
            assert (done.stdout, done.exit_status) == (f"caught {name}\n", 9)

    asyncio.run(asyncio.wait_for(talk(), PATIENCE))


# -- what the listener shows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-256", "rsa-sha2-512"])
def test_the_listener_has_host_keys_of_each_kind(gateway: SshGateway, algorithm: str) -> None:
    reached(gateway, "web1", "-o", f"HostKeyAlgorithms={algorithm}")


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"])
def test_each_of_them_is_certified(gateway: SshGateway, algorithm: str) -> None:
    with gateway.known_hosts.open("a") as known:
        known.write(gateway.hoopctl("ssh", "ca", "--hosts", "web1").stdout)
    words = ("-o", "HostKeyAlias=web1", "-o", f"HostKeyAlgorithms={algorithm}-cert-v01@openssh.com")
    reached(gateway, "web1", *words)
