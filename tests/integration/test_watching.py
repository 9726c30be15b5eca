"""Sessions are watched while they run, by who may, and ended: stock clients through a real gateway, hoopctl beside them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.installation import ROOT, Gateway
from tests.integration.postgres import PostgresServer
from tests.integration.sshd import SshGateway, SshServer
from tests.integration.tiny.running import until


@pytest.fixture(scope="module")
def gateway(server: SshServer) -> Iterator[SshGateway]:
    with SshGateway(server) as started:
        started.identity("user:priya", groups=["ops"])
        started.identity("user:lee", groups=["leads"], duties=["approver"])
        started.identity("user:otto", duties=["auditor"])
        started.identity("user:ada", duties=["administrator"])
        yield started


class Watching:
    """C{hoopctl sessions watch}, and what it has shown so far."""

    def __init__(self, gateway: Gateway, session: str, *words: str, who: str = "user:otto") -> None:
        environment = {
            **os.environ,
            "HOOPD_TOKEN": gateway.tokens[who],
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hoopd.ctl.main", "--socket", str(gateway.socket),
             "sessions", "watch", session, *words],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.said = ""

    def until(self, text: str, limit: float = 60.0) -> float:
        """@return: seconds until C{text} was shown."""
        began = time.monotonic()
        assert self.process.stdout is not None
        while text not in self.said:
            assert time.monotonic() - began < limit, repr(self.said)
            if select.select([self.process.stdout], [], [], 0.5)[0]:
                piece = os.read(self.process.stdout.fileno(), 65536)
                assert piece, f"it ended without {text!r}:\n{self.said}"
                self.said += piece.decode("utf-8", "replace")
        return time.monotonic() - began

    def end(self) -> int:
        assert self.process.stdout is not None
        rest = self.process.stdout.read()
        self.said += rest.decode("utf-8", "replace")
        self.process.stdout.close()
        return self.process.wait(30)


def shell(gateway: SshGateway) -> subprocess.Popen[str]:
    """A shell with a terminal, as user:priya, that has begun."""
    started = subprocess.Popen(
        ["sshpass", "-e", "-P", "Token:", "ssh", *gateway.ssh_words("-tt"), "web1@127.0.0.1"],
        env=gateway.ssh_environment("user:priya"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, bufsize=1,
    )  # fmt: skip
    typed(started, "echo be''gun")
    assert started.stdout is not None
    while "begun" not in started.stdout.readline():
        pass
    return started


def typed(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def running(gateway: Gateway) -> str:
    """The session that runs now."""
    (found,) = [each["id"] for each in gateway.json("sessions", "list") if each["ended_at"] is None]
    return str(found)


def views(gateway: Gateway, session: str) -> list[dict[str, Any]]:
    """Who watched C{session}, the oldest first."""
    found = gateway.json("audit", "views", "--subject", session, who="user:otto")
    return [each for each in reversed(found) if each["verb"] == "sessions.watch"]


def test_a_terminal_is_seen_as_it_is_used(gateway: SshGateway) -> None:
    user = shell(gateway)
    session = running(gateway)
    watching = Watching(gateway, session)
    watching.until("begun")
    delays = []
    for number in range(5):
        typed(user, f"printf '\\033[3%dm\\033]0;owned\\007see''n{number}' {number}")
        delays.append(watching.until(f"\x1b[3{number}mseen{number}", 10))
    assert "\x1b]" not in watching.said, "titles are not passed on"
    # the command's way to the host and back is in it
    assert min(delays) < 1.0, delays
    (began,) = views(gateway, session)
    assert began["by"] == "user:otto"
    watching.process.send_signal(signal.SIGINT)
    assert watching.end() == 0
    assert "left; the session goes on" in watching.said
    until(lambda: len(views(gateway, session)) == 2, "the end of watching is in the ledger")
    end = views(gateway, session)[1]
    assert (end["detail"]["watch"], end["detail"]["ended"]) == (began["detail"]["watch"], "left")
    typed(user, "exit 5")
    user.communicate(timeout=30)
    assert user.returncode == 5


def test_it_ends_with_the_session(gateway: SshGateway) -> None:
    user = shell(gateway)
    session = running(gateway)
    watching = Watching(gateway, session)
    watching.until("begun")
    typed(user, "echo la''st; exit")
    user.communicate(timeout=30)
    assert watching.end() == 0
    assert "last" in watching.said
    assert f"{session} is over" in watching.said
    again = gateway.hoopctl("sessions", "watch", session, who="user:otto", ok=False)
    assert "sessions replay" in again.stderr
    assert views(gateway, session)[-1]["detail"]["ended"].startswith("the session ended")


def test_who_may_not_read_the_record_watches_nothing(gateway: SshGateway) -> None:
    user = shell(gateway)
    session = running(gateway)
    for who in ("user:ada", "user:lee"):
        refused = gateway.hoopctl("sessions", "watch", session, who=who, ok=False)
        assert refused.returncode == 1
        assert "begun" not in refused.stdout
    assert views(gateway, session) == []
    own = Watching(gateway, session, who="user:priya")
    own.until("begun")
    own.process.send_signal(signal.SIGINT)
    assert own.end() == 0
    typed(user, "exit")
    user.communicate(timeout=30)


def test_a_duty_that_is_taken_away_ends_the_watching(gateway: SshGateway) -> None:
    gateway.identity("user:eve", duties=["auditor"])
    user = shell(gateway)
    session = running(gateway)
    watching = Watching(gateway, session, who="user:eve")
    watching.until("begun")
    gateway.hoopctl("identities", "duties", "user:eve")
    typed(user, "echo a sec''ret")
    assert watching.end() == 1
    assert "a secret" not in watching.said
    assert views(gateway, session)[-1]["detail"]["ended"] == "what user:eve may was changed"
    typed(user, "exit")
    user.communicate(timeout=30)


def test_a_watcher_that_stands_still_holds_up_nobody(gateway: SshGateway) -> None:
    user = shell(gateway)
    session = running(gateway)
    watching = Watching(gateway, session)
    watching.until("begun")
    watching.process.send_signal(signal.SIGSTOP)
    try:
        typed(user, "head -c 20000000 /dev/zero | tr '\\0' 'x' | fold -w 200; echo do''ne")
        assert user.stdout is not None
        began = time.monotonic()
        while "done" not in user.stdout.readline():
            assert time.monotonic() - began < 120
    finally:
        watching.process.send_signal(signal.SIGCONT)
    watching.until("done", 120)
    typed(user, "exit")
    user.communicate(timeout=30)
    assert watching.end() == 0


# -- ending ------------------------------------------------------------------------------------------------


def end(gateway: Gateway, session: str) -> None:
    """End it as an administrator: it is over at once, whatever it does."""
    gateway.hoopctl("sessions", "end", session, "--reason", "stolen laptop", who="user:ada")
    until(lambda: gateway.json("sessions", "show", session)["ended_at"] is not None, "it is over")
    summary = gateway.json("sessions", "show", session)
    assert summary["ended_why"] == "ended by user:ada: stolen laptop"
    told = next(each for each in gateway.events("session.revoked") if each["session"] == session)
    took = summary["ended_at"] - datetime.fromisoformat(told["at"]).timestamp()
    assert took < 5, f"{took} s"


def test_a_session_is_ended_and_its_user_told(gateway: SshGateway) -> None:
    user = shell(gateway)
    session = running(gateway)
    for who in ("user:lee", "user:priya"):
        assert gateway.hoopctl("sessions", "end", session, "--reason", "x", who=who, ok=False).returncode == 1
    end(gateway, session)
    out, _ = user.communicate(timeout=30)
    assert user.returncode == 255
    assert "ended by user:ada: stolen laptop" in out
    assert [each["why"] for each in gateway.events("session.revoked") if each["session"] == session] == [
        "stolen laptop"
    ]


def test_who_watches_may_end_it(gateway: SshGateway) -> None:
    user = shell(gateway)
    session = running(gateway)
    gateway.hoopctl("sessions", "end", session, "--reason", "seen enough", who="user:otto")
    out, _ = user.communicate(timeout=30)
    assert "ended by user:otto: seen enough" in out


def test_a_session_that_waits_for_approval_is_ended(gateway: SshGateway, tmp_path: Path) -> None:
    mark = tmp_path / "never"
    user = gateway.ssh_started("user:priya", f"touch {mark}")
    assert user.stdout is not None
    while "to approve" not in user.stdout.readline():
        pass
    end(gateway, running(gateway))
    out, _ = user.communicate(timeout=30)
    assert "stolen laptop" in out
    assert not mark.exists()


def at_host(mark: str) -> bool:
    return subprocess.run(["pgrep", "-fx", f"yes {mark}"], capture_output=True).returncode == 0


def test_a_session_whose_client_reads_nothing_is_ended(gateway: SshGateway) -> None:
    mark = f"slow-{os.getpid()}"
    user = subprocess.Popen(
        ["sshpass", "-e", "-P", "Token:", "ssh", *gateway.ssh_words(), "web1@127.0.0.1", f"yes {mark}"],
        env=gateway.ssh_environment("user:priya"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0,
    )  # fmt: skip
    assert user.stdout is not None
    assert user.stdout.read(4) == b"slow"
    assert at_host(mark)
    time.sleep(1)  # until every buffer on the way is full
    end(gateway, running(gateway))
    until(lambda: not at_host(mark), "what ran at the host is gone")
    user.kill()
    user.communicate(timeout=30)


def test_a_database_session_is_watched_and_ended() -> None:
    with PostgresServer() as database, Gateway(database) as gateway:
        gateway.identity("user:ann", groups=["eng"])
        gateway.identity("user:otto", duties=["auditor"])
        gateway.identity("user:ada", duties=["administrator"])
        with psycopg.connect(
            gateway.dsn(user="ann", password=gateway.tokens["user:ann"]), autocommit=True
        ) as connection:
            connection.execute("SELECT 1 AS before")
            session = running(gateway)
            watching = Watching(gateway, session)
            watching.until("SELECT 1 AS before")
            connection.execute("SELECT 'later' AS told")
            watching.until("SELECT 'later' AS told")
            end(gateway, session)
            with pytest.raises(psycopg.OperationalError, match="ended by user:ada: stolen laptop"):
                connection.execute("SELECT 2")
        assert watching.end() == 0
        assert f"{session} is over" in watching.said
