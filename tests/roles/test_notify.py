"""sd_notify, to a socket as systemd has it."""

from __future__ import annotations

import socket
from pathlib import Path

from hoopd.roles.notify import notify


def test_it_arrives(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        assert notify("READY=1", {"NOTIFY_SOCKET": path})
        assert systemd.recv(100) == b"READY=1"


def test_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0hoopd-test-notify")
        assert notify("STOPPING=1", {"NOTIFY_SOCKET": "@hoopd-test-notify"})
        assert systemd.recv(100) == b"STOPPING=1"


def test_nobody_to_tell(tmp_path: Path) -> None:
    assert not notify("READY=1", {})
    assert not notify("READY=1", {"NOTIFY_SOCKET": "vsock:2:1"})
    assert not notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "absent")})
