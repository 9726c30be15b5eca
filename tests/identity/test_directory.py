"""Administration of local identities and tokens: who may issue what, and who hears of changes."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import execute
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from hoopd.config.schema import IdentityConfig
from hoopd.errors import Denied
from hoopd.identity.directory import Directory
from hoopd.identity.tables import MIGRATIONS
from hoopd.identity.values import Revocation
from hoopd.secret import Secret
from hoopd.store.memory import MemoryStore
from hoopd.values import Identity

NOW = 1_800_000_000.0
ADMIN = Identity("root", "human", duties=frozenset({"user", "administrator"}), proof="password")
ANN = Identity("ann", "human", proof="password")
CI = Identity("ci", "agent", proof="token:x", expires_at=NOW + 1000)


class DirectoryTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.directory = Directory(MemoryStore(MIGRATIONS), IdentityConfig(), self.clock, b"p" * 32, threads=execute)
        self.heard: list[Revocation] = []
        for name in ("user:ann", "user:bob", "agent:ci"):
            self.ok(self.directory.add(name, "user:root"))
        self.directory.observe(self.heard.append)

    def ok(self, deferred: Any) -> Any:
        return self.successResultOf(deferred)

    def fails(self, deferred: Any, kind: Any, text: str = "") -> None:
        failure = self.failureResultOf(deferred, kind)
        self.assertIn(text, str(failure.value))

    # -- identities ---------------------------------------------------------------------------------------------

    def test_add_and_list(self) -> None:
        added = self.ok(self.directory.add("user:zoe", "user:root", ["b", "a"], ["approver"]))
        self.assertEqual((added.groups, added.duties, added.kind), (("a", "b"), ("approver", "user"), "human"))
        self.assertEqual((added.password, added.disabled, added.created_by), (False, False, "user:root"))
        self.ok(self.directory.set_password("user:zoe", Secret("correct horse battery"), "user:root"))
        self.ok(self.directory.disable("user:zoe", "user:root"))
        listed = self.ok(self.directory.identities())
        self.assertEqual([one.name for one in listed], ["agent:ci", "user:ann", "user:bob", "user:zoe"])
        self.assertEqual((listed[-1].password, listed[-1].disabled), (True, True))

    def test_what_cannot_be_added(self) -> None:
        self.fails(self.directory.add("user:ann", "user:root"), ValueError, "already")
        self.fails(self.directory.add("ann", "user:root"), ValueError)
        self.fails(self.directory.add("user:x", "user:root", ["a\n"]), ValueError)
        self.fails(self.directory.add("user:x", "user:root", [], ["emperor"]), ValueError)
        self.fails(self.directory.add("agent:x", "user:root", [], ["approver"]), ValueError, "approves nothing")

    def test_agents_have_no_password_and_approve_nothing(self) -> None:
        self.fails(self.directory.set_password("agent:ci", Secret("x" * 20), "user:root"), ValueError, "token")
        self.fails(self.directory.set_duties("agent:ci", ["approver"], "user:root"), ValueError)
        self.assertEqual(self.ok(self.directory.set_duties("agent:ci", ["auditor"], "x")).duties, ("auditor", "user"))

    def test_unknown_names(self) -> None:
        for deferred in (
            self.directory.set_groups("user:x", [], "user:root"),
            self.directory.set_duties("user:x", [], "user:root"),
            self.directory.set_password("user:x", Secret("x" * 20), "user:root"),
            self.directory.enable("user:x", "user:root"),
            self.directory.issue(ADMIN, "agent:x"),
            self.directory.revoke(ADMIN, "x"),
        ):
            self.fails(deferred, KeyError)
        self.fails(self.directory.disable("nobody", "user:root"), ValueError)
        self.assertEqual(self.heard, [])

    def test_observers_hear_of_everything_that_a_session_rests_on(self) -> None:
        entry, _ = self.ok(self.directory.issue(ADMIN, "agent:ci"))
        self.ok(self.directory.set_groups("user:ann", ["eng"], "user:root"))
        self.ok(self.directory.set_duties("user:ann", ["approver"], "user:root"))
        self.ok(self.directory.set_password("user:ann", None, "user:root"))
        self.ok(self.directory.disable("user:elsewhere", "user:root", "left the company"))
        self.ok(self.directory.revoke(ADMIN, entry.id))
        self.assertEqual([one.identity for one in self.heard], ["user:ann"] * 3 + ["user:elsewhere", "agent:ci"])
        self.assertEqual(self.heard[3].why, "left the company")
        self.assertEqual([one.token for one in self.heard], [""] * 4 + [entry.id])

    def test_an_observer_that_fails_does_not_silence_the_others(self) -> None:
        later: list[Revocation] = []
        self.directory.observe(lambda revocation: 1 / 0)
        self.directory.observe(later.append)
        self.ok(self.directory.disable("user:ann", "user:root"))
        self.assertEqual(len(later), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    # -- tokens -------------------------------------------------------------------------------------------------

    def test_lifetimes(self) -> None:
        entry, token = self.ok(self.directory.issue(ADMIN, "agent:ci"))
        self.assertEqual(entry.expires_at, NOW + 30 * 86400)
        self.assertEqual(token.reveal().split(b"_")[:2], [b"hoopd", entry.id.encode()])
        for wrong in (0, -1, 366 * 86400 + 1, float("nan")):
            self.fails(self.directory.issue(ADMIN, "agent:ci", lifetime=wrong), ValueError)

    def test_administrators_issue_for_agents_and_not_for_people(self) -> None:
        self.ok(self.directory.issue(ADMIN, "agent:ci", act="user:ann", scopes=["do:read"]))
        self.fails(self.directory.issue(ADMIN, "user:ann"), Denied, "that person alone")
        self.fails(self.directory.issue(ADMIN, "agent:ci", act="ann"), ValueError)
        self.fails(self.directory.issue(ADMIN, "agent:ci", scopes=[]), ValueError)
        self.fails(self.directory.issue(ADMIN, "agent:ci", scopes=["openid"]), ValueError)

    def test_nobody_else_issues_for_others(self) -> None:
        for requester in (ANN, CI, evolve(ANN, duties=frozenset({"user", "approver", "auditor"}))):
            for name in ("user:bob", "agent:other", "user:nobody"):
                self.fails(self.directory.issue(requester, name), Denied, "only administrators")

    def test_ones_own_is_never_wider(self) -> None:
        narrow = evolve(ANN, scopes=("do:read", "target:orders-*"), proof="token:x")
        self.ok(self.directory.issue(narrow, "user:ann", scopes=["do:read", "target:orders-1"]))
        for scopes in (None, ["do:read"], ["do:write", "target:orders-1"], ["do:read", "target:*"]):
            self.fails(self.directory.issue(narrow, "user:ann", scopes=scopes), Denied, "wider")
        # an administrator with a narrow token does not make a wide one for an agent either
        self.fails(self.directory.issue(evolve(ADMIN, scopes=("duty:administrator", "do:read")), "agent:ci"), Denied)

    def test_ones_own_lives_no_longer_than_the_proof(self) -> None:
        entry, _ = self.ok(self.directory.issue(CI, "agent:ci", lifetime=86400))
        self.assertEqual(entry.expires_at, NOW + 1000)

    def test_on_whose_behalf_is_kept(self) -> None:
        acting = evolve(CI, act="user:ann")
        self.assertEqual(self.ok(self.directory.issue(acting, "agent:ci"))[0].act, "user:ann")
        self.fails(self.directory.issue(acting, "agent:ci", act="user:bob"), Denied)
        self.fails(self.directory.issue(CI, "agent:ci", act="user:bob"), Denied)

    def test_a_providers_people_get_theirs_there(self) -> None:
        self.fails(
            self.directory.issue(evolve(ANN, proof="oidc:https://id.example"), "user:ann"),
            Denied,
            "local identities only",
        )

    def test_disabled_identities_get_none(self) -> None:
        self.ok(self.directory.disable("agent:ci", "user:root"))
        self.fails(self.directory.issue(ADMIN, "agent:ci"), Denied, "disabled")

    def test_revoking(self) -> None:
        mine, _ = self.ok(self.directory.issue(ANN, "user:ann"))
        other, _ = self.ok(self.directory.issue(ADMIN, "agent:ci"))
        self.fails(self.directory.revoke(ANN, other.id), KeyError)
        self.ok(self.directory.revoke(ANN, mine.id))
        self.ok(self.directory.revoke(ADMIN, other.id))
        listed = {one.id: one for one in self.ok(self.directory.tokens())}
        self.assertEqual((listed[mine.id].revoked_at, listed[other.id].revoked_at), (NOW, NOW))
        self.assertEqual([one.id for one in self.ok(self.directory.tokens("user:ann"))], [mine.id])
