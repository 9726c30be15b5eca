"""Forwards with stock OpenSSH: local, dynamic, remote, of sockets, of the agent and of X11; refused unless a rule opens them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.integration.postgres import free_port
from tests.integration.sshd import SshGateway, SshServer, new_key
from tests.integration.tiny.running import until

PAGE = b"the page behind\n" * 1000


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing is printed."""


@contextlib.contextmanager
def _serving() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def web() -> Iterator[int]:
    """Port of a web server."""
    with _serving() as port:
        yield port


@pytest.fixture(scope="module")
def held() -> Iterator[int]:
    """Port of another one; connections to it are held."""
    with _serving() as port:
        yield port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    directory = tmp_path_factory.mktemp("x11")
    xauth = shutil.which("xauth")
    assert xauth is not None, "xauth is missing: apt-get install xauth"
    # the server writes the cookie there, and not in the home of whoever runs the tests
    lines = ("X11Forwarding yes", "X11UseLocalhost yes", f"XAuthLocation {xauth}", f"SetEnv XAUTHORITY={directory}/far")
    with SshServer(*lines) as started:
        yield started


@pytest.fixture(scope="module")
def watched() -> int:
    """A port that the host listens at once people approve."""
    return free_port()


@pytest.fixture(scope="module")
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


@pytest.fixture(scope="module")
def gateway(server: SshServer, web: int, held: int, watched: int, sockets: Path) -> Iterator[SshGateway]:
    policy = f"""
targets = ["web1"]
contact = "the platform team"
allow.run = {{ who = ["group:ops", "group:dev"], do = ["exec", "opaque", "interpreter"] }}
allow.web = {{ who = ["group:dev"], do = ["forward-local"], when = 'op.destination == "127.0.0.1:{web}"' }}
allow.held = {{ who = ["group:dev"], do = ["forward-local"], when = 'op.destination == "127.0.0.1:{held}"' }}
hold.held = {{ do = ["forward-local"], when = 'op.destination.endsWith(":{held}")', by = ["group:leads"], wait = "90s" }}
allow.socket = {{ who = ["group:dev"], do = ["forward-local"], when = 'op.destination == "{sockets}/far"' }}
allow.back = {{ who = ["group:dev"], do = ["forward-remote"], when = 'op.destination.startsWith("localhost:") || op.destination == "{sockets}/back"' }}
hold.back = {{ do = ["forward-remote"], when = 'op.destination == "localhost:{watched}"', by = ["group:leads"], wait = "90s" }}
allow.desk = {{ who = ["group:dev"], do = ["forward-agent", "forward-x11"] }}
identity."user:ada" = {{ groups = ["dev"] }}
test."user:ada (forward 127.0.0.1:{web})" = ["allow.web"]
test."user:ada (forward 127.0.0.1:{held})" = ["hold.held"]
test."user:ada (listen localhost:0)" = ["allow.back"]
test."user:ada (listen 0.0.0.0:80)" = []
"""
    with SshGateway(server, policy) as started:
        started.identity("user:ada", groups=["dev"])
        started.identity("user:priya", groups=["ops"])
        started.identity("user:lee", groups=["leads"], duties=["approver"])
        for who in ("user:ada", "user:priya"):
            started.register_key(who)
        yield started


def words(gateway: SshGateway, who: str, *options: str) -> list[str]:
    return [*gateway.ssh_by_key_words(gateway.directory / who, *options), "web1@127.0.0.1"]


def ssh(gateway: SshGateway, who: str, *options: str, command: str = "true", **more: Any) -> Any:
    """ssh until its command is over."""
    return subprocess.run([*words(gateway, who, *options), command], capture_output=True, text=True, timeout=90, **more)


@contextlib.contextmanager
def forwarding(gateway: SshGateway, who: str, *options: str) -> Iterator[Path]:
    """ssh with nothing but forwards, once it is there. Gives its control socket and C{.log}"""
    control = gateway.directory / f"c{time.monotonic_ns()}"
    log = control.with_suffix(".log")
    given = ("-N", "-M", "-S", str(control), "-o", f"SetEnv=HOOPD_REASON={control.name}", *options)
    with log.open("wb") as output:
        process = subprocess.Popen(
            words(gateway, who, *given), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output
        )
    try:
        until(lambda: control.exists() or process.poll() is not None, "ssh is there")
        assert process.poll() is None, log.read_text()
        yield control
    finally:
        process.terminate()
        process.wait(20)


def say(control: Path, what: str, *options: str) -> str:
    done = subprocess.run(
        ["ssh", "-F", "none", "-S", str(control), "-O", what, *options, "web1@127.0.0.1"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def fetched(*options: str) -> bytes:
    """What curl gets; empty where it gets nothing."""
    done = subprocess.run(["curl", "-s", "--max-time", "80", *options], capture_output=True, timeout=90)
    return done.stdout


def record(gateway: SshGateway, *texts: str) -> str:
    """The newest session's record, once all of C{texts} are in it."""
    session = gateway.json("sessions", "list")[0]["id"]

    def replay() -> str:
        return gateway.hoopctl("sessions", "replay", session).stdout

    until(lambda: all(text in replay() for text in texts), f"{texts} are on record")
    return replay()


def refusals(gateway: SshGateway, who: str) -> list[list[str]]:
    return [each["classes"] for each in gateway.events("operation.denied") if each.get("identity", who) == who]


# -- local -------------------------------------------------------------------------------------------------------


def test_a_local_forward_reaches_what_a_rule_names_and_nothing_else(gateway: SshGateway, web: int) -> None:
    there, elsewhere = free_port(), free_port()
    options = ("-L", f"{there}:127.0.0.1:{web}", "-L", f"{elsewhere}:127.0.0.1:{gateway.port}")
    with forwarding(gateway, "ada", *options) as control:
        for _ in range(3):
            assert fetched(f"http://127.0.0.1:{there}/") == PAGE
        assert fetched(f"http://127.0.0.1:{elsewhere}/") == b""
        log = control.with_suffix(".log")
        until(lambda: "administratively prohibited: hoopd: refused" in log.read_text(), "the refusal is told")
    said = record(gateway, f"forward to 127.0.0.1:{web}", f"forward to 127.0.0.1:{gateway.port}", "REFUSED")
    # size and hash, not the content
    size = r"\[0 of (\d+) bytes of out recorded, sha256 [0-9a-f]{64}\]"
    assert len([each for each in re.findall(size, said) if int(each) > len(PAGE)]) == 3, said
    assert "the page behind" not in said
    finished = [each for each in gateway.events("operation.finished") if each["bytes"] > len(PAGE)]
    assert len(finished) >= 3


def test_who_has_no_rule_forwards_nothing(gateway: SshGateway, web: int) -> None:
    done = ssh(gateway, "priya", "-W", f"127.0.0.1:{web}")
    assert done.returncode == 255
    assert "no rule allows user:priya to forward-local on web1" in done.stderr


def test_a_dynamic_forward_is_judged_connection_by_connection(gateway: SshGateway, web: int) -> None:
    port = free_port()
    with forwarding(gateway, "ada", "-D", str(port)):
        proxy = ("--proxy", f"socks5h://127.0.0.1:{port}")
        assert fetched(*proxy, f"http://127.0.0.1:{web}/") == PAGE
        assert fetched(*proxy, f"http://127.0.0.1:{gateway.port}/") == b""
        assert fetched(*proxy, f"http://localhost:{web}/") == b"", "the rule names an address"


def test_a_jump_through_the_host_is_a_forward(gateway: SshGateway, web: int) -> None:
    done = subprocess.run(
        words(gateway, "ada", "-W", f"127.0.0.1:{web}"),
        input=b"GET / HTTP/1.0\r\n\r\n", capture_output=True, timeout=90,
    )  # fmt: skip
    assert done.stdout.endswith(PAGE), done.stderr


def test_a_held_forward_opens_once_it_is_approved(gateway: SshGateway, held: int) -> None:
    port = free_port()
    with forwarding(gateway, "ada", "-L", f"{port}:127.0.0.1:{held}", "-o", "ServerAliveInterval=1"):
        got: list[bytes] = []
        thread = threading.Thread(target=lambda: got.append(fetched(f"http://127.0.0.1:{port}/")))
        thread.start()
        approve(gateway, f"forward to 127.0.0.1:{held}")
        thread.join()
        assert got == [PAGE]


def approve(gateway: SshGateway, text: str) -> None:
    def waiting() -> list[str]:
        found = gateway.json("approvals", "list", who="user:lee")
        return [each["id"] for each in found if each["redacted"] == text and each["state"] == "pending"]

    (request,) = until(waiting, "it waits")
    gateway.hoopctl("approvals", "approve", request, "--reason", "go", who="user:lee")


# -- remote ------------------------------------------------------------------------------------------------------


def test_a_remote_forward_brings_connections_back_until_it_is_cancelled(gateway: SshGateway, web: int) -> None:
    with forwarding(gateway, "ada") as control:
        port = int(say(control, "forward", "-R", f"0:127.0.0.1:{web}"))
        assert fetched(f"http://127.0.0.1:{port}/") == PAGE
        say(control, "cancel", "-R", f"0:127.0.0.1:{web}")
        assert fetched(f"http://127.0.0.1:{port}/") == b""
        fixed = free_port()
        say(control, "forward", "-R", f"{fixed}:127.0.0.1:{web}")
        assert fetched(f"http://127.0.0.1:{fixed}/") == PAGE
    said = record(gateway, "listen on localhost:0", "connection to localhost:0 from 127.0.0.1:")
    assert "the page behind" not in said


def test_a_remote_forward_is_refused_where_no_rule_opens_it(gateway: SshGateway, web: int) -> None:
    for who, where in (("priya", "0"), ("ada", "0.0.0.0:0")):
        refused = ssh(gateway, who, "-o", "ExitOnForwardFailure=yes", "-R", f"{where}:127.0.0.1:{web}")
        assert refused.returncode == 255
        assert "remote port forwarding failed" in refused.stderr
    until(lambda: ["forward-remote"] in refusals(gateway, "user:priya"), "the log says so")


def test_a_listener_that_waits_for_approval_does_not_look_dead(gateway: SshGateway, watched: int, web: int) -> None:
    # ssh gives up on a server that leaves two keep-alives unanswered, and answers come in their order
    options = ("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=2", "-R", f"{watched}:127.0.0.1:{web}")
    with forwarding(gateway, "ada", *options):
        time.sleep(5)
        approve(gateway, f"listen on localhost:{watched}")
        until(lambda: fetched(f"http://127.0.0.1:{watched}/") == PAGE, "the same ssh brings connections back")


# -- sockets -----------------------------------------------------------------------------------------------------


def test_sockets_of_the_file_system_both_ways(gateway: SshGateway, sockets: Path, web: int) -> None:
    near, far, back = sockets / "near", sockets / "far", sockets / "back"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(far))
        listener.listen()

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"from " + peer.recv(100))

        thread = threading.Thread(target=answer)
        thread.start()
        with forwarding(gateway, "ada", "-L", f"{near}:{far}", "-R", f"{back}:127.0.0.1:{web}"):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(str(near))
                peer.sendall(b"here")
                assert peer.recv(100) == b"from here"
            thread.join(60)
            until(back.exists, "the host listens")
            assert fetched("--unix-socket", str(back), "http://x/") == PAGE
        refused = ssh(gateway, "ada", "-o", "ExitOnForwardFailure=yes", "-R", f"{sockets}/other:127.0.0.1:{web}")
        assert refused.returncode == 255
    record(gateway, "REFUSED")


# -- agent and X11 -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], str]]:
    """The environment of an agent with one key, and the key's fingerprint."""
    directory = tmp_path_factory.mktemp("agent")
    environment = {**os.environ, "SSH_AUTH_SOCK": str(directory / "socket")}
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", environment["SSH_AUTH_SOCK"]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until((directory / "socket").exists, "the agent is there")
        key = new_key(directory / "carried")
        subprocess.run(["ssh-add", "-q", key], env=environment, check=True)
        shown = subprocess.run(["ssh-keygen", "-lf", key], capture_output=True, text=True, check=True)
        yield environment, shown.stdout.split()[1]
    finally:
        process.terminate()
        process.wait(20)


def test_the_agent_is_at_hand_where_a_rule_opens_it(gateway: SshGateway, agent: tuple[dict[str, str], str]) -> None:
    environment, fingerprint = agent
    options = ("-A", "-o", "IdentityAgent=SSH_AUTH_SOCK")
    done = ssh(gateway, "ada", *options, command="ssh-add -l", env=environment)
    assert done.returncode == 0, done.stderr
    assert fingerprint in done.stdout
    said = record(gateway, "forward the agent", "use the agent")
    assert fingerprint in said, "the output of ssh-add, which is recorded; the agent's own talk is not"
    without = ssh(gateway, "ada", "-o", "IdentityAgent=SSH_AUTH_SOCK", command="ssh-add -l", env=environment)
    refused = ssh(gateway, "priya", *options, command="ssh-add -l", env=environment)
    for each in (without, refused):
        assert each.returncode == 2, each.stdout
        assert fingerprint not in each.stdout
    until(lambda: ["forward-agent"] in refusals(gateway, "user:priya"), "the log says so")


@pytest.fixture(scope="module")
def display(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of somebody who sits at an X server that asks for a cookie."""
    directory = tmp_path_factory.mktemp("display")
    authority = directory / "Xauthority"
    cookie = os.urandom(16).hex()
    server = shutil.which("Xvfb")
    assert server is not None, "Xvfb is missing: apt-get install xvfb"
    authority.touch()
    reading, writing = os.pipe()
    subprocess.run(["xauth", "-q", "-f", authority, "add", ":0", ".", cookie], check=True)
    process = subprocess.Popen(
        [server, "-displayfd", str(writing), "-auth", authority, "-nolisten", "tcp", "-screen", "0", "640x480x8"],
        pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writing)
    try:
        with os.fdopen(reading) as told:
            name = f":{told.readline().strip()}"
        assert name != ":", "Xvfb did not start"
        subprocess.run(["xauth", "-q", "-f", authority, "add", name, ".", cookie], check=True)
        yield {**os.environ, "DISPLAY": name, "XAUTHORITY": str(authority)}
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("how", ["-X", "-Y"])
def test_x11_clients_show_themselves_where_a_rule_opens_it(
    gateway: SshGateway, display: dict[str, str], how: str
) -> None:
    done = ssh(gateway, "ada", how, command="xdpyinfo", env=display)
    assert done.returncode == 0, done.stderr
    assert "dimensions:    640x480 pixels" in done.stdout
    record(gateway, "forward X11", "X11 from 127.0.0.1:")
    refused = ssh(gateway, "priya", how, command="xdpyinfo", env=display)
    assert refused.returncode == 1
    assert "X11 forwarding request failed" in refused.stderr
    assert "unable to open display" in refused.stderr


def test_the_record_of_it_all_verifies(gateway: SshGateway) -> None:
    assert "as it was written" in gateway.ctl("audit", "verify", gateway.state).stdout
