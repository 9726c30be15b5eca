"""Far ends of scp and rsync: understood to the last option, or commands like any other."""

from __future__ import annotations

import pytest

from hoopd.shell.analysis import analyse
from hoopd.shell.far_end import FarEnd, found


def read(text: str) -> FarEnd | None:
    return found(analyse(text.encode()), text.encode())


@pytest.mark.parametrize(("text", "upload", "paths", "recursive"), [
    ("scp -t /srv/x", True, ("/srv/x",), False),
    ("scp -v -r -p -d -t -- /srv/x", True, ("/srv/x",), True),
    ("scp -pt 'a b'", True, ("~/a b",), False),
    ("/usr/bin/scp -f /a /b", False, ("/a", "/b"), False),
    ("scp -f ~/x", False, ("~/x",), False),
    ("scp -t .", True, ("~",), False),
    ("scp -t //etc//x/", True, ("/etc/x",), False),
    ("rsync --server -logDtpre.iLsfxCIvu . /srv/x/", True, ("/srv/x",), True),
    ("rsync --server --sender -vlogDtprze.iLsfxCIvu . /srv/x\\ y", False, ("/srv/x y",), True),
    ("rsync --server -logDtpre.iLsfxCIvu --log-format=%i . .", True, ("~",), True),
])  # fmt: skip
def test_far_ends(text: str, upload: bool, paths: tuple[str, ...], recursive: bool) -> None:
    assert read(text) == FarEnd(text.split()[0].rpartition("/")[2], upload, paths, recursive)


def test_what_rsync_removes() -> None:
    made = read("rsync --server -logDtpre.iLsfxCIvu --delete-during . /srv/x/")
    assert made is not None
    assert made.removes


@pytest.mark.parametrize("text", [
    "scp /a host:/b", "scp -t", "scp -t -f /x", "scp -t /a /b", "scp -S prog -t /x", "scp -t /x; id", "scp -t /x > /y",
    "scp -t $x", "scp -t *", "scp -f /srv/*.txt", "scp -t /a/../etc", "scp -t '~/x'", "scp -t ~root/x", "scp -t \\~",
    "sudo scp -t /x", "/tmp/scp -t /x", "scp -f /a -S/x", "scp -t -oProxyCommand=x /y",
    "rsync --server --sender -Le.x . /x", "rsync --server -se.x . /x", "rsync --server --log-file=/x . /y",
    "rsync --server --files-from=- . /x", "rsync --server --backup-dir=/x . /y", "rsync -a /x /y", "rsync --server /x",
    "rsync --server --daemon .", "rsync --server . /x --log-file=/y", "rsync --server -logDtpre.iLsfxCIvu . ../x",
    "sh -c 'scp -t ~/x'", "eval scp -t /x", "",
])  # fmt: skip
def test_whatever_else_is_a_command_like_any_other(text: str) -> None:
    assert read(text) is None
