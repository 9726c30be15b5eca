"""Sealed memory files, and what is refused in their place."""

from __future__ import annotations

import os

import pytest

from hoopd.ipc import memfd
from hoopd.ipc.wire import WireError


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_what_is_written_is_read(size: int) -> None:
    content = os.urandom(size)
    fd = memfd.write("test", content)
    try:
        assert memfd.read(fd) == content
        assert memfd.read(fd) == content, "reading moves nothing"
        with pytest.raises(PermissionError):
            os.write(fd, b"x")
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def test_a_pipe_is_refused_and_not_waited_for() -> None:
    read, write = os.pipe()
    try:
        with pytest.raises(WireError, match="no memory file"):
            memfd.read(read)
    finally:
        os.close(read)
        os.close(write)


def test_an_unsealed_file_is_refused() -> None:
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    try:
        with pytest.raises(WireError, match="not sealed"):
            memfd.read(fd)
    finally:
        os.close(fd)


def test_a_large_file_is_refused_before_it_is_read() -> None:
    fd = memfd.write("test", b"x" * 100)
    try:
        with pytest.raises(WireError, match="larger"):
            memfd.read(fd, limit=99)
    finally:
        os.close(fd)
