"""Rules for SSH: commands, accounts, what is opaque; the same verdict whatever way is taken."""

from __future__ import annotations

import pytest

from hoopd.config.structure import ConfigErrors
from hoopd.policy import commands
from hoopd.policy.snapshot import PolicySnapshot
from hoopd.policy.testing import identity
from hoopd.values import Decision, Operation, Target, TargetSsh

WEB = Target("web1", "ssh", "h", 22, username="deploy", ssh=TargetSsh(logins=("app-*", "root")))
PRIYA = identity("user:priya", ("ops",))
ADA = identity("user:ada", ("admins",))

RULES = """
targets = ["web*"]
allow.look = { who = ["group:ops"], do = ["exec"], commands = ["systemctl status *", "sudo systemctl restart *", "cat *"] }
allow.all  = { who = ["group:admins"], do = ["exec", "interpreter", "shell", "download"], logins = ["deploy", "app-*"] }
hold.restart = { do = ["exec"], commands = ["systemctl restart *"], by = ["group:leads"] }
deny.shadow = { do = ["exec"], commands = ["cat /etc/shadow"], why = "no" }
deny.writes = { do = ["exec"], when = "op.writes.exists(each, each != '/dev/null')" }
identity."user:priya" = { groups = ["ops"] }
test."user:priya systemctl status nginx" = ["allow.look"]
test."user:priya sudo systemctl restart nginx" = ["hold.restart"]
test."user:priya (shell)" = []
"""


def decide(who: object, asked: Operation) -> Decision:
    snapshot = PolicySnapshot.load({"web.toml": RULES}, {"web1": WEB}, bytes(32))
    return snapshot.decide(who, WEB, asked, 0.0)


@pytest.mark.parametrize(
    ("text", "verdict", "rules"),
    [
        ("systemctl status nginx", "allow", ("web.allow.look",)),
        ("sudo systemctl restart nginx", "hold", ("web.hold.restart",)),
        ("systemctl restart nginx", "deny", ()),  # nothing opens it without sudo
        ("cat /etc/passwd", "allow", ("web.allow.look",)),
        ("cat /etc/shadow", "deny", ("web.deny.shadow",)),
        ("cat $x", "deny", ("web.deny.shadow",)),
        ("cat /etc/passwd > /tmp/x", "deny", ("web.deny.writes",)),
        ("cat /etc/passwd > /dev/null 2>&1", "allow", ("web.allow.look",)),
        ("cat /etc/passwd > $x", "deny", ("web.deny.writes",)),
        ("rm x", "deny", ()),
        ("(shell)", "deny", ()),
    ],
)
def test_commands_are_judged_by_what_they_run(text: str, verdict: str, rules: tuple[str, ...]) -> None:
    decision = decide(PRIYA, commands.operation(text, "deploy"))
    assert (decision.verdict, decision.rules) == (verdict, rules)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("rm x", "allow"),
        ("python3 -c 'x'", "allow"),
        ("eval rm", "deny"),  # no rule opens opaque, and whatever tightens counts
        ("sh -c 'systemctl restart x'", "hold"),
        ("(shell)", "allow"),
        ("(sftp)", "allow"),
        ("(sftp) get /x", "allow"),
        ("(sftp) put /x", "deny"),
    ],
)
def test_what_is_opaque_is_opened_by_name_and_nothing_else(text: str, verdict: str) -> None:
    decision = decide(ADA, commands.operation(text, "app-1"))
    assert decision.verdict == verdict


def test_rules_are_for_the_accounts_that_they_name() -> None:
    snapshot = PolicySnapshot.load({"web.toml": RULES}, {"web1": WEB}, bytes(32))
    assert decide(ADA, commands.operation("ls", "root")).verdict == "deny"
    assert snapshot.may_login(ADA, WEB, "app-7")
    assert not snapshot.may_login(ADA, WEB, "root")
    assert snapshot.may_login(PRIYA, WEB, "root"), "a rule without logins is for all that the target opens"
    assert not snapshot.may_login(PRIYA, WEB, "postgres")
    assert not snapshot.may_login(identity("user:mo"), WEB, "deploy")


def test_facts_of_a_command_are_there_for_conditions() -> None:
    said = commands.facts(b"sudo cat < a > b | python3 -c x")
    assert said["programs"] == ["sudo", "cat", "python3"]
    assert said["commands"][1] == "cat"
    assert (said["reads"], said["writes"], said["interpreters"]) == (["a"], ["b"], ["python3"])
    assert commands.facts(b"eval x")["opaque"]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('mask.card = { columns = ["*.card"] }', "the mask is of columns, and web1 is an SSH host"),
        ('allow.x = { do = ["exec"], max_rows = 5 }', "max_rows cannot be kept, and web1 is an SSH host"),
    ],
)
def test_what_cannot_be_kept_on_an_ssh_host_is_not_promised(rule: str, said: str) -> None:
    with pytest.raises(ConfigErrors) as raised:
        PolicySnapshot.load({"web.toml": f'targets = ["*"]\n{rule}\n'}, {"web1": WEB}, bytes(32))
    assert said in str(raised.value)
