"""What is measured of the ways to a host: login, commands, keystrokes, bulk, files, memory, and whether any cost grows.

As L{benchmark.measures}: ways take turns, and the processor time of what is in between is measured beside the clock's.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncssh

from benchmark.measures import percentiles
from benchmark.ssh_routes import SshRoute

#: in which latency is measured, and of typists whose processor time is
ROUNDS, FEW = 4, 10

#: of a file that does not compress, should anybody try
_BLOCK = os.urandom(1024 * 1024)


def file_of(directory: Path, megabytes: int) -> Path:
    """A file in the page cache."""
    path = directory / f"{megabytes}.bin"
    if not path.exists():
        with open(path, "wb") as file:
            for _ in range(megabytes):
                file.write(_BLOCK)
    return path


def _run(command: Sequence[str], source: Path | None = None) -> float:
    """Seconds of a client from start to end. @raise RuntimeError: it failed"""
    with open(source or os.devnull, "rb") as given:
        began = time.perf_counter()
        done = subprocess.run(command, stdin=given, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.returncode} {done.stderr[-500:]}")
    return took


def logging_in(routes: Sequence[SshRoute], times: int) -> dict[str, dict[str, float]]:
    """C{ssh NAME true}, from start to end; C{processor_ms} a login."""
    samples: dict[str, list[float]] = {route.name: [] for route in routes}
    used = dict.fromkeys(samples, 0.0)
    for _ in range(times):
        for route in routes:
            before = route.processor()
            samples[route.name].append(_run([*route.words(), route.name, "true"]))
            used[route.name] += route.processor() - before
    return {
        name: {**percentiles(each), "processor_ms": round(used[name] / times * 1000, 1)}
        for name, each in samples.items()
    }


def bulk(routes: Sequence[SshRoute], up: bool, megabytes: int, rounds: int, directory: Path) -> dict[str, Any]:
    """C{ssh NAME 'cat file'}, or C{ssh NAME 'cat >/dev/null' <file}."""
    source = file_of(directory, megabytes)
    words, given = (["cat >/dev/null"], source) if up else ([f"cat {source}"], None)
    return _copied({route: [*route.words(), route.name, *words] for route in routes}, megabytes, rounds, given)


def files(routes: Sequence[SshRoute], up: bool, megabytes: int, rounds: int, directory: Path) -> dict[str, Any]:
    """C{scp}, which speaks SFTP, one way or the other."""
    source, copied = file_of(directory, megabytes), directory / "copied"
    commands = {}
    for route in routes:
        ends = [str(source), f"{route.name}:{copied}"] if up else [f"{route.name}:{source}", str(copied)]
        commands[route] = [*route.words("scp"), *ends]
    return _copied(commands, megabytes, rounds, None)


def _copied(
    commands: dict[SshRoute, list[str]], megabytes: int, rounds: int, given: Path | None
) -> dict[str, dict[str, float]]:
    """Seconds of the quietest round and the median's, MB/s of the former, processor milliseconds for each MB."""
    seconds: dict[str, list[float]] = {route.name: [] for route in commands}
    used = dict.fromkeys(seconds, 0.0)
    for _ in range(rounds):
        for route, command in commands.items():
            before = route.processor()
            seconds[route.name].append(_run(command, given))
            used[route.name] += route.processor() - before
    return {
        name: {
            "s": round(min(each), 3),
            "median_s": round(statistics.median(each), 3),
            "mb_s": round(megabytes / min(each), 1),
            "processor_ms_mb": round(used[name] / rounds / megabytes * 1000, 3),
        }
        for name, each in seconds.items()
    }


def per_megabyte(route: SshRoute, sizes: Sequence[int], directory: Path) -> dict[str, float]:
    """Processor milliseconds of the gateway for each MB of outputs of so many MB, on one connection; small ones many times."""

    async def measured() -> dict[str, float]:
        found = {}
        async with route.connect() as connection:
            for size in sizes:
                path, times = file_of(directory, min(size, 64)), max(1, 32 // size)
                command = f"cat{f' {path}' * max(1, size // 64)}"
                before = route.processor()
                for _ in range(times):
                    await _dropped(connection, command)
                found[str(size)] = round((route.processor() - before) * 1000 / (size * times), 3)
        return found

    return asyncio.run(measured())


async def _dropped(connection: asyncssh.SSHClientConnection, command: str) -> None:
    process: asyncssh.SSHClientProcess[bytes]
    async with await connection.create_process(command, encoding=None) as process:
        while await process.stdout.read(256 * 1024):
            pass


def commands(routes: Sequence[SshRoute], times: int) -> dict[str, dict[str, float]]:
    """C{true}, one after the other on one connection; C{processor_us} each."""

    async def measured() -> dict[str, dict[str, float]]:
        samples: dict[str, list[float]] = {route.name: [] for route in routes}
        used = dict.fromkeys(samples, 0.0)
        async with AsyncExitStack() as stack:
            opened = [(route, await stack.enter_async_context(route.connect())) for route in routes]
            while len(samples[routes[0].name]) < times:
                for route, connection in opened:
                    before = route.processor()
                    for _ in range(5):
                        began = time.perf_counter()
                        await connection.run("true", check=True)
                        samples[route.name].append(time.perf_counter() - began)
                    used[route.name] += route.processor() - before
        return {
            name: {**percentiles(each), "processor_us": round(used[name] / len(each) * 1e6, 1)}
            for name, each in samples.items()
        }

    return asyncio.run(measured())


class Typist:
    """Somebody at a terminal, where each key comes back. Latency is measured from the key to its echo."""

    def __init__(self, process: asyncssh.SSHClientProcess[bytes]) -> None:
        self._process = process

    @classmethod
    async def at(cls, connection: asyncssh.SSHClientConnection) -> Typist:
        """A session of its own, with a terminal."""
        process: asyncssh.SSHClientProcess[bytes]
        process = await connection.create_process("cat", term_type="xterm", encoding=None)
        typist = cls(process)
        await typist.key()
        return typist

    async def key(self) -> float:
        """Seconds of one key."""
        began = time.perf_counter()
        self._process.stdin.write(b"x")
        await self._process.stdout.readexactly(1)
        return time.perf_counter() - began


async def _typed(route: SshRoute, typists: Sequence[Typist], keys: int) -> dict[str, float]:
    """One after the other while all are there: of each percentile that of the quietest round.

    C{processor_us} is a key's of the first ten: it is to be the same whoever else is there. The others' are not in any cache.
    """
    rounds = []
    for _ in range(ROUNDS):
        rounds.append(
            percentiles([await each.key() for _ in range(keys // ROUNDS // len(typists)) for each in typists])
        )
    first = typists[:FEW]
    before = route.processor()
    for _ in range(keys // len(first)):
        for each in first:
            await each.key()
    used = (route.processor() - before) / (keys // len(first) * len(first))
    return {**{part: min(each[part] for each in rounds) for part in rounds[0]}, "processor_us": round(used * 1e6, 1)}


def keystrokes(route: SshRoute, crowds: Sequence[int], keys: int) -> dict[str, dict[str, float]]:
    """Echoes with so many interactive sessions, each with a connection of its own; and the memory of an idle one."""

    async def measured() -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        typists: list[Typist] = []
        async with AsyncExitStack() as stack:
            for crowd in crowds:
                before, had = route.memory(), len(typists)
                while len(typists) < crowd:
                    connection = await stack.enter_async_context(route.connect())
                    typists.append(await Typist.at(connection))
                idle = (route.memory() - before) / max(1, len(typists) - had)
                found[str(crowd)] = {**await _typed(route, typists, keys), "idle_kib": round(idle, 1)}
        return found

    return asyncio.run(measured())


def channels(route: SshRoute, crowds: Sequence[int], keys: int) -> dict[str, dict[str, float]]:
    """Echoes with so many terminals on one connection."""

    async def measured() -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        async with route.connect() as connection:
            typists: list[Typist] = []
            for crowd in crowds:
                typists += [await Typist.at(connection) for _ in range(crowd - len(typists))]
                found[str(crowd)] = await _typed(route, typists, keys)
        return found

    return asyncio.run(measured())
