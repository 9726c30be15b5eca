"""Rules that two people sign with real keys, on a gateway as installed; and every way around it that we could think of."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hoopd.governance.manifest import NAMESPACE
from hoopd.governance.papers import MANIFEST
from hoopd.governance.sshsig import Signature, SignatureError
from tests.governance.signing import KINDS, Person
from tests.integration.installation import POLICY, Gateway
from tests.integration.postgres import PostgresServer
from tests.integration.tiny.running import until

pytestmark = pytest.mark.integration

REAL = {
    "ed25519": ("ed25519", 0),
    "rsa": ("rsa", 3072),
    "p256": ("ecdsa", 256),
    "p384": ("ecdsa", 384),
    "p521": ("ecdsa", 521),
}
EVERYTHING = 'targets = ["orders"]\nallow.all = { do = ["*"] }\n'


class Keys:
    """Real keys of real people. @ivar directory: of the private keys."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def make(self, name: str, kind: str = "ed25519") -> str:
        """@return: the public key, as it stands in allowed_signers."""
        algorithm, bits = REAL[kind]
        size = ["-b", str(bits)] if bits else []
        path = self.directory / name
        words = ["ssh-keygen", "-q", "-t", algorithm, *size, "-N", "", "-C", f"{name}@laptop", "-f", str(path)]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
        return path.with_suffix(".pub").read_text().strip()

    def sign(self, name: str, text: str, namespace: str = NAMESPACE) -> str:
        """@return: the signature, as ssh-keygen prints it."""
        words = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(self.directory / name), "-n", namespace]
        return subprocess.run(words, input=text, capture_output=True, text=True, check=True).stdout


def openssh_takes(directory: Path, allowed: str, who: str, signature: str, text: str) -> bool:
    """What ssh-keygen itself says of a signature."""
    (directory / "allowed").write_text(allowed + "\n")
    (directory / "sig").write_text(signature)
    words = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", who, "-n", NAMESPACE, "-s", "sig"]
    done = subprocess.run(words, input=text, capture_output=True, text=True, cwd=directory, check=False)
    return done.returncode == 0


def we_take(signature: str, text: str) -> bool:
    try:
        Signature.parse(signature).check(text.encode())
    except SignatureError:
        return False
    return True


@pytest.mark.parametrize("kind", REAL)
def test_real_signatures(tmp_path: Path, kind: str) -> None:
    keys = Keys(tmp_path)
    line = f"user:lee {keys.make('lee', kind)}"
    made = keys.sign("lee", "text\n")
    assert we_take(made, "text\n")
    assert not we_take(made, "text\r\n")
    assert openssh_takes(tmp_path, line, "user:lee", made, "text\n")


@pytest.mark.parametrize("kind", KINDS)
def test_openssh_says_what_we_say(tmp_path: Path, kind: str) -> None:
    """Also of security keys, of which there is none here to touch: the signature is made as one would."""
    lee = Person("user:lee", kind)
    made = lee.sign("text\n")
    for text in ("text\n", "text"):
        said = openssh_takes(tmp_path, lee.line('namespaces="hoopd-policy"'), lee.name, made, text)
        assert we_take(made, text) is said is (text == "text\n")
    if kind.startswith("sk-"):
        untouched = Person("user:lee", kind, touched=0)
        made = untouched.sign("text\n")
        assert openssh_takes(tmp_path, untouched.line(), "user:lee", made, "text\n"), "it does not ask for a touch"
        assert not we_take(made, "text\n"), "we do"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


class Authors(Gateway):
    """An installation, and the people who write its rules."""

    keys: Keys

    def make_people(self) -> None:
        self.keys = Keys(self.directory)
        kinds = {"lee": "ed25519", "lee2": "p256", "ann": "rsa", "kim": "p384"}
        self.public = {name: self.keys.make(name, kind) for name, kind in kinds.items()}
        self.allow("lee", "ann", "kim")
        self.toml = (self.etc / "hoopd.toml").read_text()
        self.need(2)

    def allow(self, *names: str) -> None:
        people = [f"user:{name.rstrip('2')} {self.public[name]}\n" for name in (*names, "lee2")]
        (self.etc / "allowed_signers").write_text("".join(people))

    def need(self, count: int) -> None:
        more = f'\n[policy]\nsignatures = {count}\nallowed_signers = "allowed_signers"\n' if count else ""
        (self.etc / "hoopd.toml").write_text(self.toml + more)

    def manifest(self, *words: object) -> str:
        said: str = self.ctl("policy", "manifest", self.etc, *words).stdout
        return said

    def sign(self, *names: str, namespace: str = NAMESPACE) -> None:
        """They sign what is there, and nobody else's signature is."""
        for path in self.etc.glob(f"{MANIFEST}*.sig"):
            path.unlink()
        text = (self.etc / MANIFEST).read_text()
        for name in names:
            (self.etc / f"{MANIFEST}.{name}.sig").write_text(self.keys.sign(name, text, namespace))

    def refused(self) -> str:
        """What hoopctl reload says where it must refuse."""
        done = self.hoopctl("reload", ok=False)
        assert done.returncode == 1, done.stdout
        return done.stderr

    def in_force(self) -> list[str]:
        """The rules that decide now."""
        (file,) = self.json("policy", "show")["files"]
        return list(file["rules"])

    def keep(self, name: str) -> None:
        """Put aside what is there, to try it again later."""
        shutil.copytree(self.etc, self.directory / name)

    def bring_back(self, name: str) -> None:
        shutil.rmtree(self.etc)
        shutil.copytree(self.directory / name, self.etc)


@pytest.fixture(scope="module")
def gateway(server: PostgresServer) -> Iterator[Authors]:
    with Authors(server) as running:
        running.make_people()
        running.manifest()
        running.sign("lee", "ann")
        running.reload()
        yield running


RULES = ["example.mask.card", "example.allow.read", "example.allow.write", "example.hold.update", "example.deny.drop"]


def test_two_people_sign_and_it_is_taken(gateway: Authors) -> None:
    newest = gateway.json("policy", "history")[0]
    assert (newest["serial"], newest["signers"], newest["by"]) == (1, ["user:ann", "user:lee"], "user:root")
    assert sorted(gateway.in_force()) == sorted(RULES)
    assert "manifest 1 is signed by user:ann, user:lee" in gateway.ctl("config", "check", gateway.etc).stdout
    text = gateway.hoopctl("policy", "history").stdout
    assert "user:root; manifest 1, signed by user:ann, user:lee" in text
    assert "allowed_signers" in gateway.hoopctl("policy", "diff").stdout


def test_ways_around_it(gateway: Authors) -> None:
    gateway.keep("good")
    evil = gateway.etc / "policies.d" / "evil.toml"

    gateway.policy(EVERYTHING)
    assert "policies.d/example.toml is not what policy.manifest names: it was changed" in gateway.refused()
    checked = gateway.ctl("config", "check", gateway.etc, ok=False)
    assert checked.returncode == 1
    assert "policies.d/example.toml is not what policy.manifest names" in checked.stderr
    gateway.policy(POLICY.replace("\n", "\r\n"))
    assert "it was changed" in gateway.refused()
    gateway.policy(POLICY)
    evil.write_text(EVERYTHING)
    assert "policies.d/evil.toml is not in policy.manifest: it was added" in gateway.refused()
    evil.unlink()
    authority = gateway.etc / "targets.d" / "ca.pem"
    authority.write_text(authority.read_text() * 2)
    assert "targets.d/ca.pem is not what policy.manifest names" in gateway.refused()
    gateway.bring_back("good")
    target = gateway.etc / "targets.d" / "example.toml"
    target.write_text(target.read_text().replace("[targets.orders]", '[targets.orders]\nmode = "observe"'))
    assert "targets.d/example.toml is not what policy.manifest names" in gateway.refused()
    gateway.bring_back("good")
    (gateway.etc / "policies.d" / "example.toml").unlink()
    assert "and is not there: it was removed" in gateway.refused()
    gateway.bring_back("good")

    gateway.policy(EVERYTHING)
    assert "is number 2" in gateway.manifest()
    assert "policies.d/example.toml is not what policy.manifest names" not in (said := gateway.refused())
    assert "not a signature of this text: something was changed after it was made" in said
    gateway.sign("lee")
    assert "2 distinct people must have signed policy.manifest; of those user:lee did" in gateway.refused()
    gateway.sign("lee", "lee2")
    assert "two keys of one person are one signature" in gateway.refused()
    gateway.sign("lee", "ann", namespace="file")
    assert "made for 'file', not for 'hoopd-policy'" in gateway.refused()
    signature = gateway.etc / f"{MANIFEST}.other.sig"
    signature.write_text(gateway.keys.sign("ann", POLICY))
    assert "something was changed after it was made" in gateway.refused()
    gateway.keys.make("mallory")
    gateway.sign("lee", "mallory")
    assert "is not among the allowed signers" in gateway.refused()

    gateway.public["mallory"] = (gateway.directory / "mallory.pub").read_text().strip()
    gateway.allow("lee", "mallory")
    gateway.manifest()
    gateway.sign("lee", "mallory")
    assert "by the list of manifest 1, which is in force; of those user:lee did" in gateway.refused()
    gateway.need(0)
    assert "hoopd.toml policy.signatures = 0" in gateway.refused()
    gateway.manifest()
    gateway.sign("lee", "mallory")
    assert "which is in force; of those user:lee did" in gateway.refused()
    (gateway.etc / MANIFEST).unlink()
    assert "taking policy.signatures away needs" in gateway.refused()

    # by signal, too
    before = gateway.text().count("reload refused")
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: gateway.text().count("reload refused") > before, "the signal was refused")
    assert sorted(gateway.in_force()) == sorted(RULES), "and nothing has changed"
    refusals = gateway.events("policy.refused")
    assert len(refusals) >= 14
    assert {each["by"] for each in refusals} == {"user:root"}
    gateway.bring_back("good")
    gateway.reload()
    assert len(gateway.json("policy", "history")) == len(gateway.events("policy.changed"))


def test_what_was_replaced_does_not_come_back(gateway: Authors) -> None:
    gateway.keep("old")
    gateway.policy(POLICY.replace("Schema changes go through migrations", "Never"))
    gateway.manifest()
    gateway.sign("ann", "kim")
    gateway.reload()
    assert "-deny.drop" in (changed := gateway.hoopctl("policy", "diff").stdout)
    assert '+deny.drop = { do = ["drop", "truncate"], why = "Never" }' in changed
    gateway.keep("new")
    gateway.bring_back("old")
    serial = gateway.json("policy", "history")[0]["serial"]
    assert f"has the serial number 1, and {serial} was taken before" in gateway.refused()
    assert "-deny.drop" in gateway.hoopctl("policy", "diff", "--with", gateway.etc).stdout
    # nor by a restart
    assert gateway.terminate() == 0
    with pytest.raises(RuntimeError, match=f"and {serial} was taken before"):
        gateway.start()
    gateway.bring_back("new")
    gateway.start()
    assert gateway.json("policy", "history")[0]["serial"] == serial


def test_a_link_is_what_it_points_at(gateway: Authors) -> None:
    gateway.keep("before-link")
    elsewhere = gateway.directory / "example.toml"
    path = gateway.etc / "policies.d" / "example.toml"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)
    gateway.reload()
    elsewhere.write_text(EVERYTHING)
    assert "it was changed" in gateway.refused()
    path.unlink()
    os.mkfifo(path)
    assert "is no file" in gateway.refused()
    gateway.bring_back("before-link")


def test_what_was_checked_is_what_runs(gateway: Authors) -> None:
    """Files are exchanged between their check and the start of those who run by them, again and again."""
    gateway.keep("before-race")
    path = gateway.etc / "policies.d" / "example.toml"
    for number in range(2):
        gateway.bring_back("before-race")
        gateway.policy(POLICY.replace("customers notice", f"race {number}"))
        gateway.manifest()
        gateway.sign("lee", "kim")
        signed = path.read_text()
        before = gateway.text().count("hoopd: ready:")
        gateway.hoopctl("reload")
        path.write_text(EVERYTHING)
        until(lambda: gateway.text().count("hoopd: ready:") > before, "the new generation is ready")  # noqa: B023
        answer = gateway.json("policy", "diff", "--with", gateway.etc)
        assert f"race {number}" in answer["diff"], "the file is another one"
        assert sorted(gateway.in_force()) == sorted(RULES), "and what runs is what was signed"
        gateway.kill_broker()
        assert sorted(gateway.in_force()) == sorted(RULES), "also after the broker died"
        path.write_text(signed)
        gateway.keep(f"race-{number}")
        shutil.rmtree(gateway.directory / "before-race")
        gateway.keep("before-race")


def test_people_come_and_go_and_in_the_end_sign_no_more(gateway: Authors) -> None:
    gateway.keys.make("eve")
    gateway.public["eve"] = (gateway.directory / "eve.pub").read_text().strip()
    gateway.allow("lee", "eve")
    gateway.manifest()
    gateway.sign("lee", "ann", "kim")
    assert "2 distinct people must have signed policy.manifest; of those user:lee did" in gateway.refused()
    gateway.sign("lee", "eve")
    assert "which is in force; of those user:lee did" in gateway.refused()
    gateway.sign("lee", "eve", "ann")
    gateway.reload()
    # lee is gone, and eve is alone: by the machine's own word
    gateway.allow("eve", "kim")
    (gateway.etc / "allowed_signers").write_text(
        f"user:eve {gateway.public['eve']}\nuser:kim {gateway.public['kim']}\n"
    )
    gateway.manifest()
    gateway.sign("eve", "kim")
    assert "which is in force; of those user:eve did" in gateway.refused()
    said = gateway.ctl("policy", "recover", "--state", gateway.state, "--reason", "lee left in anger").stdout
    assert "no others'" in said
    gateway.reload()
    assert gateway.json("policy", "history")[0]["signers"] == ["user:eve", "user:kim"]
    again = gateway.ctl("policy", "recover", "--state", "/nonexistent", "--reason", "x", ok=False)
    assert again.returncode != 0
    assert "as it was written" in gateway.ctl("audit", "verify", gateway.state).stdout
    # and those two agree to go on without
    gateway.need(0)
    gateway.manifest()
    gateway.sign("eve", "kim")
    gateway.reload()
    gateway.policy(POLICY)
    gateway.reload()
    assert gateway.json("policy", "history")[0]["signers"] == []
    gateway.need(2)
    assert "policy.manifest says signatures 0, and hoopd.toml policy.signatures = 2" in gateway.refused()
    gateway.manifest("--serial", 1)
    gateway.sign("eve", "kim")
    assert "was taken before" in gateway.refused()


def test_who_cannot_read_the_rules_alone_cannot_see_their_history(gateway: Authors) -> None:
    gateway.identity("user:priya", groups=["eng"])
    for words in (["history"], ["diff"], ["diff", "--with", str(gateway.etc)], ["confirm", "1", "--reason", "x"]):
        refused = gateway.hoopctl("policy", *words, who="user:priya", ok=False)
        assert refused.returncode == 1
        assert "needs the duty" in refused.stderr


def test_nobody_approves_under_rules_that_are_theirs_alone(server: PostgresServer) -> None:
    patient = POLICY.replace('wait = "60s"', 'wait = "10m"')
    with Gateway(server, patient, settings={"policy": {"authors_approve": False}}) as gateway:
        gateway.identity("user:priya", groups=["eng"])
        gateway.identity("user:adam", groups=["leads"], duties=["administrator", "approver"])
        gateway.identity("user:lee", groups=["leads"], duties=["approver"])
        gateway.identity("user:otto", duties=["auditor"])
        update = "UPDATE orders SET note = 'x' WHERE id = 1"

        def approve(who: str) -> str:
            held = gateway.psql_started("user:priya", update)
            pending = until(lambda: gateway.json("approvals", "list", "--state", "pending"), "it is held")
            (waiting,) = pending
            done = gateway.hoopctl("approvals", "approve", waiting["id"], "--reason", "ok", who=who, ok=False)
            if done.returncode:
                gateway.hoopctl("approvals", "deny", waiting["id"], "--reason", "tidying", who="user:lee")
            assert (held.wait(300) == 0) is (done.returncode == 0)
            return done.stderr

        assert "nobody knows whose the last change of the rules is (number 1)" in approve("user:lee")
        gateway.hoopctl("policy", "confirm", "1", "--reason", "read it", who="user:otto")
        assert approve("user:lee") == ""
        gateway.policy(patient.replace("customers notice", "mine"))
        gateway.reload("user:adam")
        number = gateway.json("policy", "history")[0]["number"]
        said = approve("user:adam")
        assert f"the last change of the rules (number {number}) is user:adam's alone" in said
        assert "hoopctl policy confirm" in said
        assert approve("user:lee") == ""
        refused = gateway.hoopctl("policy", "confirm", number, "--reason", "mine", who="user:adam", ok=False)
        assert "stands for change" in refused.stderr
        gateway.hoopctl("policy", "confirm", number, "--reason", "read it", who="user:otto")
        assert approve("user:adam") == ""
        assert "confirmed" in gateway.hoopctl("policy", "history").stdout
