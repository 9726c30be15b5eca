"""Lines that are typed in a shell: what makes them more than a command."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.shell.analysis import analyse
from hoopd.shell.interactive import analyse_line


@pytest.mark.parametrize(
    "line",
    [
        "ls -l",
        "echo hi!",
        "echo 'a!b'",
        r"echo a\!b",
        "test a != b",
        "! grep x y",
        "stty",
        "stty size",
        "cd /tmp; ls | wc -l",
        "cat 'PS1=x'",
        "y",
        "",
    ],
)
def test_a_line_is_read_as_the_command_that_it_is(line: str) -> None:
    assert not analyse(line.encode()).opaque
    assert analyse_line(line.encode()) == analyse(line.encode())


@pytest.mark.parametrize(
    "line",
    [
        "!!",
        "!rm",
        "sudo !!",
        'echo "a!b"',
        "echo 'it'!x",
        """echo "it's !x" """,
        "^a^b",
        "  ^a^b",
        "stty -echo",
        "stty eol x",
        "/bin/stty raw",
        "tset -e x",
        "TERM=dumb",
        "export TERM=dumb",
        "ls; COLUMNS=3",
        "for TERM in dumb; do ls; done",
        "PROMPT=x",
        "precmd_functions+=x",
        "- rm x",
        "noglob rm x",
        "repeat 3 ls",
        "bindkey -s a b",
        "jobs -x rm %1",
        "=rm x",
        "sudo =rm x",
        "r",
        "ls \\",
        "echo \ufffd",
        "bash",
        "PS1=x",
        "bind -x x",
    ],
)
def test_what_an_interactive_shell_makes_of_more_than_the_line_is_opaque(line: str) -> None:
    assert analyse_line(line.encode()).opaque


@given(st.binary(max_size=60))
def test_whatever_it_is_it_is_read_or_opaque(line: bytes) -> None:
    found = analyse_line(line)
    assert found.opaque or found == analyse(line)
