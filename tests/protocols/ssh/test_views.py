"""What each sees of a stream, as policy has it at each moment: exceptions, observation, emergencies, and other rules."""

from __future__ import annotations

import attrs
import pytest

from hoopd.masking.redactors import Redactors
from hoopd.policy import commands
from hoopd.policy.snapshot import PolicySnapshot
from hoopd.policy.testing import identity
from hoopd.protocols.ssh.views import NONE, Viewing
from hoopd.secret import Secret
from hoopd.values import Admission, Grant, Identity, Opening, Operation, Target

SECRET = Secret(b"t")
WEB = Target("web1", "ssh", "h", 22, username="deploy")
MASK = 'mask.card = { detect = ["card"], except = ["group:fraud"]MORE }'
POLICY = """
targets = ["web1"]
MASK
allow.ops = { who = ["group:ops"], do = ["exec", "shell", "opaque"] }
break_glass.oncall = { who = ["group:ops"], skip = ["masks"] }
"""
OPENING = Opening("G-1", "user:priya", None, "web1", "web.break_glass.oncall", ("masks",), "INC-1", 0.0, 100.0)
CAT = commands.operation("cat /x", "deploy")


def policy(mask: str = MASK, more: str = "") -> PolicySnapshot:
    sources = {"web.toml": POLICY.replace("MASK", mask).replace("MORE", more)}
    return PolicySnapshot.load(sources, {"web1": WEB}, bytes(32))


class Worker:
    """What L{hoopd.interfaces.IWorker} is to a view."""

    def __init__(self, rules: PolicySnapshot) -> None:
        self.policy = rules
        self.masker = Redactors(bytes(16))
        self.used: Opening | None = None

    def opening(self, identity: Identity, target: str, now: float) -> Opening | None:
        return self.used


class Moment:
    """One view, and the clock that it reads."""

    def __init__(self, worker: Worker, groups: tuple[str, ...] = ("ops",), target: Target = WEB) -> None:
        self.now = 1.0
        who = identity("user:priya", groups)
        admission = Admission("S-1", SECRET, who, target, Grant("S-1", "web1", who.name, 0.0, 60.0, SECRET), 0, 0.0)
        self.viewing = Viewing(worker, admission, lambda: self.now)

    def sees(self, operation: Operation = CAT) -> tuple[bool, bool]:
        """Whether the client sees values in clear, and the record."""
        views = self.viewing(operation)
        return views.client is None, views.record is None


def test_where_no_mask_is_nothing_is_looked_at() -> None:
    moment = Moment(Worker(policy("")))
    assert moment.viewing(CAT) is NONE
    assert moment.viewing.redacted(b"echo 4111111111111111") == b"echo 4111111111111111"


def test_client_and_record_share_one_masker_where_they_see_the_same() -> None:
    views = Moment(Worker(policy())).viewing(CAT)
    assert views.client is views.record is not None


def test_who_is_excepted_sees_values_and_the_record_does_not() -> None:
    moment = Moment(Worker(policy()), ("ops", "fraud"))
    assert moment.sees() == (True, False)
    assert moment.viewing.rules() == ()
    assert moment.viewing.redacted(b"echo 4111111111111111") == b"echo ****"


def test_on_an_observed_target_values_are_seen_and_what_would_be_is_told() -> None:
    moment = Moment(Worker(policy()), target=attrs.evolve(WEB, mode="observe"))
    assert moment.sees() == (True, False)
    assert (moment.viewing.rules(), moment.viewing.would()) == ((), ("web.mask.card",))


def test_broken_glass_shows_values_until_it_is_over() -> None:
    worker = Worker(policy())
    moment = Moment(worker)
    assert moment.sees() == (False, False)
    worker.used = OPENING
    assert moment.sees() == (True, False)
    # a shell that goes on is masked again
    moment.now = 100.0
    assert moment.sees() == (False, False)


def test_rules_that_change_count_at_once() -> None:
    worker = Worker(policy(""))
    moment = Moment(worker)
    assert moment.sees() == (True, True)
    worker.policy = policy()
    assert moment.sees() == (False, False)
    assert moment.viewing.redacted(b"4111111111111111") == b"****"
    before = moment.viewing(CAT)
    assert moment.viewing(CAT) is before


@pytest.mark.parametrize("text", ["scp -f /x", "git-upload-pack /x"])
def test_what_was_let_pass_is_not_broken_and_the_record_is_masked(text: str) -> None:
    moment = Moment(Worker(policy(more=', transfers = "pass"')))
    assert moment.sees(commands.operation(text, "deploy")) == (True, False)
    assert moment.sees() == (False, False)
