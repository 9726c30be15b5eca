"""Who may what, who looked, and whose the rules are: on a gateway as installed, with hoopctl, psql and ssh-keygen."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration.installation import POLICY, Gateway
from tests.integration.postgres import PostgresServer
from tests.integration.tiny.running import until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(server: PostgresServer) -> Iterator[Gateway]:
    with Gateway(server) as running:
        running.identity("user:priya", groups=["eng"])
        running.identity("user:lee", groups=["leads"], duties=["approver"])
        running.identity("user:vera", duties=["vault"])
        running.identity("user:otto", duties=["auditor"])
        yield running


def test_the_vault_is_a_duty_of_its_own(gateway: Gateway) -> None:
    gateway.identity("user:adam", duties=["administrator"])
    for words in (["put", "x"], ["remove", "x", "--yes"], ["check"], ["rotate-key"]):
        for who in ("user:adam", "user:otto", "user:lee"):
            refused = gateway.hoopctl("vault", *words, who=who, text="secret", ok=False)
            assert refused.returncode == 1
            assert "needs the duty vault" in refused.stderr
    gateway.hoopctl("vault", "put", "x", who="user:vera", text="secret")
    assert [one["name"] for one in gateway.json("vault", "list", who="user:adam")] == ["orders-app", "x"]
    assert gateway.hoopctl("identities", "list", who="user:vera", ok=False).returncode == 1


def test_what_anybody_looks_at_is_in_the_ledger(gateway: Gateway) -> None:
    assert gateway.psql("user:priya", "SELECT name FROM customers").returncode == 0
    session = gateway.json("sessions", "list", "--identity", "user:priya", who="user:otto")[0]["id"]
    gateway.hoopctl("sessions", "replay", session, who="user:otto")
    gateway.hoopctl("sessions", "show", session, who="user:priya")
    assert gateway.hoopctl("sessions", "show", session, who="user:lee", ok=False).returncode == 1
    views = gateway.json("audit", "views", "--subject", session)
    assert [(one["by"], one["verb"]) for one in views] == [
        ("user:priya", "sessions.show"),
        ("user:otto", "sessions.recording"),
    ]
    searched = gateway.json("audit", "views", "--by", "user:otto")[-1]
    assert searched["verb"] == "sessions.list"
    assert searched["detail"]["identity"] == "user:priya"
    assert {one["subject"] for one in gateway.events("audit.viewed")} >= {session}
    refused = gateway.hoopctl("audit", "views", who="user:lee", ok=False)
    assert "needs the duty" in refused.stderr
    verified = gateway.ctl("audit", "verify", gateway.state)
    assert "as it was written" in verified.stdout


def test_duties_that_exclude_each_other(gateway: Gateway) -> None:
    gateway.identity("user:both", groups=["leads"], duties=["administrator", "approver"])
    toml = gateway.etc / "hoopd.toml"
    before = toml.read_text()
    toml.write_text(before + '\n[duties]\nconflicts = [["administrator", "approver"], ["auditor", "emperor"]]\n')
    refused = gateway.hoopctl("reload", ok=False)
    assert "'emperor' is no duty" in refused.stderr
    assert "'emperor' is no duty" in gateway.ctl("config", "check", gateway.etc, ok=False).stderr
    assert gateway.json("identities", "list", who="user:both"), "nothing changed"
    toml.write_text(before + '\n[duties]\nconflicts = [["administrator", "approver"]]\n')
    gateway.reload()
    refused = gateway.hoopctl("identities", "list", who="user:both", ok=False)
    assert refused.returncode == 1
    assert "administrator and approver, which exclude each other" in refused.stderr
    assert "take one of them away" in refused.stderr
    assert gateway.json("whoami", who="user:both")["withheld"] == ["administrator", "approver"]
    assert gateway.events("identity.duties-clash")[-1]["identity"] == "user:both"
    refused = gateway.hoopctl("identities", "duties", "user:lee", "approver", "administrator", ok=False)
    assert "exclude each other" in refused.stderr
    gateway.hoopctl("identities", "duties", "user:both", "approver")
    assert gateway.json("whoami", who="user:both")["duties"] == ["approver", "user"]
    toml.write_text(before)
    gateway.reload()


def test_administrators_who_use_no_targets(gateway: Gateway) -> None:
    gateway.identity("user:ada", groups=["eng"], duties=["administrator"])
    assert gateway.psql("user:ada", "SELECT 1").returncode == 0
    toml = gateway.etc / "hoopd.toml"
    before = toml.read_text()
    toml.write_text(before + '\n[duties]\nconflicts = [["user", "administrator"]]\n')
    gateway.reload()
    refused = gateway.psql("user:ada", "SELECT 1")
    assert refused.returncode != 0
    assert "user:ada has a duty that excludes the use of targets here" in refused.stderr
    for words in (
        ["request", "window", "orders", "--do", "update", "--for", "5m", "--reason", "x"],
        ["break-glass", "open", "orders", "--reason", "x"],
    ):
        asked = gateway.hoopctl(*words, who="user:ada", ok=False)
        assert asked.returncode == 1
        assert "excludes the use of targets" in asked.stderr
    assert gateway.json("identities", "list", who="user:ada"), "an administrator all the same"
    assert gateway.psql("user:priya", "SELECT 1").returncode == 0
    toml.write_text(before)
    gateway.reload()


OBSERVED = 'mode = "observe"\n' + POLICY + 'allow.few = { who = ["group:eng"], do = ["read"], max_rows = 1 }\n'


def test_what_enforcement_would_have_done(server: PostgresServer) -> None:
    with Gateway(server, OBSERVED) as gateway:
        gateway.identity("user:priya", groups=["eng"])
        gateway.identity("agent:ci")
        done = gateway.psql(
            "user:priya",
            "SELECT card_number FROM customers",
            "SELECT max(card_number) FROM customers WHERE card_number LIKE '4%'",
            "CREATE TABLE seen (a text)",
            "DROP TABLE seen",
            "UPDATE orders SET note = note WHERE id = 1",
            "UPDATE orders SET note = note WHERE id = 2",
            "SELECT 1",
        )
        assert done.returncode == 0, done.stderr
        assert "4111111111111111" in done.stdout, "nothing is masked, held or cut off"
        assert gateway.psql("agent:ci", "SELECT count(*) FROM orders").returncode == 0
        until(lambda: len(gateway.json("policy", "observed")["found"]) >= 5, "recordings are sealed and counted")
        found = {
            (one["outcome"], one["rule"], one["identity"]): one for one in gateway.json("policy", "observed")["found"]
        }
        assert found["hold", "example.hold.update", "user:priya"]["count"] == 2
        assert found["hold", "example.hold.update", "user:priya"]["why"] == "customers notice"
        (update,) = found["hold", "example.hold.update", "user:priya"]["statements"]
        assert update == {"text": "UPDATE orders SET note = note WHERE id = ?", "count": 2}
        assert found["deny", "example.deny.drop", "user:priya"]["count"] == 1
        assert found["deny", "", "agent:ci"]["count"] == 1
        assert found["mask", "example.mask.card", "user:priya"]["count"] == 1
        assert found["deny", "example.mask.card", "user:priya"]["count"] == 1, "what masks would refuse"
        assert "4111111111111111" not in json.dumps(list(found.values()), default=str)
        gateway.kill_broker()
        kept = gateway.json("policy", "observed", "--identity", "user:priya")["found"]
        assert {one["outcome"]: one["count"] for one in kept if one["outcome"] == "hold"} == {"hold": 2}
        assert gateway.json("policy", "observed", "--since", "2100-01-01")["found"] == []
        said = gateway.hoopctl("policy", "observed").stdout
        assert "example.hold.update: 2 times would be held: user:priya on orders" in said
        assert 'To enforce: write mode = "enforce" in policies.d/example.toml' in said
        assert gateway.hoopctl("policy", "observed", who="user:priya", ok=False).returncode == 1
