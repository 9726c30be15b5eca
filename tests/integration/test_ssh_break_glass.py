"""Break glass over SSH with stock OpenSSH: opened by SetEnv, past holds, told, reviewed by somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sshd import SshGateway, SshServer
from tests.integration.tiny.running import until

POLICY = """
targets = ["web1"]
contact = "the platform team"
allow.ops = { who = ["group:ops"], do = ["exec", "opaque", "shell"] }
hold.touch = { do = ["exec"], commands = ["touch *"], by = ["group:leads"], wait = "60s" }
deny.secret = { do = ["exec"], commands = ["cat /etc/shadow"] }
break_glass.sre = { who = ["group:oncall"], for = "10m", review = "1h", review_by = ["group:leads"] }
"""


@pytest.fixture(scope="module")
def gateway(server: SshServer) -> Iterator[SshGateway]:
    with SshGateway(server, POLICY) as started:
        started.identity("user:ann", groups=["ops", "oncall"])
        started.identity("user:priya", groups=["ops"])
        started.identity("user:lee", groups=["leads"], duties=["approver"])
        yield started


def glass(reason: str) -> tuple[str, str]:
    return ("-o", f"SetEnv=HOOPD_BREAK_GLASS={reason}")


def test_what_is_held_runs_and_is_reviewed_by_another(gateway: SshGateway, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    done = gateway.ssh("user:ann", f"touch {mark}", options=glass("OPS-7"))
    assert done.returncode == 0, done.stderr
    assert mark.exists()
    assert "holds are skipped" in done.stderr
    assert "lets this pass: example.hold.touch" in done.stderr
    (use,) = gateway.json("break-glass", "list")
    assert (use["opening"]["identity"], use["opening"]["target"], use["opening"]["reason"]) == (
        "user:ann", "web1", "OPS-7",
    )  # fmt: skip
    (passed,) = gateway.events("break-glass.skipped")
    assert (passed["rules"], passed["text"]) == (["example.hold.touch"], f"touch {mark}")
    assert [each["use"] for each in gateway.events("break-glass.operation")] == [use["opening"]["id"]]
    # it opens nothing
    refused = gateway.ssh("user:ann", "cat /etc/shadow", options=glass("OPS-7"))
    assert refused.returncode == 126
    assert "example.deny.secret" in refused.stderr
    # the same use goes on, and ends where it is closed
    assert len(gateway.json("break-glass", "list")) == 1
    gateway.hoopctl("break-glass", "close", use["opening"]["id"], who="user:ann")
    until(lambda: gateway.events("break-glass.ended"), "it has ended")
    words = ("break-glass", "review", use["opening"]["id"], "--verdict", "ok", "--findings", "needed")
    assert gateway.hoopctl(*words, who="user:ann", ok=False).returncode == 1
    gateway.hoopctl(*words, who="user:lee")


def test_who_has_no_right_runs_nothing_that_way(gateway: SshGateway) -> None:
    refused = gateway.ssh("user:priya", "uptime", options=glass("OPS-7"))
    assert (refused.returncode, refused.stdout) == (126, "")
    assert "break glass: no break_glass rule gives user:priya a right on 'web1'" in refused.stderr
    assert gateway.ssh("user:priya", "uptime").returncode == 0
    empty = gateway.ssh("user:ann", "uptime", options=("-o", "SetEnv=HOOPD_BREAK_GLASS="))
    assert (empty.returncode, empty.stdout) == (126, "")
    assert "reason" in empty.stderr
