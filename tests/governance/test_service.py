"""The rules in force over the life of a gateway: what is kept, what is told, and who is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopd.audit.events import LEAVES, publishable
from hoopd.audit.leaves import LEAF_MAX, encode_leaf
from hoopd.audit.memory import MemoryLedger
from hoopd.audit.pending import Pending
from hoopd.audit.tables import MIGRATIONS as AUDIT
from hoopd.config.structure import ConfigErrors
from hoopd.errors import Denied, RecordError
from hoopd.governance import rows
from hoopd.governance.manifest import Manifest, digests
from hoopd.governance.papers import MANIFEST, SIGNERS, Papers
from hoopd.governance.service import RuleSets, recovered
from hoopd.governance.tables import MIGRATIONS
from hoopd.policy.testing import identity
from hoopd.store.memory import MemoryStore
from hoopd.values import Identity
from tests.governance.signing import Person

ANN, OTTO = identity("user:ann", ()), identity("user:otto", ())
LEE, KIM, EVE = Person("user:lee"), Person("user:kim"), Person("user:eve")
LIST = f"{LEE.line()}\n{KIM.line()}\n"
RULES = {"a.toml": "first\n"}


def papers(settings: str = "s\n", **files: str) -> Papers:
    return Papers(settings, files)


def signed(serial: int, policies: Mapping[str, str], *people: Person, listed: str = LIST, needed: int = 2) -> Papers:
    given = Papers("s\n", {SIGNERS: listed})
    text = Manifest(serial, needed, digests(given.covered(policies))).text()
    signatures = {f"{MANIFEST}.{each.name}.sig": each.sign(text) for each in people}
    return evolve(given, manifest=text, signatures=signatures)


class RuleSetsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000.0)
        self.store = MemoryStore((*AUDIT, *MIGRATIONS))
        self.ledger = MemoryLedger()
        self.events: list[tuple[str, dict[str, Any]]] = []

    def event(self, name: str, fields: dict[str, Any]) -> None:
        assert publishable(name, fields) == fields, "every field is in the catalogue, and public"
        self.events.append((name, fields))

    def run_now(self, coroutine: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def beginning(
        self,
        policies: Mapping[str, str],
        given: Papers,
        by: str = "",
        needed: int = 0,
        authors_approve: bool = False,
    ) -> Deferred[RuleSets]:
        """A broker starts with these files."""
        pending = Pending(self.store, self.ledger, self.clock, self.event)
        made = RuleSets(self.store, pending.send, self.clock, authors_approve, self.event)

        async def work() -> RuleSets:
            endorsed = await made.judge(given, policies, needed)
            await made.begin(given, policies, needed, endorsed, "version", by, by)
            return made

        return Deferred.fromCoroutine(work())

    def begin(self, *arguments: Any, **words: Any) -> RuleSets:
        sets: RuleSets = self.successResultOf(self.beginning(*arguments, **words))
        return sets

    def refused(self, *arguments: Any, **words: Any) -> str:
        return str(self.failureResultOf(self.beginning(*arguments, **words), ConfigErrors).value)

    def leaves(self) -> list[dict[str, Any]]:
        found = self.ledger.of("policy")
        assert all(set(each) <= set(LEAVES["policy"]) for each in found)
        return found

    def confirm(self, sets: RuleSets, who: Identity, number: int) -> Any:
        return self.run_now(sets.confirm(number, who, "read it"))

    def test_a_change_is_kept_with_who_and_what(self) -> None:
        self.begin(RULES, papers(t="target\n"))
        sets = self.begin({"a.toml": "second\n"}, papers(t="target\n"), "user:ann")
        first, second = self.leaves()
        self.assertEqual((first["act"], first["number"], first["by"], first["previous"]), ("loaded", 1, "", ""))
        self.assertEqual((second["number"], second["by"], second["previous"]), (2, "user:ann", first["digest"]))
        self.assertIn("-first\n+second", second["diff"])
        self.assertEqual([each.partition(" ")[0] for each in second["changed"]], ["policies.d/a.toml"])
        self.assertEqual([name for name, _ in self.events], ["policy.changed"] * 2)
        self.assertEqual([each.number for each in self.successResultOf(sets.history())], [2, 1])
        self.assertEqual(self.successResultOf(sets.history(2))[0].number, 1)
        number, files = self.successResultOf(sets.files(1))
        self.assertEqual((number, files["policies.d/a.toml"]), (1, "first\n"))
        self.assertEqual(self.successResultOf(sets.files(0)), (0, {}))
        self.failureResultOf(sets.files(9), KeyError)

    def test_starting_again_changes_nothing(self) -> None:
        for _ in range(3):
            self.begin(RULES, papers(), "user:ann")
        self.assertEqual(len(self.leaves()), 1)

    def test_settings_alone_are_nobodys_rules(self) -> None:
        self.begin(RULES, papers(), "user:ann")
        sets = self.begin(RULES, papers("t\n"), "user:lee")
        self.assertEqual([each["rules"] for each in self.leaves()], [True, False])
        self.assertIn("user:ann's alone", sets.barred("user:ann"))
        self.assertEqual(sets.barred("user:lee"), "")
        again = self.begin(RULES, papers("t\n"))
        self.assertIn("user:ann's alone", again.barred("user:ann"), "a broker that starts again knows as much")

    def test_a_broker_that_died_before_its_leaf_sends_it_later(self) -> None:
        self.ledger.broken = RecordError("disk full")
        self.begin(RULES, papers(), "user:ann")
        self.assertEqual(self.leaves(), [])
        self.ledger.broken = None
        self.clock.advance(60.0)
        self.assertEqual(len(self.leaves()), 1, "it is tried again")
        self.begin(RULES, papers(), "user:ann")
        self.assertEqual(len(self.leaves()), 1)

    def test_large_changes_fit_their_leaf(self) -> None:
        many = {f"{number}.toml": "\x01\n" * 3000 for number in range(300)}
        self.begin(many, papers())
        (leaf,) = self.leaves()
        self.assertIn("more", leaf["diff"][-40:])
        self.assertEqual(len(leaf["diff_sha256"]), 64)
        self.assertLess(len(encode_leaf("policy", 0.0, leaf)), LEAF_MAX)

    def test_confirming(self) -> None:
        sets = self.begin(RULES, papers(), "user:ann")
        with self.assertRaisesRegex(Denied, "stands for change 1 already"):
            self.raised(sets.confirm(1, ANN, "mine"))
        with self.assertRaisesRegex(Denied, "agents confirm nothing"):
            self.raised(sets.confirm(1, identity("agent:ci", ()), "x"))
        with self.assertRaisesRegex(Denied, "nobody through one"):
            self.raised(sets.confirm(1, evolve(OTTO, act="user:ann"), "x"))
        with self.assertRaisesRegex(ValueError, "not the last change"):
            self.raised(sets.confirm(7, OTTO, "x"))
        with self.assertRaisesRegex(ValueError, "for a reason"):
            self.raised(sets.confirm(1, OTTO, " "))
        self.assertTrue(sets.barred("user:ann"))
        self.assertEqual(self.confirm(sets, OTTO, 1).people, ("user:ann", "user:otto"))
        self.assertEqual(sets.barred("user:ann"), "")
        self.assertEqual(self.leaves()[-1]["act"], "confirmed")
        self.assertEqual(self.begin(RULES, papers()).barred("user:ann"), "", "and after a restart")
        with self.assertRaisesRegex(Denied, "already"):
            self.raised(sets.confirm(1, OTTO, "again"))

    def raised(self, coroutine: Any) -> None:
        self.failureResultOf(Deferred.fromCoroutine(coroutine)).raiseException()

    def test_agents_are_nobodys_word(self) -> None:
        sets = self.begin(RULES, papers())
        asked: list[tuple[str, str]] = []

        async def ask(by: str, author: str) -> None:
            asked.append((by, author))

        for who in (identity("agent:ci", ()), evolve(identity("agent:ci", ()), act="user:lee"), ANN):
            self.run_now(sets.reload(who, ask))
        self.assertEqual(asked, [("agent:ci", ""), ("agent:ci", ""), ("user:ann", "user:ann")])

    def test_a_refused_reload_is_on_record(self) -> None:
        sets = self.begin(RULES, papers())

        async def ask(by: str, author: str) -> None:
            raise ValueError("policies.d/a.toml is not what policy.manifest names: it was changed")

        with self.assertRaisesRegex(ValueError, "it was changed"):
            self.raised(sets.reload(ANN, ask))
        self.assertEqual((self.leaves()[-1]["act"], self.leaves()[-1]["by"]), ("refused", "user:ann"))
        self.assertIn("it was changed", self.events[-1][1]["why"])

    def test_off_by_default(self) -> None:
        self.assertEqual(self.begin(RULES, papers(), "user:ann", authors_approve=True).barred("user:ann"), "")

    def test_signed_rules(self) -> None:
        sets = self.begin(RULES, signed(4, RULES, LEE, KIM), "user:ann", needed=2)
        self.assertEqual((self.leaves()[0]["serial"], self.leaves()[0]["signers"]), (4, ["user:kim", "user:lee"]))
        self.assertEqual(sets.barred("user:ann"), "", "two signed what ann loaded")
        changed = {"a.toml": "other\n"}
        self.assertIn("of those user:lee did", self.refused(changed, signed(5, changed, LEE), needed=2))
        self.assertIn("4 was taken before", self.refused(changed, signed(3, changed, LEE, KIM), needed=2))
        self.assertIn("was changed", self.refused(changed, signed(4, RULES, LEE, KIM), needed=2))
        self.assertIn("taking policy.signatures away needs", self.refused(changed, papers(), needed=0))
        self.assertEqual(len(self.leaves()), 1)
        self.begin(changed, signed(5, changed, LEE, KIM), needed=2)
        self.assertIn("5 was taken before", self.refused(RULES, signed(4, RULES, LEE, KIM), needed=2))

    def test_taking_the_signatures_away_is_signed_too(self) -> None:
        self.begin(RULES, signed(1, RULES, LEE, KIM), needed=2)
        self.begin(RULES, signed(2, RULES, LEE, KIM, needed=0), needed=0)
        self.begin({"a.toml": "anything\n"}, papers(), needed=0)
        self.assertIn("2 was taken before", self.refused(RULES, signed(1, RULES, LEE, KIM), needed=2))

    def test_recovery(self) -> None:
        def forget() -> bool:
            done = self.store.transact(lambda tx: recovered(tx, "root on the machine", "kim lost both keys"))
            return bool(self.successResultOf(done))

        self.assertFalse(forget(), "nothing to forget")
        self.begin(RULES, signed(1, RULES, LEE, KIM), needed=2)
        others = f"{LEE.line()}\n{EVE.line()}\n"
        fresh = signed(2, RULES, LEE, EVE, listed=others)
        self.assertIn("by the list of manifest 1", self.refused(RULES, fresh, needed=2))
        self.assertTrue(forget())
        self.assertIn("1 was taken before", self.refused(RULES, signed(1, RULES, LEE, EVE, listed=others), needed=2))
        self.begin(RULES, fresh, needed=2)
        acts = [(each["act"], each.get("by"), each.get("why")) for each in self.leaves()]
        self.assertEqual(acts[1], ("recovered", "root on the machine", "kim lost both keys"))
        accepted = self.successResultOf(self.store.transact(rows.accepted))
        self.assertEqual((accepted.serial, accepted.needed, accepted.signers), (2, 2, others))
