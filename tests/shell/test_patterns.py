"""Patterns of commands: what opens must speak of all for certain, what tightens of anything that may be."""

from __future__ import annotations

import pytest

from hoopd.shell.analysis import analyse
from hoopd.shell.patterns import concerns, opens, problem

RULE = ("systemctl status *", "journalctl *", "uptime", "tail -n ? /var/log/*")


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("uptime", True),
        ("/usr/bin/uptime", True),
        ("uptime -p", False),
        ("systemctl status nginx", True),
        ("systemctl status", True),
        ("systemctl status nginx ssh", True),
        ("systemctl restart nginx", False),
        ("uptime; systemctl status $x", True),
        ("systemctl $x nginx", False),
        ('systemctl "$x" nginx', False),
        ("uptime && rm -rf /", False),
        ("uptime > /etc/cron.d/x", False),
        ("uptime $(rm x)", False),
        ("/tmp/uptime", False),
        ("./uptime", False),
        ("eval uptime", False),
        ("sudo uptime", False),
        ("nice uptime", True),
        ("sh -c uptime", True),
        ("tail -n 5 /var/log/syslog", True),
        ("tail -n 55 /var/log/syslog", False),
    ],
)
def test_what_opens_speaks_of_everything(text: str, opened: bool) -> None:
    assert opens(RULE, analyse(text.encode())) is opened


def test_who_may_run_it_with_other_rights_may_run_it_so() -> None:
    found = analyse(b"sudo systemctl restart nginx")
    assert opens(["sudo systemctl restart *"], found)
    assert not opens(["systemctl restart *"], found)


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("rm x", True),
        ("/tmp/rm x", True),
        ("sudo rm x", True),
        ("ls; rm x", True),
        ("ls", False),
        ("rmdir x", False),
        ("eval ls", True),
        ("shutdown -h now", True),
        ("shutdown -c", False),
        ("shutdown $x", True),
        ('shutdown "$x" now', True),
        ('shutdown "$x" later', False),
    ],
)
def test_what_tightens_speaks_of_anything_that_may_be(text: str, met: bool) -> None:
    assert concerns(["rm *", "shutdown -h now"], analyse(text.encode())) is met


def test_a_pattern_must_be_words() -> None:
    assert problem("ls *") == ""
    assert "cannot be read" in problem("ls 'x")
    assert "no command" in problem("  ")
