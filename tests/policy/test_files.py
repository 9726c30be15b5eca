"""Rules about files: by word and path, whatever program moves them; the opening of sftp, and what stands in tests."""

from __future__ import annotations

import pytest

from hoopd.config.structure import ConfigErrors
from hoopd.policy import commands, files
from hoopd.policy.snapshot import PolicySnapshot
from hoopd.policy.testing import identity
from hoopd.policy.words import uncovered
from hoopd.values import Decision, Operation, Target

WEB = Target("web1", "ssh", "h", 22, username="deploy")
PRIYA = identity("user:priya", ("ops",))
ADA = identity("user:ada", ("admins",))
MO = identity("user:mo", ("runners",))

RULES = """
targets = ["web*"]
allow.fetch = { who = ["group:ops"], do = ["download", "scp"], paths = ["/var/log/**", "~/out/*"] }
allow.bring = { who = ["group:ops"], do = ["upload"], paths = ["/srv/in/**"], reason = "required" }
allow.all   = { who = ["group:admins"], do = ["download", "upload", "remove"] }
allow.run   = { who = ["group:runners"], do = ["exec"], commands = ["scp -t *", "uptime"] }
hold.auth   = { do = ["download"], paths = ["/var/log/auth.log"], by = ["group:leads"] }
deny.secret = { do = ["download", "upload", "list"], paths = ["**/secret/**"], why = "no" }
deny.scp    = { do = ["exec"], commands = ["scp -f *"], who = ["user:ada"] }
identity."user:priya" = { groups = ["ops"] }
test."user:priya (sftp)" = ["allow.fetch", "allow.bring"]
test."user:priya (sftp) get /var/log/syslog" = ["allow.fetch"]
test."user:priya (sftp) get /var/log/auth.log" = ["hold.auth"]
test."user:priya (sftp) get /var/log/../../etc/passwd" = []
test."user:priya (sftp) get out/x" = ["hold.auth"]
"""


def decide(who: object, text: str, reason: str | None = None) -> Decision:
    snapshot = PolicySnapshot.load({"web.toml": RULES}, {"web1": WEB}, bytes(32))
    return snapshot.decide(who, WEB, commands.operation(text, "deploy", reason), 0.0)


@pytest.mark.parametrize(("who", "text", "verdict", "rules"), [
    (PRIYA, "(sftp)", "allow", ("web.allow.fetch", "web.allow.bring")),
    (MO, "(sftp)", "deny", ()),
    (PRIYA, "(sftp) put /srv/in/a", "deny", ("web.allow.bring",)),  # it asks for a reason
    (PRIYA, "(sftp) put /etc/cron.d/x", "deny", ()),
    (PRIYA, "(sftp) rm /srv/in/a", "deny", ()),
    (PRIYA, "(sftp) ls /var/log/nginx", "allow", ("web.allow.fetch",)),
    (PRIYA, "(sftp) ls /var", "deny", ()),
    (PRIYA, "(sftp) stat /var", "allow", ("web.allow.fetch",)),
    (PRIYA, "(sftp) stat /etc", "deny", ()),
    (ADA, "(sftp) rm /x", "allow", ("web.allow.all",)),
    (ADA, "(sftp) rename /a /b", "allow", ("web.allow.all",)),
    (ADA, "(sftp) edit /a", "allow", ("web.allow.all",)),
    (ADA, "(sftp) get /x/secret/y", "deny", ("web.deny.secret",)),
    (ADA, "(sftp) symlink /x/secret/y /tmp/l", "deny", ("web.deny.secret",)),
    # it could be fetched under its new name
    (ADA, "(sftp) rename /var/log/auth.log /tmp/x", "hold", ("web.hold.auth",)),
    (ADA, "scp -t /tmp/x", "deny", ("web.deny.secret",)),  # a directory of that name may be in it
    (ADA, "scp -f /x", "deny", ("web.deny.scp",)),
    (MO, "scp -t /tmp/x", "deny", ("web.deny.secret",)),
    (MO, "scp -r -f /tmp/x", "deny", ("web.deny.secret",)),
    (PRIYA, "scp -f /var/log/syslog", "allow", ("web.allow.fetch",)),
    (PRIYA, "scp -f /var/log/auth.log", "hold", ("web.hold.auth",)),
    (PRIYA, "scp -f /etc/passwd", "deny", ()),
    (PRIYA, "scp -f out/x", "hold", ("web.hold.auth",)),  # nobody knows where the home is
])  # fmt: skip
def test_files(who: object, text: str, verdict: str, rules: tuple[str, ...]) -> None:
    decision = decide(who, text)
    assert (decision.verdict, decision.rules) == (verdict, rules), decision.why


def test_a_copys_far_end_is_opened_as_a_command_or_as_a_transfer() -> None:
    put = commands.classes(b"scp -t /tmp/x")
    assert put == {"exec", "upload", "scp"}
    assert uncovered(put, ["exec"]) == uncovered(put, ["upload"]) == []
    assert uncovered(put, ["download"])
    sync = commands.classes(b"rsync --server --delete -logDtpre.iLsfxCIvu . /srv/x/")
    assert sync == {"exec", "interpreter", "upload", "remove", "rsync"}
    assert uncovered(put, ["scp"])
    assert uncovered(sync, ["upload"]) == ["remove"]
    assert uncovered(sync, ["exec", "interpreter"]) == uncovered(sync, ["upload", "remove"]) == []
    assert uncovered(commands.classes(b"scp -t /tmp/x; id"), ["upload"]) == ["exec"]


def test_the_opening_waits_for_what_is_not_known_yet() -> None:
    rules = """
    targets = ["*"]
    allow.x = { do = ["upload"], when = "op.path.startsWith('/srv/')" }
    deny.y = { do = ["upload"], when = "op.path == '/srv/y'" }
    deny.z = { do = ["sftp"], who = ["user:mo"] }
    """
    snapshot = PolicySnapshot.load({"web.toml": rules}, {"web1": WEB}, bytes(32))

    def verdict(who: object, text: str) -> str:
        return snapshot.decide(who, WEB, commands.operation(text, "deploy"), 0.0).verdict

    assert verdict(PRIYA, "(sftp)") == "allow"
    assert verdict(PRIYA, "(sftp) put /srv/x") == "allow"
    assert verdict(PRIYA, "(sftp) put /srv/y") == "deny"
    assert verdict(PRIYA, "(sftp) put /etc/x") == "deny"
    assert verdict(MO, "(sftp)") == "deny"


def test_rules_with_paths_open_no_commands() -> None:
    rules = 'targets = ["*"]\nallow.x = { do = ["exec", "download", "scp"], paths = ["**"] }\n'
    snapshot = PolicySnapshot.load({"web.toml": rules}, {"web1": WEB}, bytes(32))
    assert snapshot.decide(PRIYA, WEB, commands.operation("ls", "deploy"), 0.0).verdict == "deny"
    assert snapshot.decide(PRIYA, WEB, commands.operation("scp -f /x", "deploy"), 0.0).verdict == "allow"


def test_a_mistaken_pattern_is_named() -> None:
    with pytest.raises(ConfigErrors) as raised:
        PolicySnapshot.load(
            {"w.toml": 'targets = ["*"]\nallow.x = { do = ["download"], paths = ["a"] }'}, {}, bytes(32)
        )
    assert "'a' is no path: it begins with /, ~/ or **/" in str(raised.value)


def test_scopes_of_a_token_narrow_transfers() -> None:
    snapshot = PolicySnapshot.load({"web.toml": RULES}, {"web1": WEB}, bytes(32))
    narrow = identity("user:ada", ("admins",), ("do:download",))
    for text, verdict in (("(sftp)", "allow"), ("(sftp) get /x", "allow"), ("(sftp) put /x", "deny")):
        assert snapshot.decide(narrow, WEB, commands.operation(text, "deploy"), 0.0).verdict == verdict


@pytest.mark.parametrize(("path", "expected"), [
    ("/", "/"), ("//etc//x/", "/etc/x"), ("/a/../../b", "/b"), ("x", "~/x"), (".", "~"), ("~/x/./y", "~/x/y"), ("~", "~"),
])  # fmt: skip
def test_paths_are_written_one_way(path: str, expected: str) -> None:
    assert files.normal(path) == expected


@pytest.mark.parametrize(
    "text", ["(sftp) get", "(sftp) get a b", "(sftp) rename a", "(sftp) fly a", "(sftp) get 'a", "x get a"]
)
def test_what_is_no_transfer_is_none(text: str) -> None:
    assert files.spoken(text, "deploy") is None


def test_a_directory_is_renamed_with_all_that_is_in_it() -> None:
    snapshot = PolicySnapshot.load({"web.toml": RULES}, {"web1": WEB}, bytes(32))
    moved = files.facts("rename", ("/var", "/tmp/x"), "/home/d", tree=True)
    operation = Operation("ssh", files.ACTIONS["rename"].words, "", facts={"login": "deploy", **moved})
    decision = snapshot.decide(ADA, WEB, operation, 0.0)
    assert (decision.verdict, decision.rules) == ("deny", ("web.deny.secret",))


def test_paths_hold_a_copys_command_only_as_it_is_written_and_a_rule_must_say_so() -> None:
    rules = """
    targets = ["*"]
    allow.x = { do = ["upload"], paths = ["/srv/in/**"] }
    allow.y = { do = ["upload", "rsync"], paths = ["/srv/sync/**"] }
    deny.z = { do = ["scp"], who = ["user:mo"], why = "use sftp" }
    """
    snapshot = PolicySnapshot.load({"web.toml": rules}, {"web1": WEB}, bytes(32))

    def verdict(who: object, text: str) -> str:
        return snapshot.decide(who, WEB, commands.operation(text, "deploy"), 0.0).verdict

    assert verdict(PRIYA, "(sftp) put /srv/in/x") == "allow"
    assert verdict(PRIYA, "scp -t /srv/in/x") == "deny"
    assert verdict(PRIYA, "rsync --server -re.x . /srv/in/x") == "deny"
    assert verdict(PRIYA, "rsync --server -re.x . /srv/sync/x") == "allow"
    assert verdict(PRIYA, "scp -t /srv/sync/x") == "deny"
    found = snapshot.explain(PRIYA, WEB, commands.operation("scp -t /srv/in/x", "deploy"), 0.0).findings
    assert "with scp in do they are as written" in found[0].because
    assert verdict(MO, "scp -t /x") == "deny"
