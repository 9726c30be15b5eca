"""A real OpenSSH server of a test's own, run as whoever runs the test, on a free port; and a gateway before it."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.integration.installation import SETTINGS, Done, Gateway
from tests.integration.postgres import free_port

LOGIN = getpass.getuser()


def new_key(path: Path, kind: str = "ed25519", *options: str) -> Path:
    """A new key pair without passphrase, in the place of an old one."""
    for each in (path, Path(f"{path}.pub")):
        each.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *options, "-N", "", "-f", path], check=True)
    return path


class SshServer:
    """
    @ivar port: where it listens, on loopback.
    @ivar host_key: its public key, as a line of known_hosts without names; the first one's of several.
    @ivar fingerprint: of that key.
    @ivar log: what it says of itself.
    """

    def __init__(self, *lines: str, kinds: tuple[str, ...] = ("ed25519",)) -> None:
        """
        @param lines: of its configuration; they come before those of here, and the first counts.
        @param kinds: of its host keys, as ssh-keygen names them.
        """
        sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert sshd is not None, "sshd is missing: apt-get install openssh-server"
        self.sshd = sshd
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="hoopd-sshd-"))
        self.log = self.directory / "log"
        self.authorities = self.directory / "authorities"
        self.authorized = self.directory / "authorized_keys"
        self.lines = lines
        self.kinds = kinds
        self.process: subprocess.Popen[bytes] | None = None
        self.new_host_key()

    def new_host_key(self) -> None:
        """The host is set up anew."""
        for kind in self.kinds:
            new_key(self._host_key(kind), kind)
        self.host_key = self.public(self.kinds[0])
        shown = subprocess.run(
            ["ssh-keygen", "-lf", self._host_key(self.kinds[0])], check=True, capture_output=True, text=True
        )
        self.fingerprint = shown.stdout.split()[1]

    def _host_key(self, kind: str) -> Path:
        return self.directory / f"host_key_{kind}"

    def public(self, kind: str) -> str:
        """Its public key of C{kind}, as a line of known_hosts without names."""
        return " ".join(self._host_key(kind).with_suffix(".pub").read_text().split()[:2])

    def certify(self, authority: Path, *options: str) -> None:
        """Have its host keys certified; it shows the certificates from the next start on. @param options: ssh-keygen's"""
        for kind in self.kinds:
            public = self._host_key(kind).with_suffix(".pub")
            words = ["ssh-keygen", "-q", "-s", str(authority), "-h", "-I", "host", *options, str(public)]
            subprocess.run(words, check=True)
            self.lines += (f"HostCertificate {self._host_key(kind)}-cert.pub",)

    def __enter__(self) -> SshServer:
        self.start()
        return self

    def start(self) -> None:
        """Start it; returns when it takes connections."""
        for path in (self.authorities, self.authorized):
            path.touch()
        config = self.directory / "config"
        config.write_text(
            "\n".join(
                (
                    *self.lines,
                    f"ListenAddress 127.0.0.1:{self.port}",
                    *(f"HostKey {self._host_key(kind)}" for kind in self.kinds),
                    f"TrustedUserCAKeys {self.authorities}",
                    f"AuthorizedKeysFile {self.authorized}",
                    "PidFile none",
                    "PasswordAuthentication no",
                    "KbdInteractiveAuthentication no",
                    "UsePAM no",
                    "StrictModes no",
                    "AcceptEnv *",
                    "AllowStreamLocalForwarding yes",
                    "MaxStartups 500",
                    "MaxSessions 500",
                    "LogLevel VERBOSE",
                    "Subsystem sftp internal-sftp",
                    "",
                )
            )
        )
        if os.geteuid() == 0:
            # privilege separation's empty directory; a service's start makes it, and there is none here
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                [self.sshd, "-D", "-e", "-f", config], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        until = time.monotonic() + 20
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"sshd did not start:\n{self.text()}")

    def text(self) -> str:
        """Its log so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def stop(self) -> None:
        """End it; sessions that it serves are its children and end with their connections."""
        process, self.process = self.process, None
        if process is not None:
            process.terminate()
            process.wait(20)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(self.text()[-5000:])
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


POLICY = """
targets = ["web1"]
contact = "the platform team"
allow.ops = { who = ["group:ops"], do = ["exec", "opaque", "interpreter", "shell", "download", "upload"], watch = false }
hold.touch = { do = ["exec"], commands = ["touch *"], by = ["group:leads"], wait = "60s", why = "users are on it" }
deny.secret = { do = ["exec"], commands = ["cat /etc/shadow"], why = "nobody reads that" }
"""


class SshGateway(Gateway):
    """A gateway with one SSH target, C{web1}.

    @ivar ssh_port: where SSH clients connect.
    @ivar known_hosts: file that names the gateway's host key.
    """

    def __init__(
        self,
        server: SshServer,
        policy: str = POLICY,
        workers: int = 1,
        settings: Any = None,
        target: str = "",
        more: str = "",
        kinds: tuple[str, ...] = ("ed25519",),
    ) -> None:
        """
        @param more: tables of other targets.
        @param kinds: of the listener's host keys.
        """
        super().__init__(server, policy, workers, {**SETTINGS, **(settings or {})}, target)  # type: ignore[arg-type]
        self._more = more
        self._kinds = kinds
        self.ssh_port = free_port()
        self.known_hosts = self.directory / "known_hosts"

    def install(self) -> None:
        """See L{Gateway.install}."""
        server: Any = self.server
        host_keys = [self.etc / "tls" / f"ssh_host_{kind}_key" for kind in self._kinds]
        self._settings = {
            **self._settings,
            "listen.ssh": {
                "port": self.ssh_port,
                "workers": self._workers,
                "host_keys": [f"tls/{key.name}" for key in host_keys],
            },
        }
        self.ctl("setup", "--directory", self.etc, "--state", self.state, "--run", self.run, "--port", self.port)
        for kind, key in zip(self._kinds, host_keys, strict=True):
            new_key(key, kind)
        publics = [" ".join(key.with_suffix(".pub").read_text().split()[:2]) for key in host_keys]
        self.known_hosts.write_text("".join(f"[127.0.0.1]:{self.ssh_port} {public}\n" for public in publics))
        (self.etc / "targets.d" / "example.toml").write_text(
            f'[targets.web1]\nprotocol = "ssh"\nhost = "127.0.0.1"\nport = {server.port}\n'
            f'username = "{LOGIN}"\n{self._target}\n[targets.web1.ssh]\nhost_keys = ["{server.host_key}"]\n'
            f"{self._more}"
        )
        self.policy(self._policy)
        self.write_settings()

    def bootstrap(self) -> None:
        """See L{Gateway.bootstrap}; the host trusts the gateway's authority."""
        one_time = self.ctl("bootstrap-token", "--state", self.state).stdout
        self.tokens["user:root"] = self.ctl("bootstrap", "--name", "user:root", "--show", text=one_time).stdout.strip()
        self.hoopctl("identities", "duties", "user:root", "administrator", "auditor", "vault")
        server: Any = self.server
        server.authorities.write_text(self.hoopctl("ssh", "ca").stdout)

    def ssh_words(self, *options: str) -> list[str]:
        """ssh's options up to the destination."""
        return [
            "-F", "none", "-p", str(self.ssh_port), "-o", f"UserKnownHostsFile={self.known_hosts}",
            "-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=none", "-o", "IdentityAgent=none",
            "-o", "IdentitiesOnly=yes", "-o", "IdentityFile=none", "-o", "NumberOfPasswordPrompts=1",
            "-o", "PreferredAuthentications=keyboard-interactive", *options,
        ]  # fmt: skip

    def ssh_environment(self, who: str) -> dict[str, str]:
        """sshpass takes the token from here."""
        return {**os.environ, "SSHPASS": self.tokens[who]}

    def ssh(
        self,
        who: str,
        *words: str,
        options: tuple[str, ...] = (),
        text: str = "",
        timeout: float = 60,
        to: str = "web1@127.0.0.1",
    ) -> Done:
        """stock ssh to the target as C{who}, with a token."""
        return subprocess.run(
            ["sshpass", "-e", "-P", "Token:", "ssh", *self.ssh_words(*options), to, *words],
            env=self.ssh_environment(who),
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def register_key(self, who: str) -> Path:
        """A new key that proves C{who}, in the gateway's directory under the name of who it is; agents' are their administrator's."""
        key = new_key(self.directory / who.partition(":")[2])
        if who.startswith("agent:"):
            self.hoopctl("ssh", "keys", "add", f"{key}.pub", "--identity", who)
        else:
            self.hoopctl("ssh", "keys", "add", f"{key}.pub", who=who)
        return key

    def ssh_by_key_words(self, key: Path, *options: str) -> list[str]:
        """ssh with a private key, and the certificate beside it if there is one; up to the destination."""
        given = ("-o", "PreferredAuthentications=publickey", "-o", "BatchMode=yes", "-o", f"IdentityFile={key}")
        return ["ssh", *given, *options, *_without_token(self.ssh_words())]

    def ssh_by_key(
        self, key: Path, *words: str, options: tuple[str, ...] = (), to: str = "web1@127.0.0.1", text: str = ""
    ) -> Done:
        """What L{ssh_by_key_words} say, run."""
        return subprocess.run(
            [*self.ssh_by_key_words(key, *options), to, *words],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def ssh_started(self, who: str, *words: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """ssh that goes on while the test does something else; standard error goes with standard output."""
        return subprocess.Popen(
            ["sshpass", "-e", "-P", "Token:", "ssh", *self.ssh_words(*options), "web1@127.0.0.1", *words],
            env=self.ssh_environment(who),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def held_as(process: subprocess.Popen[str]) -> str:
    """The id of the request that C{process} waits for, read from what it says. @raise AssertionError: it is not held"""
    assert process.stdout is not None
    said = ""
    while "to approve:" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    match = re.search(r"held for approval as (A-\w+)", said)
    assert match is not None, said
    return match.group(1)


def _without_token(words: list[str]) -> list[str]:
    """Without what makes ssh ask for a token: the first value that it is given for an option counts."""
    left, skipped = [], ("IdentityFile=none", "PreferredAuthentications=keyboard-interactive")
    for word in words:
        if word in skipped:
            left.pop()  # its -o
        else:
            left.append(word)
    return left
