"""Files through a real gateway to a real sshd, with stock clients of every kind: judged by path, listed with size and hash."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.integration.ssh_clients import paramiko_at
from tests.integration.sshd import SshGateway, SshServer, held_as
from tests.integration.tiny.running import until


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    with SshServer() as started:
        yield started


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the host's files are: C{in} and C{out} are open, C{held} waits for people, the rest is not."""
    room = tmp_path_factory.mktemp("host")
    for name in ("in", "out", "held", "other", "any"):
        (room / name).mkdir()
    (room / "out" / "report").write_text("a report\n")
    (room / "held" / "file").write_text("held\n")
    (room / "other" / "secret").write_text("a secret\n")
    return room


@pytest.fixture(scope="module")
def gateway(server: SshServer, room: Path) -> Iterator[SshGateway]:
    policy = f"""
targets = ["web1"]
contact = "the platform team"
allow.fetch = {{ who = ["group:ops"], do = ["download", "scp", "rsync"], paths = ["{room}/out/**", "{room}/in/**", "{room}/held/**"] }}
allow.bring = {{ who = ["group:ops"], do = ["upload", "remove", "scp", "rsync"], paths = ["{room}/in/**"] }}
allow.out   = {{ who = ["group:ops"], do = ["upload"], paths = ["{room}/sftponly/**"] }}
hold.held   = {{ do = ["download"], paths = ["{room}/held/**"], by = ["group:leads"], wait = "60s" }}
allow.run   = {{ who = ["group:runners"], do = ["exec"], commands = ["echo *"] }}
allow.all   = {{ who = ["group:admins"], do = ["download", "upload", "remove"] }}
deny.secret = {{ do = ["download"], paths = ["{room}/other/secret"], why = "nobody reads that" }}
"""
    with SshGateway(server, policy) as started:
        started.identity("user:priya", groups=["ops"])
        started.identity("user:ada", groups=["admins"])
        started.identity("user:lee", groups=["leads"], duties=["approver"])
        started.identity("user:mo", groups=["runners"])
        for name in ("priya", "ada"):
            started.register_key(f"user:{name}")
        yield started


def words(gateway: SshGateway, program: str, who: str) -> list[str]:
    """sftp or scp with a key of C{who}'s, up to its own options."""
    options = gateway.ssh_by_key_words(gateway.directory / who)[1:]
    options[options.index("-p")] = "-P"
    return [program, *options]


def sftp(gateway: SshGateway, who: str, *lines: str, timeout: float = 100) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*words(gateway, "sftp", who), "web1@127.0.0.1"], input="\n".join(lines) + "\n", capture_output=True, text=True,
        timeout=timeout,
    )  # fmt: skip


def scp(gateway: SshGateway, who: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*words(gateway, "scp", who), *more], capture_output=True, text=True, timeout=100)


def transfers(gateway: SshGateway, count: int) -> list[dict[str, Any]]:
    """The last transfers that the log tells of."""
    return gateway.events("transfer.finished")[-count:]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_comes_and_goes_and_is_on_record(gateway: SshGateway, room: Path, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(3_000_000))
    done = sftp(gateway, "priya", f"put {source} {room}/in/file", f"get {room}/in/file {back}")
    assert done.returncode == 0, done.stderr
    assert back.read_bytes() == source.read_bytes()
    put, get = transfers(gateway, 2)
    for each, direction in ((put, "upload"), (get, "download")):
        assert (each["direction"], each["path"], each["via"]) == (direction, f"{room}/in/file", "sftp")
        assert (each["bytes"], each["sha256"], each["whole"]) == (3_000_000, sha256(source), True)
        assert (each["tag"], each["identity"], each["target"]) == ("closed", "user:priya", "web1")
    shown = gateway.hoopctl("sessions", "replay", put["session"]).stdout
    assert f"sftp put {room}/in/file" in shown
    assert f"upload of {room}/in/file: 3,000,000 bytes, sha256 {sha256(source)}" in shown


def test_what_no_rule_opens_is_refused_in_words_and_nothing_is_forwarded(
    gateway: SshGateway, room: Path, tmp_path: Path
) -> None:
    done = sftp(gateway, "priya", f"-get /etc/passwd {tmp_path}/x", f"-put /etc/hostname {room}/out/report",
                f"-rm {room}/out/report", f"-rename {room}/out/report {room}/in/x", f"-chmod 777 {room}/out/report",
                f"-mkdir {room}/x", f"-symlink {room}/other/secret {room}/in/link", f"-ls {room}/other")  # fmt: skip
    assert not (tmp_path / "x").exists()
    assert (room / "out" / "report").read_text() == "a report\n"
    assert sorted(each.name for each in room.iterdir()) == ["any", "held", "in", "other", "out"]
    assert not (room / "in" / "link").is_symlink()
    assert "hoopd: refused: no rule allows user:priya to " in done.stderr
    assert "ask the platform team" in done.stderr
    assert "secret" not in done.stdout.replace(f"{room}/other/secret {room}/in/link", "")
    texts = [each["text"] for each in gateway.events("operation.denied")]
    for text in ("sftp rename", "sftp rm", "sftp chmod", "sftp mkdir", "sftp symlink", "sftp put"):
        assert any(each.startswith(text) for each in texts), (text, texts)


def test_who_may_move_no_files_gets_no_sftp(gateway: SshGateway) -> None:
    done = gateway.ssh("user:mo", "-s", "sftp")
    assert done.returncode != 0
    denied = gateway.events("operation.denied")[-1]
    assert (denied["text"], denied["classes"], denied["identity"]) == ("subsystem sftp", ["sftp"], "user:mo")
    assert gateway.ssh("user:mo", "echo hello").stdout == "hello\n"


def test_a_link_is_judged_by_where_it_leads(gateway: SshGateway, room: Path, tmp_path: Path) -> None:
    os.symlink(room / "other" / "secret", room / "in" / "innocent")
    os.symlink(room / "other", room / "in" / "dir")
    try:
        done = sftp(gateway, "priya", f"-get {room}/in/innocent {tmp_path}/a", f"-get {room}/in/dir/secret {tmp_path}/b",
                    f"-put /etc/hostname {room}/in/dir/new", f"-get {room}/in/../other/secret {tmp_path}/c")  # fmt: skip
        assert list(tmp_path.iterdir()) == []
        assert not (room / "other" / "new").exists()
        assert f"{room}/other/secret" in str(gateway.events("operation.denied")[-1]["objects"])
        assert "no rule allows user:priya to list on web1" in done.stderr
        done = sftp(gateway, "ada", f"-get {room}/in/innocent {tmp_path}/d", f"-get {room}/in/dir/secret {tmp_path}/e")
        assert list(tmp_path.iterdir()) == []
        assert done.stderr.count("nobody reads that [rule example.deny.secret]") == 2
        # the link itself is in a place that is open: it may be taken away, and what it leads to stays
        assert sftp(gateway, "priya", f"rm {room}/in/innocent").returncode == 0
        assert (room / "other" / "secret").exists()
    finally:
        for name in ("innocent", "dir"):
            (room / "in" / name).unlink(missing_ok=True)


def test_a_held_file_waits_in_the_terminal_and_goes_on(gateway: SshGateway, room: Path, tmp_path: Path) -> None:
    back = tmp_path / "back"
    waiting = subprocess.Popen(
        [*words(gateway, "scp", "priya"), f"web1@127.0.0.1:{room}/held/file", str(back)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    request = held_as(waiting)
    assert not back.exists() or back.read_text() == ""
    gateway.hoopctl("approvals", "approve", request, "--reason", "go", who="user:lee")
    out, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, out
    assert back.read_text() == "held\n"
    until(lambda: gateway.json("approvals", "show", request)["state"] == "executed", "it is settled")
    assert transfers(gateway, 1)[0]["approval"] == request


def test_what_was_approved_is_not_another_file_by_then(gateway: SshGateway, room: Path, tmp_path: Path) -> None:
    path = room / "held" / "swapped"
    path.write_text("what people saw\n")
    waiting = subprocess.Popen(
        [*words(gateway, "scp", "priya"), f"web1@127.0.0.1:{path}", f"{tmp_path}/x"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    request = held_as(waiting)
    path.unlink()
    path.symlink_to(room / "other" / "secret")
    gateway.hoopctl("approvals", "approve", request, "--reason", "go", who="user:lee")
    out, _ = waiting.communicate(timeout=60)
    path.unlink()
    assert "another file than the one that was approved" in out
    assert not (tmp_path / "x").exists() or (tmp_path / "x").read_text() == ""


def test_many_files_go_at_once(gateway: SshGateway, room: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(500):
        path = tree / f"d{number % 10}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {number}\n")
    began = time.monotonic()
    done = sftp(gateway, "ada", f"put -r {tree} {room}/any/tree", f"get -r {room}/any/tree {tmp_path}/back")
    print(f"500 files up and down: {time.monotonic() - began:.1f} s")
    assert done.returncode == 0, done.stderr
    assert subprocess.run(["diff", "-r", tree, tmp_path / "back"]).returncode == 0
    found = transfers(gateway, 1000)
    assert len({each["path"] for each in found}) == 500
    assert all(each["whole"] for each in found)


def test_what_was_cut_off_is_taken_up_again(gateway: SshGateway, room: Path, tmp_path: Path) -> None:
    content = os.urandom(2_000_000)
    source, back, there = tmp_path / "source", tmp_path / "back", room / "in" / "half"
    source.write_bytes(content)
    there.write_bytes(content[:700_000])
    assert sftp(gateway, "priya", f"reput {source} {there}").returncode == 0
    assert there.read_bytes() == content
    back.write_bytes(content[:300_000])
    assert sftp(gateway, "priya", f"reget {there} {back}").returncode == 0
    assert back.read_bytes() == content
    put, get = transfers(gateway, 2)
    assert (put["bytes"], put["sha256"], put["whole"]) == (1_300_000, None, False)
    assert (get["bytes"], get["sha256"], get["whole"]) == (1_700_000, None, False)
    listed = gateway.json("sessions", "transfers", put["session"])
    assert listed[0]["ranges"] == [[700_000, 2_000_000]]


def test_files_are_found_by_path_and_hash_in_sealed_recordings(gateway: SshGateway, room: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(1000))
    assert sftp(gateway, "priya", f"put {source} {room}/in/wanted").returncode == 0
    assert sftp(gateway, "ada", f"get {room}/in/wanted {tmp_path}/back").returncode == 0

    def found(*more: str, who: str = "user:root") -> list[tuple[str, str]]:
        listed = json.loads(gateway.hoopctl("sessions", "transfers", *more, "--json", who=who).stdout)
        return [(each["identity"], each["direction"]) for each in listed]

    both = [("user:ada", "download"), ("user:priya", "upload")]
    until(lambda: found("--path", "*/in/wanted") == both, "recordings are sealed and read")
    assert found("--sha256", sha256(source)) == both
    # others than auditors see their own
    assert found("--path", "*/in/wanted", who="user:priya") == both[1:]
    said = gateway.hoopctl("sessions", "transfers", "--path", f"{room}/in/wan?ed").stdout
    assert sha256(source) in said
    explained = gateway.hoopctl("policy", "explain", "user:priya", "web1", f"(sftp) get {room}/other/secret").stdout
    assert "REFUSED: nobody reads that" in explained


def test_paramiko(gateway: SshGateway, room: Path, tmp_path: Path) -> None:
    content = os.urandom(6_000_000)
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(content)
    with paramiko_at(gateway, key_filename=str(gateway.directory / "priya")) as client:
        with client.open_sftp() as files:
            # as WinSCP does: under another name first, then its time, then its own name
            files.put(str(source), f"{room}/in/p.part")
            files.utime(f"{room}/in/p.part", (1_000_000_000, 1_000_000_000))
            files.posix_rename(f"{room}/in/p.part", f"{room}/in/p")
            files.get(f"{room}/in/p", str(back))
            assert files.stat(f"{room}/in/p").st_mtime == 1_000_000_000
            with pytest.raises(PermissionError) as raised:
                files.open(f"{room}/other/secret")
            assert "nobody reads that [rule example.deny.secret]" in str(raised.value)
            with pytest.raises(FileNotFoundError):
                files.open(f"{room}/in/nothing")
            with files.open(f"{room}/in/p", "r") as file:
                assert file.readv([(4_000_000, 10), (100, 10)]).__next__() == content[4_000_000:4_000_010]
            files.remove(f"{room}/in/p")
            assert "p" not in files.listdir(f"{room}/in")
    assert back.read_bytes() == content
    put, get, part = transfers(gateway, 3)
    assert put["path"] == f"{room}/in/p.part"
    for each in (put, get):
        assert (each["sha256"], each["whole"]) == (sha256(source), True)
    assert put["bytes"] == len(content)
    # it asks for some pieces twice when it is slow to find that it has asked for them
    assert get["bytes"] >= len(content)
    assert (part["sha256"], part["whole"]) == (None, False)


def test_asyncssh(gateway: SshGateway, room: Path, tmp_path: Path) -> None:
    content = os.urandom(6_000_000)
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(content)

    async def talk() -> None:
        async with asyncssh.connect(
            "127.0.0.1", gateway.ssh_port, username="web1", client_keys=[str(gateway.directory / "priya")],
            known_hosts=str(gateway.known_hosts), config=None, agent_path=None, login_timeout=60,
        ) as connection, connection.start_sftp_client() as files:  # fmt: skip
            await files.put(str(source), f"{room}/in/a")
            await files.get(f"{room}/in/a", str(back))
            assert (await files.stat(f"{room}/in/a")).size == len(content)
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await files.open(f"{room}/other/secret")
            await asyncio.gather(*(files.put(str(source), f"{room}/in/a{number}") for number in range(4)))

    asyncio.run(talk())
    assert back.read_bytes() == content
    found = transfers(gateway, 6)
    assert [each["sha256"] for each in found] == [sha256(source)] * 6
    assert sorted(each["path"] for each in found[2:]) == [f"{room}/in/a{number}" for number in range(4)]


def test_a_client_that_goes_away_leaves_a_transfer_that_was_cut_off(gateway: SshGateway, room: Path) -> None:
    with paramiko_at(gateway, key_filename=str(gateway.directory / "priya")) as client:
        file = client.open_sftp().open(f"{room}/in/cut", "wx")
        file.write(b"half")
        file.flush()
    until(lambda: transfers(gateway, 1)[0]["path"] == f"{room}/in/cut", "it is on record")
    found = transfers(gateway, 1)[0]
    assert (found["tag"], found["whole"], found["bytes"]) == ("cut off", False, 4)


def test_what_is_no_sftp_ends_that_session_and_no_other(gateway: SshGateway, room: Path) -> None:
    key = gateway.directory / "priya"
    hello = "\0\0\0\5\1\0\0\0\3"
    hostile = [os.urandom(5000).hex(), hello + "\0\0\0\1\3", hello + "\0\0\0\5\x11\0\0\0\1"]
    for octets in hostile:
        done = gateway.ssh_by_key(key, "sftp", options=("-s",), text=octets)
        assert done.returncode == 255, done
    assert gateway.events("peer.error")[-1]["what"] == "a message ends too early"
    assert sftp(gateway, "priya", f"ls {room}/in").returncode == 0


# -- commands that copy --------------------------------------------------------------------------------------------


def test_scp_of_before_is_judged_by_path_and_listed(gateway: SshGateway, room: Path, tmp_path: Path) -> None:
    """C{priya} has no C{exec} at all."""
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(3_000_000))
    for one, other in ((source, f"web1@127.0.0.1:{room}/in/scp"), (f"web1@127.0.0.1:{room}/in/scp", back)):
        done = scp(gateway, "priya", "-O", "-p", str(one), str(other))
        assert done.returncode == 0, done.stderr
    assert back.read_bytes() == source.read_bytes()
    put, get = transfers(gateway, 2)
    for each, direction in ((put, "upload"), (get, "download")):
        assert (each["direction"], each["path"], each["via"]) == (direction, f"{room}/in/scp", "scp")
        assert (each["bytes"], each["sha256"], each["whole"], each["tag"]) == (
            3_000_000,
            sha256(source),
            True,
            "closed",
        )
    assert (put["name"], get["name"]) == ("source", "scp")
    # what is in a file is not in the record
    shown = gateway.hoopctl("sessions", "replay", put["session"]).stdout
    assert "C0600 3000000" not in shown
    assert f"upload of {room}/in/scp (source): 3,000,000 bytes" in shown
    only = scp(gateway, "priya", "-O", "/etc/hostname", f"web1@127.0.0.1:{room}/sftponly/x")
    assert "no rule allows user:priya to upload on web1" in only.stderr
    refused = scp(gateway, "priya", "-O", "/etc/hostname", f"web1@127.0.0.1:{room}/out/report")
    assert "no rule allows user:priya to upload on web1" in refused.stderr
    assert (room / "out" / "report").read_text() == "a report\n"
    assert gateway.ssh_by_key(gateway.directory / "priya", f"cat {room}/out/report").returncode == 126


def test_scp_of_whole_directories(gateway: SshGateway, room: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(40):
        path = tree / f"d{number % 4}" / f"f {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * number)
    assert scp(gateway, "priya", "-O", "-r", str(tree), f"web1@127.0.0.1:{room}/in/scptree").returncode == 0
    done = scp(gateway, "priya", "-O", "-r", f"web1@127.0.0.1:{room}/in/scptree", str(tmp_path / "back"))
    assert done.returncode == 0, done.stderr
    assert subprocess.run(["diff", "-r", tree, tmp_path / "back"]).returncode == 0
    found = transfers(gateway, 80)
    assert len({each["name"] for each in found}) == 80
    assert all(each["whole"] for each in found)


def test_scp_of_what_is_not_there_or_may_not_be_written(gateway: SshGateway, room: Path, tmp_path: Path) -> None:
    done = scp(gateway, "priya", "-O", f"web1@127.0.0.1:{room}/in/nothing", str(tmp_path / "x"))
    assert done.returncode == 1
    assert "No such file" in done.stderr
    (room / "in" / "directory").mkdir()
    done = scp(gateway, "priya", "-O", "/etc/hostname", "/etc/passwd", f"web1@127.0.0.1:{room}/in/scp")
    assert done.returncode != 0
    done = scp(gateway, "priya", "-O", "/etc/hostname", "/etc/passwd", f"web1@127.0.0.1:{room}/in/directory")
    assert done.returncode == 0, done.stderr
    assert (room / "in" / "directory" / "passwd").read_bytes() == Path("/etc/passwd").read_bytes()


def test_rsync_is_judged_by_its_command_and_counted(gateway: SshGateway, room: Path, tmp_path: Path) -> None:
    """C{priya} has no C{exec} at all."""
    source, back = tmp_path / "source", tmp_path / "back"
    source.mkdir()
    for number in range(20):
        (source / f"f{number}").write_bytes(os.urandom(10_000))
    wrapper = " ".join(gateway.ssh_by_key_words(gateway.directory / "priya"))

    def rsync(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["rsync", "-e", wrapper, *more], capture_output=True, text=True, timeout=100)

    there = f"web1@127.0.0.1:{room}/in/synced/"
    for one, other in ((f"{source}/", there), (there, f"{back}/")):
        done = rsync("-a", "--delete", one, other)
        assert done.returncode == 0, done.stderr
    assert subprocess.run(["diff", "-r", source, back]).returncode == 0
    put, get = transfers(gateway, 2)
    for each, direction in ((put, "upload"), (get, "download")):
        assert (each["direction"], each["path"], each["via"]) == (direction, f"{room}/in/synced", "rsync")
        assert each["bytes"] > 200_000
        assert (each["sha256"], each["whole"]) == (None, False)
    refused = rsync("-a", f"{source}/", f"web1@127.0.0.1:{room}/out/")
    assert "no rule allows user:priya to upload on web1" in refused.stderr
    assert sorted(each.name for each in (room / "out").iterdir()) == ["report"]
