"""Duties that exclude each other: refused where they are given, worth nothing where they are held."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import execute
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from hoopd.config.schema import IdentityConfig
from hoopd.identity.bootstrap import first_duties
from hoopd.identity.directory import administrators, valid_duties
from hoopd.identity.duties import clashes, explained, given, mistakes, parted
from hoopd.identity.mapping import identity_of
from hoopd.identity.provider import Identities
from hoopd.identity.tables import MIGRATIONS
from hoopd.identity.values import VerifiedToken
from hoopd.secret import Secret
from hoopd.store.memory import MemoryStore
from hoopd.values import DUTIES, Identity, Peer, Proof
from tests.identity.issuer import ISSUER, NOW, PROVIDER, claims

CONFLICTS = (("administrator", "approver"), ("vault", "auditor"))


def test_groups_give_one_duty_or_several() -> None:
    table = {"sre": "administrator vault", "leads": "approver", "odd": "emperor"}
    assert given(table, ["sre", "leads", "odd"], "human") == {"user", "administrator", "vault", "approver"}
    assert given(table, ["sre", "leads"], "agent") == {"user", "administrator", "vault"}


@pytest.mark.parametrize(
    ("held", "clashing"),
    [
        (DUTIES, {"administrator", "approver", "vault", "auditor"}),
        (("administrator", "vault", "user"), set()),
        (("administrator", "approver", "vault"), {"administrator", "approver"}),
        ((), set()),
    ],
)
def test_what_excludes_what(held: Any, clashing: set[str]) -> None:
    assert clashes(held, CONFLICTS) == clashing
    assert clashes(held, ()) == set()
    assert clashes(("administrator", "vault"), (("administrator", "auditor", "vault"),)) == {"administrator", "vault"}


def test_a_scoped_token_cannot_pick_one_of_the_two() -> None:
    approver = Identity("ann", "human", duties=frozenset({"user", "approver"}))
    found = parted(approver, {"administrator", "approver", "user"}, CONFLICTS)
    assert (found.duties, found.withheld) == ({"user"}, {"administrator", "approver"})
    assert parted(approver, approver.duties, CONFLICTS) is approver
    assert "administrator and approver" in explained("user:ann", found.withheld)


def test_who_has_a_duty_that_excludes_the_use_of_targets_keeps_it() -> None:
    conflicts = (("user", "administrator", "vault"), ("administrator", "approver"))
    assert clashes(("user", "administrator"), conflicts) == {"user"}
    assert clashes(("user", "approver"), conflicts) == set()
    assert clashes(("user", "administrator", "vault"), conflicts) == {"user", "administrator", "vault"}
    assert clashes(("user", "administrator", "approver"), conflicts) == {"user", "administrator", "approver"}
    administrator = Identity("adam", "human", duties=frozenset({"user", "administrator"}))
    found = parted(administrator, administrator.duties, conflicts)
    assert (found.duties, found.withheld) == ({"administrator"}, {"user"})
    assert "excludes the use of targets" in explained("user:adam", found.withheld)
    assert valid_duties(["administrator"], "human", conflicts) == ("administrator", "user")
    with pytest.raises(ValueError, match="administrator and vault exclude"):
        valid_duties(["administrator", "vault"], "human", conflicts)


def test_two_groups_of_a_provider() -> None:
    dutiful = evolve(PROVIDER, duties={"eng": "approver", "ops": "administrator"}, scopes_claim="scope")
    token = claims(groups=["eng", "ops"], scope="do:read duty:approver")
    found = identity_of(VerifiedToken("corp", ISSUER, token, NOW + 300.0), dutiful, float(NOW), CONFLICTS)
    assert (found.duties, found.withheld) == ({"user"}, {"administrator", "approver"})


def test_mistakes() -> None:
    assert mistakes(CONFLICTS) == []
    assert "no duty" in mistakes([["administrator", "emperor"]])[0]
    assert "fewer than two" in mistakes([["vault", "vault"]])[0]
    assert mistakes([["user", "vault"]]) == []


def test_the_first_administrator_fills_the_vault_unless_that_is_kept_apart() -> None:
    assert first_duties(CONFLICTS) == ("administrator", "vault")
    assert first_duties([("vault", "administrator")]) == ("administrator",)


class GrantTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.store = MemoryStore(MIGRATIONS)
        self.before = self.identities()
        self.now = self.identities(CONFLICTS)
        self.ok(self.before.add("user:both", "x", [], ["administrator", "approver"]))
        self.ok(self.before.add("user:ann", "x", [], ["administrator"]))
        self.ok(self.before.add("user:lee", "x", ["leads"], ["approver"]))

    def identities(self, conflicts: Any = ()) -> Identities:
        return Identities(self.store, None, IdentityConfig(), self.clock, b"p" * 32, execute, conflicts=conflicts)

    def ok(self, deferred: Any) -> Any:
        return self.successResultOf(deferred)

    def test_are_not_given_together(self) -> None:
        for deferred in (
            self.now.add("user:new", "user:ann", [], ["vault", "auditor"]),
            self.now.set_duties("user:lee", ["approver", "administrator"], "user:ann"),
        ):
            self.assertIn("exclude each other", str(self.failureResultOf(deferred, ValueError).value))
        self.assertEqual(
            self.ok(self.now.set_duties("user:lee", ["administrator"], "user:ann")).duties[0], "administrator"
        )

    def test_nobody_swaps_one_for_the_other_alone(self) -> None:
        failure = self.failureResultOf(self.now.set_duties("user:ann", ["approver"], "user:ann"), ValueError)
        self.assertIn("another administrator", str(failure.value))
        self.ok(self.now.set_duties("user:ann", ["administrator", "vault"], "user:ann"))
        self.ok(self.now.set_duties("user:ann", ["approver"], "user:root"))

    def test_held_from_before_they_do_not_count(self) -> None:
        password = Secret("correct horse battery")
        self.ok(self.now.set_password("user:both", password, "x"))
        proof = Proof("both", password, Peer("127.0.0.1", 1, True))
        found = self.ok(self.now.authenticate(proof))
        self.assertEqual((found.duties, found.withheld), ({"user"}, {"administrator", "approver"}))
        _, token = self.ok(self.before.issue(found, "user:both", 60.0, ["duty:approver"]))
        found = self.ok(self.now.authenticate(Proof("", token, Peer("127.0.0.1", 1, True))))
        self.assertEqual((found.duties, found.withheld), ({"user"}, {"administrator", "approver"}))
        self.assertEqual(self.ok(self.now.clashing()), {"user:both": ["administrator", "approver"]})
        self.assertFalse(self.ok(self.now.may_still_approve("user:both", [])))
        self.assertTrue(self.ok(self.now.may_still_approve("user:lee", ["leads"])))

    def test_the_way_back_in_opens_when_no_administrator_counts(self) -> None:
        self.ok(self.before.disable("user:ann", "x"))
        self.assertEqual(self.ok(self.store.transact(administrators)), ["user:both"])
        self.assertEqual(self.ok(self.store.transact(lambda tx: administrators(tx, CONFLICTS))), [])


def test_administrators_of_before_keep_the_vault() -> None:
    store = MemoryStore(MIGRATIONS[:1])
    rows = {"user:a": '["administrator", "user"]', "user:b": '["approver", "user"]', "user:c": '["user"]'}

    def work(tx: Any) -> list[Any]:
        for name, duties in rows.items():
            tx.execute("INSERT INTO identities VALUES (?, 'human', 'x', '[]', ?, NULL, 0, 'x')", (name, duties))
        tx.execute(MIGRATIONS[1][1])
        return list(tx.execute("SELECT duties FROM identities ORDER BY name"))

    found: list[Any] = []
    store.transact(work).addCallback(found.extend)
    assert found == [('["administrator", "user", "vault"]',), ('["approver", "user"]',), ('["user"]',)]
