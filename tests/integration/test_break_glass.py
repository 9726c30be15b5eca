"""Break glass through the gateway as installed: psql, hoopctl, the ledger, reloads and killed brokers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from hoopd.audit.leaves import ENTRIES, decode_leaf, entries_of
from hoopd.audit.replay import load
from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer
from tests.integration.tiny.running import PATIENCE, until

POLICY = """
targets = ["orders"]
mask.card = { columns = ["*.card_number", "*.card"], show = "last4" }
allow.all = { who = ["group:eng"], do = ["read", "write"] }
hold.update = { who = ["group:eng"], do = ["update"], by = ["group:leads"], wait = "5s" }
deny.drop = { do = ["drop", "truncate"] }
break_glass.sre = { who = ["group:oncall"], for = "10m", review = "1h" }
break_glass.dba = { who = ["group:dba"], skip = ["masks"], for = "10m", review_by = ["group:leads"] }
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with PostgresServer() as server, Gateway(server, POLICY) as running:
        running.identity("user:ann", ["eng", "oncall"])
        running.identity("user:bob", ["eng"])
        running.identity("user:dan", ["eng", "dba"])
        running.identity("user:lea", ["leads"], ["approver"])
        running.identity("agent:bot", ["eng", "oncall"])
        yield running


UPDATE = "UPDATE customers SET name = name WHERE id = 1"


def leaves(gateway: Gateway) -> list[dict[str, Any]]:
    """The fields of the ledger's leaves about break glass, in order."""
    found, _, wrong = entries_of((gateway.state / "ledger" / ENTRIES).read_bytes())
    assert wrong is None
    decoded = [decode_leaf(number, leaf) for number, leaf in enumerate(found)]
    return [dict(leaf.fields) for leaf in decoded if leaf.kind == "break-glass"]


def operations(gateway: Gateway, who: str) -> list[dict[str, Any]]:
    """The operation frames of an identity's last session."""
    (session, *_) = gateway.json("sessions", "list", "--identity", who)
    entries, _ = load((gateway.state / "recordings" / session["recording"]).read_bytes())
    return [dict(entry.fields) for entry in entries if entry.kind == "operation"]


def reload(gateway: Gateway) -> None:
    before = gateway.text().count("hoopd: ready:")
    gateway.hoopctl("reload")
    until(lambda: gateway.text().count("hoopd: ready:") > before, "the new generation is ready")


def close_all(gateway: Gateway) -> None:
    for use in gateway.json("break-glass", "list"):
        if use["state"] == "open":
            gateway.hoopctl("break-glass", "close", use["id"])
        if use["reviewed_at"] is None:
            gateway.hoopctl("break-glass", "review", use["id"], "--verdict", "ok", "--findings", "fine", who="user:lea")


def test_an_engineer_with_only_psql(gateway: Gateway) -> None:
    before = len(leaves(gateway))
    done = gateway.psql(
        "user:ann",
        "SET hoopd.break_glass = 'INC-42: checkout is down'",
        "SHOW hoopd.break_glass",
        UPDATE,
        "SELECT card_number FROM customers WHERE id = 1",
        "RESET hoopd.break_glass",
    )
    assert done.returncode == 0, done.stderr
    out = done.stdout.splitlines()
    assert out[0] == "SET"
    assert "INC-42: checkout is down" in out[1]
    assert out[2] == "UPDATE 1"
    # masks stay: the rule does not name them
    assert out[3].startswith("****")
    assert out[4] == "RESET"
    assert "is open until" in done.stderr
    assert "lets this pass: example.hold.update" in done.stderr
    assert "has ended" in done.stderr
    (use,) = [each for each in gateway.json("break-glass", "list") if each["state"] == "to review"]
    assert use["skipped"] == 1
    told = leaves(gateway)[before:]
    assert [each["event"] for each in told] == ["opened", "skipped", "ended"]
    assert told[1]["skipped"] == ["example.hold.update"]
    loud = gateway.events("break-glass.operation")
    assert [each["severity"] for each in loud[-2:]] == ["warning", "warning"]
    assert gateway.events("break-glass.opened")[-1]["severity"] == "alert"
    marked = operations(gateway, "user:ann")
    assert [(each["decision"], each["break_glass"], each["skipped"]) for each in marked] == [
        ("allow", use["id"], ["example.hold.update"]),
        ("allow", use["id"], []),
    ]
    # and the next statement is held again
    assert "held for approval" in gateway.psql("user:ann", UPDATE).stderr
    close_all(gateway)


def test_denies_and_agents_and_others_stay_out(gateway: Gateway) -> None:
    opened = gateway.hoopctl("break-glass", "open", "orders", "--reason", "INC-43", who="user:ann")
    assert "holds are skipped on orders until" in opened.stdout
    refused = gateway.psql("user:ann", "DROP TABLE customers")
    assert refused.returncode != 0
    assert "refuses" in refused.stderr or "deny.drop" in refused.stderr
    assert "held for approval" in gateway.psql("user:bob", UPDATE).stderr
    for who in ("user:bob", "agent:bot"):
        no = gateway.hoopctl("break-glass", "open", "orders", "--reason", "x", who=who, ok=False)
        assert no.returncode == 1
        assert f"no break_glass rule gives {who} a right on 'orders'" in no.stderr
        assert "no break_glass rule" in gateway.psql(who, "SET hoopd.break_glass = 'x'").stderr
    together = gateway.psql("user:ann", f"SET hoopd.break_glass = 'x'; {UPDATE}")
    assert "stands by itself" in together.stderr
    assert "is empty" in gateway.psql("user:ann", "SET hoopd.break_glass = ' '").stderr
    close_all(gateway)


def test_in_a_transaction_and_by_options(gateway: Gateway) -> None:
    done = gateway.psql("user:ann", "BEGIN", UPDATE, UPDATE, "COMMIT", options="-c hoopd.break_glass=INC-44")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["BEGIN", "UPDATE", "1", "UPDATE", "1", "COMMIT"]
    no = gateway.psql("user:bob", "SELECT 1", options="-c hoopd.break_glass=INC-44")
    assert no.returncode == 2
    assert "no break_glass rule gives user:bob" in no.stderr
    close_all(gateway)


def test_masks_are_lifted_only_where_the_rule_names_them_and_never_in_the_record(gateway: Gateway) -> None:
    before = len(leaves(gateway))
    card = "SELECT card_number FROM customers WHERE id = 1"
    clear = gateway.server.query(card).strip()
    done = gateway.psql(
        "user:dan", "SET hoopd.break_glass = 'INC-50'", card, "SELECT 1", "RESET hoopd.break_glass", card
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["SET", clear, "1", "RESET", f"****{clear[-4:]}"]
    # once in the ledger before it was shown, and not for what shows nothing masked
    told = leaves(gateway)[before:]
    assert [each["event"] for each in told] == ["opened", "skipped", "ended"]
    assert told[1]["skipped"] == ["example.mask.card"]
    (session, *_) = gateway.json("sessions", "list", "--identity", "user:dan")
    assert clear.encode() not in (gateway.state / "recordings" / session["recording"]).read_bytes()
    assert clear not in gateway.text()
    # a hold is not a mask
    update = "SET hoopd.break_glass = 'INC-51'"
    assert "held for approval" in gateway.psql("user:dan", update, UPDATE).stderr
    close_all(gateway)


def test_reviews_are_for_others(gateway: Gateway) -> None:
    gateway.hoopctl("break-glass", "open", "orders", "--reason", "INC-45", who="user:ann")
    (use,) = [each for each in gateway.json("break-glass", "list", who="user:lea") if each["state"] == "open"]
    word = ("break-glass", "review", use["id"], "--verdict", "ok", "--findings", "looked at S-1")
    assert "is still open" in gateway.hoopctl(*word, who="user:lea", ok=False).stderr
    gateway.hoopctl("break-glass", "close", use["id"], who="user:ann")
    assert "nobody reviews what they did themselves" in gateway.hoopctl(*word, who="user:ann", ok=False).stderr
    assert "is none of those who review" in gateway.hoopctl(*word, who="user:bob", ok=False).stderr
    assert "is reviewed: ok" in gateway.hoopctl(*word, who="user:lea").stdout
    assert "was reviewed by user:lea already" in gateway.hoopctl(*word, who="user:lea", ok=False).stderr
    shown = gateway.hoopctl("break-glass", "show", use["id"], who="user:lea").stdout
    assert "looked at S-1" in shown
    assert gateway.hoopctl("break-glass", "show", use["id"], who="user:bob", ok=False).returncode == 1


def test_it_survives_a_killed_broker_and_ends_with_its_identity(gateway: Gateway) -> None:
    gateway.hoopctl("break-glass", "open", "orders", "--reason", "INC-46", who="user:ann")
    gateway.kill_broker()
    until(lambda: gateway.psql("user:ann", "SELECT 1").returncode == 0, "sessions are taken")
    done = gateway.psql("user:ann", UPDATE)
    assert (done.returncode, done.stdout) == (0, "UPDATE 1\n"), done.stderr
    psql = subprocess.Popen(
        ["psql", "-XAt", "-d", gateway.dsn()],
        env=gateway.environment("user:ann"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert psql.stdin is not None
    assert psql.stdout is not None
    psql.stdin.write(UPDATE + ";\n")
    psql.stdin.flush()
    while "UPDATE 1" not in (line := psql.stdout.readline()):
        assert line, "psql ended"
    gateway.hoopctl("identities", "disable", "user:ann")
    try:
        until(lambda: not [u for u in gateway.json("break-glass", "list") if u["state"] == "open"], "it has ended")
        output, _ = psql.communicate(UPDATE + ";\n", timeout=PATIENCE)
        assert "UPDATE 1" not in output
        assert "hoopd ends this session" in output
    finally:
        gateway.hoopctl("identities", "enable", "user:ann")
    close_all(gateway)


def test_a_reload_without_the_rule_ends_it(gateway: Gateway) -> None:
    gateway.hoopctl("break-glass", "open", "orders", "--reason", "INC-47", who="user:ann")
    gateway.policy("\n".join(line for line in POLICY.splitlines() if "break_glass" not in line))
    try:
        reload(gateway)
        assert not [use for use in gateway.json("break-glass", "list") if use["state"] == "open"]
        (ended,) = [each for each in leaves(gateway)[-1:] if each["event"] == "ended"]
        assert "the policy gives no such right any more" in ended["why"]
        assert "held for approval" in gateway.psql("user:ann", UPDATE).stderr
    finally:
        gateway.policy(POLICY)
        reload(gateway)
        close_all(gateway)
