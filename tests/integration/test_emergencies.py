"""docs/emergencies.md, followed: each command block of the runbook is run as it stands, on a gateway that is broken so."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from hoopd.audit.leaves import ENTRIES, decode_leaf, entries_of
from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer
from tests.integration.test_oidc import Provider
from tests.integration.tiny.running import ROOT, until

RUNBOOK = (ROOT / "docs" / "emergencies.md").read_text()
POLICY = """
targets = ["orders"]
allow.all = { who = ["group:oncall", "user:ci"], do = ["read", "write"] }
hold.update = { do = ["update"], by = ["group:leads"], wait = "5s" }
break_glass.sre = { who = ["group:oncall"], for = "10m", review = "1h" }
"""
SETTINGS: dict[str, dict[str, Any]] = {
    "identity": {"recovery_for": ["group:oncall", "user:ci"]},
    "emergency": {"key_wait": "0s"},
}
OFFICERS = ("user:ann", "user:bob")


def blocks(heading: str) -> list[str]:
    """The shell blocks under one heading of the runbook."""
    (section,) = [part for part in re.split(r"(?m)^## ", RUNBOOK) if part.startswith(heading + "\n")]
    return re.findall(r"(?ms)^```sh\n(.*?)^```$", section)


def administrator(server: PostgresServer) -> str:
    """libpq's connection string of the target's superuser."""
    words = f"host=127.0.0.1 port={server.port} dbname=orders user=postgres password={server.superuser_password}"
    return f"{words} sslmode=require"


def password(server: PostgresServer, value: str) -> None:
    """Give the gateway's account at the target another one."""
    with psycopg.connect(administrator(server), autocommit=True) as target:
        target.execute(sql.SQL("ALTER ROLE app PASSWORD {}").format(value))


class Night:
    """Somebody at a shell, with the runbook open.

    @ivar desk: the directory that the shell is in; its C{bin} has hoopctl.
    """

    def __init__(self, gateway: Gateway, desk: Path) -> None:
        self.gateway, self.desk = gateway, desk
        programs = desk / "bin"
        programs.mkdir()
        hoopctl = programs / "hoopctl"
        hoopctl.write_text(f'#!/bin/sh\nexec {sys.executable} -m hoopd.ctl.main "$@"\n')
        hoopctl.chmod(0o755)
        # as root, who has no files of others in the store to spoil, and as nobody in particular alike
        self.directory = f"--config {gateway.etc}"

    def shell(self, block: str, who: str = "", text: str = "", ok: bool = True, **more: str) -> str:
        """Run one block as C{who}, stopping at the first error. @return: what it printed"""
        gateway, output = self.gateway, ""
        block = block.replace("/var/lib/hoopd", str(gateway.state)).replace("/etc/hoopd", str(gateway.etc))
        block = block.replace("host=gate.example dbname=orders", gateway.dsn()).replace(
            "--offline", f"--offline {self.directory}"
        )
        # memory of one's own machine, which tests share
        block = block.replace("/dev/shm/", f"{self.desk}/shm-")
        known = {name: value for name, value in os.environ.items() if not name.startswith(("HOOPD_", "PG"))}
        known |= {"PATH": f"{self.desk}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(self.desk)}
        known |= {"HOOPD_SOCKET": str(gateway.socket), **more}
        if who:
            known["HOOPD_TOKEN"] = gateway.tokens[who]
        for part in re.split(r"(?m)^(systemctl \w+ hoopd)\n", block):
            if part.startswith("systemctl stop"):
                if gateway.process is not None and gateway.process.poll() is None:
                    gateway.terminate()
            elif part.startswith("systemctl start"):
                gateway.start()
            elif part.strip():
                done = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", part],
                    cwd=self.desk, env=known, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    text=True, timeout=120,
                )  # fmt: skip
                output += done.stdout
                assert (done.returncode == 0) == ok, f"{part}\n{output}"
        return output

    def leaves(self, kind: str, state: Path | None = None) -> list[dict[str, Any]]:
        found, _, wrong = entries_of(((state or self.gateway.state) / "ledger" / ENTRIES).read_bytes())
        assert wrong is None
        decoded = [decode_leaf(number, leaf) for number, leaf in enumerate(found)]
        return [dict(leaf.fields) for leaf in decoded if leaf.kind == kind]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    for program in ("age", "age-keygen"):
        assert shutil.which(program), f"{program} is missing: tools/setup.sh test installs the Debian package age"
    with PostgresServer() as running:
        yield running


@pytest.fixture
def night(server: PostgresServer, tmp_path: Path) -> Iterator[Night]:
    pager = tmp_path / "pager"
    pager.touch()
    settings = {
        **SETTINGS,
        "emergency": {"key_wait": "0s", "notify": ["pager"]},
        "notify.pager": {"kind": "command", "run": ["/usr/bin/dd", f"of={pager}", "oflag=append", "conv=notrunc"]},
    }
    with Gateway(server, POLICY, settings=settings) as gateway:
        for name in OFFICERS:
            gateway.identity(name, ["oncall"], ["vault"])
        gateway.identity("user:eve", ["oncall"])
        try:
            yield Night(gateway, tmp_path)
        finally:
            password(server, server.app_password)


def prepared(night: Night) -> str:
    """What is made "Before it happens" for a dead broker, by those who do it. @return: the export's id"""
    _, keys, export, ballast = blocks("Before it happens")
    for who in OFFICERS:
        assert "counts, lapses" in night.shell(keys, who)
        night.shell(f"mv officer.key {who[5:]}.key")
    made = night.shell(export, "user:ann")
    night.shell(ballast)
    found = re.search(r"(E-\w+): orders-app version \d+ is sealed", made)
    assert found is not None
    return found.group(1)


def test_the_broker_is_dead(night: Night) -> None:
    gateway = night.gateway
    id = prepared(night)
    looked = night.shell(
        "hoopctl vault check; HOOPD_TOKEN=$ROOT hoopctl status", "user:ann", ROOT=gateway.tokens["user:root"]
    )
    assert "to user:ann and user:bob" in looked
    assert f"orders-app ({id}) since" in looked
    offline, outer, inner, _ = blocks("The broker is dead")
    os.kill(gateway.pids("broker")[0], signal.SIGSTOP)
    # what was prepared opens with nothing of hoopd
    assert night.shell(outer) == ""
    assert "orders-app" not in (night.desk / "inner.age").read_text()
    assert "1 row" in night.shell(inner)
    # and if nothing was prepared: not while a broker is there, dead or not
    night.shell("rm orders.age inner.age")
    command = offline.partition("\n")[2]
    assert "a broker is running" in night.shell(command, ok=False)
    assert not (night.desk / "orders.age").exists()
    os.kill(gateway.pids("broker")[0], signal.SIGKILL)
    assert "is sealed in" in night.shell(offline)
    assert [leaf["event"] for leaf in night.leaves("emergency-export")] == ["made"]
    night.shell(outer)
    assert "1 row" in night.shell(inner)
    # once a broker is there again the trace is in the ledger
    gateway.start()
    first, second = night.leaves("emergency-export")
    assert (first["by"], first["offline"]) == ("user:ann", False)
    assert (second["by"][:3], second["offline"], second["officers"]) == ("os:", True, list(OFFICERS))
    # and everybody named is told of both
    told = night.desk / "pager"
    for export in (first["export"], second["export"]):
        until(lambda export=export: f'"{export}"' in told.read_text(), "the pager has rung", 90)
    assert "registered a key for emergency exports" in told.read_text()
    assert gateway.server.app_password not in told.read_text()


def test_afterwards(night: Night) -> None:
    gateway = night.gateway
    id = prepared(night)
    _, outer, inner, afterwards = blocks("The broker is dead")
    used = afterwards.replace("E-XXXXXX", id)
    done = night.shell(used, "user:bob", TARGET_AS_ADMINISTRATOR=administrator(gateway.server))
    assert f"was used outside hoopd ({id})" in done
    assert done.rstrip().endswith("every secret can be opened")
    printed = night.shell("hoopctl status", "user:root")
    assert "exported credentials" not in printed
    assert "WRONG" not in printed
    assert [leaf["event"] for leaf in night.leaves("emergency-export")] == ["made", "opened", "rotated"]
    # the gateway itself goes on with the new password, and what officers still have opens nothing
    assert gateway.psql("user:ann", "SELECT 1").stdout == "1\n"
    night.shell(outer)
    assert "password authentication failed" in night.shell(inner, ok=False)
    everything = gateway.text() + "".join(
        path.read_bytes().decode("latin-1") for path in gateway.state.rglob("*") if path.is_file()
    )
    assert gateway.server.app_password not in everything


def test_who_may_not_export(night: Night) -> None:
    gateway = night.gateway
    prepared(night)
    export = "hoopctl vault export orders --reason x --out another.age "
    both = "--to user:ann --to user:bob"
    for who, words, said in (
        ("user:eve", both, "needs the duty vault"),
        ("user:ann", "--to user:ann", "--to is given twice"),
        ("user:ann", "--to user:ann --to user:ann", "two officers, both of whom are needed"),
        ("user:ann", "--to user:ann --to user:ANN", "two officers, both of whom are needed"),
        ("user:ann", "--to user:ann --to user:eve", "user:eve has no key"),
        ("user:ann", f"{both} --reason ''", "is empty"),
    ):
        assert said in night.shell(export + words, who, ok=False), (who, words)
    night.shell("age-keygen -o eve.key")
    assert "needs the duty vault" in night.shell(
        'hoopctl officer-keys set "$(age-keygen -y eve.key)"', "user:eve", ok=False
    )
    # one officer with two keys has one, and two officers with one key are one
    assert "has this key" in night.shell('hoopctl officer-keys set "$(age-keygen -y bob.key)"', "user:ann", ok=False)
    for words, said in (
        (["identities", "disable", "user:bob"], "user:bob is disabled"),
        (["identities", "enable", "user:bob"], ""),
        (["identities", "duties", "user:bob", "approver"], "user:bob has not the duty vault"),
        (["identities", "duties", "user:bob", "vault"], ""),
        (["officer-keys", "remove", "user:bob"], "user:bob has no key"),
    ):
        gateway.hoopctl(*words)
        if said:
            assert said in night.shell(export + both, "user:ann", ok=False), words
    assert not (night.desk / "another.age").exists()
    assert len(night.leaves("emergency-export")) == 1


def test_the_identity_provider_is_dead(server: PostgresServer, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        provider = Provider(Path(name))
        try:
            oidc = {
                "issuer": provider.issuer, "audience": ["hoopd"], "subject_prefix": "", "kind": "human",
                "authorities": str(provider.certificate),
            }  # fmt: skip
            with Gateway(server, POLICY, settings={**SETTINGS, "identity.oidc.corp": oidc}) as gateway:
                night = Night(gateway, tmp_path)
                gateway.tokens["user:ci"] = provider.token(scope="openid").decode()
                sheet = re.search(r"sheet (R-\w+)", night.shell(blocks("Before it happens")[0], "user:ci"))
                assert sheet is not None
                gateway.hoopctl("recovery-codes", "confirm", sheet.group(1))
                codes = (tmp_path / "codes.txt").read_text().split()
                gateway.terminate()
                provider.stop()
                gateway.start()
                assert gateway.psql("user:ci", "SELECT 1").returncode == 2
                connect, sign_in = (block.replace("ann", "ci") for block in blocks("The identity provider is dead"))
                connected = night.shell(connect, PGPASSWORD=codes[0])
                assert "1 row" in connected
                assert "a recovery code was used; 9 remain" in connected
                assert "user:ci (human)" in night.shell(sign_in, text=codes[1])
                # good once
                assert "authentication failed" in night.shell(connect, PGPASSWORD=codes[0], ok=False)
                night.shell(sign_in, text=codes[1], ok=False)
        finally:
            provider.stop()


def test_a_hold_is_in_the_way(night: Night) -> None:
    update, look = blocks("A hold is in the way")
    printed = night.shell(update, PGPASSWORD=night.gateway.tokens["user:ann"])
    assert "UPDATE 1" in printed
    assert "to review" in night.shell(look, "user:ann")


def test_room_is_given_back(night: Night) -> None:
    prepared(night)
    (block,) = blocks("The disk is full")
    printed = night.shell(block, "user:root")
    assert "free space" in printed
    assert night.gateway.psql("user:ann", "SELECT 1").stdout == "1\n"


def test_the_master_key_is_lost(night: Night) -> None:
    gateway = night.gateway
    prepared(night)
    night.shell("hoopctl audit key >verifier.before", "user:root")
    gateway.terminate()
    (gateway.etc / "master.key").unlink()
    # an export is made of no more than there is
    assert "the master key cannot be read" in night.shell(
        "rm orders.age; hoopctl vault export orders --to user:ann --to user:bob --reason x --offline", ok=False
    )
    aside, begin = blocks("The master key is lost")
    night.shell(aside)
    (night.desk / "password").write_text(gateway.server.app_password)
    printed = night.shell(begin)
    assert "the record is as it was written" in printed
    assert "gate.example/ledger-2" in (night.desk / "verifier").read_text()
    assert not gateway.events("audit.unwritable")


def test_three_in_the_morning(night: Night) -> None:
    (block,) = blocks("At three in the morning")
    assert "running sessions" in night.shell(block, "user:root")


def test_a_key_that_is_new_does_not_count(server: PostgresServer, tmp_path: Path) -> None:
    with Gateway(server, POLICY) as gateway:
        night = Night(gateway, tmp_path)
        for name in OFFICERS:
            gateway.identity(name, [], ["vault"])
            night.shell(blocks("Before it happens")[1] + f"mv officer.key {name[5:]}.key\n", name)
        refused = night.shell(blocks("Before it happens")[2], "user:ann", ok=False)
        assert "the key of user:ann is new and counts in 24.0 h" in refused


def test_a_password_that_no_file_takes(server: PostgresServer, tmp_path: Path) -> None:
    """Through a service file or in base64: psql gets exactly what the vault has."""
    with Gateway(server, POLICY, settings=SETTINGS) as gateway:
        night = Night(gateway, tmp_path)
        for name in OFFICERS:
            gateway.identity(name, [], ["vault"])
            night.shell(blocks("Before it happens")[1] + f"mv officer.key {name[5:]}.key\n", name)
        _, outer, inner, _ = blocks("The broker is dead")
        (coded,) = re.findall(r"`(PGPASSWORD=\$\(sed[^`]*)`", RUNBOOK)
        try:
            for odd in ("# ; 'quoted\" \\ = back", " space at both ends ", "ümläut€", "p" * 1000, "two\\\nlines"):
                password(server, odd)
                gateway.hoopctl("vault", "put", "orders-app", text=odd)
                night.shell(blocks("Before it happens")[2], "user:ann")
                night.shell(outer)
                use = inner.replace(
                    "export PGSERVICEFILE", f'{coded}\n[ -z "$PGPASSWORD" ] || export PGPASSWORD\nexport PGSERVICEFILE'
                )
                assert "1 row" in night.shell(use), odd
                night.shell("rm orders.age inner.age")
        finally:
            password(server, server.app_password)
