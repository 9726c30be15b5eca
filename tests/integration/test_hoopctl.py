"""hoopctl against a gateway as installed: who may what, and what it does to sessions that run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import psycopg
import pytest

from tests.integration.installation import POLICY, Gateway
from tests.integration.postgres import PostgresServer
from tests.integration.tiny.running import PATIENCE, until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with PostgresServer() as server, Gateway(server) as running:
        running.identity("user:priya", groups=["eng"])
        running.identity("user:lee", groups=["leads"], duties=["approver"])
        running.identity("agent:ci", groups=["eng"])
        yield running


def psql_open(gateway: Gateway, who: str) -> subprocess.Popen[str]:
    """psql that reads statements, signed in."""
    process = subprocess.Popen(
        ["psql", "-XAtq", "-d", gateway.dsn()],
        env=gateway.environment(who),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert ask(process, "SELECT 'here'") == "here"
    return process


def ask(process: subprocess.Popen[str], statement: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{statement};\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_there_is_one_first_administrator(gateway: Gateway) -> None:
    assert gateway.ctl("bootstrap-token", "--state", gateway.state, ok=False).returncode == 1
    again = gateway.ctl("bootstrap", "--name", "eve", "--show", text="hoopdboot_x", ok=False)
    assert again.returncode == 1
    assert "does not know you" in again.stderr


def test_duties_are_needed(gateway: Gateway) -> None:
    for words in (["vault", "list"], ["identities", "list"], ["policy", "show"], ["reload"]):
        refused = gateway.hoopctl(*words, who="user:priya", ok=False)
        assert refused.returncode == 1, words
        assert "needs the duty" in refused.stderr
    assert gateway.json("whoami", who="user:priya")["groups"] == ["eng"]


def test_sessions_are_listed_by_identity_target_and_time(gateway: Gateway) -> None:
    assert gateway.psql("user:priya", "SELECT 1").returncode == 0
    assert gateway.psql("agent:ci", "SELECT 2").returncode == 0
    everybody = gateway.json("sessions", "list")
    assert {one["identity"] for one in everybody} >= {"user:priya", "agent:ci"}
    assert {one["identity"] for one in gateway.json("sessions", "list", "--identity", "agent:ci")} == {"agent:ci"}
    assert gateway.json("sessions", "list", "--target", "other") == []
    assert gateway.json("sessions", "list", "--since", "2100-01-01") == []
    assert gateway.json("sessions", "list", "--until", "2020-01-01") == []
    assert {one["identity"] for one in gateway.json("sessions", "list", who="user:priya")} == {"user:priya"}


def test_a_replay_is_for_auditors_and_whose_session_it_is(gateway: Gateway) -> None:
    assert gateway.psql("user:priya", "SELECT name, card_number FROM customers").returncode == 0
    session = gateway.json("sessions", "list", "--identity", "user:priya")[0]["id"]
    for who in ("user:root", "user:priya"):
        shown = gateway.hoopctl("sessions", "replay", session, who=who).stdout
        assert "SELECT name, card_number FROM customers" in shown
        assert "****1111" in shown
        assert "4111111111111111" not in shown
    refused = gateway.hoopctl("sessions", "replay", session, who="agent:ci", ok=False)
    assert refused.returncode == 1
    assert "there is no" in refused.stderr, "as if it were not there"


def test_who_asked_cannot_approve_and_nobody_without_the_group(gateway: Gateway) -> None:
    gateway.identity("user:mo", groups=["eng"], duties=["approver"])
    waiting = gateway.psql_started("user:mo", "UPDATE orders SET note = 'x' WHERE id = 1")
    until(lambda: gateway.json("approvals", "list"), "the request is there")
    request = gateway.json("approvals", "list")[0]["id"]
    for who in ("user:mo", "user:root"):
        refused = gateway.hoopctl("approvals", "approve", request, "--reason", "me", who=who, ok=False)
        assert refused.returncode == 1, who
    gateway.hoopctl("approvals", "deny", request, "--reason", "not on a Friday", who="user:lee")
    said, _ = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == 1
    assert "not on a Friday" in said
    assert gateway.server.query("SELECT note FROM orders WHERE id = 1") == "a"


def test_a_revoked_token_ends_its_sessions(gateway: Gateway) -> None:
    gateway.identity("agent:temp", groups=["eng"])
    client = psql_open(gateway, "agent:temp")
    (token,) = gateway.json("tokens", "list", "agent:temp")
    gateway.hoopctl("tokens", "revoke", token["id"])
    until(lambda: not any(not one["ended_at"] for one in gateway.json("sessions", "list", "--identity", "agent:temp")),
          "the session is over")  # fmt: skip
    client.communicate(timeout=PATIENCE)
    assert gateway.psql("agent:temp", "SELECT 1").returncode == 2


def test_an_administrator_ends_a_session(gateway: Gateway) -> None:
    dsn = gateway.dsn(user="priya", password=gateway.tokens["user:priya"])
    with psycopg.connect(dsn, autocommit=True) as connection:
        (session,) = [one["id"] for one in gateway.json("sessions", "list") if not one["ended_at"]]
        refused = gateway.hoopctl("sessions", "end", session, "--reason", "x", who="user:priya", ok=False)
        assert refused.returncode == 1
        assert "administrator" in refused.stderr
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert gateway.hoopctl("sessions", "end", session, "--reason", " ", ok=False).returncode == 2
        gateway.hoopctl("sessions", "end", session, "--reason", "a laptop was stolen")
        with pytest.raises(psycopg.OperationalError) as ended:
            connection.execute("SELECT pg_sleep(30)")
    assert ended.value.sqlstate == "57P01"
    assert "ended by user:root: a laptop was stolen" in str(ended.value)
    until(lambda: gateway.json("sessions", "show", session)["ended_at"], "it is over")
    assert "a laptop was stolen" in gateway.json("sessions", "show", session)["ended_why"]
    (revoked,) = [one for one in gateway.events("session.revoked") if one.get("session") == session]
    assert revoked["by"] == "user:root"
    assert gateway.hoopctl("sessions", "end", session, "--reason", "again", ok=False).returncode == 1


def test_status_at_night(gateway: Gateway) -> None:
    found = gateway.json("status")
    assert found["problems"] == []
    assert {one["pid"] for one in found["processes"]} == {*gateway.children(), gateway.process.pid}
    assert found["space"]["free"] > 0
    note = gateway.json("audit", "checkpoint")["note"]
    assert int(note.splitlines()[1]) == gateway.json("status")["ledger"]["signed"]
    assert set(gateway.json("status", who="user:priya")) == {"version", "policy", "sessions", "pending"}
    (control,) = gateway.pids("control")
    os.kill(control, signal.SIGKILL)
    until(lambda: gateway.pids("control") not in ([], [control]), "there is a new control process")
    until(lambda: gateway.hoopctl("status", ok=False).returncode == 0, "hoopctl is answered again")
    (again,) = [one for one in gateway.json("status")["processes"] if one["name"] == "control"]
    assert again["restarts"] >= 1
    assert again["pid"] != control


def test_a_secret_never_comes_back(gateway: Gateway) -> None:
    gateway.hoopctl("vault", "put", "other", text="extremely-secret-value")
    shown = gateway.hoopctl("vault", "list", "--json").stdout
    assert [one["name"] for one in gateway.json("vault", "list")] == ["orders-app", "other"]
    gateway.hoopctl("vault", "rotate-key")
    gateway.hoopctl("vault", "check")
    assert gateway.psql("user:priya", "SELECT 1").returncode == 0
    assert "extremely-secret-value" not in shown + gateway.text()
    assert gateway.server.app_password not in gateway.text()


def test_explaining_agrees_with_what_happens(gateway: Gateway) -> None:
    explained = gateway.json("policy", "explain", "user:priya", "orders", "DROP TABLE orders")
    assert explained["verdict"] == "deny"
    assert "42501" in gateway.psql("user:priya", "\\set VERBOSITY verbose", "DROP TABLE orders").stderr


def test_reload_keeps_sessions_and_a_wrong_configuration_changes_nothing(gateway: Gateway) -> None:
    client = psql_open(gateway, "user:priya")
    gateway.policy(POLICY + "nonsense = 3\n")
    refused = gateway.hoopctl("reload", ok=False)
    assert refused.returncode == 1
    assert "nonsense" in refused.stderr
    assert gateway.psql("user:priya", "SELECT 1").returncode == 0
    gateway.policy(POLICY.replace("deny.drop", "deny.destroy"))
    before = gateway.text().count("hoopd: ready:")
    gateway.hoopctl("reload")
    until(lambda: gateway.text().count("hoopd: ready:") > before, "the new generation is ready")
    until(lambda: gateway.hoopctl("status", ok=False).returncode == 0, "hoopctl is answered")
    assert ask(client, "SELECT 'still'") == "still"
    assert "deny.destroy" in gateway.psql("user:priya", "DROP TABLE orders").stderr
    client.communicate("\\q\n", timeout=PATIENCE)


def test_hoopctl_outlives_a_broker(gateway: Gateway) -> None:
    (broker,) = gateway.pids("broker")
    os.kill(broker, signal.SIGKILL)
    began = time.monotonic()
    status = gateway.hoopctl("status", ok=False)
    # it waited for the new one, or was told in good time to come back
    assert status.returncode in (0, 3), status.stderr
    assert time.monotonic() - began < PATIENCE
    until(lambda: gateway.hoopctl("status", ok=False).returncode == 0, "hoopctl is answered again")
    (control,) = gateway.pids("control")
    os.kill(control, signal.SIGKILL)
    until(lambda: gateway.pids("control") not in ([], [control]), "there is a new control process")
    until(lambda: gateway.hoopctl("status", ok=False).returncode == 0, "hoopctl is answered again")


def test_the_record_of_all_this_verifies(gateway: Gateway) -> None:
    assert gateway.terminate() == 0
    verified = gateway.ctl("audit", "verify", gateway.state, ok=False)
    assert verified.returncode == 0, verified.stdout
    assert "whoever could replace all of it" in verified.stderr, "no key was given, and that is said"
