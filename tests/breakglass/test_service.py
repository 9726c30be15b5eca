"""One use of break glass from opening to review, on a clock and a store of the test's own."""

from __future__ import annotations

import itertools
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopd.audit.memory import MemoryLedger
from hoopd.audit.pending import Pending
from hoopd.audit.tables import MIGRATIONS as AUDIT
from hoopd.breakglass.service import REMIND, BreakGlass
from hoopd.breakglass.tables import MIGRATIONS
from hoopd.errors import Denied, RecordError
from hoopd.notices.memory import MemoryNotices
from hoopd.policy.snapshot import PolicySnapshot
from hoopd.policy.testing import identity
from hoopd.store.memory import MemoryStore
from hoopd.values import HeldOperation, HoldTerms, Identity, Opening, Target

TARGETS = {"orders": Target("orders", "postgres", "db", 5432), "other": Target("other", "postgres", "db", 5432)}
ANN = identity("user:ann", ("eng", "oncall"))
LEA = identity("user:lea", ("leads",))
AUDITOR = evolve(identity("user:aud"), duties=frozenset({"auditor"}))
POLICY = """
targets = ["orders", "other"]
mask.card = { columns = ["*.card"] }
allow.all = { who = ["group:eng"], do = ["read", "write"] }
hold.write = { do = ["write"], by = ["group:leads"] }
deny.drop = { do = ["drop"] }
break_glass.sre = { who = ["group:oncall"], for = "30m", notify = "security", review = "24h" }
"""


class BreakGlassTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.store = MemoryStore((*AUDIT, *MIGRATIONS))
        self.ledger = MemoryLedger()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.notices = MemoryNotices()
        self.pushed: list[list[Opening]] = []
        self.locks: set[str] = set()
        self.numbers = itertools.count(1)
        self.policy = self.load(POLICY)
        self.glass = self.begin()

    @staticmethod
    def load(text: str) -> PolicySnapshot:
        return PolicySnapshot.load({"p.toml": text}, TARGETS, bytes(32))

    def begin(self) -> BreakGlass:
        """A broker starts."""
        self.pending = Pending(self.store, self.ledger, self.clock, self.event)
        glass = BreakGlass(
            self.store,
            self.pending,
            self.clock,
            policy=lambda: self.policy,
            new_id=lambda: f"G-{next(self.numbers)}",
            locked=lambda name: succeed(name in self.locks),
            event=self.event,
            notices=self.notices,
            changed=self.pushed.append,
        )
        self.successResultOf(Deferred.fromCoroutine(glass.start()))
        return glass

    def event(self, name: str, fields: dict[str, Any]) -> None:
        self.events.append((name, fields))

    def open(self, who: Identity = ANN, target: str = "orders", reason: str = "INC-1") -> Any:
        return self.successResultOf(self.glass.open(who, target, reason))

    def refused(self, deferred: Any, error: Any = Denied) -> str:
        return str(self.failureResultOf(deferred, error).value)

    def held(self, opening: Opening, *skipped: str, **more: Any) -> HeldOperation:
        terms: tuple[HoldTerms, ...] = ()
        made = HeldOperation(
            "S-1", "postgres", b"UPDATE", b"", "", "UPDATE …", ("write",), (), None, terms, self.policy.version,
            skipped or ("p.hold.write",), opening.id,
        )  # fmt: skip
        return evolve(made, **more)

    def told(self) -> list[tuple[str, str]]:
        return [(each.kind, each.title) for each, _ in self.notices.posted]

    def leaves(self) -> list[str]:
        return [fields["event"] for fields in self.ledger.of("break-glass")]

    # -- opening ---------------------------------------------------------------------------------------------

    def test_an_opening_is_in_ledger_log_and_told_before_it_is_answered(self) -> None:
        use = self.open()
        self.assertEqual((use.opening.until, use.review_due), (2800.0, 2800.0 + 86400))
        self.assertEqual(self.leaves(), ["opened"])
        self.assertEqual(self.ledger.of("break-glass")[0]["reason"], "INC-1")
        self.assertEqual([name for name, _ in self.events], ["break-glass.opened"])
        self.assertEqual(self.told(), [("break-glass.opened", "user:ann breaks glass on orders for 30 min: INC-1")])
        self.assertEqual(self.notices.posted[0][1], ("security",))
        self.assertEqual(self.pushed, [[use.opening]])
        # asked again, it is the same one, and not longer
        self.clock.advance(60)
        self.assertEqual(self.open(reason="again"), use)
        self.assertNotEqual(self.open(target="other").id, use.id)

    def test_who_may_not(self) -> None:
        bot = evolve(identity("agent:bot", ("eng", "oncall")))
        narrow = evolve(ANN, scopes=("target:other",))
        for who, target in (
            (identity("user:bob", ("eng",)), "orders"),
            (bot, "orders"),
            (narrow, "orders"),
            (ANN, "no"),
        ):
            said = self.refused(self.glass.open(who, target, "why"))
            self.assertEqual(said, f"no break_glass rule gives {who.name} a right on '{target}'")
        # in the group, and nothing is open to it there at all
        self.assertIn(
            "no break_glass rule", self.refused(self.glass.open(identity("user:x", ("oncall",)), "orders", "y"))
        )
        self.assertEqual(self.leaves(), [])
        for reason in ("", "  ", "x" * 5000, "a\x1b[2Jb", "\u202e"):
            self.refused(self.glass.open(ANN, "orders", reason), ValueError)

    def test_without_a_ledger_it_does_not_open(self) -> None:
        self.ledger.broken = RecordError("disk full")
        self.refused(self.glass.open(ANN, "orders", "INC-1"), RecordError)
        self.assertEqual(self.glass.openings(), [])
        (use,) = self.successResultOf(self.glass.find(ANN))
        self.assertEqual(use.ended_why, "it could not be written into the ledger")
        # and what happened reaches the ledger when it is back
        self.ledger.broken = None
        self.clock.advance(6)
        self.assertEqual(self.leaves(), ["opened", "ended"])

    # -- letting pass ----------------------------------------------------------------------------------------

    def test_each_operation_that_passes_is_a_leaf_first(self) -> None:
        opening = self.open().opening
        self.successResultOf(self.glass.skip(ANN, "orders", self.held(opening)))
        self.successResultOf(self.glass.skip(ANN, "orders", self.held(opening)))
        self.assertEqual(self.leaves(), ["opened", "skipped", "skipped"])
        self.assertEqual(self.ledger.of("break-glass")[1]["skipped"], ["p.hold.write"])
        self.assertEqual(self.successResultOf(self.glass.show(opening.id, ANN)).skipped, 2)

    def test_a_worker_cannot_have_more_pass_than_the_rule_lets(self) -> None:
        opening = self.open().opening
        bob = identity("user:bob", ("eng", "oncall"))
        for who, target, held in (
            (ANN, "orders", self.held(opening, "p.deny.drop")),
            (ANN, "orders", self.held(opening, "p.hold.write", "p.mask.card")),
            (ANN, "orders", self.held(opening, "no.such.rule")),
            (ANN, "orders", evolve(self.held(opening), skipped=())),
            (ANN, "orders", self.held(opening, break_glass="G-9")),
            (ANN, "orders", self.held(opening, policy="old")),
            (ANN, "other", self.held(opening)),
            (bob, "orders", self.held(opening)),
            (evolve(ANN, groups=frozenset({"eng"})), "orders", self.held(opening)),
        ):
            self.refused(self.glass.skip(who, target, held))
        self.assertEqual(self.leaves(), ["opened"])

    def test_without_a_ledger_nothing_passes(self) -> None:
        opening = self.open().opening
        self.ledger.broken = RecordError("disk full")
        self.refused(self.glass.skip(ANN, "orders", self.held(opening)), RecordError)

    # -- its ends --------------------------------------------------------------------------------------------

    def test_it_ends_by_time(self) -> None:
        opening = self.open().opening
        self.clock.advance(1799)
        self.successResultOf(self.glass.skip(ANN, "orders", self.held(opening)))
        self.clock.advance(1)
        self.refused(self.glass.skip(ANN, "orders", self.held(opening)))
        self.assertEqual(self.leaves(), ["opened", "skipped", "ended"])
        self.assertEqual(self.pushed[-1], [])
        (closed, review) = self.told()[-2:]
        self.assertEqual(closed[1], "break glass of user:ann on orders has ended (its time is over); let pass: 1")
        self.assertIn("is to be reviewed by group:leads or an auditor", review[1])

    def test_its_other_ends(self) -> None:
        stranger = identity("user:bob", ("eng",))
        token = evolve(ANN, proof="token:abc")
        for end in (
            lambda use: self.glass.close(use.id, ANN),
            lambda use: self.glass.close(use.id, LEA, "enough"),
            lambda use: self.glass.close(use.id, evolve(stranger, duties=frozenset({"administrator"}))),
            lambda use: self.glass.close_on(ANN, "orders"),
            lambda use: self.glass.revoked("user:ann", "", "disabled"),
            lambda use: self.glass.revoked("user:ann", "abc", "token abc was revoked"),
        ):
            use = self.open(token)
            self.refused(self.glass.close(use.id, stranger), KeyError)
            self.successResultOf(self.glass.revoked("user:bob", "", "disabled"))
            self.successResultOf(self.glass.revoked("user:ann", "other", "token other was revoked"))
            self.assertEqual(self.glass.openings(), [use.opening])
            self.successResultOf(end(use))
            self.assertEqual(self.glass.openings(), [])
            self.refused(self.glass.skip(ANN, "orders", self.held(use.opening)))

    def test_over_a_restart(self) -> None:
        kept, gone = self.open().opening, self.open(target="other").opening
        self.glass.stop()
        self.policy = self.load(POLICY.replace('targets = ["orders", "other"]', 'targets = ["orders"]'))
        self.glass = self.begin()
        self.assertEqual(self.glass.openings(), [kept])
        why = self.successResultOf(self.glass.show(gone.id, ANN)).ended_why
        self.assertEqual(why, "the policy gives no such right any more: p.break_glass.sre")
        self.glass.stop()
        self.locks.add("user:ann")
        self.glass = self.begin()
        self.assertEqual(self.glass.openings(), [])

    # -- reviews ---------------------------------------------------------------------------------------------

    def test_reviews_are_closed_by_somebody_else(self) -> None:
        use = self.open()

        def review(who: Identity, verdict: Any = "ok", said: str = "as told") -> Any:
            return self.glass.review(use.id, who, verdict, said)

        self.assertIn("is still open", self.refused(review(LEA)))
        self.successResultOf(self.glass.close(use.id, ANN))
        double = evolve(identity("user:Ann", ("leads",)))
        for who, said in (
            (evolve(ANN, groups=frozenset({"leads"})), "themselves"),
            (double, "themselves"),
            (identity("agent:x", ("leads",)), "agents do not review"),
            (evolve(LEA, act="user:ann"), "nobody through one"),
            (identity("user:bob", ("eng",)), "none of those who review this: group:leads or an auditor"),
        ):
            self.assertIn(said, self.refused(review(who)))
        self.refused(review(LEA, "fine"), ValueError)
        self.refused(review(LEA, "ok", " "), ValueError)
        self.assertEqual(self.successResultOf(review(AUDITOR, "misuse", "read mail")).verdict, "misuse")
        self.assertEqual(self.events[-1][0], "break-glass.misuse")
        self.assertIn("already", self.refused(review(LEA)))
        self.assertEqual(self.leaves(), ["opened", "ended", "reviewed"])

    def test_named_reviewers_are_the_only_ones(self) -> None:
        self.policy = self.load(POLICY.replace('review = "24h"', 'review = "24h", review_by = ["user:rea"]'))
        use = self.open()
        self.successResultOf(self.glass.close(use.id, ANN))
        for who in (LEA, AUDITOR):
            self.refused(self.glass.review(use.id, who, "ok", "fine"))
        self.successResultOf(self.glass.review(use.id, identity("user:rea"), "ok", "fine"))

    def test_the_right_lapses_while_a_review_is_overdue(self) -> None:
        use = self.open()
        self.clock.advance(1800)
        self.clock.advance(86400 - 10)
        other = self.open(target="other")
        self.clock.advance(10)
        self.assertIn("overdue", self.leaves())
        told = [title for kind, title in self.told() if kind == "break-glass.overdue"]
        self.assertEqual(len(told), 1)
        self.assertIn("may not break glass until group:leads or an auditor closes it", told[0])
        # what was in use ends too
        self.assertEqual(self.successResultOf(self.glass.show(other.id, ANN)).ended_why, "the review of G-1 is overdue")
        failure = self.failureResultOf(self.glass.open(ANN, "orders", "INC-2"), Denied).value
        self.assertEqual(failure.why, "break glass has lapsed for user:ann: the review of G-1 is overdue")
        self.assertIn("hoopctl break-glass review G-1", failure.hint)
        # others go on, somebody is reminded each day, and a restart does not begin that anew
        self.open(identity("user:cy", ("eng", "oncall")))
        count = self.leaves().count("overdue")
        self.glass.stop()
        self.glass = self.begin()
        self.assertEqual(self.leaves().count("overdue"), count)
        self.clock.advance(REMIND)
        self.assertGreater(self.leaves().count("overdue"), count)
        self.successResultOf(self.glass.review(use.id, LEA, "ok", "late"))
        self.successResultOf(self.glass.review(other.id, LEA, "ok", "fine"))
        self.open()

    def test_who_sees_what(self) -> None:
        use = self.open()
        for who, seen in ((ANN, 1), (LEA, 1), (AUDITOR, 1), (identity("user:bob", ("eng",)), 0)):
            self.assertEqual(len(self.successResultOf(self.glass.find(who))), seen)
        self.failureResultOf(self.glass.show(use.id, identity("user:bob")), KeyError)
