"""What hoopctl can ask for: names, duties and arguments, as data; the doing is L{hoopd.administration}'s."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from attrs import frozen


@frozen
class Verb:
    """
    @ivar duties: any of them is enough; empty is every proven identity.
    @ivar arguments: name to type, C{?} where it may be absent: C{str}, C{float}, C{int}, C{list} (of str).
    @ivar acts: it changes something: recorded in the ledger.
    @ivar views: it shows something of the record: in the ledger before it is answered.
    @ivar quiet: asked again and again while one thing is done: no event each time.
    @ivar proves: its arguments are the proof of identity: it takes no token.
    """

    duties: tuple[str, ...]
    arguments: Mapping[str, str]
    meaning: str
    acts: bool = False
    proves: bool = False
    views: bool = False
    quiet: bool = False


_ADMIN = ("administrator",)
_LOOK = ("administrator", "auditor")
_VAULT = ("vault",)
#: everybody, but who has a duty that excludes it
_USE = ("user",)

VERBS: Mapping[str, Verb] = MappingProxyType(
    {
        "bootstrap": Verb((), {"name": "str"}, "become the first administrator, by the one-time token", True),
        "login": Verb(
            (), {"name": "str", "password": "str", "lifetime": "float?"}, "a token for a person's password", True, True
        ),
        "whoami": Verb((), {}, "the identity that a token proves"),
        "status": Verb(
            (), {}, "how the gateway is; processes, record and what is wrong for administrators and auditors"
        ),
        "identities.add": Verb(_ADMIN, {"name": "str", "groups": "list?", "duties": "list?"}, "a local identity", True),
        "identities.list": Verb(_LOOK, {}, "local identities"),
        "identities.disable": Verb(_ADMIN, {"name": "str", "why": "str?"}, "lock out, end live sessions", True),
        "identities.enable": Verb(_ADMIN, {"name": "str"}, "undo disable", True),
        "identities.password": Verb(_ADMIN, {"name": "str", "password": "str"}, "set a password", True),
        "identities.groups": Verb(_ADMIN, {"name": "str", "groups": "list"}, "replace the groups", True),
        "identities.duties": Verb(_ADMIN, {"name": "str", "duties": "list"}, "replace the duties", True),
        "tokens.issue": Verb(
            (),
            {"name": "str?", "lifetime": "float?", "scopes": "list?", "act": "str?", "description": "str?"},
            "a token for oneself or, as administrator, for an agent",
            True,
        ),
        "tokens.list": Verb((), {"name": "str?"}, "one's own tokens; an administrator sees all"),
        "tokens.revoke": Verb((), {"id": "str"}, "end a token now", True),
        "vault.put": Verb(_VAULT, {"name": "str", "value": "str"}, "store a target's secret", True),
        "vault.list": Verb((*_VAULT, *_LOOK), {}, "names of secrets"),
        "vault.remove": Verb(_VAULT, {"name": "str"}, "remove a secret", True),
        "vault.rotate-key": Verb(_VAULT, {}, "a new master key; data keys are wrapped anew", True),
        "vault.check": Verb(_VAULT, {}, "open every secret once"),
        "vault.export": Verb(
            _VAULT,
            {"target": "str", "officers": "list", "reason": "str"},
            "seal a target's credential to two officers",
            True,
        ),
        "vault.exports": Verb((*_VAULT, *_LOOK), {}, "which credentials were exported, and whether they are rotated"),
        "vault.export-opened": Verb(
            (), {"id": "str", "reason": "str"}, "an export was used; by its officers too", True
        ),
        "vault.export-close": Verb(
            _VAULT, {"id": "str", "reason": "str"}, "an export that rotation cannot settle does not matter", True
        ),
        "officer-keys.set": Verb(_VAULT, {"recipient": "str"}, "one's own age key for exports", True),
        "officer-keys.list": Verb((*_VAULT, *_LOOK), {}, "whom exports can be sealed to"),
        "officer-keys.remove": Verb((), {"name": "str"}, "one's own or, as administrator, anybody's", True),
        "approvals.list": Verb(
            (), {"state": "str?", "target": "str?"}, "approvers and auditors see all, others their own", views=True
        ),
        "approvals.show": Verb((), {"id": "str"}, "one approval", views=True),
        "approvals.approve": Verb(
            ("approver",),
            {"id": "str", "reason": "str", "scope": "str?", "lasts": "float?", "max_rows": "int?"},
            "say yes, for as far as it was asked or less",
            True,
        ),
        "approvals.deny": Verb(("approver",), {"id": "str", "reason": "str"}, "say no", True),
        "approvals.revoke": Verb(
            (), {"id": "str", "reason": "str"}, "take a yes back, by who decides or one's own", True
        ),
        "request.statements": Verb(
            _USE,
            {"target": "str", "database": "str?", "text": "str", "reason": "str"},
            "ask ahead for statements, each once, in this order",
            True,
        ),
        "request.window": Verb(
            _USE,
            {"target": "str", "do": "list", "objects": "list?", "lasts": "float", "reason": "str"},
            "ask for a time in which to run what is named",
            True,
        ),
        "request.withdraw": Verb((), {"id": "str", "why": "str?"}, "give up one's own request or grant", True),
        "recovery-codes.create": Verb((), {"count": "int?"}, "one's own one-use proofs; shown once", True),
        "recovery-codes.confirm": Verb(_ADMIN, {"id": "str"}, "a sheet counts; never one's own", True),
        "recovery-codes.list": Verb((), {}, "who has how many left; others than one's own for those who look"),
        "recovery-codes.void": Verb((), {"name": "str"}, "one's own or, as administrator, anybody's are void", True),
        "break-glass.open": Verb(_USE, {"target": "str", "reason": "str"}, "where a break_glass rule permits it", True),
        "break-glass.close": Verb((), {"id": "str", "reason": "str?"}, "one's own, or as reviewer", True),
        "break-glass.list": Verb((), {"target": "str?"}, "one's own; reviewers and auditors see theirs and all"),
        "break-glass.show": Verb((), {"id": "str"}, "one use"),
        "break-glass.review": Verb(
            (), {"id": "str", "verdict": "str", "findings": "str"}, "close a review; never one's own", True
        ),
        "sessions.list": Verb(
            (),
            {"identity": "str?", "target": "str?", "since": "float?", "until": "float?"},
            "auditors see all, others their own",
            views=True,
        ),
        "sessions.transfers": Verb(
            (),
            {
                "path": "str?",
                "sha256": "str?",
                "identity": "str?",
                "target": "str?",
                "since": "float?",
                "until": "float?",
            },
            "files that went to and from targets; auditors see all, others their own",
            views=True,
        ),
        "sessions.show": Verb((), {"id": "str"}, "one session", views=True),
        "sessions.recording": Verb(
            (), {"id": "str", "offset": "int?"}, "bytes of its recording, a page at a time", views=True
        ),
        # beginning and end are in the ledger by L{hoopd.audit.watching}, which knows both
        "sessions.watch": Verb((), {"id": "str"}, "watch one that runs; auditors anybody's, others their own"),
        "sessions.watch-more": Verb(
            (), {"id": "str", "offset": "int"}, "what its recording grew by; waits for it", quiet=True
        ),
        "sessions.watch-end": Verb((), {"id": "str"}, "watch it no more", quiet=True),
        "audit.views": Verb(
            _LOOK,
            {"by": "str?", "subject": "str?", "since": "float?", "until": "float?"},
            "who looked at the record",
            views=True,
        ),
        "sessions.end": Verb(_LOOK, {"id": "str", "reason": "str"}, "end a live session now", True),
        "audit.checkpoint": Verb(_LOOK, {}, "sign and publish the ledger's head now"),
        "audit.key": Verb((), {}, "the ledger's verifier key"),
        "ssh.authorities": Verb((), {"kind": "str"}, "keys of the gateway's SSH authorities, the newest first"),
        "ssh.rotate": Verb(_VAULT, {"kind": "str", "step": "str"}, "publish, activate or retire one of them", True),
        "ssh.certify": Verb(
            (), {"key": "str", "lifetime": "float?", "description": "str?"}, "a certificate for one's own key", True
        ),
        "ssh.keys": Verb((), {"name": "str?"}, "one's own SSH keys and certificates; an administrator sees all"),
        "ssh.add-key": Verb(
            (),
            {"key": "str", "name": "str?", "lifetime": "float?", "description": "str?"},
            "register a key for oneself or, as administrator, for an agent",
            True,
        ),
        "ssh.revoke-key": Verb((), {"id": "str"}, "end a key or certificate now", True),
        "ssh.hosts": Verb(_LOOK, {"target": "str?"}, "host keys that administrators vouched for"),
        "ssh.trust": Verb(_ADMIN, {"target": "str", "fingerprint": "str"}, "vouch for a host key", True),
        "ssh.distrust": Verb(_ADMIN, {"target": "str", "fingerprint": "str"}, "take it back", True),
        "policy.show": Verb(_LOOK, {}, "version and files of the policy in force"),
        "policy.observed": Verb(
            _LOOK,
            {"since": "float?", "target": "str?", "identity": "str?"},
            "what would have been refused, held or masked where policy only observes",
            views=True,
        ),
        "policy.history": Verb(_LOOK, {"before": "int?"}, "how the configuration came to be as it is"),
        "policy.diff": Verb(_LOOK, {"to": "int?", "since": "int?"}, "what a change changed"),
        "policy.files": Verb(_LOOK, {"number": "int?"}, "the files of a change"),
        "policy.confirm": Verb(
            _LOOK, {"number": "int", "reason": "str"}, "the last change, somebody else's, is right", True
        ),
        "policy.explain": Verb(
            (),
            {"name": "str", "target": "str", "statement": "str", "groups": "list?", "reason": "str?"},
            "what would happen; of others than oneself for administrators and auditors",
        ),
        "notify.list": Verb(_LOOK, {"state": "str?", "channel": "str?"}, "what was told to whom, or not yet"),
        "notify.test": Verb(_ADMIN, {"name": "str"}, "send a channel a test now", True),
        "notify.retry": Verb(_ADMIN, {"id": "str"}, "try one notice now", True),
        "reload": Verb(_ADMIN, {}, "read the configuration again", True),
    }
)

_TYPES: Mapping[str, tuple[type, ...]] = {"str": (str,), "float": (int, float), "int": (int,), "list": (list,)}


def check_arguments(verb: str, arguments: Mapping[str, object]) -> None:
    """@raise KeyError: no such verb. @raise ValueError: an argument is missing, unknown or of the wrong type."""
    known = VERBS[verb].arguments
    for name in arguments:
        if name not in known:
            raise ValueError(f"{verb} takes no {name!r}")
    for name, kind in known.items():
        value = arguments.get(name)
        if value is None:
            if kind.endswith("?"):
                continue
            raise ValueError(f"{verb} needs {name!r}")
        if isinstance(value, bool) or not isinstance(value, _TYPES[kind.rstrip("?")]):
            raise ValueError(f"{name!r} must be a {kind.rstrip('?')}")
        if isinstance(value, list) and not all(isinstance(each, str) for each in value):
            raise ValueError(f"{name!r} must be a list of words")
