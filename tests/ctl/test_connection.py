"""Tokens on disk, and what hoopctl says of gateways that do not answer; answers are tested in tests/control."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hoopd.ctl.connection import Gateway, read_token, write_token
from hoopd.ctl.failures import Failure
from hoopd.ctl.main import gateway
from hoopd.secret import Secret


def asked(path: Path) -> Failure:
    with pytest.raises(Failure) as raised:
        Gateway(str(path), Path("none"), Secret("t")).call("whoami")
    return raised.value


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    write_token(path, Secret("hoopd_x"))
    assert read_token(path) == Secret("hoopd_x")
    path.chmod(0o640)
    with pytest.raises(Failure, match="not safe: mode 0640"):
        read_token(path)


def test_a_token_file_that_is_a_link_or_empty_is_refused(tmp_path: Path) -> None:
    write_token(tmp_path / "real", Secret("hoopd_x"))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(Failure, match="cannot be read"):
        read_token(tmp_path / "link")
    (tmp_path / "empty").touch(0o600)
    with pytest.raises(Failure, match="empty"):
        read_token(tmp_path / "empty")


def test_a_token_replaces_an_older_one_and_leaves_nothing_beside(tmp_path: Path) -> None:
    for value in ("one", "two"):
        write_token(tmp_path / "a" / "token", Secret(value))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["token"]
    assert (tmp_path / "a" / "token").read_text() == "two\n"
    assert os.stat(tmp_path / "a").st_mode & 0o777 == 0o700


def test_which_token(tmp_path: Path) -> None:
    environment = {"HOME": "/home/ada", "HOOPD_TOKEN": "env", "HOOPD_TOKEN_FILE": "/t"}
    assert gateway("s", None, environment).token == Secret("env")
    given = gateway("s", tmp_path, environment)
    assert (given.token, given.token_file) == (None, tmp_path)
    assert gateway("s", None, {"HOME": "/home/ada", "HOOPD_TOKEN_FILE": "/t"}).token_file == Path("/t")
    assert gateway("s", None, {"HOME": "/home/ada"}).token_file == Path("/home/ada/.config/hoopd/token")
    assert gateway("s", None, {"XDG_CONFIG_HOME": "/x"}).token_file == Path("/x/hoopd/token")


def test_no_socket(tmp_path: Path) -> None:
    failure = asked(tmp_path / "none")
    assert failure.exit_code == 3
    assert "not running" in failure.why[0]


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(str(tmp_path / "s"))
    failure = asked(tmp_path / "s")
    assert failure.exit_code == 3
    assert "nobody listens" in failure.why[0]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", b"SSH-2.0-x\r\n\r\n",
                                    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{{"])  # fmt: skip
def test_an_answer_that_is_none(tmp_path: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def serve() -> None:
            line, _ = listener.accept()
            with line:
                line.recv(65536)
                line.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        failure = asked(tmp_path / "s")
        thread.join()
    assert failure.exit_code == 3


def test_a_token_with_an_end_of_line_in_it_never_reaches_a_header() -> None:
    with pytest.raises(Failure, match="odd characters"):
        Gateway("s", Path("none"), Secret("a\r\nX-Evil: 1")).call("whoami")


def test_hoopctl_starts_quickly() -> None:
    # the budget is 150 ms on a free core, three times what the interpreter takes with click alone. Seconds of processor
    # time, which others on the machine do not take from it; what they do to its caches the best of five leaves out.
    turns = [(_seconds("-c", "import click"), _seconds("-m", "hoopd.ctl.main", "vault", "--help")) for _ in range(5)]
    bare, ours = (min(each) for each in zip(*turns, strict=True))
    assert ours < 4 * bare, f"{ours * 1000:.0f} ms, and click alone {bare * 1000:.0f} ms"


def _seconds(*words: str) -> float:
    child = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    with child:
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.stderr is not None
        assert child.returncode == 0, child.stderr.read()
    return used.ru_utime + used.ru_stime


def test_hoopctl_imports_neither_twisted_nor_rich_nor_the_parser() -> None:
    code = (
        "import sys\nfrom hoopd.ctl.main import main\n"
        "for name in ('vault', 'approvals', 'sessions', 'identities', 'tokens', 'whoami', 'policy', 'config', 'audit'):\n"
        "    main.get_command(None, name)\n"
        "print([name for name in ('twisted', 'rich', 'hoopd.sql', 'cryptography', 'msgspec') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
