"""Peers that do not take what is sent to them, at a real gateway: what waits for them is bounded, and goes on when they do."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from tests.integration.sshd import SshGateway, SshServer

#: seconds that a worker is watched: without bounds it takes 100 MB and more in each
WATCHED = 3.0
#: KiB that a worker may grow by for one who does not read: one window of 2 MiB, socket buffers, and what malloc keeps
ONE_MAX = 24 * 1024
#: for a hundred channels: 64 KiB each, and 16 MiB that they may have grown by
HUNDRED_MAX = 64 * 1024


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    with SshServer() as started:
        yield started


@pytest.fixture(scope="module")
def gateway(server: SshServer) -> Iterator[SshGateway]:
    with SshGateway(server) as started:
        started.identity("user:priya", groups=["ops"])
        started.register_key("user:priya")
        yield started


def memory(gateway: SshGateway) -> int:
    """KiB of the worker's own."""
    total = 0
    for pid in gateway.pids("worker/ssh"):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_"):
                total += int(line.split()[1])
    return total


def grown(gateway: SshGateway, before: int) -> int:
    """The most that the worker has grown by while it is watched."""
    most, ends = 0, time.monotonic() + WATCHED
    while time.monotonic() < ends:
        most = max(most, memory(gateway) - before)
        time.sleep(0.05)
    return most


def words(gateway: SshGateway) -> list[str]:
    return [*gateway.ssh_by_key_words(gateway.directory / "priya"), "web1@127.0.0.1"]


def connect(gateway: SshGateway) -> asyncssh.connection._ACMWrapper[asyncssh.SSHClientConnection]:
    return asyncssh.connect(
        "127.0.0.1", gateway.ssh_port, username="web1", client_keys=[str(gateway.directory / "priya")],
        known_hosts=str(gateway.known_hosts), config=None, agent_path=None, login_timeout=60,
    )  # fmt: skip


@pytest.fixture
def warm(gateway: SshGateway) -> int:
    """KiB of a worker that has served a session like those that follow."""
    done = subprocess.run([*words(gateway), "head -c 20000000 /dev/zero"], capture_output=True, timeout=100)
    assert len(done.stdout) == 20_000_000
    return memory(gateway)


def test_a_client_whose_output_is_not_read_costs_a_window(gateway: SshGateway, warm: int) -> None:
    with subprocess.Popen([*words(gateway), "head -c 1000000000 /dev/zero"], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert len(client.stdout.read(30_000_000)) == 30_000_000
        assert grown(gateway, warm) < ONE_MAX
        # and it goes on where it stopped
        assert client.stdout.read(30_000_000) == bytes(30_000_000)
        client.kill()


def test_a_client_that_reads_nothing_of_its_socket_costs_no_more_whatever_window_it_gave(
    gateway: SshGateway, warm: int
) -> None:
    async def flood() -> int:
        async with connect(gateway) as connection:
            process: asyncssh.SSHClientProcess[bytes]
            process = await connection.create_process("cat /dev/zero", encoding=None, window=2**31)
            await process.stdout.read(1)
            # the loop stands still: nobody reads
            found = grown(gateway, warm)
            assert await process.stdout.readexactly(3_000_000) == bytes(3_000_000)
            connection.abort()
            return found

    assert asyncio.run(flood()) < ONE_MAX


def test_a_client_that_never_ends_an_exchange_of_keys_is_kept_no_more_for(
    gateway: SshGateway, warm: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unanswered(*words: object) -> None:
        """What the gateway says of keys leads to nothing."""

    async def flood() -> int:
        async with connect(gateway) as connection:
            process: asyncssh.SSHClientProcess[bytes]
            process = await connection.create_process("cat /dev/zero", encoding=None, window=2**31)
            await process.stdout.read(1)
            monkeypatch.setitem(type(connection)._packet_handlers, 20, unanswered)
            connection._send_kexinit()
            taken = asyncio.ensure_future(_read_on(process))
            found = await asyncio.to_thread(grown, gateway, warm)
            taken.cancel()
            connection.abort()
            return found

    assert asyncio.run(flood()) < ONE_MAX


async def _read_on(process: asyncssh.SSHClientProcess[bytes]) -> None:
    """It takes whatever comes, and so is not full."""
    while await process.stdout.read(1 << 20):
        pass


def test_a_hundred_channels_that_nobody_reads_are_bounded_together(gateway: SshGateway, warm: int) -> None:
    async def flood() -> int:
        async with connect(gateway) as connection:
            processes = [await connection.create_process("cat /dev/zero", encoding=None) for _ in range(100)]
            for process in processes:
                await process.stdout.read(1)
            found = grown(gateway, warm)
            connection.abort()
            return found

    assert asyncio.run(flood()) < HUNDRED_MAX


def test_what_a_target_does_not_read_waits_with_the_client(gateway: SshGateway, warm: int) -> None:
    with open("/dev/zero", "rb") as endless:
        client = subprocess.Popen(
            [*words(gateway), "head -c 3000000; sleep 600"], stdin=endless, stdout=subprocess.PIPE
        )
        with client:
            assert client.stdout is not None
            assert client.stdout.read(3_000_000) == bytes(3_000_000)
            assert grown(gateway, warm) < ONE_MAX
            client.kill()


def test_others_are_served_while_one_does_not_read(gateway: SshGateway) -> None:
    with subprocess.Popen([*words(gateway), "cat /dev/zero"], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        client.stdout.read(1)
        done = subprocess.run([*words(gateway), "head -c 64000000 /dev/zero"], capture_output=True, timeout=100)
        assert len(done.stdout) == 64_000_000
        client.kill()
