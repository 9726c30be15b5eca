"""The ways to one database that are compared: straight, PgBouncer, a bare relay, hoopd; each with TLS on every leg.

Not what is measured of them (L{benchmark.measures}).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from tests.integration.postgres import PostgresServer, certificate, free_port

#: of /proc/<pid>/stat
TICKS = os.sysconf("SC_CLK_TCK")


class Between:
    """
    @param pids: processes between the client and the server: what they use is what the way costs.
    """

    def __init__(self, name: str, pids: Iterable[int] = ()) -> None:
        self.name = name
        self.pids = tuple(pids)

    def processor(self) -> float:
        """Seconds of processor time that this way has used so far: other people's load does not count."""
        total = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def memory(self) -> int:
        """KiB of private memory."""
        total = 0
        for pid in self.pids:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Private_"):
                    total += int(line.split()[1])
        return total


class Route(Between):
    """A way to a database. @param words: psycopg's connection words."""

    def __init__(self, name: str, pids: Iterable[int] = (), **words: Any) -> None:
        super().__init__(name, pids)
        self.words = {"host": "127.0.0.1", "sslmode": "require", "connect_timeout": 60, **words}

    def connect(self) -> psycopg.Connection[Any]:
        """A connection that prepares nothing by itself."""
        connection = psycopg.connect(**self.words, autocommit=True)
        connection.prepare_threshold = None
        return connection

    def environment(self) -> dict[str, str]:
        """For programs of PostgreSQL."""
        words = self.words
        return {
            **os.environ,
            "PGHOST": str(words["host"]),
            "PGPORT": str(words["port"]),
            "PGUSER": words["user"],
            "PGPASSWORD": words["password"],
            "PGDATABASE": words["dbname"],
            "PGSSLMODE": "require",
            "PGCHANNELBINDING": words.get("channel_binding", "prefer"),
        }


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
        try:
            words = {"port": port, "user": "app", "password": server.app_password, "dbname": "orders"}
            yield _answered(Route("pgbouncer", (process.pid,), **words))
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
        try:
            yield _answered(Route("relay", (process.pid,), port=port, **who))
        finally:
            process.terminate()
            process.wait(10)


def _answered(route: Route) -> Route:
    for _ in range(400):
        try:
            route.connect().close()
            return route
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise RuntimeError(f"{route.name} does not answer")
