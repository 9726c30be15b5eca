"""Other clients than OpenSSH's own, auditors of its cryptography, and hostile peers, at a real gateway."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import paramiko
import pytest

from tests.integration.ssh_clients import paramiko_at
from tests.integration.sshd import LOGIN, SshGateway, SshServer
from tests.integration.tiny.running import until


@pytest.fixture(scope="module")
def gateway(server: SshServer) -> Iterator[SshGateway]:
    with SshGateway(server, settings={"limits": {"probe_after": "2s", "dead_after": "5s"}}) as started:
        started.identity("user:priya", groups=["ops"])
        started.register_key("user:priya")
        yield started


# -- clients -----------------------------------------------------------------------------------------------------


def test_paramiko(gateway: SshGateway, tmp_path: Path) -> None:
    with paramiko_at(gateway, key_filename=str(gateway.directory / "priya")) as client:
        standard_in, out, _ = client.exec_command("cat; exit 7")
        standard_in.write("from paramiko")
        standard_in.channel.shutdown_write()
        assert out.read() == b"from paramiko"
        assert out.channel.recv_exit_status() == 7
        with client.open_sftp() as files:
            with files.open(str(tmp_path / "file"), "w") as file:
                file.write("x" * 100_000)
            assert files.stat(str(tmp_path / "file")).st_size == 100_000
            files.rename(str(tmp_path / "file"), str(tmp_path / "other"))
            assert files.listdir(str(tmp_path)) == ["other"]


def test_paramiko_carries_much_both_ways_while_its_keys_are_renewed(gateway: SshGateway) -> None:
    content = os.urandom(9_000_000)
    with paramiko_at(gateway, key_filename=str(gateway.directory / "priya")) as client:
        transport = client.get_transport()
        assert transport is not None
        assert transport.remote_cipher == "aes128-ctr", "it prefers what costs more"
        standard_in, out, _ = client.exec_command("cat")
        sending = threading.Thread(target=lambda: (standard_in.write(content), standard_in.channel.shutdown_write()))
        sending.start()
        assert out.read() == content
        sending.join()
        # it offers the better cipher as well, and was asked to change
        assert transport.remote_cipher == transport.local_cipher
        assert "gcm" in transport.remote_cipher


def test_paramiko_with_a_token_as_password(gateway: SshGateway) -> None:
    with paramiko_at(gateway, password=gateway.tokens["user:priya"]) as client:
        assert client.exec_command("id -un")[1].read().decode().strip() == LOGIN


def test_asyncssh(gateway: SshGateway) -> None:
    async def talk() -> None:
        async with asyncssh.connect(
            "127.0.0.1", gateway.ssh_port, username="web1", client_keys=[str(gateway.directory / "priya")],
            known_hosts=str(gateway.known_hosts), config=None, agent_path=None, login_timeout=60,
        ) as connection:  # fmt: skip
            done = await asyncio.gather(*(connection.run(f"echo {number}; exit {number}") for number in range(5)))
            assert [(each.stdout, each.exit_status) for each in done] == [(f"{n}\n", n) for n in range(5)]
            process = await connection.create_process("stty size", term_type="xterm", term_size=(100, 30))
            assert "30 100" in (await process.communicate())[0]

    asyncio.run(talk())


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr"])
def test_openssh_with_each_cipher(gateway: SshGateway, cipher: str) -> None:
    content = "y" * 1_000_000
    done = gateway.ssh("user:priya", "cat", options=("-c", cipher, "-o", "RekeyLimit=256K"), text=content)
    assert (done.returncode, len(done.stdout)) == (0, len(content)), done.stderr


# -- cryptography ------------------------------------------------------------------------------------------------


def test_ssh_audit_finds_no_failure(gateway: SshGateway) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ssh_audit", "-j", "-p", str(gateway.ssh_port), "127.0.0.1"],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    found = json.loads(done.stdout)
    failures = [
        (kind, each["algorithm"], each["notes"]["fail"])
        for kind in ("kex", "key", "enc", "mac")
        for each in found[kind]
        if each.get("notes", {}).get("fail")
    ]
    assert failures == []
    assert found["cves"] == []
    assert any(each["algorithm"].startswith("mlkem768") for each in found["kex"])


@pytest.mark.parametrize(
    "weak",
    [
        ("-o", "KexAlgorithms=diffie-hellman-group14-sha1"),
        ("-o", "Ciphers=aes128-cbc"),
        ("-o", "MACs=hmac-sha1", "-o", "Ciphers=aes128-ctr"),
        ("-o", "MACs=hmac-sha2-256", "-o", "Ciphers=aes128-ctr"),
        ("-o", "HostKeyAlgorithms=ssh-rsa"),
    ],
)
def test_what_is_weak_is_not_negotiated(gateway: SshGateway, weak: tuple[str, ...]) -> None:
    done = gateway.ssh("user:priya", "true", options=weak)
    assert done.returncode == 255
    assert "no matching" in done.stderr


# -- hostile peers -----------------------------------------------------------------------------------------------


def talk(gateway: SshGateway, octets: bytes, wait: float = 20) -> bytes:
    """What a peer that sends C{octets} is told before it is let go."""
    with socket.create_connection(("127.0.0.1", gateway.ssh_port), 10) as peer:
        peer.settimeout(wait)
        peer.sendall(octets)
        told = b""
        try:
            while chunk := peer.recv(65536):
                told += chunk
        except ConnectionResetError:
            pass
        return told


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-" + b"x" * 300 + b"\r\n",
        b"\0" * 4096,
        b"SSH-2.0-x\r\n" + b"\xff" * 64,
        b"SSH-2.0-x\r\n" + (35_000_000).to_bytes(4, "big") + b"\x04" * 64,
        b"SSH-2.0-x\r\n" + (12).to_bytes(4, "big") + b"\x04\x32" + b"\0" * 10,
    ],
)
def test_garbage_is_let_go_and_nobody_else_notices(gateway: SshGateway, octets: bytes) -> None:
    told = talk(gateway, octets)
    assert told.startswith(b"SSH-2.0-hoopd\r\n")
    assert gateway.ssh("user:priya", "echo well").stdout == "well\n"


def test_silent_clients_are_let_go_for_those_who_speak(gateway: SshGateway) -> None:
    silent = [socket.create_connection(("127.0.0.1", gateway.ssh_port)) for _ in range(200)]
    try:
        began = time.monotonic()
        assert gateway.ssh("user:priya", "echo well").stdout == "well\n"
        assert time.monotonic() - began < 30
    finally:
        for each in silent:
            each.close()


def test_many_channels_at_once_are_bounded(gateway: SshGateway) -> None:
    with paramiko.Transport(("127.0.0.1", gateway.ssh_port)) as transport:
        transport.connect(
            username="web1", pkey=paramiko.Ed25519Key.from_private_key_file(str(gateway.directory / "priya"))
        )
        opened = []
        with pytest.raises(paramiko.ChannelException, match="shortage"):
            for _ in range(200):
                opened.append(transport.open_session(timeout=60))
        assert len(opened) == 100
        opened[-1].exec_command("echo last")
        assert opened[-1].makefile().read() == b"last\n"


def test_a_second_command_on_one_channel_is_refused(gateway: SshGateway) -> None:
    with paramiko.Transport(("127.0.0.1", gateway.ssh_port)) as transport:
        transport.connect(
            username="web1", pkey=paramiko.Ed25519Key.from_private_key_file(str(gateway.directory / "priya"))
        )
        channel = transport.open_session(timeout=60)
        channel.exec_command("sleep 1; echo first")
        with pytest.raises(paramiko.SSHException):
            channel.exec_command("echo second")


def test_whoever_is_not_proven_opens_no_channel(gateway: SshGateway) -> None:
    with paramiko.Transport(("127.0.0.1", gateway.ssh_port)) as transport:
        transport.start_client(timeout=60)
        with pytest.raises((paramiko.SSHException, EOFError)):
            transport.open_session(timeout=20)
    before = len(gateway.json("sessions", "list"))
    assert gateway.ssh("user:priya", "true").returncode == 0
    until(lambda: len(gateway.json("sessions", "list")) == before + 1, "only the proven one has a session")
