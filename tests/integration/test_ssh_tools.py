"""What people run over ssh: Ansible, editors that hold one connection with many channels, git, rsync, ControlMaster, terminals."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.integration.sshd import SshGateway, SshServer
from tests.integration.tiny.running import PATIENCE, until

#: as docs/ssh.md recommends it, with the directory of the test in the place of Ansible's own
ANSIBLE = """
allow.ansible = { who = ["agent:ansible"], do = ["exec", "interpreter"], commands = ["python3 *", "umask 77", "mkdir *", "chmod u+rwx *", "rm -f -r *", "echo *", "sleep 0"] }
allow.modules = { who = ["agent:ansible"], do = ["upload"], paths = ["TMP/**"] }
allow.fetched = { who = ["agent:ansible"], do = ["download"], paths = ["MADE/*"] }
"""


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    # it asks whether we are there each second, and hangs up after two questions without an answer
    with SshServer("ClientAliveInterval 1", "ClientAliveCountMax 2") as started:
        yield started


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    """Port of something that says what it hears."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def heard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        writer.close()

    started = asyncio.run_coroutine_threadsafe(asyncio.start_server(heard, "127.0.0.1", 0), loop).result(60)
    yield started.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(started.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where things are at the host."""
    directory = tmp_path_factory.mktemp("far")
    for name in ("ansible", "made"):
        (directory / name).mkdir(mode=0o700)
    return directory


@pytest.fixture(scope="module")
def gateway(server: SshServer, echo: int, far: Path) -> Iterator[SshGateway]:
    ansible = ANSIBLE.replace("TMP", f"{far}/ansible").replace("MADE", f"{far}/made")
    policy = f"""
targets = ["web1"]
allow.ops = {{ who = ["group:ops"], do = ["exec", "opaque", "interpreter", "shell", "download", "upload", "remove"] }}
allow.echo = {{ who = ["group:ops"], do = ["forward-local"], when = 'op.destination == "127.0.0.1:{echo}"' }}
{ansible}"""
    with SshGateway(server, policy) as started:
        started.identity("user:priya", groups=["ops"])
        started.identity("agent:ansible")
        for who in ("user:priya", "agent:ansible"):
            started.register_key(who)
        yield started


def words(gateway: SshGateway, *options: str) -> list[str]:
    return gateway.ssh_by_key_words(gateway.directory / "priya", *options)


def run(*given: str, **more: Any) -> str:
    done = subprocess.run(given, capture_output=True, text=True, timeout=PATIENCE, **more)
    assert done.returncode == 0, f"{given}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


# -- Ansible -----------------------------------------------------------------------------------------------------


def playbook(gateway: SshGateway, directory: Path, far: Path, *ssh: str) -> subprocess.CompletedProcess[str]:
    """ansible-playbook as people have it, ControlPersist among it."""
    (directory / "page.j2").write_text("made on {{ ansible_facts['python']['type'] }} for {{ inventory_hostname }}\n")
    (directory / "play.yml").write_text(
        f"""
- hosts: all
  tasks:
    - command: id -un
      register: whoami
    - copy: {{ content: "{"x" * 300_000}", dest: {far}/made/large }}
    - template: {{ src: page.j2, dest: {far}/made/page }}
    - shell: wc -c < {far}/made/large
      register: size
    - fetch: {{ src: {far}/made/page, dest: {directory}/fetched, flat: true }}
    - debug: {{ msg: "{{{{ whoami.stdout }}}} {{{{ size.stdout }}}}" }}
"""
    )
    (directory / "inventory").write_text(
        f"web1 ansible_host=127.0.0.1 ansible_port={gateway.ssh_port} ansible_user=web1 "
        f"ansible_ssh_private_key_file={gateway.directory / 'ansible'}\n"
    )
    known = f"-o UserKnownHostsFile={gateway.known_hosts} -o GlobalKnownHostsFile=none"
    (directory / "ansible.cfg").write_text(
        "\n".join(
            (
                "[defaults]",
                f"inventory = {directory}/inventory",
                f"remote_tmp = {far}/ansible",
                f"local_tmp = {directory}/local",
                f"home = {directory}/home",
                "interpreter_python = /usr/bin/python3",
                "[ssh_connection]",
                f"control_path_dir = {gateway.directory}/cp",
                f"ssh_args = -F none -C -o ControlMaster=auto -o ControlPersist=60s -o IdentityAgent=none {known}",
                *ssh,
                "",
            )
        )
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", str(directory / "play.yml")],
        env={**environment, "ANSIBLE_CONFIG": str(directory / "ansible.cfg"), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * PATIENCE,
    )  # fmt: skip


@pytest.mark.parametrize(
    "ssh",
    [("pipelining = True",), ("pipelining = False",), ("pipelining = False", "transfer_method = scp")],
    ids=["pipelining", "sftp", "scp"],
)
def test_ansible_under_the_policy_of_the_documentation(
    gateway: SshGateway, far: Path, tmp_path: Path, ssh: tuple[str, ...]
) -> None:
    for each in (far / "made").iterdir():
        each.unlink()
    done = playbook(gateway, tmp_path, far, *ssh)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert f"{whoami()} 300000" in done.stdout
    assert (tmp_path / "fetched").read_text() == (far / "made" / "page").read_text() == "made on cpython for web1\n"
    assert list((far / "ansible").iterdir()) == [], "Ansible leaves nothing"


def whoami() -> str:
    return run("id", "-un").strip()


def test_ansible_s_rules_open_nothing_else(gateway: SshGateway, far: Path) -> None:
    key = gateway.directory / "ansible"
    for command in ("id", "/bin/sh -c 'id && sleep 0'", f"echo x > {far}/made/x", "cat /etc/passwd"):
        done = gateway.ssh_by_key(key, command)
        assert (done.returncode, done.stdout) == (126, ""), command
    assert gateway.ssh_by_key(key, options=("-T",), text="id\n").returncode == 126


def test_the_documentation_has_the_rules_that_were_tried() -> None:
    documentation = (Path(__file__).parents[2] / "docs" / "ssh.md").read_text()
    for line in ANSIBLE.strip().splitlines()[:2]:
        said = line.replace("TMP/**", "~/.ansible/tmp/**")
        assert said in documentation, said


# -- one connection, many channels -------------------------------------------------------------------------------


def test_an_editor_s_connection_carries_commands_forwards_and_files_at_once(
    gateway: SshGateway, echo: int, tmp_path: Path
) -> None:
    content = os.urandom(2_000_000)
    (tmp_path / "here").write_bytes(content)

    async def talk() -> None:
        async with asyncssh.connect(
            "127.0.0.1", gateway.ssh_port, username="web1", client_keys=[str(gateway.directory / "priya")],
            known_hosts=str(gateway.known_hosts), config=None, agent_path=None, login_timeout=60, keepalive_interval=1,
        ) as connection:  # fmt: skip

            async def forward(number: int) -> None:
                reader, writer = await connection.open_connection("127.0.0.1", echo)
                for round_ in range(5):
                    said = bytes((number, round_)) * 50_000
                    writer.write(said)
                    assert await reader.readexactly(len(said)) == said
                writer.close()

            async def command(number: int) -> None:
                done = await connection.run(f"cat; sleep 0.5; exit {number}", input="x" * 100_000)
                assert (len(str(done.stdout)), done.exit_status) == (100_000, number)

            async def files(number: int) -> None:
                async with connection.start_sftp_client() as sftp:
                    there = str(tmp_path / f"there{number}")
                    await sftp.put(str(tmp_path / "here"), there)
                    await sftp.get(there, str(tmp_path / f"back{number}"))

            # the editor's own process at the host, for as long as the connection lasts
            async with connection.create_process('while read line; do echo "$line"; done') as process:
                work = [forward(n) for n in range(10)] + [command(n) for n in range(10)] + [files(n) for n in range(3)]
                await asyncio.gather(*work)
                process.stdin.write("still there\n")
                assert await process.stdout.readline() == "still there\n"
                process.stdin.write_eof()

    asyncio.run(asyncio.wait_for(talk(), PATIENCE))
    for number in range(3):
        assert (tmp_path / f"back{number}").read_bytes() == content
    session = gateway.json("sessions", "list")[0]["id"]
    assert len([each for each in gateway.events("operation.finished") if each["session"] == session]) >= 23


def test_twenty_sessions_of_one_control_master(gateway: SshGateway, tmp_path: Path) -> None:
    control = tmp_path / "c"
    given = words(gateway, "-o", f"ControlPath={control}", "-o", "ControlMaster=auto", "-o", "ControlPersist=60")
    try:
        # it goes to the background by itself
        subprocess.run(
            [*given, "web1@127.0.0.1", "true"], check=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        before = len(gateway.json("sessions", "list"))
        content = os.urandom(100_000)
        for _ in range(3):
            many = [
                subprocess.Popen(
                    [*given, "web1@127.0.0.1", f"cat; exit {number}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
                for number in range(20)
            ]
            found = list(zip(many, [each.communicate(content, PATIENCE)[0] for each in many], strict=True))
            assert [(len(out), each.returncode) for each, out in found] == [(100_000, number) for number in range(20)]
            assert all(out == content for _, out in found)
        assert len(gateway.json("sessions", "list")) == before
    finally:
        subprocess.run([*given, "-O", "exit", "web1@127.0.0.1"], capture_output=True)


def test_the_status_is_never_lost(gateway: SshGateway, tmp_path: Path) -> None:
    """The client closes first when it has seen EOF; sshd says how the command ended a moment later."""
    control = tmp_path / "c"
    given = words(gateway, "-o", f"ControlPath={control}", "-o", "ControlMaster=auto", "-o", "ControlPersist=60")
    late = "exec 0<&- 1>&- 2>&-; sleep 0.3; exit 3"
    try:
        for _ in range(5):
            done = subprocess.run(
                [*given, "web1@127.0.0.1", late], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, timeout=PATIENCE,
            )  # fmt: skip
            assert done.returncode == 3
    finally:
        subprocess.run([*given, "-O", "exit", "web1@127.0.0.1"], capture_output=True)


# -- files -------------------------------------------------------------------------------------------------------


def test_rsync_of_a_large_tree_both_ways(gateway: SshGateway, tmp_path: Path) -> None:
    source, there, back = (tmp_path / name for name in ("source", "there", "back"))
    for number in range(1000):
        path = source / f"d{number % 20}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number * 20))
    wrapper = " ".join(words(gateway))
    for one, other in ((f"{source}/", f"web1@127.0.0.1:{there}/"), (f"web1@127.0.0.1:{there}/", f"{back}/")):
        run("rsync", "-a", "--delete", "-e", wrapper, one, other)
    run("diff", "-r", str(source), str(back))
    for each in (source / "d3").iterdir():
        each.unlink()
    (source / "d4" / "new").write_text("new")
    run("rsync", "-a", "--delete", "-e", wrapper, f"{source}/", f"web1@127.0.0.1:{there}/")
    run("diff", "-r", str(source), str(there))


def test_git_pushes_and_pulls_what_is_large(gateway: SshGateway, tmp_path: Path) -> None:
    here, there, again = (tmp_path / name for name in ("here", "there.git", "again"))
    environment = {
        **os.environ, "GIT_SSH_COMMAND": " ".join(words(gateway)), "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
    }  # fmt: skip

    def git(*given: str) -> str:
        return run("git", "-c", "user.name=p", "-c", "user.email=p@x", *given, env=environment)

    git("init", "-q", "--bare", str(there))
    git("init", "-q", str(here))
    for number in range(5):
        (here / f"f{number}").write_bytes(os.urandom(3_000_000))
        git("-C", str(here), "add", ".")
        git("-C", str(here), "commit", "-qm", str(number))
    url = f"web1@127.0.0.1:{there}"
    git("-C", str(here), "push", "-q", url, "HEAD:refs/heads/main")
    git("clone", "-q", "-b", "main", url, str(again))
    (again / "f0").write_text("changed")
    git("-C", str(again), "commit", "-qam", "changed")
    git("-C", str(again), "push", "-q")
    git("-C", str(here), "pull", "-q", url, "main")
    assert git("-C", str(here), "rev-parse", "HEAD") == git("-C", str(again), "rev-parse", "HEAD")
    hashes = [hashlib.sha256((each / "f4").read_bytes()).hexdigest() for each in (here, again)]
    assert hashes[0] == hashes[1]


# -- silence and terminals ---------------------------------------------------------------------------------------


def test_both_sides_ask_whether_we_are_there_and_are_answered(gateway: SshGateway) -> None:
    options = ("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=2")
    done = gateway.ssh_by_key(gateway.directory / "priya", "sleep 6; echo well", options=options)
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


class Terminal:
    """ssh -t at a terminal of the test's own; a context manager."""

    def __init__(self, given: list[str], columns: int, rows: int) -> None:
        self._given = given
        self._size = columns, rows
        self.seen = b""

    def __enter__(self) -> Terminal:
        pid, self.descriptor = pty.fork()
        if pid == 0:
            os.execvp(self._given[0], self._given)
        self.pid = pid
        self.resize(*self._size)
        return self

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def until(self, text: str) -> None:
        """Read until C{text} is there."""
        end = time.monotonic() + PATIENCE
        while text.encode() not in self.seen:
            assert time.monotonic() < end, self.seen
            self.seen += os.read(self.descriptor, 65536)
        self.seen = self.seen.partition(text.encode())[2]

    def ended(self) -> int:
        """How ssh ended, once it has."""
        while True:
            try:
                if not os.read(self.descriptor, 65536):
                    break
            except OSError:
                # EIO: nobody is at the other end
                break
        status = os.waitpid(self.pid, 0)[1]
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def __exit__(self, *exception: object) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.descriptor)


def test_a_terminal_has_its_size_and_is_interrupted(gateway: SshGateway) -> None:
    with Terminal([*words(gateway, "-tt"), "web1@127.0.0.1"], 91, 23) as terminal:
        terminal.type("PS1='$ '; stty size; echo rea''dy\n")
        terminal.until("23 91")
        terminal.until("ready")
        terminal.resize(133, 41)
        terminal.type("while [ \"$(stty size)\" = '23 91' ]; do sleep 0.1; done; stty size\n")
        terminal.until("41 133")
        terminal.type("sleep 600; echo over\n")
        terminal.until("echo over")
        time.sleep(0.5)
        terminal.type("\x03")
        terminal.type("echo st''atus $?\n")
        terminal.until("status 130")
        terminal.type("exit 7\n")
        assert terminal.ended() == 7
    session = gateway.json("sessions", "list")[0]["id"]
    until(lambda: gateway.json("sessions", "show", session)["ended_at"], "it is over")
    _, *events = map(json.loads, gateway.hoopctl("sessions", "export", session).stdout.splitlines())
    assert "133x41" in [event[2] for event in events if event[1] == "r"]


def test_the_record_of_it_all_verifies(gateway: SshGateway) -> None:
    assert "as it was written" in gateway.ctl("audit", "verify", gateway.state).stdout
