"""Recovery codes through the gateway as installed: psql and hoopctl of somebody whose provider is dead."""

from __future__ import annotations

import os
import subprocess

from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer

POLICY = """
targets = ["orders"]
allow.all = { who = ["group:oncall"], do = ["read", "write"] }
hold.update = { do = ["update"], by = ["group:leads"], wait = "5s" }
break_glass.sre = { who = ["group:oncall"], for = "10m", review = "1h" }
"""


def psql(gateway: Gateway, user: str, secret: str, *statements: str) -> subprocess.CompletedProcess[str]:
    words = [word for statement in statements for word in ("-c", statement)]
    return subprocess.run(
        ["psql", "-XAt", "-d", gateway.dsn(), *words],
        env={**os.environ, "PGUSER": user, "PGPASSWORD": secret},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_officer_without_a_provider() -> None:
    settings = {"identity": {"recovery_for": ["group:oncall"]}}
    with PostgresServer() as server, Gateway(server, POLICY, settings=settings) as gateway:
        gateway.identity("user:ann", groups=["oncall"])
        gateway.identity("user:bob")
        assert "none of those" in gateway.hoopctl("recovery-codes", "create", who="user:bob", ok=False).stderr
        made = gateway.hoopctl("recovery-codes", "create", "--count", "3", who="user:ann")
        first, second, third = made.stdout.split()
        sheet = made.stderr.split()[1].rstrip(":")
        assert psql(gateway, "ann", first, "SELECT 1").returncode == 2
        assert gateway.hoopctl("recovery-codes", "confirm", sheet, who="user:ann", ok=False).returncode == 1
        assert "of user:ann counts" in gateway.hoopctl("recovery-codes", "confirm", sheet).stdout
        done = psql(
            gateway, "ann", first, "SELECT 1", "SET hoopd.break_glass = 'INC-1'", "UPDATE customers SET name = name"
        )
        assert done.returncode == 0, done.stderr
        assert "a recovery code was used; 2 remain" in done.stderr
        assert "lets this pass" in done.stderr
        assert psql(gateway, "ann", first, "SELECT 1").returncode == 2
        assert psql(gateway, "bob", second, "SELECT 1").returncode == 2
        mistyped = second[:-1] + ("0" if second[-1] != "0" else "1")
        assert "mistyped" in gateway.ctl("login", "--name", "ann", text=mistyped, ok=False).stderr
        signed = gateway.ctl("login", "--name", "ann", "--show", text=second)
        assert "1 remain" in signed.stderr
        token = signed.stdout.strip()
        assert "user:ann (human)" in gateway.ctl("whoami", token=token).stdout
        assert psql(gateway, "ann", token, "SELECT 2").stdout == "2\n"
        (row,) = gateway.json("recovery-codes", "list")
        assert (row["identity"], row["remaining"], row["used"]) == ("user:ann", 1, 2)
        used = gateway.events("recovery.used")
        assert [each["severity"] for each in used] == ["alert", "alert"]
        everything = gateway.text() + "".join(
            path.read_bytes().decode("latin-1") for path in gateway.state.rglob("*") if path.is_file()
        )
        for code in (first, second, third):
            assert code not in everything
            assert code.replace("-", "") not in everything
        gateway.hoopctl("identities", "disable", "user:ann")
        assert psql(gateway, "ann", third, "SELECT 1").returncode == 2
        assert gateway.ctl("whoami", token=token, ok=False).returncode == 1


def test_one_code_in_many_hands_at_once() -> None:
    """Two who race for a code: one of them is in, whichever way they come."""
    with PostgresServer() as server, Gateway(server, POLICY, workers=2) as gateway:
        gateway.identity("user:ann", groups=["oncall"], duties=["approver"])
        made = gateway.hoopctl("recovery-codes", "create", "--count", "2", who="user:ann")
        gateway.hoopctl("recovery-codes", "confirm", made.stderr.split()[1].rstrip(":"))
        code = made.stdout.split()[0]
        racers = [
            subprocess.Popen(
                ["psql", "-XAt", "-d", gateway.dsn(), "-c", "SELECT 'in'"],
                env={**os.environ, "PGUSER": "ann", "PGPASSWORD": code},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for _ in range(6)
        ]
        answers = [racer.communicate(timeout=90)[0] for racer in racers]
        assert sum("\nin\n" in f"\n{answer}" for answer in answers) == 1, answers
        assert sum("authentication failed" in answer for answer in answers) == 5, answers
        assert len(gateway.events("recovery.used")) == 1
        (row,) = gateway.json("recovery-codes", "list")
        assert (row["remaining"], row["used"]) == (1, 1)
