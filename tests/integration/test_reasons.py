"""Reasons that rules ask for, given with psql and hoopctl in each way there is."""

from __future__ import annotations

from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer

POLICY = """
targets = ["orders"]
allow.read = { who = ["group:eng"], do = ["read"] }
allow.write = { who = ["group:eng"], do = ["write"], reason = "^OPS-[0-9]+", reason_hint = "a ticket number" }
hold.delete = { do = ["delete"], by = ["group:leads"], wait = "5s", reason = "required" }
"""
UPDATE = "UPDATE customers SET name = name WHERE id = 1"
DELETE = "DELETE FROM customers WHERE id = 99999"


def test_reasons() -> None:
    with PostgresServer() as server, Gateway(server, POLICY) as gateway:
        gateway.identity("user:ann", ["eng"])
        gateway.identity("user:lea", ["leads"], ["approver"])
        for options in ("", "-c hoopd.reason=fix", "-c hoopd.reason=\\ "):
            refused = gateway.psql("user:ann", UPDATE, options=options)
            assert refused.returncode == 1
            assert "a reason is required: a ticket number" in refused.stderr
            assert "it must match ^OPS-[0-9]+" in refused.stderr
        for options in ("-c hoopd.reason=OPS-1", "-c hoopd.reason=OPS-1\\ the\\ checkout", "--hoopd.reason=OPS-1"):
            done = gateway.psql("user:ann", UPDATE, options=options)
            assert (done.stdout, done.stderr) == ("UPDATE 1\n", "")
        said = gateway.psql("user:ann", "SET hoopd.reason TO 'OPS-2 fix'", UPDATE, "RESET hoopd.reason", UPDATE)
        assert said.stdout == "SET\nUPDATE 1\nRESET\n"
        assert "a reason is required" in said.stderr
        once = gateway.psql("user:ann", "BEGIN", "SET LOCAL hoopd.reason = 'OPS-3'", UPDATE, "COMMIT", UPDATE)
        assert once.stdout == "BEGIN\nSET\nUPDATE 1\nCOMMIT\n"
        assert "a reason is required" in once.stderr
        assert [each["reason"] for each in gateway.events("operation.allowed") if "update" in each["classes"]] == [
            "OPS-1", "OPS-1 the checkout", "OPS-1", "OPS-2 fix", "OPS-3",
        ]  # fmt: skip
        hidden = gateway.psql("user:ann", "SET hoopd.reason = E'OPS-4 \u202e x'")
        assert "characters that cannot be shown" in hidden.stderr
        # nobody is bothered by what lacks its reason; asked for beforehand with one, it runs without one in the session
        assert "a reason is required" in gateway.psql("user:ann", DELETE).stderr
        assert gateway.json("approvals", "list", who="user:lea") == []
        vague = gateway.hoopctl("request", "run", "orders", DELETE, "--reason", "please", who="user:ann", ok=False)
        assert "a reason is required: a ticket number" in vague.stderr
        gateway.hoopctl("request", "run", "orders", DELETE, "--reason", "OPS-5", who="user:ann")
        (asked,) = gateway.json("approvals", "list", who="user:lea")
        assert asked["reason"] == "OPS-5"
        gateway.hoopctl("approvals", "approve", asked["id"], "--reason", "seen", who="user:lea")
        assert gateway.psql("user:ann", DELETE).stdout == "DELETE 0\n"
        assert "a reason is required" in gateway.psql("user:ann", DELETE).stderr
        assert "hoopd.reason" not in server.statements()
