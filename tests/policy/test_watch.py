"""Which shells are watched: where rules say so, and where one on commands would not hold otherwise."""

from __future__ import annotations

import pytest

from hoopd.config.structure import ConfigErrors
from hoopd.policy import commands
from hoopd.policy.explanation import render
from hoopd.policy.snapshot import PolicySnapshot
from hoopd.policy.testing import identity
from hoopd.values import Target

WEB = Target("web1", "ssh", "h", 22, username="deploy")
PRIYA = identity("user:priya", ("ops",))
OPEN = 'allow.ops = { who = ["group:ops"], do = ["exec", "shell"] }'


def policy(*rules: str) -> PolicySnapshot:
    return PolicySnapshot.load({"web.toml": "\n".join(('targets = ["*"]', *rules))}, {"web1": WEB}, bytes(32))


@pytest.mark.parametrize(
    ("rules", "watched"),
    [
        ([OPEN], False),
        ([OPEN.replace("}", ", watch = true }")], True),
        ([OPEN, 'deny.rm = { do = ["exec"], commands = ["rm *"] }'], True),
        ([OPEN, 'hold.all = { by = ["group:leads"], when = "false" }'], True),
        ([OPEN, 'hold.vim = { do = ["interpreter"], by = ["group:leads"] }'], True),
        ([OPEN, 'deny.up = { do = ["upload"] }'], False),
        ([OPEN, 'deny.rm = { who = ["user:mo"], do = ["exec"], commands = ["rm *"] }'], False),
        ([OPEN, 'deny.rm = { except = ["group:ops"], do = ["exec"], commands = ["rm *"] }'], False),
        ([OPEN, 'deny.rm = { do = ["exec"], commands = ["rm *"], logins = ["root"] }'], False),
        ([OPEN.replace("}", ", watch = false }"), 'deny.rm = { do = ["exec"], commands = ["rm *"] }'], False),
        ([OPEN.replace("}", ", watch = false }"), 'allow.more = { do = ["shell"], watch = true }'], True),
        (
            [OPEN, 'allow.more = { do = ["shell"], watch = false, who = ["user:mo"] }', 'deny.x = { do = ["opaque"] }'],
            True,
        ),
    ],
)
def test_a_shell_is_watched_where_rules_say_so_or_would_be_gone_around(rules: list[str], watched: bool) -> None:
    decision = policy(*rules).decide(PRIYA, WEB, commands.operation("(shell)", "deploy"), 0.0)
    assert (decision.verdict, decision.watched) == ("allow", watched)


def test_a_command_is_never_watched() -> None:
    rules = policy(OPEN.replace("}", ", watch = true }"))
    assert not rules.decide(PRIYA, WEB, commands.operation("ls", "deploy"), 0.0).watched


def test_explanations_say_which_it_is_and_what_is_gone_around() -> None:
    asked = commands.operation("(shell)", "deploy")

    def said(*rules: str) -> str:
        return render(policy(*rules).explain(PRIYA, WEB, asked, 0.0), PRIYA, WEB, "(shell)")

    deny = 'deny.rm = { do = ["exec"], commands = ["rm *"] }'
    assert "watched: each line that is typed is judged as a command" in said(OPEN, deny)
    assert "NOT watched: what is typed goes around web.deny.rm" in said(OPEN.replace("}", ", watch = false }"), deny)
    assert "watched" not in said(OPEN)


def test_only_rules_that_open_shells_say_whether_they_are_watched() -> None:
    with pytest.raises(ConfigErrors) as raised:
        policy('allow.ops = { do = ["exec"], watch = true }')
    assert "allow.ops.watch" in str(raised.value)


@pytest.mark.parametrize(
    ("line", "verdict"),
    [("rm x", "deny"), ("ls", "allow"), ("!!", "deny"), ("stty -echo", "deny"), ("echo $(rm x)", "deny")],
)
def test_lines_are_judged_as_commands_and_as_a_shell_with_a_person_reads_them(line: str, verdict: str) -> None:
    rules = policy(OPEN, 'deny.rm = { do = ["exec"], commands = ["rm *"] }')
    classes, facts = commands.line(line.encode())
    asked = commands.operation("ls", "deploy")
    assert facts["interactive"] is True
    operation = type(asked)("ssh", classes, line, facts={"login": "deploy", **facts})
    assert rules.decide(PRIYA, WEB, operation, 0.0).verdict == verdict


def test_a_line_that_cannot_be_read_is_meant_by_every_rule_on_commands_and_opened_by_none() -> None:
    classes, facts = commands.unreadable("it is not shown")
    operation = type(commands.operation("ls", "deploy"))("ssh", classes, "(…)", facts={"login": "deploy", **facts})
    everything = 'allow.ops = { do = ["exec", "opaque", "shell"] }'
    assert policy(everything).decide(PRIYA, WEB, operation, 0.0).verdict == "allow"
    narrow = 'allow.ops = { do = ["exec", "opaque"], commands = ["ls *"] }'
    assert policy(narrow).decide(PRIYA, WEB, operation, 0.0).verdict == "deny"
    denied = 'deny.rm = { do = ["exec"], commands = ["rm *"] }'
    assert policy(everything, denied).decide(PRIYA, WEB, operation, 0.0).verdict == "deny"
