"""Real shells on real terminals: what was judged is what the shell itself says that it ran."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.shell.terminal import Shell

CTRL = {name: bytes([ord(name) & 31]) for name in "ABCDEFGHKLNPRTUWY_"}
UP, DOWN, RIGHT, LEFT = (b"\x1b[" + each for each in (b"A", b"B", b"C", b"D"))
WORDS = ["a", "bb", "é", "漢字", "0123456789" * 3, "x" * 37, " ", "  ", "q-z"]
EDITS = [
    *(CTRL[name] for name in "ABEFDKNPTUWY_"), b"\x7f", b"\x7f\x7f\x7f", b"\x1bb", b"\x1bf", b"\x1bd", b"\x1bt", b"\x1bu", b"\x1b.",
    b"\x1b[H", b"\x1b[F", b"\x1b[3~", UP, DOWN, RIGHT, LEFT, b"\t", CTRL["L"], CTRL["R"] + b"x", CTRL["R"] + b"bb" + CTRL["E"],
]  # fmt: skip


def opaque(operation: Any) -> str:
    """Only what can be read may run."""
    return "allow" if "command" in operation.facts else "deny"


@pytest.fixture(scope="module")
def bash() -> Iterator[Shell]:
    with Shell("bash", judge=opaque) as shell:
        shell.prompted()
        yield shell


@pytest.fixture(scope="module")
def narrow() -> Iterator[Shell]:
    with Shell("bash", (40, 10), opaque) as shell:
        shell.prompted()
        yield shell


@pytest.fixture(scope="module")
def zsh() -> Iterator[Shell]:
    with Shell("zsh", judge=opaque) as shell:
        shell.prompted()
        yield shell


@pytest.fixture(scope="module")
def dash() -> Iterator[Shell]:
    with Shell("dash", judge=opaque) as shell:
        shell.prompted()
        yield shell


KEYS = st.lists(st.one_of(st.sampled_from(WORDS), st.sampled_from(EDITS)), min_size=1, max_size=14)
_OFTEN = settings(
    derandomize=True,
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _agrees(shell: Shell, keys: list[str | bytes], together: bool) -> None:
    """Type C{keys} and Enter: whatever ran is what was judged. The last key shows, so that nothing hangs on time."""
    before, judged = len(shell.ran()), len(shell.lines())
    last = f"z{len(shell.route.frames)}"
    typed = [key if isinstance(key, bytes) else key.encode() for key in (": ", *keys, last)]
    if together:
        shell.types(b"".join(typed) + b"\r")
    else:
        shell.types(*typed)
        shell.types(b"\r")
    shell.prompted()
    ran, lines = shell.ran()[before:], [each.strip() for each in shell.lines()[judged:]]
    if shell.kind == "zsh":
        # what it lists below the line is judged along with it
        lines = [each.split("\n")[0].strip() for each in lines]
        # its Tab on an empty line makes a tab, which a screen shows as blanks
        ran, lines = [" ".join(each.split()) for each in ran], [" ".join(each.split()) for each in lines]
    # what was judged and did not run, as a search that failed, is no harm
    assert ran in (lines, []), keys
    shell.types(b"\x03")
    shell.prompted()


@_OFTEN
@given(keys=KEYS, together=st.booleans())
def test_bash_runs_what_was_read(bash: Shell, keys: list[str | bytes], together: bool) -> None:
    _agrees(bash, keys, together)


@_OFTEN
@given(keys=KEYS, together=st.booleans())
def test_bash_on_a_narrow_terminal_runs_what_was_read(narrow: Shell, keys: list[str | bytes], together: bool) -> None:
    _agrees(narrow, keys, together)


@_OFTEN
@given(keys=KEYS, together=st.booleans())
def test_zsh_runs_what_was_read(zsh: Shell, keys: list[str | bytes], together: bool) -> None:
    _agrees(zsh, keys, together)


@_OFTEN
@given(keys=st.lists(st.sampled_from([*WORDS[:2], *WORDS[4:], b"\x7f", CTRL["U"], CTRL["W"]]), max_size=10))
def test_dash_runs_what_was_read(dash: Shell, keys: list[str | bytes]) -> None:
    before, refused = len(dash.lines()), len(dash.refused())
    dash.types(*(": ", *keys, "z", "\r"))
    dash.prompted()
    assert len(dash.refused()) > refused or dash.lines()[before:][0].endswith("z")


@pytest.mark.parametrize("kind", ["bash", "zsh", "dash"])
def test_what_is_typed_plainly_is_never_refused(kind: str) -> None:
    with Shell(kind, judge=opaque) as shell:
        shell.prompted()
        lines = [f"echo {'word ' * count}{count}" for count in (1, 5, 20, 40)]
        for line in lines:
            shell.types(line, "\r")
            shell.prompted()
        shell.types("echo a\recho b\necho c\r")
        shell.until(lambda: shell.lines()[-1:] == ["echo c"], "all three ran")
        shell.prompted()
        assert shell.lines() == [*lines, "echo a", "echo b", "echo c"]
        assert shell.refused() == []


@pytest.mark.parametrize("kind", ["bash", "zsh"])
@pytest.mark.parametrize("keys", [(UP,), (CTRL["R"], b"mark"), (b"echo m", CTRL["A"], CTRL["K"], CTRL["Y"], UP)])
def test_history_is_judged_as_what_it_recalls(kind: str, keys: tuple[bytes, ...], tmp_path: Any) -> None:
    mark = tmp_path / "mark"
    with Shell(kind, judge=opaque) as shell:
        shell.prompted()
        shell.types(f"touch {mark}", "\r")
        shell.prompted()
        mark.unlink()
        shell.decide = lambda operation: "deny"
        shell.types(*keys)
        shell.until(lambda: f"touch {mark}" in _standing(shell), "it stands there")
        shell.types(b"\r")
        shell.until(lambda: shell.refused(), "it is refused")
        shell.prompted()
        assert not mark.exists()
        assert f"touch {mark}" in shell.refused()[0]


def _standing(shell: Shell) -> str:
    shell.watch.look()
    screen = shell.watch.screen
    return "".join(screen.text(row) for row in range(screen.rows)).replace(" ", "").replace("touch", "touch ")


@pytest.mark.parametrize("kind", ["bash", "zsh", "dash"])
def test_a_refused_line_leaves_a_prompt_and_an_empty_line(kind: str) -> None:
    with Shell(kind, judge=lambda operation: "deny" if operation.text.startswith("rm") else "allow") as shell:
        shell.prompted()
        shell.types("rm -rf x", "\r")
        shell.until(lambda: shell.refused(), "it is refused")
        shell.prompted()
        shell.types("echo fine", "\r")
        shell.until(lambda: shell.shown.count(b"fine") >= 2, "the next one runs")
        assert shell.refused() == ["rm -rf x"]
        assert b"hoopd: refused: because deny" in shell.shown


@pytest.mark.parametrize("size", [(30, 20), (60, 24), (120, 30), (79, 24)])
@pytest.mark.parametrize("kind", ["bash", "zsh"])
def test_a_resize_in_the_middle_of_a_line_changes_nothing_about_it(kind: str, size: tuple[int, int]) -> None:
    with Shell(kind, judge=opaque) as shell:
        shell.prompted()
        line = f": {'long ' * 20}"
        shell.types(line)
        shell.until(lambda: _standing(shell).count("long") == 20, "it is shown")
        shell.resizes(*size)
        shell.settled()
        shell.types(b"z9z")
        shell.types(b"\r")
        shell.prompted()
        assert shell.ran() == [each.strip() for each in shell.lines()]
        shell.types(": next", "\r")
        shell.prompted()
        assert shell.lines()[-1] == ": next"


def _attack(kind: str, tmp_path: Any, more: str = "") -> tuple[Shell, Any, Callable[[], bool]]:
    """A shell where nothing that touches may run, and whether something did."""
    mark = tmp_path / "mark"

    def judge(operation: Any) -> str:
        return "deny" if "opaque" in operation.classes or "touch" in operation.text else "allow"

    return Shell(kind, judge=judge, more=more), mark, mark.exists


TOUCH = b"touch mark"
#: ways around, each as packets; the last of each is Enter
ATTACKS: dict[str, tuple[bytes, ...]] = {
    "plain": (TOUCH, b"\r"),
    "in one packet": (TOUCH + b"\r",),
    "line feed": (TOUCH + b"\n",),
    "operate and get next": (TOUCH + b"\x0f", b"\r"),
    "in an editor": (TOUCH + b"\x18\x05", b"\r"),
    "quoted newline": (b"echo a\x16\x0a" + TOUCH, b"\r"),
    "keyboard macro": (b"\x18(", b"\r", b"\x18)", TOUCH, b"\x18e"),
    "paste": (b"\x1b[200~" + TOUCH + b"\r\x1b[201~",),
    "paste in pieces": (b"\x1b", b"[200~" + TOUCH + b"\r", b"\x1b[201~", b"\r"),
    "paste in smaller pieces": (b"\x1b[", b"2", b"00~" + TOUCH + b"\r", b"\x1b[201~", b"\r"),
    "typed before the prompt": (b"sleep 0.3\r" + TOUCH + b"\r", b"\r"),
    "half before the prompt": (b"sleep 0.3\r", b"tou", b"ch mark\r", b"\r"),
    "painted over": (b"(sleep 0.2; printf '\\r\\033[Kx@h:~$ ls') &\r", TOUCH, b"\r"),
    "erased characters": (TOUCH + b" #\x08\x08", b"\r"),
    "echo off": (b"stty -echo\r", TOUCH, b"\r"),
    "end of line key": (b"stty eol k\r", b"touch mark", b"\r"),
    "history": (b"echo " + TOUCH + b"\r", b"!!:1*\r", b"\r"),
    "variable": (b"x=touch\r", b"$x mark\r"),
    "function": (b"f() { touch mark; }\r", b"f\r"),
    "alias": (b"alias ls='touch mark'\r", b"ls\r"),
    "terminal of one line": (b"TERM=dumb\r", TOUCH, b"\r"),
    "prompt": (b"PS1='touch mark'\r", b"\r"),
    "no wrapping": (b"printf '\\033[?7l'\r", TOUCH, b"\r"),
    "another screen": (b"printf '\\033[?1049h'\r", TOUCH, b"\r"),
    "faked line editor": (b"printf '\\033[?2004h'\r", b"\x1b[200~" + TOUCH + b"\r\x1b[201~", b"\r"),
    "other characters": (b"printf '\\033(0'\r", TOUCH, b"\r"),
    "invisible": (b"printf '\\033[8m'\r", TOUCH, b"\r"),
    "very long": (b"echo " + b"a" * 3000 + b"; " + TOUCH, b"\r"),
    "two halves": (b"tou\x1b", b"\r", b"ch mark", b"\r"),
    "suspended": (b"tou\x1a", b"ch mark", b"\r"),
    "end of file": (TOUCH + b"\x04\x04", b"\r"),
    "over two lines": (b"tou\\\r", b"ch mark\r"),
}


@pytest.mark.parametrize("kind", ["bash", "zsh", "dash"])
@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_ways_around_are_none(kind: str, attack: str, tmp_path: Any) -> None:
    shell, _, _ = _attack(kind, tmp_path)
    with shell:
        shell.prompted()
        for packet in ATTACKS[attack]:
            shell.types(packet)
            shell.settled()
        shell.settled()
        assert not (shell.home / "mark").exists(), shell.lines()
        assert not any("touch" in line and "echo" not in line for line in shell.lines())


@pytest.mark.parametrize("kind", ["bash", "zsh", "dash"])
def test_a_password_goes_through_and_is_nowhere(kind: str) -> None:
    with Shell(kind, judge=lambda operation: "allow") as shell:
        shell.prompted()
        # stands for sudo and its like: echo off, a question, a line
        script = shell.home / "ask"
        script.write_text("stty -echo; printf 'Password: '; read -r x; stty echo; echo; printf %s \"$x\" | sha1sum\n")
        script.chmod(0o755)
        shell.types(f"sh {script}", "\r")
        shell.until(lambda: b"Password: " in shell.shown, "it asks")
        shell.types("hunter2", "\r")
        shell.until(lambda: b"f3bbbd66a63d4bf1747940578ec3d0103530e21d" in shell.shown, "it has been read")
        shell.prompted()
        assert shell.lines() == [f"sh {script}"]
        assert "hunter2" not in repr(shell.route.frames)
