"""Clients of SSH other than OpenSSH, at a gateway."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import paramiko

from tests.integration.sshd import SshGateway


@contextlib.contextmanager
def paramiko_at(gateway: SshGateway, **proof: Any) -> Iterator[paramiko.SSHClient]:
    """A connection of paramiko's to web1. @param proof: C{key_filename} or C{password}"""
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(gateway.known_hosts))
        client.connect(
            "127.0.0.1", gateway.ssh_port, "web1", allow_agent=False, look_for_keys=False, timeout=60,
            banner_timeout=60, auth_timeout=60, **proof,
        )  # fmt: skip
        yield client
