"""What hoopctl asks, and what it says, verb by verb."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from hoopd.administration_verbs import VERBS, check_arguments
from hoopd.ctl.failures import Failure
from tests.ctl.running import Answers

TOKEN = {
    "id": "abcdefgh", "identity": "agent:ci", "scopes": ["do:read"], "act": None, "description": "nightly",
    "created_at": 0.0, "created_by": "user:ada", "expires_at": 4102444800.0, "revoked_at": None, "last_used_at": None,
}  # fmt: skip
IDENTITY = {
    "name": "user:priya", "subject": "priya", "kind": "human", "groups": ["eng"], "duties": ["user"],
    "password": True, "disabled": False, "created_at": 0.0, "created_by": "user:ada",
}  # fmt: skip
APPROVAL = {
    "id": "A-7KQ2M9",
    "state": "pending",
    "requester": "user:priya",
    "act": None,
    "target": "orders",
    "session": "S-1",
    "redacted": "UPDATE orders\nSET note = 'a\u202eb\x1b[2J'",
    "classes": ["update", "write"],
    "objects": ["public.orders"],
    "reason": None,
    "holds": [{"rule": "orders.hold.write", "by": ["group:leads"], "quorum": 1, "why": "eyes"}],
    "policy": "p",
    "requested_at": 0.0,
    "deadline": 4102444800.0,
    "claim_by": None,
    "votes": [{"identity": "user:lee", "approve": False, "reason": "not\ttoday", "at": 0.0, "groups": []}],
    "settled_at": None,
    "outcome": "",
    "revision": 1,
    "kind": "operation",
    "scope": "once",
    "lasts": None,
    "until": None,
    "uses": 0,
    "steps": [],
    "grant": "",
    "beside": [],
    "estimated_rows": 12,
    "max_rows": 24,
    "facts": {"where": False},
}
GRANTED = {**APPROVAL, "state": "granted", "scope": "window", "lasts": 1800.0, "until": 60.0, "uses": 3}
ASKED = {"approval": APPROVAL, "statements": [["BEGIN", "allow", []], ["UPDATE x", "hold", ["orders.hold.write"]]]}  # fmt: skip
SESSION = {
    "id": "S-1", "identity": "user:priya", "kind": "human", "act": None, "target": "orders", "protocol": "postgres",
    "peer": "127.0.0.1:5", "started_at": 0.0, "ended_at": 62.0, "ended_why": "left", "operations": 3, "denied": 1,
    "held": 0, "recording": "2026/s.rec",
}  # fmt: skip
ISSUED = {"entry": TOKEN, "token": "hoopd_secret"}
SECRET = {"name": "orders", "version": 2, "created_at": 0.0, "created_by": "user:ada", "master_key": "k1"}
CALLER = {
    "name": "user:ada", "kind": "human", "groups": [], "duties": ["administrator"], "scopes": None, "act": None,
    "proof": "token:x", "expires_at": None,
}  # fmt: skip

TRANSFER = {
    "session": "S-1", "identity": "user:priya", "act": "user:ann", "target": "web1", "at": 9.0, "direction": "upload",
    "bytes": 5, "sha256": None, "whole": False, "tag": "closed", "path": "/srv/x", "name": "y",
}  # fmt: skip
GLASS = {
    "id": "G-7KQ2M9", "state": "to review", "skipped": 2, "review_by": ["group:leads"], "auditors": True,
    "review_due": 90.0, "ended_at": 50.0, "ended_by": "user:priya", "ended_why": "closed", "reviewed_at": None,
    "reviewed_by": "", "verdict": "", "findings": "",
    "opening": {
        "identity": "user:priya", "act": None, "target": "orders", "rule": "orders.break_glass.sre", "skip": ["holds"],
        "reason": "INC-1", "opened_at": 0.0, "until": 60.0,
    },
}  # fmt: skip

STATUS = {
    "version": "1", "policy": "p", "sessions": 3, "pending": 1, "oldest_pending": 5.0, "policy_since": 0.0,
    "targets": {"orders": 3}, "problems": ["1 of 2 workers of postgres take clients"],
    "ledger": {"origin": "o", "leaves": 9, "signed": 8, "signed_at": 1.0, "witnesses": [{"place": "/w", "behind": 2}]},
    "space": {"path": "/var/lib/hoopd", "free": 2**30, "size": 2**33},
    "processes": [
        {"role": "worker", "name": "worker/postgres/1", "pid": 12, "user": "hoopd-worker", "generation": 1,
         "phase": "ready", "started": 0.0, "restarts": 2, "heard": 0.1}
    ],
}  # fmt: skip
AUTHORITY = {
    "kind": "user", "generation": 2, "state": "published", "changed_at": 0.0, "changed_by": "user:ada",
    "public": "ssh-ed25519 AAAA",
}  # fmt: skip
SSH_KEY = {
    "id": "k1", "identity": "user:priya", "fingerprint": "SHA256:abc", "serial": "", "description": "laptop",
    "created_at": 0.0, "created_by": "user:priya", "expires_at": 60.0, "revoked_at": None, "last_used_at": None,
}  # fmt: skip
HOST = {"target": "web1", "fingerprint": "SHA256:abc", "trusted_at": 0.0, "trusted_by": "user:ada"}
OBSERVED = {
    "found": [
        {"outcome": "hold", "rule": "orders.hold.write", "target": "orders", "identity": "user:priya", "act": "",
         "count": 12, "first": 0.0, "last": 60.0, "why": "customers notice", "others": 3,
         "statements": [{"text": "UPDATE t SET a = ?", "count": 9}],
         "example": {"session": "S-1", "operation": 4, "text": "UPDATE t\nSET a = 1", "at": 60.0}},
    ],
    "observing": {"targets": ["orders"], "files": []},
}  # fmt: skip

#: words, standard input, verb, arguments that are sent, answer, what is printed
NOTICE = {
    "id": "msg_abc", "channel": "orders", "kind": "approval.held", "subject": "A-7KQ2M9", "state": "delivered",
    "posted_at": 0.0, "attempts": 1, "next_at": 0.0, "give_up_at": 86400.0, "settled_at": 0.5, "outcome": "status 200",
}  # fmt: skip
CHANGE = {"number": 4, "at": 0.0, "digest": "a" * 64, "version": "v", "by": "agent:ci", "author": "user:ann", "rules": True,
          "files": {}, "serial": 3, "signers": ["user:ann", "user:lee"], "people": ["user:ann", "user:lee"],
          "confirmed": [{"by": "user:otto", "at": 0.0, "reason": "read it"}]}  # fmt: skip

EXPORT = {"id": "E-7KQ2M9", "target": "orders", "credential": "orders-app", "version": 3,
          "officers": ["user:ann", "user:bob"], "made_at": 0.0, "made_by": "user:root", "reason": "INC-1",
          "opened_at": None, "settled_at": None, "settled": ""}  # fmt: skip
OFFICER = {"identity": "user:ann", "recipient": "age1abc", "counts_at": 0.0, "lapses_at": 9e9}

CONVERSATIONS: list[tuple[list[str], str, str, dict[str, Any], Any, str]] = [
    (["whoami"], "", "whoami", {}, CALLER, "user:ada (human)"),
    (["status"], "", "status", {}, {"version": "1", "policy": "p", "sessions": 3, "pending": 1}, "running sessions"),
    (["status"], "", "status", {}, STATUS, "WRONG: 1 of 2 workers of postgres take clients"),
    (["status"], "", "status", {}, STATUS, "worker/postgres/1  12   hoopd-worker  ready"),
    (["status"], "", "status", {}, STATUS, "8 of 9 leaves, "),
    (["status"], "", "status", {}, STATUS, "/w, 2 behind"),
    (["sessions", "end", "S-1", "--reason", "stolen laptop"], "", "sessions.end",
     {"id": "S-1", "reason": "stolen laptop"}, {"id": "S-1"}, "S-1 was told to end"),
    (["audit", "checkpoint"], "", "audit.checkpoint", {}, {"note": "origin\n8\nroot\n", "witnesses": 0}, "origin\n8\n"),
    (["reload"], "", "reload", {}, {"reloading": True}, "the new configuration is good"),
    (["identities", "add", "user:priya", "--group", "eng"], "", "identities.add",
     {"name": "user:priya", "groups": ["eng"], "duties": []}, IDENTITY, "added user:priya: groups eng"),
    (["identities", "list"], "", "identities.list", {}, [IDENTITY], "user:priya  eng"),
    (["identities", "groups", "user:priya", "eng", "dba"], "", "identities.groups",
     {"name": "user:priya", "groups": ["eng", "dba"]}, IDENTITY, "user:priya: groups"),
    (["identities", "duties", "user:priya", "auditor"], "", "identities.duties",
     {"name": "user:priya", "duties": ["auditor"]}, IDENTITY, "duties user"),
    (["identities", "password", "user:priya"], "long password\n", "identities.password",
     {"name": "user:priya", "password": "long password"}, {}, "has a new password"),
    (["identities", "disable", "user:priya", "--why", "left"], "", "identities.disable",
     {"name": "user:priya", "why": "left"}, {}, "is disabled"),
    (["identities", "enable", "user:priya"], "", "identities.enable", {"name": "user:priya"}, {}, "active again"),
    (["tokens", "issue", "agent:ci", "--lifetime", "12h", "--scope", "do:read"], "", "tokens.issue",
     {"name": "agent:ci", "lifetime": 43200.0, "scopes": ["do:read"], "description": ""}, ISSUED, "hoopd_secret"),
    (["tokens", "list"], "", "tokens.list", {}, [TOKEN], "abcdefgh  agent:ci  good"),
    (["tokens", "revoke", "abcdefgh"], "", "tokens.revoke", {"id": "abcdefgh"}, TOKEN, "is revoked"),
    (["vault", "put", "orders"], "p@ss word\n", "vault.put", {"name": "orders", "value": "p@ss word"}, SECRET,
     "orders: version 2"),
    (["vault", "list"], "", "vault.list", {}, [SECRET], "orders  2"),
    (["vault", "remove", "orders", "--yes"], "", "vault.remove", {"name": "orders"}, {}, "is forgotten"),
    (["vault", "rotate-key"], "", "vault.rotate-key", {}, {"secrets": 1}, "1 secret re-wrapped"),
    (["ssh", "ca"], "", "ssh.authorities", {"kind": "user"}, [AUTHORITY], "ssh-ed25519 AAAA\n"),
    (["ssh", "ca", "--hosts", "*.b"], "", "ssh.authorities", {"kind": "host"}, [AUTHORITY],
     "@cert-authority *.b ssh-ed25519 AAAA\n"),
    (["ssh", "rotate", "user", "publish"], "", "ssh.rotate", {"kind": "user", "step": "publish"}, [AUTHORITY],
     "user 2: published"),
    (["ssh", "cert", "@KEY@"], "", "ssh.certify", {"key": "ssh-ed25519 BBBB", "description": socket.gethostname()},
     {"entry": SSH_KEY, "certificate": "ssh-ed25519-cert-v01@openssh.com CCCC"}, "-cert.pub: user:priya until 1970"),
    (["ssh", "keys", "add", "@KEY@", "--lifetime", "1h"], "", "ssh.add-key",
     {"key": "ssh-ed25519 BBBB", "lifetime": 3600.0, "description": "id.pub"}, SSH_KEY, "k1: SHA256:abc is user:priya"),
    (["ssh", "keys", "list"], "", "ssh.keys", {}, [SSH_KEY], "k1  user:priya  key   until 1970"),
    (["ssh", "keys", "revoke", "k1"], "", "ssh.revoke-key", {"id": "k1"}, SSH_KEY, "k1 is revoked"),
    (["ssh", "hosts"], "", "ssh.hosts", {}, [HOST], "web1    SHA256:abc"),
    (["ssh", "trust", "web1", "SHA256:abc"], "", "ssh.trust", {"target": "web1", "fingerprint": "SHA256:abc"}, HOST,
     "is trusted"),
    (["ssh", "distrust", "web1", "SHA256:abc"], "", "ssh.distrust", {"target": "web1", "fingerprint": "SHA256:abc"},
     {}, "is not trusted any more"),
    (["vault", "check"], "", "vault.check", {}, {"problems": [], "exports": []}, "every secret can be opened"),
    (["vault", "check"], "", "vault.check", {}, {"problems": [], "exports": [EXPORT]},
     "exported and not rotated: orders-app to user:ann and user:bob, E-7KQ2M9"),
    (["vault", "exports"], "", "vault.exports", {}, [EXPORT], "E-7KQ2M9  outstanding  orders  orders-app v3"),
    (["vault", "export-opened", "E-7KQ2M9", "--reason", "INC-1"], "", "vault.export-opened",
     {"id": "E-7KQ2M9", "reason": "INC-1"}, EXPORT, "on record; put another password at orders"),
    (["vault", "export-close", "E-7KQ2M9"], "gone\n", "vault.export-close", {"id": "E-7KQ2M9", "reason": "gone"},
     EXPORT, "E-7KQ2M9 is settled"),
    (["officer-keys", "set", "age1abc"], "", "officer-keys.set", {"recipient": "age1abc"}, OFFICER,
     "user:ann: age1abc, counts, lapses"),
    (["officer-keys", "list"], "", "officer-keys.list", {}, [OFFICER], "user:ann  counts"),
    (["officer-keys", "remove", "user:ann"], "", "officer-keys.remove", {"name": "user:ann"}, {}, "has no key any more"),
    (["approvals", "list"], "", "approvals.list", {"state": "pending"}, [APPROVAL], "A-7KQ2M9  pending"),
    (["approvals", "list", "--all", "--target", "orders"], "", "approvals.list", {"target": "orders"}, [],
     ""),
    (["approvals", "show", "A-7KQ2M9"], "", "approvals.show", {"id": "A-7KQ2M9"}, APPROVAL, "user:priya"),
    (["approvals", "approve", "A-7KQ2M9", "--reason", "fine"], "", "approvals.approve",
     {"id": "A-7KQ2M9", "reason": "fine"}, {**APPROVAL, "state": "approved", "claim_by": 60.0}, "may run it once"),
    (["approvals", "approve", "A-7KQ2M9", "--reason", "fine"], "", "approvals.approve",
     {"id": "A-7KQ2M9", "reason": "fine"}, APPROVAL, "more people must agree"),
    (["approvals", "deny", "A-7KQ2M9"], "not today\n", "approvals.deny",
     {"id": "A-7KQ2M9", "reason": "not today"}, {**APPROVAL, "state": "denied"}, "is told why"),
    (["approvals", "approve", "A-7KQ2M9", "--reason", "fine", "--scope", "window", "--for", "30m"], "",
     "approvals.approve", {"id": "A-7KQ2M9", "reason": "fine", "scope": "window", "lasts": 1800.0}, GRANTED,
     "may run what it covers (window), until 1970-01-01 00:01:00Z"),
    (["approvals", "show", "A-7KQ2M9"], "", "approvals.show", {"id": "A-7KQ2M9"}, GRANTED, "3 times"),
    (["approvals", "revoke", "A-7KQ2M9", "--reason", "enough"], "", "approvals.revoke",
     {"id": "A-7KQ2M9", "reason": "enough"}, {**GRANTED, "state": "cancelled"}, "cancelled, after 3 uses"),
    (["request", "run", "orders", "--file", "-", "--reason", "T-1"], "BEGIN; UPDATE x", "request.statements",
     {"target": "orders", "text": "BEGIN; UPDATE x", "reason": "T-1"}, ASKED, "1 of 2 statements needs it, by"),
    (["request", "run", "orders", "SELECT 1", "--database", "shop", "--reason", "T-1"], "", "request.statements",
     {"target": "orders", "database": "shop", "text": "SELECT 1", "reason": "T-1"},
     {"approval": None, "statements": [["SELECT 1", "allow", []]]}, "nothing of this needs approval"),
    (["request", "window", "orders", "--do", "write,ddl", "--for", "30m", "--reason", "T-1"], "", "request.window",
     {"target": "orders", "do": ["write", "ddl"], "lasts": 1800.0, "reason": "T-1"},
     {"approval": {**GRANTED, "state": "pending"}, "beside": ["orders.hold.bulk"]},
     "not covered, as these allow no window: orders.hold.bulk"),
    (["request", "withdraw", "A-7KQ2M9"], "", "request.withdraw", {"id": "A-7KQ2M9", "why": "withdrawn"},
     {**APPROVAL, "state": "cancelled"}, "A-7KQ2M9: cancelled"),
    (["recovery-codes", "create", "--count", "2"], "", "recovery-codes.create", {"count": 2},
     {"identity": "user:ann", "sheet": "R-7KQ2M9", "codes": ["HRC-1", "HRC-2"]}, "HRC-1\nHRC-2\n"),
    (["recovery-codes", "confirm", "R-7KQ2M9"], "", "recovery-codes.confirm", {"id": "R-7KQ2M9"},
     {"identity": "user:ann", "sheet": "R-7KQ2M9"}, "sheet R-7KQ2M9 of user:ann counts"),
    (["recovery-codes", "list"], "", "recovery-codes.list", {},
     [{"id": "R-7KQ2M9", "identity": "user:ann", "remaining": 9, "used": 1, "last_used_at": 0.0, "groups": [],
       "duties": [], "created_at": 0.0, "lapses_at": 9e9, "confirmed_by": "user:root"}],
     "R-7KQ2M9  user:ann  confirmed by user:root"),
    (["recovery-codes", "void", "user:ann"], "", "recovery-codes.void", {"name": "user:ann"}, {"void": 1}, "1 code of"),
    (["break-glass", "open", "orders", "--reason", "INC-1"], "", "break-glass.open",
     {"target": "orders", "reason": "INC-1"}, GLASS, "G-7KQ2M9: holds are skipped on orders until 1970-01-01 00:01:00Z"),
    (["break-glass", "close", "G-7KQ2M9"], "", "break-glass.close", {"id": "G-7KQ2M9"}, GLASS, "G-7KQ2M9 has ended"),
    (["break-glass", "list"], "", "break-glass.list", {}, [GLASS], "G-7KQ2M9  to review"),
    (["break-glass", "show", "G-7KQ2M9"], "", "break-glass.show", {"id": "G-7KQ2M9"}, GLASS, "group:leads, auditors"),
    (["break-glass", "review", "G-7KQ2M9", "--verdict", "ok", "--findings", "as told"], "", "break-glass.review",
     {"id": "G-7KQ2M9", "verdict": "ok", "findings": "as told"}, GLASS, "is reviewed: ok"),
    (["sessions", "list", "--identity", "user:priya", "--since", "2026-11-21T03:00"], "", "sessions.list",
     {"identity": "user:priya", "since": 1795230000.0}, [SESSION], "S-1      1970-01-01 00:00:00Z  62 s"),
    (["sessions", "transfers", "--path", "/srv/*", "--since", "2026-11-21T03:00"], "", "sessions.transfers",
     {"path": "/srv/*", "since": 1795230000.0}, [TRANSFER], "S-1      user:priya for user:ann  web1    1970-01-01 00:00:09Z"),
    (["sessions", "show", "S-1"], "", "sessions.show", {"id": "S-1"}, SESSION, "3, 1 refused, 0 held"),
    (["policy", "show"], "", "policy.show", {}, {"version": "v", "files": [{"name": "orders", "rules": ["a"]}]},
     "orders   a"),
    (["policy", "explain", "user:priya", "orders", "SELECT 1", "--group", "eng"], "", "policy.explain",
     {"name": "user:priya", "target": "orders", "statement": "SELECT 1", "groups": ["eng"]},
     {"verdict": "allow", "text": "ALLOWED"}, "ALLOWED"),
    (["policy", "observed", "--since", "2026-11-21", "--target", "orders"], "", "policy.observed",
     {"since": 1795219200.0, "target": "orders"}, OBSERVED, "orders.hold.write: 12 times would be held: user:priya on"),
    (["policy", "observed", "--since", "2026-11-21"], "", "policy.observed", {"since": 1795219200.0},
     {"found": [], "observing": {"targets": [], "files": ["orders.toml"]}},
     'To enforce: write mode = "enforce" in policies.d/orders.toml (mode = "observe"), then hoopctl reload'),
    (["policy", "history", "--before", "9"], "", "policy.history", {"before": 9}, [CHANGE],
     "agent:ci for user:ann; manifest 3, signed by user:ann, user:lee"),
    (["policy", "diff", "4"], "", "policy.diff", {"to": 4}, {"since": 3, "to": 4, "diff": "-old\n+n\u202eew"}, "-old\n+n"),
    (["policy", "diff", "--with", "etc/hoopd"], "", "policy.files", {}, {"number": 4, "files": {"gone": "x"}}, "--- a/gone"),
    (["policy", "confirm", "4", "--reason", "read it"], "", "policy.confirm", {"number": 4, "reason": "read it"}, CHANGE,
     "change 4 is confirmed; for it stand user:ann, user:lee"),
    (["audit", "views", "--by", "user:lee"], "", "audit.views", {"by": "user:lee"},
     [{"index": 7, "at": 0.0, "by": "user:lee", "verb": "sessions.show", "subject": "S-1", "detail": {"id": "S-1"}}],
     "7     1970-01-01 00:00:00Z  user:lee  sessions.show  S-1      id S-1"),
    (["notify", "list", "--state", "waiting"], "", "notify.list", {"state": "waiting"}, [NOTICE], "msg_abc  delivered"),
    (["notify", "test", "orders"], "", "notify.test", {"name": "orders"}, NOTICE, "orders was told (status 200)"),
    (["notify", "retry", "msg_abc"], "", "notify.retry", {"id": "msg_abc"}, NOTICE, "orders was told"),
    (["audit", "key"], "", "audit.key", {}, {"verifier": "hoopd.local/ledger+1+k"}, "hoopd.local/ledger+1+k"),
]  # fmt: skip


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda one: " ".join(one[0])[:50])
def test_what_is_typed_is_asked_and_answered(
    answers: Answers, conversation: tuple[list[str], str, str, dict[str, Any], Any, str], tmp_path: Path
) -> None:
    words, text, verb, arguments, answer, said = conversation
    key = tmp_path / "id.pub"
    key.write_text("ssh-ed25519 BBBB\n")
    words = [str(key) if word == "@KEY@" else word for word in words]
    answers.given = {verb: answer}
    result = answers.run(*words, text=text)
    assert result.exit_code == 0, result.output
    assert [(asked, sent) for asked, _, sent in answers.asked] == [(verb, arguments)]
    assert said in result.stdout
    check_arguments(verb, arguments)


def test_every_verb_can_be_asked_for() -> None:
    asked = {conversation[2] for conversation in CONVERSATIONS}
    # these have tests of their own below, and in tests/integration
    assert set(VERBS) - asked == {
        "bootstrap", "login", "sessions.recording", "sessions.watch", "sessions.watch-more", "sessions.watch-end", "vault.export"
    }  # fmt: skip


@pytest.mark.parametrize("words", [["identities", "list"], ["tokens", "list"], ["vault", "list"], ["sessions", "list"]])
def test_json_is_the_answer_itself(answers: Answers, words: list[str]) -> None:
    answers.given = {".".join(words): [{"name": "ü\u202e", "deep": [1, None]}]}
    result = answers.run(*words, "--json")
    assert json.loads(result.stdout) == [{"name": "ü\u202e", "deep": [1, None]}]
    assert result.stdout.isascii()


def test_a_token_is_alone_on_standard_output(answers: Answers) -> None:
    answers.given = {"tokens.issue": ISSUED}
    result = answers.run("tokens", "issue")
    assert result.stdout == "hoopd_secret\n"
    assert "not shown again" in result.stderr


def test_a_token_can_go_straight_to_a_file(answers: Answers, tmp_path: Path) -> None:
    answers.given = {"tokens.issue": ISSUED}
    result = answers.run("tokens", "issue", "agent:ci", "--to", str(tmp_path / "t"))
    assert "hoopd_secret" not in result.output
    assert (tmp_path / "t").read_text() == "hoopd_secret\n"
    assert os.stat(tmp_path / "t").st_mode & 0o777 == 0o600


def test_an_approver_sees_all_of_it_and_nothing_hidden(answers: Answers) -> None:
    long = "UPDATE t SET a = " + "x" * 5000 + " -- end"
    answers.given = {"approvals.show": {**APPROVAL, "redacted": long}}
    assert long in answers.run("approvals", "show", "A-7KQ2M9").stdout
    answers.given = {"approvals.show": APPROVAL, "approvals.list": [APPROVAL]}
    for words in (["approvals", "show", "A-7KQ2M9"], ["approvals", "list"]):
        said = answers.run(*words).stdout
        assert "<U+202E>" in said
        assert "<U+001B>" in said
        assert "\u202e" not in said
        assert "\x1b" not in said


def test_secrets_are_never_arguments(answers: Answers) -> None:
    for words in (
        ["vault", "put", "orders", "s3cret"],
        ["login", "hoopd_secret"],
        ["identities", "password", "a", "b"],
    ):
        result = answers.run(*words)
        assert result.exit_code == 2, words
    assert answers.asked == []


def test_an_empty_secret_is_refused(answers: Answers) -> None:
    result = answers.run("vault", "put", "orders", text="\n")
    assert result.exit_code == 2
    assert answers.asked == []


@pytest.mark.parametrize(("words", "bad"), [
    (["sessions", "list", "--since", "yesterday"], "is no time"),
    (["tokens", "issue", "--lifetime", "soon"], "is no duration"),
    (["approvals", "approve", "A-1", "--reason", " "], "--reason is empty"),
    (["approvals", "approve", "A-1", "--reason", "x", "--scope", "ever"], "ever"),
    (["approvals", "revoke", "A-1", "--reason", " "], "--reason is empty"),
    (["request", "run", "orders", "--reason", "x"], "give one of STATEMENT and --file"),
    (["request", "run", "orders", "SELECT 1", "--reason", " "], "--reason is empty"),
    (["request", "window", "orders", "--do", "write", "--for", "soon", "--reason", "x"], "is no duration"),
    (["identities", "add", "user:x", "--duty", "king"], "king"),
])  # fmt: skip
def test_wrong_usage_is_told_before_anything_is_asked(answers: Answers, words: list[str], bad: str) -> None:
    result = answers.run(*words)
    assert result.exit_code == 2
    assert bad in result.stderr
    assert answers.asked == []


def test_durations_ago(answers: Answers) -> None:
    answers.given = {"sessions.list": []}
    answers.run("sessions", "list", "--since", "2h")
    since = answers.asked[0][2]["since"]
    assert abs(time.time() - 7200 - since) < 60


def test_problems_of_the_vault_are_a_failure(answers: Answers) -> None:
    answers.given = {"vault.check": {"problems": ["orders: cannot be opened"], "exports": []}}
    result = answers.run("vault", "check")
    assert result.exit_code == 1
    assert "orders: cannot be opened" in result.stderr


def test_an_export_is_a_file_for_its_owner_alone(answers: Answers, tmp_path: Path) -> None:
    answers.given = {"vault.export": {**EXPORT, "file": "sealed\n"}}
    words = ["vault", "export", "orders", "--to", "user:ann", "--to", "user:bob", "--reason", "INC-1"]
    path = tmp_path / "orders.age"
    result = answers.run(*words, "--out", str(path))
    assert result.exit_code == 0, result.output
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("sealed\n", 0o600)
    assert answers.asked[-1][2] == {"target": "orders", "officers": ["user:ann", "user:bob"], "reason": "INC-1"}
    # what is there is kept, and nothing is asked; nor is it for one officer
    before = len(answers.asked)
    assert "cannot be written" in answers.run(*words, "--out", str(path)).stderr
    assert answers.run(*words[:5], "--reason", "x", "--out", str(tmp_path / "b")).exit_code == 2
    assert len(answers.asked) == before
    # refused, nothing is left
    answers.given = {}
    assert answers.run(*words, "--out", str(tmp_path / "c")).exit_code != 0
    assert not (tmp_path / "c").exists()


def test_a_secret_key_is_not_sent(answers: Answers) -> None:
    result = answers.run("officer-keys", "set", "AGE-SECRET-KEY-1ABC")
    assert result.exit_code == 2
    assert answers.asked == []


# -- signing in ----------------------------------------------------------------------------------------------


def kept(answers: Answers) -> Path:
    return answers.home / ".config" / "hoopd" / "token"


def test_login_keeps_a_token_that_was_tried(answers: Answers) -> None:
    answers.given = {"whoami": CALLER}
    result = answers.run("login", text="hoopd_mine\n")
    assert result.exit_code == 0, result.output
    assert answers.asked == [("whoami", "hoopd_mine", {})]
    assert kept(answers).read_text() == "hoopd_mine\n"
    assert os.stat(kept(answers)).st_mode & 0o777 == 0o600
    assert "hoopd_mine" not in result.output


def test_login_does_not_keep_a_token_that_is_refused(answers: Answers) -> None:
    answers.given = {"whoami": Failure("the gateway does not know you")}
    result = answers.run("login", text="hoopd_wrong\n")
    assert result.exit_code == 1
    assert not kept(answers).exists()


def test_a_person_signs_in_by_password(answers: Answers) -> None:
    answers.given = {"login": {"entry": {**TOKEN, "identity": "user:lee"}, "token": "hoopd_lee"}}
    result = answers.run("login", "--name", "lee", "--lifetime", "8h", text="long password\n")
    assert result.exit_code == 0, result.output
    verb, _, sent = answers.asked[0]
    assert (verb, sent) == ("login", {"name": "user:lee", "password": "long password", "lifetime": 28800.0})
    assert kept(answers).read_text() == "hoopd_lee\n"
    assert "hoopd_lee" not in result.output
    assert answers.run("login", "--name", "lee", "--show", text="long password\n").stdout == "hoopd_lee\n"


def test_the_first_administrator(answers: Answers, tmp_path: Path) -> None:
    (tmp_path / "bootstrap-token").write_text("hoopdboot_x\n")
    printed = answers.run("bootstrap-token", "--state", str(tmp_path))
    assert printed.stdout == "hoopdboot_x\n"
    answers.given = {"bootstrap": {"entry": {**TOKEN, "identity": "user:ada"}, "token": "hoopd_first"}}
    result = answers.run("bootstrap", "--name", "ada", text=printed.stdout)
    assert result.exit_code == 0, result.output
    assert answers.asked == [("bootstrap", "hoopdboot_x", {"name": "user:ada"})]
    assert kept(answers).read_text() == "hoopd_first\n"


def test_the_one_time_token_is_not_spent_where_the_new_one_could_not_be_kept(answers: Answers) -> None:
    kept(answers).parent.mkdir(parents=True)
    kept(answers).write_text("older")
    result = answers.run("bootstrap", "--name", "ada", text="hoopdboot_x\n")
    assert result.exit_code == 1
    assert answers.asked == []
    assert kept(answers).read_text() == "older"


def test_without_a_one_time_token_it_says_why(answers: Answers, tmp_path: Path) -> None:
    result = answers.run("bootstrap-token", "--state", str(tmp_path))
    assert result.exit_code == 1
    assert "administrator already" in result.stderr


def test_a_channel_that_does_not_work_is_a_failure(answers: Answers) -> None:
    answers.given = {"notify.test": {**NOTICE, "state": "waiting", "outcome": "status 503"}}
    result = answers.run("notify", "test", "orders")
    assert result.exit_code == 1
    assert "orders was not told: status 503" in result.output
    assert "1970-01-02" in result.output
