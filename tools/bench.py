"""Measures hoopd beside direct connections and PgBouncer in one run, all legs with TLS; prints ratios, writes bench.json.

Usage: tools/bench.py [--check] [--quick]. With --check it fails where a budget of docs/performance.md is broken. Single
figures of a shared machine mean little: what counts is the ratio to what the same run measured without hoopd.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer, certificate, free_port

SAMPLE = """
CREATE TABLE points (id int PRIMARY KEY, label text, card_number text);
INSERT INTO points SELECT i, 'label ' || i, '4111' || lpad(i::text, 12, '0') FROM generate_series(1, {rows}) i;
"""
POLICY = """
targets = ["orders"]
mask.card = { columns = ["points.card_number"], show = "last4" }
allow.all = { who = ["group:eng"], do = ["read", "write"] }
"""

#: name, what it is, bound: on the ratios and differences of one run (design, section 8)
BUDGETS = (
    ("cached_added_ms", "added latency of a cached statement, median, over a bare TLS relay's", 0.15),
    ("crowded_p99_added_ms", "added latency with 200 sessions, p99, over a bare TLS relay's", 5.0),
    ("million_masked_ratio", "rows with one last4 column, to direct", 1.25),
    ("idle_session_kib", "memory of an idle session", 120.0),
)


class Route:
    """One way to the database: a name and psycopg's connection words."""

    def __init__(self, name: str, **words: Any) -> None:
        self.name = name
        self.words = {"host": "127.0.0.1", "sslmode": "require", "connect_timeout": 20, **words}

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(**self.words, autocommit=True)


def percentiles(samples: list[float]) -> dict[str, float]:
    """p50, p90, p99 of seconds, as milliseconds."""
    ordered = sorted(samples)
    return {
        f"p{part}_ms": round(ordered[min(len(ordered) - 1, len(ordered) * part // 100)] * 1000, 4)
        for part in (50, 90, 99)
    }


def latency(route: Route, statements: int, fresh: bool) -> dict[str, float]:
    """Round trips of a one-row SELECT: the same text each time, or a new one each time."""
    samples = []
    with route.connect() as connection:
        connection.prepare_threshold = None
        for number in range(statements + 50):
            text = f"SELECT label FROM points WHERE id = {number + 1 if fresh else 7}"
            began = time.perf_counter()
            connection.execute(text).fetchall()
            if number >= 50:
                samples.append(time.perf_counter() - began)
    return percentiles(samples)


def crowded(route: Route, sessions: int, seconds: float) -> dict[str, float]:
    """Round trips of one session after another while all of C{sessions} are open, each used in turn."""
    opened = [route.connect() for _ in range(sessions)]
    samples = []
    for each in opened:
        each.prepare_threshold = None
        each.execute("SELECT label FROM points WHERE id = 7").fetchall()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for each in opened:
            began = time.perf_counter()
            each.execute("SELECT label FROM points WHERE id = 7").fetchall()
            samples.append(time.perf_counter() - began)
    for each in opened:
        each.close()
    return percentiles(samples)


def throughput(route: Route, clients: int, seconds: float) -> float:
    """Transactions a second of pgbench, one SELECT each."""
    words = route.words
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write("\\set id random(1, 1000)\nSELECT label FROM points WHERE id = :id;\n")
        script.flush()
        done = subprocess.run(
            ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-T", str(seconds), "-f", script.name],
            env={
                **os.environ,
                "PGHOST": words["host"],
                "PGPORT": str(words["port"]),
                "PGUSER": words["user"],
                "PGPASSWORD": words["password"],
                "PGDATABASE": words["dbname"],
                "PGSSLMODE": "require",
                "PGCHANNELBINDING": words.get("channel_binding", "prefer"),
            },
            capture_output=True,
            text=True,
        )
    found = re.search(r"tps = ([0-9.]+)", done.stdout)
    if done.returncode or not found:
        raise RuntimeError(f"pgbench through {route.name}: {done.stderr[-500:]}")
    return float(found.group(1))


def bulk(route: Route, columns: str, rows: int) -> float:
    """Seconds to read C{rows} rows in psql, discarding them."""
    words = route.words
    connection = f"host=127.0.0.1 port={words['port']} user={words['user']} dbname={words['dbname']} sslmode=require"
    connection += f" channel_binding={words.get('channel_binding', 'prefer')}"
    began = time.perf_counter()
    done = subprocess.run(
        ["psql", "-XqAt", "-d", connection, "-c", f"SELECT {columns} FROM points LIMIT {rows}"],
        env={**os.environ, "PGPASSWORD": words["password"]},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"psql through {route.name}: {done.stderr[-500:]}")
    return time.perf_counter() - began


def connecting(route: Route, times: int) -> dict[str, float]:
    samples = []
    for _ in range(times):
        began = time.perf_counter()
        route.connect().close()
        samples.append(time.perf_counter() - began)
    return percentiles(samples)


def resident(pid: int) -> int:
    """KiB of private memory of a process."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(value) for value in re.findall(r"Private_\w+:\s+(\d+) kB", text))


def idle(route: Route, gateway: Gateway, sessions: int) -> float:
    """KiB that an idle session adds to the workers."""
    pids = gateway.pids("worker")
    warm = [route.connect() for _ in range(8)]
    before = sum(resident(pid) for pid in pids)
    opened = [route.connect() for _ in range(sessions)]
    time.sleep(1.0)
    after = sum(resident(pid) for pid in pids)
    for each in (*opened, *warm):
        each.close()
    return (after - before) / sessions


@contextlib.contextmanager
def pgbouncer(server: PostgresServer) -> Iterator[Route | None]:
    """PgBouncer in session mode with TLS on both legs, where it is installed."""
    program = shutil.which("pgbouncer")
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="hoopd-bench-") as name:
        directory = Path(name)
        certificate_file, key_file = certificate(directory)
        port = free_port()
        (directory / "users.txt").write_text(f'"app" "{server.app_password}"\n')
        (directory / "pgbouncer.ini").write_text(
            f"[databases]\norders = host=127.0.0.1 port={server.port} dbname=orders user=app password={server.app_password}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = plain\n"
            f"auth_file = {directory}/users.txt\npool_mode = session\nmax_client_conn = 500\ndefault_pool_size = 200\n"
            f"client_tls_sslmode = require\nclient_tls_cert_file = {certificate_file}\nclient_tls_key_file = {key_file}\n"
            "server_tls_sslmode = require\nlogfile = /dev/null\n"
        )
        command = [program, str(directory / "pgbouncer.ini")]
        if os.geteuid() == 0:
            for path in (directory, *directory.iterdir()):
                shutil.chown(path, "postgres", "postgres")
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--", *command]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        route = Route("pgbouncer", port=port, user="app", password=server.app_password, dbname="orders")
        try:
            _until_answered(route)
            yield route
        finally:
            process.terminate()
            process.wait(10)


@contextlib.contextmanager
def bare_relay(server: PostgresServer) -> Iterator[Route]:
    """The floor: TLS on both legs in Twisted, and nothing else."""
    with tempfile.TemporaryDirectory(prefix="hoopd-bench-") as name:
        certificate_file, key_file = certificate(Path(name))
        port = free_port()
        relay = str(Path(__file__).with_name("bare_relay.py"))
        words = [str(port), str(server.port), str(certificate_file), str(key_file)]
        process = subprocess.Popen([sys.executable, relay, *words])
        # the server would bind its SCRAM exchange to a certificate that the client does not see
        who = {"user": "app", "password": server.app_password, "dbname": "orders", "channel_binding": "disable"}
        route = Route("relay", port=port, **who)
        try:
            _until_answered(route)
            yield route
        finally:
            process.terminate()
            process.wait(10)


def _until_answered(route: Route) -> None:
    for _ in range(200):
        try:
            route.connect().close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise RuntimeError(f"{route.name} does not answer")


def measure(route: Route, quick: bool) -> dict[str, Any]:
    statements = 300 if quick else 3000
    rows = 100_000 if quick else 1_000_000
    seconds = 2 if quick else 6
    found: dict[str, Any] = {
        "cached": latency(route, statements, fresh=False),
        "new": latency(route, min(statements, 1500), fresh=True),
        "tps": {str(clients): round(throughput(route, clients, seconds), 1) for clients in (1, 16, 64)},
        "connect": connecting(route, 10 if quick else 40),
        "sessions_200": crowded(route, 50 if quick else 200, 1 if quick else 4),
    }
    repeats = 1 if quick else 3
    for name, columns in (("rows_plain_s", "id, label"), ("rows_masked_s", "id, label, card_number")):
        found[name] = round(statistics.median(bulk(route, columns, rows) for _ in range(repeats)), 3)
    print(f"  {route.name:10} {json.dumps(found)}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where a budget is broken")
    parser.add_argument("--quick", action="store_true", help="small numbers: does it run at all")
    parser.add_argument("--output", default="bench.json")
    chosen = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    rows = 100_000 if chosen.quick else 1_000_000
    sample = SAMPLE.format(rows=rows)
    with (
        PostgresServer(sample, ("max_connections = 900",)) as server,
        Gateway(server, POLICY, workers=2) as gateway,
        pgbouncer(server) as bouncer,
        bare_relay(server) as relay,
    ):
        server.query("VACUUM ANALYZE points")
        token = gateway.identity("user:bench", groups=["eng"])
        direct = Route("direct", port=server.port, user="app", password=server.app_password, dbname="orders")
        hoopd = Route("hoopd", port=gateway.port, user="bench", password=token, dbname="orders")
        routes = [direct, *([bouncer] if bouncer else []), relay, hoopd]
        print(f"measuring {', '.join(route.name for route in routes)}; soft limit of files was {soft}", flush=True)
        results: dict[str, Any] = {route.name: measure(route, chosen.quick) for route in routes}
        results["idle_session_kib"] = round(idle(hoopd, gateway, 50 if chosen.quick else 200), 1)
    floor = results["relay"]
    ratios = {
        "cached_added_ms": round(results["hoopd"]["cached"]["p50_ms"] - floor["cached"]["p50_ms"], 4),
        "crowded_p99_added_ms": round(results["hoopd"]["sessions_200"]["p99_ms"] - floor["sessions_200"]["p99_ms"], 4),
        "new_added_ms": round(results["hoopd"]["new"]["p50_ms"] - floor["new"]["p50_ms"], 4),
        "million_plain_ratio": round(results["hoopd"]["rows_plain_s"] / results["direct"]["rows_plain_s"], 3),
        "million_masked_ratio": round(results["hoopd"]["rows_masked_s"] / results["direct"]["rows_masked_s"], 3),
        "connect_ratio": round(results["hoopd"]["connect"]["p50_ms"] / results["direct"]["connect"]["p50_ms"], 2),
        "idle_session_kib": results["idle_session_kib"],
        **{
            f"tps_{clients}_ratio": round(results["hoopd"]["tps"][clients] / results["direct"]["tps"][clients], 3)
            for clients in ("1", "16", "64")
        },
    }
    results["ratios"] = ratios
    Path(chosen.output).write_text(json.dumps(results, indent=2) + "\n")
    print("ratios, hoopd to the same run without it:")
    for name, value in ratios.items():
        print(f"  {name:22} {value}")
    broken = [(what, ratios[name], bound) for name, what, bound in BUDGETS if ratios[name] > bound]
    for what, value, bound in broken:
        print(f"budget broken: {what}: {value}, at most {bound}")
    return 1 if broken and chosen.check else 0


if __name__ == "__main__":
    sys.exit(main())
