"""hoopd as an operator installs it: hoopctl setup, twistd, real processes; for tests and the benchmark.

Not the in-process worker of L{tests.integration.gateway}. Whoever starts a L{Gateway} stops it: it is a context
manager, and leaves no process and no file behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.integration.postgres import PostgresServer, free_port
from tests.integration.tiny.running import PATIENCE, ROOT, alive, command_of, parent_of, until

POLICY = """
targets = ["orders"]
contact = "the database team"
mask.card = { columns = ["*.card_number", "*.card"], show = "last4", except = ["group:fraud"] }
allow.read = { who = ["group:eng", "group:fraud"], do = ["read"] }
allow.write = { who = ["group:eng"], do = ["write"] }
hold.update = { who = ["group:eng"], do = ["update"], by = ["group:leads"], wait = "60s", why = "customers notice" }
deny.drop = { do = ["drop", "truncate"], why = "Schema changes go through migrations" }
"""

#: nothing waits long in a test
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "processes": {"drain": "3s", "restart_delay": "50ms", "restart_delay_max": "500ms", "silent": "60s"},
    "audit": {"checkpoint_every": "1s", "segment_every": "1s", "origin": "test.hoopd/ledger"},
}

#: seconds without a new line after which the log has said all: many times what its lines gather for
QUIET = 0.3
#: seconds after which a log that never stops is taken as it is
QUIET_MAX = 5.0

Done = subprocess.CompletedProcess[str]


class Gateway:
    """One installation with one target, C{orders}.

    @ivar port: where PostgreSQL clients connect; TLS, by the authority in C{authorities}.
    @ivar directory: of everything; C{etc}, C{state} and C{run} are in it.
    @ivar log: what twistd and its children print, the JSON lines of decisions among it.
    @ivar tokens: identity name to token, of those that L{identity} made.
    """

    def __init__(
        self,
        server: PostgresServer,
        policy: str = POLICY,
        workers: int = 1,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        target: str = "",
    ) -> None:
        """
        @param settings: more of hoopd.toml: table to keys.
        @param target: more lines of the target's table.
        """
        self.server = server
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="hoopd-gateway-"))
        self.etc, self.state, self.run = (self.directory / name for name in ("etc", "state", "run"))
        self.socket = self.run / "control.sock"
        self.authorities = self.etc / "tls" / "ca.pem"
        self.log = self.directory / "log"
        self.tokens: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self._policy, self._workers, self._target = policy, workers, target
        self._settings = {**SETTINGS, **(settings or {})}
        self._seen: set[int] = set()

    def __enter__(self) -> Gateway:
        try:
            self.install()
            self.start()
            self.bootstrap()
        except BaseException:
            self._report()
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._report()
        self.stop()

    def _report(self) -> None:
        if self.log.exists():
            print(self.log.read_text(errors="replace")[-20000:])

    # -- an operator's day -----------------------------------------------------------------------------------

    def install(self) -> None:
        """The files."""
        self.ctl(
            "setup", "--directory", self.etc, "--state", self.state, "--run", self.run, "--port", self.port,
            "--workers", self._workers,
        )  # fmt: skip
        (self.etc / "targets.d" / "ca.pem").write_text(self.server.authorities)
        (self.etc / "targets.d" / "example.toml").write_text(
            f'[targets.orders]\nprotocol = "postgres"\nhost = "127.0.0.1"\nport = {self.server.port}\n'
            f'username = "app"\ncredential = "orders-app"\ndatabases = ["orders", "postgres"]\n{self._target}\n'
            '[targets.orders.tls]\nauthorities = "ca.pem"\n'
        )
        self.policy(self._policy)
        self.write_settings()

    def write_settings(self) -> None:
        """What hoopd.toml has more than hoopctl setup wrote."""
        toml = (self.etc / "hoopd.toml").read_text()
        for name, keys in self._settings.items():
            lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
            # of a line of its own: one that is a comment is none
            header = f"\n[{name}]\n"
            toml = toml.replace(header, header + lines) if header in toml else f"{toml}{header}{lines}"
        (self.etc / "hoopd.toml").write_text(toml)

    def policy(self, text: str) -> None:
        """Write the rules; a gateway that runs takes them with C{hoopctl reload}."""
        (self.etc / "policies.d" / "example.toml").write_text(text)

    def reload(self, who: str = "user:root") -> None:
        """hoopctl reload; returns when the new generation takes clients."""
        before = self.text().count("hoopd: ready:")
        self.hoopctl("reload", who=who)
        until(lambda: self._is_ready(before), "the new generation is ready")
        self._note_children()

    def start(self) -> None:
        """twistd; returns when clients are taken and hoopctl is answered."""
        before = self.text().count("hoopd: ready:")
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile=", "hoopd", "--config",
                 str(self.etc)],
                cwd=self.directory,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )  # fmt: skip
        until(lambda: self._is_ready(before), "hoopd is ready")
        self._note_children()

    def _is_ready(self, before: int) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"twistd ended with {self.process.returncode}:\n{self.text()[-5000:]}")
        return self.text().count("hoopd: ready:") > before and self.socket.exists()

    def bootstrap(self) -> None:
        """user:root becomes administrator and auditor, and stores the target's password."""
        one_time = self.ctl("bootstrap-token", "--state", self.state).stdout
        self.tokens["user:root"] = self.ctl("bootstrap", "--name", "user:root", "--show", text=one_time).stdout.strip()
        self.hoopctl("identities", "duties", "user:root", "administrator", "auditor", "vault")
        self.hoopctl("vault", "put", "orders-app", text=self.server.app_password)

    def identity(self, name: str, groups: Iterable[str] = (), duties: Iterable[str] = ()) -> str:
        """Add an identity. @return: a token of it, which psql takes as password."""
        words = [word for group in groups for word in ("--group", group)]
        words += [word for duty in duties for word in ("--duty", duty)]
        self.hoopctl("identities", "add", name, *words)
        if name.startswith("agent:"):
            token = self.hoopctl("tokens", "issue", name).stdout.strip()
        else:
            password = f"correct horse of {name}"
            self.hoopctl("identities", "password", name, text=password)
            token = self.ctl("login", "--name", name, "--show", text=password).stdout.strip()
        self.tokens[name] = token
        return token

    # -- commands --------------------------------------------------------------------------------------------

    def ctl(self, *words: Any, text: str = "", token: str = "", ok: bool = True) -> Done:
        """hoopctl, as nobody or with C{token}. @raise AssertionError: it failed, and C{ok} says it must not."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HOOPD_")}
        environment |= {"PYTHONPATH": str(ROOT), "HOOPD_SOCKET": str(self.socket), "HOME": str(self.directory)}
        if token:
            environment["HOOPD_TOKEN"] = token
        done = subprocess.run(
            [sys.executable, "-m", "hoopd.ctl.main", *map(str, words)],
            input=text,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not ok or done.returncode == 0, f"hoopctl {words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def hoopctl(self, *words: Any, who: str = "user:root", text: str = "", ok: bool = True) -> Done:
        """hoopctl as C{who}."""
        return self.ctl(*words, text=text, token=self.tokens[who], ok=ok)

    def json(self, *words: Any, who: str = "user:root") -> Any:
        """What hoopctl prints with --json."""
        return json.loads(self.hoopctl(*words, "--json", who=who).stdout)

    def dsn(self, database: str = "orders", **words: str) -> str:
        """libpq's connection string, without user and password."""
        given = {
            "host": "127.0.0.1",
            "port": str(self.port),
            "dbname": database,
            "sslmode": "verify-full",
            "sslrootcert": str(self.authorities),
            **words,
        }
        return " ".join(f"{name}={value}" for name, value in given.items())

    def environment(self, who: str, options: str = "") -> dict[str, str]:
        """What psql needs besides L{dsn} to be C{who}."""
        return {**os.environ, "PGUSER": who.partition(":")[2], "PGPASSWORD": self.tokens[who], "PGOPTIONS": options}

    def psql(
        self, who: str, *statements: str, options: str = "", database: str = "orders", timeout: float = 60
    ) -> Done:
        """psql's unaligned output of each of C{statements}, in one connection; stops at the first error."""
        words = [word for statement in statements for word in ("-c", statement)]
        return subprocess.run(
            ["psql", "-XAt", "-v", "ON_ERROR_STOP=1", "-d", self.dsn(database), *words],
            env=self.environment(who, options),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def psql_started(self, who: str, statement: str, options: str = "") -> subprocess.Popen[str]:
        """psql that goes on while the test does something else; standard error goes with standard output."""
        return subprocess.Popen(
            ["psql", "-XAt", "-v", "ON_ERROR_STOP=1", "-d", self.dsn(), "-c", statement],
            env=self.environment(who, options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    # -- looking ---------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The log so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The log's JSON lines, of one name or all, once it has stopped growing: lines gather before they are written."""
        self._quiet()
        found = []
        for line in self.text().splitlines():
            start = line.find('{"')
            with contextlib.suppress(ValueError):
                event = json.loads(line[start:]) if start >= 0 else {}
                if isinstance(event, dict) and event and (not name or name in event.values()):
                    found.append(event)
        return found

    def _quiet(self) -> None:
        """Wait until the log has not grown for a while, which a busy machine may take to write its last lines."""
        until_ = time.monotonic() + QUIET_MAX
        size, since = -1, time.monotonic()
        while time.monotonic() < until_ and time.monotonic() - since < QUIET:
            now = self.log.stat().st_size if self.log.exists() else 0
            if now != size:
                size, since = now, time.monotonic()
            time.sleep(QUIET / 10)

    def children(self) -> dict[int, str]:
        """Process id to name of every living child: C{broker}, C{worker/postgres/1} …"""
        assert self.process is not None
        found = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and parent_of(int(entry)) == self.process.pid:
                words = command_of(int(entry)).split()
                if "hoopd.roles.child" in words:
                    found[int(entry)] = words[-1]
        self._seen |= set(found)
        return found

    def pids(self, role: str) -> list[int]:
        """Process ids of C{"broker"}, C{"verifier"}, C{"control"}, C{"worker"}, or of one name."""
        return [pid for pid, name in self.children().items() if name == role or name.startswith(role + "/")]

    def kill_broker(self) -> None:
        """SIGKILL; returns when another one answers."""
        before = self.pids("broker")
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        until(lambda: set(self.pids("broker")) - set(before), "there is another broker", 120)
        until(lambda: self.hoopctl("status", ok=False).returncode == 0, "it answers", 120)

    def _note_children(self) -> None:
        self.children()

    # -- the end ---------------------------------------------------------------------------------------------

    def terminate(self, limit: float = PATIENCE) -> int:
        """SIGTERM. @return: twistd's exit status. @raise AssertionError: not within C{limit} seconds."""
        assert self.process is not None
        self._note_children()
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"twistd did not end within {limit} s of SIGTERM") from None

    def stop(self) -> None:
        """End it, kindly at first, and remove every file."""
        process = self.process
        if process is not None and process.poll() is None:
            self._note_children()
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            if process.poll() is None:
                process.kill()
                process.wait()
        for pid in self._seen:
            if self._ours(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        until(lambda: not any(self._ours(pid) for pid in self._seen), "every process is gone")
        shutil.rmtree(self.directory, ignore_errors=True)

    def _ours(self, pid: int) -> bool:
        """Whether C{pid} lives, and is still the process that we saw: the number may be somebody else's by now."""
        try:
            return alive(pid) and os.readlink(f"/proc/{pid}/cwd") == str(self.directory)
        except OSError:
            return False
