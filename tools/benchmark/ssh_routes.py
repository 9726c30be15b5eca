"""The ways to one host that are compared: straight, C{ssh -J} through a stock OpenSSH bastion, C{ssh target@hoopd}, C{ssh -J hoopd}.

Every client is stock OpenSSH, every server as well; policy and recording are on. Not what is measured of them
(L{benchmark.ssh_measures}).
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import asyncssh

from benchmark.routes import TICKS, Between
from tests.integration.sshd import LOGIN, SshGateway, SshServer

POLICY = """
targets = ["web1"]
allow.all = { who = ["group:ops"], do = ["exec", "opaque", "interpreter", "shell", "download", "upload", "write"] }
"""

#: One key exchange for all: OpenSSH's post-quantum one takes each leg of its own a tenth of a second, and Conch's is another.
#: Ciphers are what clients and servers agree on by themselves.
CONFIGURATION = """
Host direct
  Port {server}
Host stock
  Port {server}
  ProxyJump bastion
Host bastion
  Port {bastion}
Host hoopd
  Port {gateway}
  User web1
Host jump
  HostName web1
  ProxyJump gateway
Host gateway
  Port {gateway}
Host *
  HostName 127.0.0.1
  User {login}
  IdentityFile {key}
  IdentitiesOnly yes
  IdentityAgent none
  KexAlgorithms curve25519-sha256
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  GlobalKnownHostsFile /dev/null
  BatchMode yes
  LogLevel ERROR
"""


class SshRoute(Between):
    """
    @ivar name: what the destination is called in the clients' configuration.
    @param port: where a client in this process connects, as C{user}; None if it would have to jump.
    """

    def __init__(
        self, name: str, pids: Iterable[int], configuration: Path, port: int | None = None, user: str = LOGIN
    ) -> None:
        super().__init__(name, pids)
        self.configuration = configuration
        self.key = configuration.with_name("key")
        self.port = port
        self.user = user

    def words(self, program: str = "ssh") -> list[str]:
        """The command of a stock client, up to the destination."""
        return [program, "-F", str(self.configuration)]

    def connect(self) -> asyncssh.connection._ACMWrapper[asyncssh.SSHClientConnection]:
        """A connection of a client in this process."""
        assert self.port is not None
        return asyncssh.connect(
            "127.0.0.1", self.port, username=self.user, client_keys=[str(self.key)], known_hosts=None, agent_path=None,
            kex_algs=["curve25519-sha256"], encryption_algs=["aes128-gcm@openssh.com"], config=None, login_timeout=300,
        )  # fmt: skip


class Bastion(SshRoute):
    """A stock sshd, which serves each connection by children of its own."""

    def processor(self) -> float:
        """See L{Between.processor}; what is still being served does not count, and is waited for."""
        total = 0
        for pid in self.pids:
            children = Path(f"/proc/{pid}/task/{pid}/children")
            for _ in range(1000):
                if not children.read_text():
                    break
                time.sleep(0.01)
            total += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
        return total / TICKS


@contextlib.contextmanager
def ssh_routes() -> Iterator[tuple[SshRoute, SshRoute, SshRoute, SshRoute]]:
    """A host and the ways to it: direct, by a stock bastion, by hoopd with one worker, by a jump through hoopd."""
    with SshServer() as server, SshServer() as bastion, SshGateway(server, POLICY) as gateway:
        gateway.identity("user:bench", groups=["ops"])
        key = gateway.directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        gateway.hoopctl("ssh", "keys", "add", f"{key}.pub", who="user:bench")
        for each in (server, bastion):
            each.authorized.write_bytes(key.with_suffix(".pub").read_bytes())
        configuration = gateway.directory / "ssh_config"
        configuration.write_text(
            CONFIGURATION.format(
                server=server.port, bastion=bastion.port, gateway=gateway.ssh_port, login=LOGIN, key=key
            )
        )
        assert bastion.process is not None
        workers = gateway.pids("worker/ssh")
        yield (
            SshRoute("direct", (), configuration, server.port),
            Bastion("stock", (bastion.process.pid,), configuration),
            SshRoute("hoopd", workers, configuration, gateway.ssh_port, "web1"),
            SshRoute("jump", workers, configuration),
        )
