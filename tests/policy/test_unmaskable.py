"""What masks of streams cannot look into: refused under them, unless the mask lets it pass, or glass is broken."""

import attrs
import pytest

from hoopd.config.structure import ConfigErrors
from hoopd.policy import commands, unmaskable
from hoopd.policy.snapshot import PolicySnapshot
from hoopd.policy.testing import identity
from hoopd.values import Opening, Operation, Target

WEB = Target(name="web1", protocol="ssh", host="h", port=22, username="deploy", credential="")
PRIYA = identity("user:priya", ("ops",))
FINN = identity("user:finn", ("ops", "fraud"))
POLICY = """
targets = ["web1"]
mask.card = { detect = ["card"], except = ["group:fraud"]MORE }
allow.ops = { who = ["group:ops"], do = ["exec", "shell", "download", "upload", "opaque", "interpreter", "forward-local", "sftp"] }
break_glass.oncall = { who = ["group:ops"], skip = ["masks"] }
"""
FORWARD = Operation("ssh", frozenset({"forward-local"}), "forward to db:5432", facts={"login": "deploy"})


def snapshot(more: str = "", mode: str = "enforce") -> PolicySnapshot:
    return PolicySnapshot.load(
        {"web.toml": POLICY.replace("MORE", more)}, {"web1": attrs.evolve(WEB, mode=mode)}, bytes(32)
    )


def operation(text: str) -> Operation:
    return FORWARD if text == "-L" else commands.operation(text, "deploy")


@pytest.mark.parametrize(
    "text",
    [
        "(sftp) get /x", "scp -f /x", "scp /x other:", "rsync --server --sender -e.L . /x", "rsync --server -e.L . /x",
        "git-upload-pack /srv/repo", "cd /srv && git-upload-archive repo", "sudo rsync --server --sender . /x", "-L",
        "/usr/lib/openssh/sftp-server",
    ],
)  # fmt: skip
def test_files_and_forwards_are_refused_under_masks(text: str) -> None:
    asked = operation(text)
    decision = snapshot().decide(PRIYA, WEB, asked, 0)
    assert (decision.verdict, decision.rules) == ("deny", ("web.mask.card",)), decision
    assert 'transfers = "pass"' in decision.hint
    # who sees values in clear may have them, and so may everybody if the mask says so
    assert snapshot().decide(FINN, WEB, asked, 0).verdict == "allow"
    assert snapshot(', transfers = "pass"').decide(PRIYA, WEB, asked, 0).verdict == "allow"
    assert not unmaskable.shows(asked)


@pytest.mark.parametrize(
    "text", ["cat /x", "(shell)", "tar c /x", "git log", "rsync a b", "(sftp) put /x", "scp -t /x", "(sftp) ls /"]
)
def test_everything_else_is_not(text: str) -> None:
    assert snapshot().decide(PRIYA, WEB, operation(text), 0).verdict == "allow"


def test_observation_says_what_would_be_refused() -> None:
    observed = attrs.evolve(WEB, mode="observe")
    decision = snapshot(mode="observe").decide(PRIYA, observed, operation("(sftp) get /x"), 0)
    assert (decision.verdict, decision.observed) == ("allow", "deny")
    policy = snapshot(mode="observe")
    assert policy.masks(PRIYA, observed, 0) == ()
    assert [mask.rule for mask in policy.observed_masks(PRIYA, observed, 0)] == ["web.mask.card"]


def test_broken_glass_lets_them_pass() -> None:
    opening = Opening(
        "G-1", "user:priya", None, "web1", "web.break_glass.oncall", ("masks",), "INC-1", 0.0, 100.0, None
    )
    policy = snapshot()
    assert policy.decide(PRIYA, WEB, operation("(sftp) get /x"), 1, opening).verdict == "allow"
    assert policy.decide(PRIYA, WEB, operation("(sftp) get /x"), 101, opening).verdict == "deny"


def test_limits_of_output_and_time_are_obligations() -> None:
    text = 'targets = ["web1"]\nallow.x = { do = ["exec"], max_bytes = "1MiB", max_time = "5s" }\n'
    policy = PolicySnapshot.load({"web.toml": text}, {"web1": WEB}, bytes(32))
    limits = policy.decide(PRIYA, WEB, operation("ls"), 0).limits
    assert (limits.max_bytes, limits.max_time, limits.bytes_rule) == (1 << 20, 5.0, "web.allow.x")


@pytest.mark.parametrize("limit", ["max_rows = 5", "max_changes = 5"])
def test_limits_of_rows_are_not(limit: str) -> None:
    with pytest.raises(ConfigErrors, match="cannot be kept, and web1 is an SSH host"):
        PolicySnapshot.load(
            {"web.toml": f'targets = ["*"]\nallow.x = {{ do = ["exec"], {limit} }}\n'}, {"web1": WEB}, bytes(32)
        )


def test_transfers_are_a_word_of_masks_on_ssh_hosts() -> None:
    with pytest.raises(ConfigErrors, match="is about SSH hosts"):
        PolicySnapshot.load(
            {"db.toml": 'targets = ["*"]\nmask.x = { columns = ["a.b"], transfers = "pass" }\n'}, {}, bytes(32)
        )
