"""What is measured of the routes: latency, throughput, bulk, set-up, memory, and whether any cost grows.

Each measure takes the routes together and goes round them in short turns: what else the machine does meets all of them
alike, and ratios stay. Where it can be told, the processor time of the processes in between is measured as well.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import psycopg

from benchmark.routes import Route

CACHED = "SELECT label FROM points WHERE id = 7"


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """p10, p50, p90, p99 of seconds, as milliseconds. The first is what it takes when nobody else is in the way."""
    ordered = sorted(samples)
    return {
        f"p{part}_ms": round(ordered[min(len(ordered) - 1, len(ordered) * part // 100)] * 1000, 4)
        for part in (10, 50, 90, 99)
    }


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def ask(connection: psycopg.Connection[Any], text: str) -> None:
    """One statement in the simple protocol, as psql sends it, and its rows."""
    connection.execute(text).fetchall()


def latency(routes: Sequence[Route], statements: int, fresh: bool) -> dict[str, dict[str, float]]:
    """Round trips of a one-row SELECT, the same text each time or a new one each time; C{processor_us} a statement."""
    samples: dict[str, list[float]] = {route.name: [] for route in routes}
    used = dict.fromkeys(samples, 0.0)
    number = 0
    with ExitStack() as stack:
        opened = [(route, stack.enter_context(route.connect())) for route in routes]
        for _, connection in opened:
            for _ in range(50):
                ask(connection, CACHED)
        while len(samples[routes[0].name]) < statements:
            for route, connection in opened:
                before = route.processor()
                for _ in range(100):
                    number += 1
                    text = f"SELECT label FROM points WHERE id = {number}" if fresh else CACHED
                    samples[route.name].append(timed(lambda c=connection, t=text: ask(c, t)))  # type: ignore[misc]
                used[route.name] += route.processor() - before
    return {
        name: {**percentiles(each), "processor_us": round(used[name] / len(each) * 1e6, 1)}
        for name, each in samples.items()
    }


def crowded(routes: Sequence[Route], sessions: int, rounds: int) -> dict[str, dict[str, float]]:
    """Round trips of one session after another while all are open: of each percentile that of the quietest round."""
    found: dict[str, list[dict[str, float]]] = {route.name: [] for route in routes}
    with ExitStack() as stack:
        opened = [(route, [stack.enter_context(route.connect()) for _ in range(sessions)]) for route in routes]
        for _, each in opened:
            for connection in each:
                ask(connection, CACHED)
        for _ in range(rounds):
            for route, each in opened:
                samples = [timed(lambda c=connection: ask(c, CACHED)) for _ in range(5) for connection in each]  # type: ignore[misc]
                found[route.name].append(percentiles(samples))
    return {name: {part: min(one[part] for one in each) for part in each[0]} for name, each in found.items()}


def throughput(routes: Sequence[Route], clients: int, transactions: int, rounds: int) -> dict[str, float]:
    """Transactions a second of pgbench, one prepared SELECT each; the best round, since load only takes away."""
    found: dict[str, float] = {}
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write("\\set id random(1, 1000)\nSELECT label FROM points WHERE id = :id;\n")
        script.flush()
        command = ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-t", str(transactions // clients)]
        for _ in range(rounds):
            for route in routes:
                done = subprocess.run(
                    [*command, "-f", script.name], env=route.environment(), capture_output=True, text=True
                )
                tps = re.search(r"tps = ([0-9.]+)", done.stdout)
                if done.returncode or not tps:
                    raise RuntimeError(f"pgbench through {route.name}: {done.stdout[-500:]}{done.stderr[-500:]}")
                found[route.name] = max(found.get(route.name, 0.0), round(float(tps.group(1)), 1))
    return found


def bulk(routes: Sequence[Route], columns: str, rows: int, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds in which psql reads C{rows} rows and drops them, in the quietest round, and processor seconds in between."""
    seconds: dict[str, list[float]] = {route.name: [] for route in routes}
    used = dict.fromkeys(seconds, 0.0)
    for _ in range(rounds):
        for route in routes:
            before = route.processor()
            seconds[route.name].append(_psql(route, f"SELECT {columns} FROM points LIMIT {rows}"))
            used[route.name] += route.processor() - before
    return {
        name: {
            "s": round(min(each), 4),
            "median_s": round(statistics.median(each), 4),
            "processor_s": round(used[name] / rounds, 4),
        }
        for name, each in seconds.items()
    }


def _psql(route: Route, statement: str) -> float:
    """Seconds of the statement alone, as psql tells them: login is measured elsewhere."""
    done = subprocess.run(
        ["psql", "-XAt", "-c", "\\timing on", "-c", "\\o /dev/null", "-c", statement],
        env=route.environment(),
        capture_output=True,
        text=True,
    )
    took = re.search(r"Time: ([0-9.]+) ms", done.stdout)
    if done.returncode or not took:
        raise RuntimeError(f"psql through {route.name}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return float(took.group(1)) / 1000


def connecting(routes: Sequence[Route], times: int) -> dict[str, dict[str, float]]:
    """Connection, login and goodbye."""
    samples: dict[str, list[float]] = {route.name: [] for route in routes}
    for _ in range(times):
        for route in routes:
            samples[route.name].append(timed(lambda r=route: r.connect().close()))  # type: ignore[misc]
    return {name: percentiles(each) for name, each in samples.items()}


def definitions(routes: Sequence[Route], times: int) -> dict[str, dict[str, float]]:
    """CREATE TABLE or DROP TABLE, each in a transaction of its own."""
    samples: dict[str, list[float]] = {route.name: [] for route in routes}
    with ExitStack() as stack:
        opened = [(route, stack.enter_context(route.connect())) for route in routes]
        for number in range(times):
            for route, connection in opened:
                for text in (f"CREATE TABLE made_{number} (id int)", f"DROP TABLE made_{number}"):
                    samples[route.name].append(timed(lambda c=connection, t=text: c.execute(t)))  # type: ignore[misc]
    return {name: percentiles(each) for name, each in samples.items()}


# -- does anything grow? ---------------------------------------------------------------------------------------


def per_megabyte(route: Route, sizes: Sequence[int]) -> dict[str, float]:
    """Processor milliseconds of the gateway for each MB of results of C{sizes} bytes; small ones are asked many times.

    Rows of 1,000 bytes, with a masked column: the dearest kind of bulk.
    """
    found = {}
    statement = "SELECT repeat('x', 1000), card_number FROM points, generate_series(1, {factor}) LIMIT {rows}"
    with route.connect() as connection:
        for size in sizes:
            rows = max(1, size // 1025)
            times = max(1, min(2000, 64_000_000 // size))
            text = statement.format(factor=rows // 1000 + 1, rows=rows)
            before = route.processor()
            for _ in range(times):
                if rows < 1000:
                    ask(connection, text)
                else:
                    _streamed(connection, text)
            found[str(size)] = round((route.processor() - before) * 1000 / (size * times / 1e6), 4)
    return found


def _streamed(connection: psycopg.Connection[Any], text: str) -> None:
    """Rows in chunks: a client that holds a gigabyte measures itself."""
    for _ in connection.cursor().stream(text, size=1000):
        pass


def distinct(route: Route, statements: int) -> dict[str, float]:
    """Statements that were never seen before, C{statements} of them and as many again: does any cost or memory grow?"""
    used, memory = [], []
    with route.connect() as connection:
        number = 0
        for _ in range(2):
            before = route.processor()
            for _ in range(statements):
                number += 1
                ask(connection, f"SELECT label FROM points WHERE id = {number} AND label <> 'round'")
            used.append(route.processor() - before)
            memory.append(route.memory())
    return {
        "slower": round(used[1] / used[0], 3),
        "grown_kib": memory[1] - memory[0],
        "processor_us": round(used[1] / statements * 1e6, 1),
    }


def many_sessions(route: Route, sessions: int) -> dict[str, float]:
    """Memory of an idle session, and what a statement takes with C{sessions} open to what it takes with ten."""
    with ExitStack() as stack:
        warm = [stack.enter_context(route.connect()) for _ in range(10)]
        for each in warm:
            ask(each, CACHED)
        before = route.memory()
        alone = _in_turn(route, warm)
        began = time.perf_counter()
        opened = [stack.enter_context(route.connect()) for _ in range(sessions - len(warm))]
        took = time.perf_counter() - began
        time.sleep(1.0)
        idle = (route.memory() - before) / len(opened)
        together = _in_turn(route, warm)
        for each in opened:
            ask(each, CACHED)
        used = (route.memory() - before) / len(opened)
    return {
        "idle_kib": round(idle, 1),
        "used_kib": round(used, 1),
        "slower": round(together / alone, 3),
        "logins_a_second": round(len(opened) / took, 1),
    }


def _in_turn(route: Route, connections: Sequence[psycopg.Connection[Any]]) -> float:
    """Processor seconds of a statement."""
    before = route.processor()
    for _ in range(200):
        for each in connections:
            ask(each, CACHED)
    return (route.processor() - before) / (200 * len(connections))


def longest_wait(route: Route, statements: Sequence[str]) -> dict[str, float]:
    """The longest that anybody else in the same worker waits while one session sends large statements."""
    waits: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        with route.connect() as connection:
            while not stop.is_set():
                waits.append(timed(lambda: ask(connection, CACHED)))

    watching = threading.Thread(target=watch)
    with route.connect() as connection:
        watching.start()
        while len(waits) < 50:
            time.sleep(0.01)
        before = percentiles(waits)["p99_ms"]
        waits.clear()
        for text in statements:
            try:
                ask(connection, text)
            except psycopg.Error:
                pass  # refused or not, it was judged: that is what is watched
        stop.set()
        watching.join()
    return {"quiet_p99_ms": before, "longest_ms": round(max(waits) * 1000, 2)}
