"""The main job of hoopd, shown on real parts: psql and ssh through the gateway to a PostgreSQL and an sshd of its own.

make demo runs it. Every command is printed as you would type it, run as printed, and its real output is checked: if
hoopd does not do what is claimed here, the demo fails. Everything lies in .demo/, is stopped by process id, and is gone
after Ctrl-C. With --once (or DEMO_ONCE=1) it ends after the show.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.integration.postgres import PostgresServer, free_port  # noqa: E402
from tests.integration.sshd import LOGIN, SshServer, new_key  # noqa: E402

#: where .demo is made and commands are run: the checkout, but for tests
BASE = Path(os.environ.get("HOOPD_DEMO_BASE", ROOT)).resolve()
DEMO = BASE / ".demo"

#: where it listens if nobody else does
PORT = 15432
SSH_PORT = 12222

SHOP = """
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, email text, card_number text);
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, item text, quantity int);
INSERT INTO customers VALUES
    (1, 'Ann Archer', 'ann@example.org', '4111111111111111'),
    (2, 'Bob Baker', 'bob@example.org', '5500000000000004'),
    (3, 'Cleo Clark', 'cleo@example.org', '340000000000009');
INSERT INTO orders VALUES (1, 1, 'teapot', 1), (2, 1, 'cups', 4), (3, 2, 'kettle', 1);
"""

TARGET = """
[targets.orders]
protocol = "postgres"
host = "127.0.0.1"
port = {port}
username = "app"
credential = "orders"
databases = ["orders"]
description = "Customers and their orders"

[targets.orders.tls]
authorities = "orders-ca.pem"
"""

POLICY = """
targets = ["orders"]
contact = "the database team"

mask.card   = { columns = ["*.card_number"], show = "last4" }
mask.email  = { columns = ["customers.email"], show = "hash", find = "equality" }

allow.read  = { who = ["group:eng", "agent:ci"], do = ["read"] }
allow.write = { who = ["group:eng"], do = ["write"] }
hold.write  = { who = ["group:eng"], do = ["write"], by = ["group:leads"], wait = "15m", why = "Changes by hand need a second pair of eyes" }
deny.drop   = { do = ["drop", "truncate"], why = "Schema changes go through migrations" }

identity."user:priya" = { groups = ["eng"] }
test."user:priya SELECT * FROM customers" = ["allow.read"]
test."user:priya UPDATE orders SET quantity = 5" = ["hold.write"]
test."user:priya DROP TABLE orders" = ["deny.drop"]
"""

HOST = """
[targets.web1]
protocol = "ssh"
host = "127.0.0.1"
port = {port}
username = "{login}"
description = "The shop's web server"

[targets.web1.ssh]
host_keys = ["{key}"]
"""

COMMANDS = """
targets = ["web1"]
contact = "the platform team"

allow.look   = { who = ["group:eng"], do = ["exec"], commands = ["uptime", "df *"] }
allow.mark   = { who = ["group:eng"], do = ["exec"], commands = ["touch *"] }
hold.mark    = { do = ["exec"], commands = ["touch *"], by = ["group:leads"], wait = "15m", why = "It takes the shop offline" }
deny.secrets = { do = ["exec"], commands = ["* /etc/shadow"], why = "Nobody needs those" }

identity."user:priya" = { groups = ["eng"] }
test."user:priya uptime" = ["allow.look"]
test."user:priya touch /srv/shop/offline" = ["hold.mark"]
test."user:priya cat /etc/shadow" = ["deny.secrets"]
test."user:priya uptime; rm -r /srv" = []
"""

#: ssh's configuration, so that the commands are as short as they are for people who have theirs
SSH_CONFIG = """\
Host gateway
  HostName 127.0.0.1
  Port {port}
  HostKeyAlias gateway
  UserKnownHostsFile "{demo}/known_hosts"
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  IdentitiesOnly yes
  IdentityAgent none
  PreferredAuthentications publickey
"""

#: added to hoopd.toml: the demo does not want to wait for the next seal
AUDIT = """witness = ["{witness}"]
checkpoint_every = "1s"
segment_every = "1s"
origin = "demo.hoopd/ledger"
"""


class Failed(Exception):
    """What was claimed is not so."""


# -- talking -------------------------------------------------------------------------------------------------


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def say(title: str, text: str = "") -> None:
    print(f"\n{_bold('== ' + title)}", flush=True)
    if text:
        print(textwrap.fill(text, 100), flush=True)


def prompt(command: str) -> None:
    print(f"\n{_bold('$ ' + command)}", flush=True)


def check(condition: object, claim: str) -> None:
    if not condition:
        raise Failed(claim)


# -- running -------------------------------------------------------------------------------------------------


def shell(command: str) -> list[str]:
    """C{command} as somebody types it who has sourced .demo/env."""
    return ["bash", "-c", f". .demo/env && set -o pipefail && {command}"]


def run(command: str, status: int = 0, quiet: bool = False, claim: str = "") -> str:
    """Print, run and print what came. @return: standard output and error, as they came. @raise Failed"""
    if not quiet:
        prompt(command)
    done = subprocess.run(
        shell(command), cwd=BASE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if not quiet:
        print(done.stdout, end="", flush=True)
    check(
        done.returncode == status,
        claim or f"{command!r} ended with {done.returncode}, not {status}" + (f":\n{done.stdout}" if quiet else ""),
    )
    return done.stdout


def waiting(process: subprocess.Popen[bytes], until: str, limit: float) -> str:
    """Print what C{process} says until C{until} is in it and the line is over, or until it ends (C{until} empty).

    @return: what it said. @raise Failed: neither within C{limit} seconds.
    """
    said = ""
    deadline = time.monotonic() + limit
    assert process.stdout is not None
    while time.monotonic() < deadline:
        ready, _, _ = select.select([process.stdout], [], [], 0.2)
        if not ready:
            if until and until in said and said.endswith("\n"):
                return said
            continue
        piece = os.read(process.stdout.fileno(), 65536).decode(errors="replace")
        if not piece:
            process.wait(10)
            check(not until, f"it ended with {process.returncode} before it said {until!r}")
            return said
        print(piece, end="", flush=True)
        said += piece
    raise Failed(f"nothing like {until or 'an end'!r} within {limit:.0f} s")


def keep(name: str, text: str, mode: int = 0o600) -> Path:
    path = DEMO / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


# -- the parts -----------------------------------------------------------------------------------------------


def port(wanted: int) -> int:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", wanted))
            return wanted
        except OSError:
            return free_port()


class Demo:
    def __init__(self) -> None:
        self.server = PostgresServer(SHOP)
        self.gateway: subprocess.Popen[bytes] | None = None
        self.client: subprocess.Popen[bytes] | None = None
        self.host: SshServer | None = None
        self.port = port(PORT)
        self.ssh_port = port(SSH_PORT)
        self.run = DEMO / "run"
        self.elsewhere = ""
        if len(str(self.run)) > 70:
            # a socket's path ends at 107 bytes (unix(7))
            self.elsewhere = tempfile.mkdtemp(prefix="hoopd-demo-")
            self.run = Path(self.elsewhere)

    # -- building it -----------------------------------------------------------------------------------------

    def database(self) -> None:
        say("A database to protect", "PostgreSQL, throw-away, with customers, orders and card numbers.")
        self.server.start()
        print(f"listening on 127.0.0.1:{self.server.port}; hoopd alone will know its password")
        try:
            self.host = SshServer()
            self.host.start()
        except (AssertionError, OSError, RuntimeError) as problem:
            raise Failed(str(problem)) from None
        print(
            f"and a host: sshd on 127.0.0.1:{self.host.port}; it will trust the gateway's authority, and nobody's key"
        )

    def install(self) -> None:
        keep("bin/hoopctl", f'#!/bin/sh\nexec "{sys.executable}" -m hoopd.ctl.main "$@"\n', 0o755)
        twistd = Path(sys.executable).with_name("twistd")
        keep("bin/twistd", f'#!/bin/sh\nexec "{twistd}" "$@"\n', 0o755)
        settings = {
            "PATH": f"{DEMO}/bin:$PATH",
            "PYTHONPATH": ROOT,
            "HOOPD_SOCKET": self.run / "control.sock",
            "HOOPD_TOKEN_FILE": DEMO / "admin.token",
            "PGHOST": "127.0.0.1",
            "PGPORT": self.port,
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": DEMO / "etc/tls/ca.pem",
            "PGPASSFILE": DEMO / "pgpass",
        }
        keep("env", "unset HOOPD_TOKEN PGPASSWORD PGUSER PGDATABASE PGOPTIONS PGSERVICE\n"
             + "".join(f'export {name}="{value}"\n' for name, value in settings.items()))  # fmt: skip
        say("A gateway in front of it", "Files, keys and certificates; then one target and its rules.")
        run(
            f"hoopctl setup --directory .demo/etc --state .demo/state --run {self._short(self.run)} --port {self.port}"
            f" --ssh-port {self.ssh_port} | grep -v ^$ | head -16"
        )
        (DEMO / "witness").mkdir()
        toml = DEMO / "etc/hoopd.toml"
        toml.write_text(toml.read_text().replace("[audit]\n", "[audit]\n" + AUDIT.format(witness=DEMO / "witness")))
        for example in DEMO.glob("etc/*.d/example*.toml"):
            example.unlink()
        keep("etc/targets.d/orders.toml", TARGET.format(port=self.server.port), 0o644)
        keep("etc/targets.d/orders-ca.pem", self.server.authorities, 0o644)
        keep("etc/policies.d/orders.toml", POLICY, 0o644)
        assert self.host is not None
        keep("etc/targets.d/web1.toml", HOST.format(port=self.host.port, login=LOGIN, key=self.host.host_key), 0o644)
        keep("etc/policies.d/web1.toml", COMMANDS, 0o644)
        keep("ssh", SSH_CONFIG.format(port=self.ssh_port, demo=DEMO))
        keep("known_hosts", f"gateway {(DEMO / 'etc/tls/ssh_host_ed25519_key.pub').read_text()}")
        run("cat .demo/etc/policies.d/orders.toml")
        run("hoopctl config check .demo/etc")

    @staticmethod
    def _short(path: Path) -> Path:
        return path.relative_to(BASE) if path.is_relative_to(BASE) else path

    def start(self) -> None:
        command = "twistd --nodaemon --pidfile= hoopd --config .demo/etc"
        prompt(f"{command} &")
        with open(DEMO / "hoopd.log", "wb") as log:
            # a session of its own: Ctrl-C is for the demo, which then ends the gateway
            self.gateway = subprocess.Popen(
                shell(f"exec {command}"),
                cwd=BASE,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while "hoopd: ready:" not in self.log() or not (self.run / "control.sock").exists():
            check(self.gateway.poll() is None, "hoopd ended as it started")
            check(time.monotonic() < deadline, "hoopd was not ready within 60 s")
            time.sleep(0.1)
        print(next(line for line in self.log().splitlines() if "hoopd: ready:" in line).split("] ", 1)[-1])

    def log(self) -> str:
        path = DEMO / "hoopd.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def people(self) -> None:
        say("People", "The first administrator uses a one-time token that only the installing user can print.")
        run("hoopctl bootstrap-token --state .demo/state | hoopctl bootstrap --name user:admin")
        run("hoopctl identities duties user:admin administrator auditor vault")
        keep("target.password", self.server.app_password)
        run("hoopctl vault put orders < .demo/target.password")
        keep("priya.password", "priya's long password")
        keep("lee.password", "lee's long password")
        keep("pgpass", "127.0.0.1:*:*:priya:priya's long password\n")
        run("hoopctl identities add user:priya --group eng")
        run("hoopctl identities password user:priya < .demo/priya.password")
        run("hoopctl identities add user:lee --group leads --duty approver")
        run("hoopctl identities password user:lee < .demo/lee.password")
        run("hoopctl --token-file .demo/lee.token login --name lee < .demo/lee.password")
        run("hoopctl identities add agent:ci")
        run("hoopctl tokens issue agent:ci --to .demo/ci.token --lifetime 12h --for 'nightly report'")

    def keys(self) -> None:
        """The host trusts the gateway's authority; people have certificates for the day."""
        assert self.host is not None
        self.host.authorities.write_text(run("hoopctl ssh ca", quiet=True))
        run("hoopctl --token-file .demo/priya.token login --name priya < .demo/priya.password")
        for name in ("priya", "lee"):
            new_key(DEMO / name)
            run(f"hoopctl --token-file .demo/{name}.token ssh cert .demo/{name}")

    # -- showing it ------------------------------------------------------------------------------------------

    def masked(self) -> None:
        say("Priya reads", "Stock psql; she has never seen the database's password, nor the card numbers.")
        said = run('psql -U priya orders -c "SELECT * FROM customers ORDER BY id"')
        check("1111" in said and "Ann Archer" in said, "the rows came, cards by their last four digits")
        for hidden in ("4111111111111111", "5500000000000004", "340000000000009", "ann@example.org"):
            check(hidden not in said, f"{hidden} is masked")
        said = run('PGPASSWORD=$(cat .demo/ci.token) psql -U ci orders -c "SELECT count(*) FROM orders"')
        check(re.search(r"\n +3\n", said), "the agent counts three orders")

    def refused(self) -> None:
        say("What nobody does this way")
        said = run(
            'psql -U priya orders -v VERBOSITY=verbose -c "DROP TABLE orders"', status=1, claim="DROP TABLE is refused"
        )
        check("42501" in said and "deny.drop" in said, "refused with SQLSTATE 42501, naming the rule")
        check(self.server.query("SELECT count(*) FROM orders") == "3", "the table is still there")

    def held(self) -> None:
        say("Priya writes, and waits", "Her UPDATE is held until somebody entitled says yes; psql just waits.")
        command = (
            "PGOPTIONS='-c hoopd.reason=TICKET-4711' psql -U priya orders -c "
            '"UPDATE orders SET quantity = quantity + 1 WHERE id = 2"'
        )
        prompt(command)
        self.client = subprocess.Popen(
            shell(command),
            cwd=BASE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        said = waiting(self.client, "approv", 30)
        found = re.search(r"\bA-[0-9A-Z]+\b", said)
        check(found, "the NOTICE names the request")
        assert found
        request = found.group()
        check(self.server.query("SELECT quantity FROM orders WHERE id = 2") == "4", "nothing has run yet")

        say("Lee looks, and approves", "In another terminal, as another person.")
        said = run("hoopctl --token-file .demo/lee.token approvals list")
        check(request in said and "user:priya" in said, "the request is in the list")
        said = run(f"hoopctl --token-file .demo/lee.token approvals show {request}")
        check(
            "quantity = quantity + 1" in said and "TICKET-4711" in said, "the statement and the reason are shown whole"
        )
        run(
            f"hoopctl approvals approve {request} --reason 'trust me'",
            status=1,
            claim="an administrator who is no approver cannot approve",
        )
        run(f"hoopctl --token-file .demo/lee.token approvals approve {request} --reason 'checked with the customer'")

        say("Priya's psql goes on by itself")
        said = waiting(self.client, "", 30)
        check("UPDATE 1" in said and self.client.returncode == 0, "the UPDATE ran")
        said = run('psql -U priya orders -c "SELECT * FROM orders WHERE id = 2"')
        check(self.server.query("SELECT quantity FROM orders WHERE id = 2") == "5", "it ran once")
        runs = re.findall(
            r"(?:statement|execute [^:]*): UPDATE orders SET quantity = quantity \+ 1", self.server.statements()
        )
        check(len(runs) == 1, f"the database's own log has it once, not {len(runs)} times")
        said = run(f"hoopctl --token-file .demo/lee.token approvals show {request}")
        check("executed" in said, "the request is settled as executed")

    def commands(self) -> None:
        say("Priya on a host", "Stock ssh, with a certificate for the day; the host knows neither her nor her key.")
        said = run("ssh -F .demo/ssh -i .demo/priya -tt web1@gateway uptime")
        check("load average" in said, "uptime ran at the host")
        said = run(
            "ssh -F .demo/ssh -i .demo/priya web1@gateway 'cat /etc/shadow'", status=126, claim="the command is refused"
        )
        check("web1.deny.secrets" in said, "refused, naming the rule")
        mark = DEMO / "offline"
        command = f"ssh -F .demo/ssh -i .demo/priya web1@gateway touch {DEMO}/offline"
        prompt(command)
        self.client = subprocess.Popen(
            shell(command),
            cwd=BASE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        found = re.search(r"\bA-[0-9A-Z]+\b", waiting(self.client, "to approve", 30))
        check(found and not mark.exists(), "it waits, and nothing has run")
        assert found
        say("Lee approves by ssh as well", "On the phone, say: no hoopctl there.")
        run("ssh -F .demo/ssh -i .demo/lee gateway approvals")
        run(f"ssh -F .demo/ssh -i .demo/lee gateway approve {found.group()} the shop may close")
        waiting(self.client, "", 30)
        check(self.client.returncode == 0 and mark.exists(), "it ran")
        said = run("hoopctl sessions list --identity user:priya --target web1")
        first = re.findall(r"^(S-\S+)", said, re.MULTILINE)[-1]
        said = run(f"hoopctl sessions replay --terminal {first}")
        check("load average" in said, "her terminal is replayed")

    def record(self) -> None:
        say("The record", "Every session, as it was; what was masked for Priya is masked here.")
        said = run("hoopctl sessions list --identity user:priya --target orders")
        sessions = re.findall(r"^(S-\S+)", said, re.MULTILINE)
        check(len(sessions) >= 4, "her sessions are listed")
        # newest first: the last SELECT, the UPDATE, the DROP, the first SELECT
        said = run(f"hoopctl sessions replay {sessions[1]}")
        check("UPDATE orders" in said and "user:lee" in said, "the replay shows the UPDATE and who approved it")
        said = run(f"hoopctl sessions replay {sessions[-1]}", quiet=True)
        check("1111" in said and "4111111111111111" not in said, "no card number is in the recording")

    def proof(self) -> None:
        say("Proof", "Anybody with a copy of the record and the log's public key can check it, without the gateway.")
        run("hoopctl audit key > .demo/ledger.key && cat .demo/ledger.key")
        verify = "hoopctl audit verify {} --key .demo/ledger.key --witness .demo/witness"
        self._sealed(verify.format(".demo/state"))
        said = run(verify.format(".demo/state"), claim="the record verifies")
        check("as it was written" in said, "the record verifies")
        say("Somebody rewrites history", "In a copy: who raised the quantity? Not Priya, says one changed word.")
        run("cp -r .demo/state .demo/tampered")
        run("grep -rlZ TICKET-4711 .demo/tampered/recordings | xargs -0 sed -i 's/user:priya/user:peter/'")
        said = run(verify.format(".demo/tampered"), status=4, claim="a changed copy does not verify")
        check("FAILED" in said, "verification says what it found")

    @staticmethod
    def _sealed(verify: str) -> None:
        """Wait until the last session's end is sealed and signed."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            done = subprocess.run(shell(verify), cwd=BASE, capture_output=True, text=True)
            if done.returncode == 0 and "exposed" not in done.stdout and "(0 open)" in done.stdout:
                return
            time.sleep(0.5)

    def next(self) -> None:
        say("It runs: try it")
        print(
            textwrap.dedent(
                """\
                  . .demo/env                                         # in another terminal, in this directory
                  psql -U priya orders                                # \\d, SELECT, UPDATE …
                  ssh -F .demo/ssh -i .demo/priya web1@gateway df -h
                  hoopctl --token-file .demo/lee.token approvals list --watch
                  hoopctl status
                  hoopctl sessions list
                  hoopctl policy explain user:priya orders "DELETE FROM orders"
                  $EDITOR .demo/etc/policies.d/orders.toml && hoopctl policy test .demo/etc && hoopctl reload

                Its log is .demo/hoopd.log. Ctrl-C here ends everything and removes .demo."""
            ),
            flush=True,
        )

    # -- the end ---------------------------------------------------------------------------------------------

    def stop(self, remove: bool) -> None:
        """End what was started, by process id."""
        for process in (self.client, self.gateway):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        with contextlib.suppress(FileNotFoundError):
            # Ctrl-C may have reached PostgreSQL first, and its pid file is gone
            self.server.stop()
        if self.host is not None:
            self.host.stop()
            shutil.rmtree(self.host.directory, ignore_errors=True)
        shutil.rmtree(self.server.directory, ignore_errors=True)
        if self.elsewhere:
            shutil.rmtree(self.elsewhere, ignore_errors=True)
        if remove:
            shutil.rmtree(DEMO, ignore_errors=True)


def alone() -> None:
    """One demo at a time; what an earlier one left is removed. @raise Failed"""
    with contextlib.suppress(FileNotFoundError, ValueError):
        pid = int((DEMO / "pid").read_text())
        if "demo.py" in Path(f"/proc/{pid}/cmdline").read_text():
            raise Failed(f"a demo runs already, as process {pid}: end it with Ctrl-C, or kill {pid}")
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir(mode=0o755)
    keep("pid", f"{os.getpid()}\n", 0o644)


def terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    once = "--once" in arguments or os.environ.get("DEMO_ONCE") == "1"
    # said aloud: a parent that ignores SIGINT (a background job of a script) has its children ignore it too
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, terminated)
    began = time.monotonic()
    try:
        alone()
    except Failed as failed:
        print(f"demo: {failed}", file=sys.stderr)
        return 1
    demo = Demo()
    # 128 + SIGINT, until everything has been shown
    status, keep_files = 130, False
    try:
        demo.database()
        demo.install()
        demo.start()
        demo.people()
        demo.keys()
        demo.masked()
        demo.refused()
        demo.held()
        demo.commands()
        demo.record()
        demo.proof()
        say(f"Everything shown was so ({time.monotonic() - began:.0f} s)")
        status = 0
        if not once:
            demo.next()
            while demo.gateway is not None and demo.gateway.poll() is None:
                time.sleep(0.5)
            print("demo: hoopd ended", file=sys.stderr)
    except Failed as failed:
        print(f"\ndemo: FAILED: {failed}\n\nthe end of .demo/hoopd.log:\n{demo.log()[-6000:]}", file=sys.stderr)
        status, keep_files = 1, True
    except KeyboardInterrupt:
        print("\ndemo: ending", flush=True)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        demo.stop(remove=not keep_files)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
