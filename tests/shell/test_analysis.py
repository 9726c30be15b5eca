"""What would run of a text: what is told is what bash runs, and what cannot be told is said to be so."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hoopd.shell.analysis import TEXT_MAX, analyse

TOLD = [
    ("ls -l /tmp", ["ls -l /tmp"]),
    ("r\\m -rf x", ["rm -rf x"]),
    ("'rm' \"x\"y", ["rm xy"]),
    ("/usr/bin/rm x", ["rm x"]),
    ("/tmp/rm x; ./rm y", ["/tmp/rm x", "./rm y"]),
    ("a && b || c; d | e & f", ["a", "b", "c", "d", "e", "f"]),
    ("(a; b); { c; }", ["a", "b", "c"]),
    ("if a; then b; elif c; then d; else e; fi", ["a", "b", "c", "d", "e"]),
    ("while a; do b; done; until c; do d; done", ["a", "b", "c", "d"]),
    ("for i in $(a) b; do c $i; done", ["a", "c …"]),
    ("case $(a) in b|c) d;; *) e;; esac", ["a", "d", "e"]),
    ("f() { rm x; }; f", ["rm x", "f"]),
    ("x=$(a); LANG=$(b) c", ["a", "b", "c"]),
    ("echo \"`a` $(b 'c')\" $d", ["a", "b c", "echo … …"]),
    ("diff <(a) >(b)", ["a", "b", "diff … …"]),
    ("sh -c 'a; sh -c b'", ["a", "b"]),
    ("/bin/bash -c \"a 'b c'\"", ["a b c"]),
    ("nice -n 5 timeout 3 env LANG=C ls", ["ls"]),
    ("nice -5 timeout -vk 5 10 env -iu A stdbuf -oL ionice -tc 2 ls", ["ls"]),
    ("sudo -nu root rm x", ["sudo -nu root rm x", "rm x"]),
    ("bash-static -c 'a'; ksh93 -c b; mksh -c c", ["a", "b", "c"]),
    ("DEBIAN_FRONTEND=noninteractive a", ["a"]),
    ("[ $? -eq 0 ] && a", ["a"]),
    ("env", ["env"]),
    ("sudo -u root rm x", ["sudo -u root rm x", "rm x"]),
    ("! a", ["a"]),
    ("a <<< \"$(b)\"", ["b", "a"]),
    ("[ -f \"$(a)\" ] && b", ["a", "b"]),
    ("echo $(</etc/shadow)", ["cat /etc/shadow", "echo …"]),
    ("echo \"`< $x`\"", ["cat …", "echo …"]),
    ("x=$(<a <b)", ["cat a b"]),
    ("diff <(<a) $(>b)", ["cat a", "cat b", "diff … …"]),
    ("echo $(a < b)", ["a", "echo …"]),
    ("<a; { b; } < c", ["cat a", "b"]),
    ("echo a{b,c} *.txt", ["echo … …"]),
    ("A=b", []),
    ("", []),
]  # fmt: skip

OPAQUE = [
    "$cmd x", "${IFS}ls", "ls$IFS-l", "$'\\x72m' x", "$(echo rm) x", "`echo rm` x", "r* x", "{rm,x}",
    "eval ls", "source x", ". x", "exec ls", "trap 'rm x' EXIT", "alias ls=rm", "set -- a", "read IFS", "let 'a[$(b)]=1'",
    "bash", "bash x.sh", "sh -s < x", "sh -c \"$(echo aGk= | base64 -d)\"", "sh -c $x", "bash -lc ls", "curl x | sh",
    "LD_PRELOAD=x ls", "PATH=/tmp ls", "export BASH_ENV=x", "env LD_PRELOAD=x ls", "env -S 'ls -l'", "IFS=x",
    "env $x ls", "timeout $x ls", "sudo $x", "sudo --frobnicate ls",
    "cat <<EOF\nx\nEOF", "((a[$(b)]))", "echo $((a[$(b)]))", "[[ -v a ]]", "echo ${x:-$(b)}", "echo ${x/a/b}",
    "echo 'x", "a )", "if a", "ls # comment", "l\\\ns", "ls\r", "a\x00b", "coproc a", "declare 'a[$(b)]=1'",
    "case x in $(a)) b;; esac $(", "for PATH in a; do ls; done", "x[$(a)]=1", "! ! a", "time { a; }", "time ! a", "a <> b", "time v=1 a",
    "[ -v 'a[$(b)]' ]", "[ ! -v 'a[$(b)]' ]", "[ x -a -R 'a[$(b)]' ]", "[ $x ]", "test -z x || [ ( -v 'a[$(b)]' ) ]",
    "/usr/bin/time -f x -o y ls", "\\time -ao y ls", "env -vS 'ls -l'", "env --s='ls -l'", "env -iC / ls", "sudo --lo",
    "/tmp/sh -c a", "//bin/bash -c a", "/usr/../bin/bash -c a", "/usr/../bin/env a", "/tmp/env ls", "/lib/klibc/bin/sh -c a",
    "x='$(b)'; echo ${x@P}", "x='a[$(b)]'; echo ${!x}", "y='a[$(b)]'; echo ${x:y}", "echo \"${x@P}\"", "echo ${x^^}", "echo $[1]",
    "echo `echo \\`b\\``", "echo \"`echo \\$(b)`\"", "echo ${x:$y}", "echo ${x-$y}",
    "emulate sh -c ls", "noglob ls", "- ls", "SYSTEMD_PAGER=a systemctl status", "A=1 ls", "export A=1", "env A=1 ls", "SHELL=a; ls",
    "sudo A=1 ls", "doas -nx ls", "timeout -s 9 --foo 5 ls",
]  # fmt: skip

INTERPRETERS = [
    ("python3 -c 'import os'", ("python3",)), ("awk '{system(\"rm\")}' x", ("awk",)), ("find . -exec rm {} +", ("find",)),
    ("find . -name x", ()), ("xargs rm", ("xargs",)), ("tar --to-command=rm -xf x", ("tar",)), ("tar -cf x y", ()),
    ("git -c core.pager=rm log", ("git",)), ("git status", ()), ("git $x", ("git",)), ("rsync -e 'rm' a b", ("rsync",)),
    ("rsync --server -logDtpr . x", ()), ("/tmp/python x", ("python",)), ("printf -v x y", ("printf",)),
    ("python3.11 -c x", ("python",)), ("perl5.36.0 x", ("perl",)), ("vim.basic x", ("vim",)), ("x86_64-linux-gnu-gcc-12 x", ("gcc",)),
    ("/lib64/ld-linux-x86-64.so.2 /bin/ls", ("ld-linux-x86-64.so",)), ("jobs -lx ls", ("jobs",)), ("jobs -l", ()), ("chrt 5 ls", ("chrt",)),
    ("tar cIf ls x y", ("tar",)), ("tar -c --use=ls x", ("tar",)), ("tar czf x y", ()), ("git grep --open-files=ls x", ("git",)),
    ("git bisect run ls", ("git",)), ("sort --comp=ls x", ("sort",)), ("rsync --server --daemon --config=x .", ("rsync",)),
    ("sudo -sE", ("sudo",)), ("sudo -nis", ("sudo",)), ("sudo -n ls", ()), ("sudo -u postgres ls", ()), ("doas -ns", ("doas",)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "commands"), TOLD)
def test_what_runs_is_told(text: str, commands: list[str]) -> None:
    found = analyse(text.encode())
    assert found.opaque == ""
    assert [each.text for each in found.commands] == commands


@pytest.mark.parametrize("text", OPAQUE)
def test_what_cannot_be_told_is_said_to_be_so(text: str) -> None:
    found = analyse(text.encode())
    assert found.opaque, [each.text for each in found.commands]
    assert found.commands == ()


@pytest.mark.parametrize(("text", "interpreters"), INTERPRETERS)
def test_programs_that_run_others_are_named(text: str, interpreters: tuple[str, ...]) -> None:
    assert analyse(text.encode()).interpreters == interpreters


def test_files_of_redirections_are_told() -> None:
    found = analyse(b'a < in > out 2>> err; b >& both; c > "$x" 2>&1; d &> all')
    assert found.reads == ("in",)
    assert found.writes == ("out", "err", "both", "…", "all")


def test_sudo_is_a_command_and_so_is_what_it_runs() -> None:
    outer, inner = analyse(b"sudo -n systemctl restart nginx").commands
    assert (outer.program, inner.program, inner.within) == ("sudo", "systemctl", outer)


@pytest.mark.parametrize(
    "text", [b"a" * (TEXT_MAX + 1), b"(" * 3000 + b")" * 3000, b"$(" * 500 + b")" * 500, b"{ " * 5000]
)
def test_what_is_too_large_or_too_deep_is_opaque(text: bytes) -> None:
    assert analyse(text).opaque


@given(st.binary(max_size=300))
def test_whatever_it_is_given_it_returns(text: bytes) -> None:
    analyse(text)


# -- against bash itself ----------------------------------------------------------------------------------------

PROGRAMS = ("alpha", "beta", "gamma", "delta")
_WORDS = st.sampled_from(
    ["a", "'b c'", '"d"', "$x", '"$x y"', "$(beta)", "`gamma`", '"$(delta e)"', "*", "{f,g}", "h\\ i", "\\;", "-n", "''",
     "~", "a'b'c", "$'d'", "#", "x#y", "=", "!", "{", "}", "[", "$", '"`beta`"', "<(gamma)"]
)  # fmt: skip
_NAMES = st.sampled_from([*PROGRAMS, "al\\pha", "'beta'", '"gam"ma', "del'ta'", "$n", "alph*", "$(echo beta)"])
_SIMPLE = st.builds(
    lambda prefix, name, words, suffix: " ".join([*prefix, name, *words, *suffix]),
    st.lists(st.sampled_from(["v=1", "v=$(alpha)", "w=a\\ b", "n=beta", "!", "time"]), max_size=2),
    _NAMES,
    st.lists(_WORDS, max_size=3),
    st.lists(st.sampled_from([">o", "2>&1", "</dev/null", "<<<$(beta)", "&>o", "# end"]), max_size=2),
)
_TEXTS = st.recursive(
    _SIMPLE,
    lambda inner: st.one_of(
        st.builds(lambda a, op, b: f"{a} {op} {b}", inner, st.sampled_from(["&&", "||", ";", "|", "\n", "&"]), inner),
        st.builds("( {} )".format, inner),
        st.builds("{{ {}; }}".format, inner),
        st.builds("if {}; then {}; fi".format, inner, inner),
        st.builds("for i in 1 2; do {}; done".format, inner),
        st.builds("f() {{ {}; }}; {}".format, inner, inner),
        st.builds("case a in a) {};; esac".format, inner),
        st.builds(lambda text: "sh -c '" + text.replace("'", "'\\''") + "'", inner),
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def stage() -> Iterator[Path]:
    """A directory whose programs write down that they ran, and nothing else."""
    directory = Path(tempfile.mkdtemp(prefix="hoopd-shell-"))
    (directory / "bin").mkdir()
    (directory / "work").mkdir()
    for name in PROGRAMS:
        path = directory / "bin" / name
        path.write_text(f"#!/bin/sh\necho {name} >> {directory}/ran\n")
        path.chmod(0o755)
    os.symlink("/bin/sh", directory / "bin" / "sh")
    yield directory
    shutil.rmtree(directory)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_TEXTS)
def test_bash_runs_no_program_that_was_not_told(stage: Path, text: str) -> None:
    found = analyse(text.encode())
    if found.opaque:
        return
    ran = stage / "ran"
    ran.write_text("")
    subprocess.run(
        ["/bin/bash", "-c", text], cwd=stage / "work", env={"PATH": str(stage / "bin"), "x": "beta; gamma", "n": "delta"},
        stdin=subprocess.DEVNULL, capture_output=True, timeout=20,
    )  # fmt: skip
    # what runs in the background is over when nobody has its output open any more: capture_output waits for that
    assert set(ran.read_text().split()) <= {each.program for each in found.commands}, text


def test_names_with_many_digits_cost_nothing() -> None:
    from hoopd.shell import programs

    assert programs.unversioned("python3.11") == "python"
    assert programs.unversioned("vim.basic") == "vim"
    for name in ("0123456789" * 6 + "x", "1.1-1" * 12 + "x", "1" * 5000 + "x"):
        assert programs.unversioned(name) == name
