"""What hoopctl may ask for: every verb with who may call it, its arguments and the shape of its answer; pure data.

Not here: doing it (L{hoopd.administration}, in the broker), carrying it (L{hoopd.control}: C{POST /v1/<verb>}), or
hoopctl's own words (L{hoopd.ctl}). The broker calls L{checked} again on what control relays: control is trusted with
nothing.

Answers are JSON. A frozen value becomes an object of its fields (C{frozenset} a sorted list, tuple a list, C{None} null);
times are seconds since the epoch, durations seconds. L{SHAPES} says which fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from attrs import frozen

Type = Literal["text", "texts", "secret", "integer", "number", "boolean"]

#: The Python type that each JSON argument must have; bool is no number here.
_PYTHON: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {
        "text": (str,),
        "secret": (str,),
        "integer": (int,),
        "number": (int, float),
        "boolean": (bool,),
    }
)

#: Longest text argument. The longest honest one is a statement to explain: limits.statement_max is 1 MiB.
TEXT_MAX = 1024 * 1024

#: Most entries of a list argument; a person has fewer groups.
LIST_MAX = 1000

#: Bytes of recording in one answer of C{sessions.recording}: base64 of it and JSON stay below 1 MiB.
PAGE_MAX = 512 * 1024


@frozen
class Argument:
    """
    @ivar type: C{secret} is text that is never logged, recorded or echoed.
    @ivar default: what is used when it is left out; a required one has none.
    """

    name: str
    type: Type
    meaning: str
    required: bool = False
    default: Any = None


@frozen
class Verb:
    """
    @ivar duties: any one of these suffices. Empty: no token is needed (C{bootstrap} alone).
    @ivar own: what somebody without the duty may do all the same, or C{""}. C{"NAME"}: the argument NAME (an identity)
        is the caller's own name; left out it means the caller. C{"session"}, C{"approval"}, C{"token"}: the thing
        belongs to the caller; lists show only what does; what is somebody else's is a KeyError, as if it were not there.
    @ivar subject: the argument that the record names as the act's subject, or C{""}.
    @ivar changes: it changes something: POST only, and recorded in the ledger. The others only read.
    @ivar result: name in L{SHAPES}, or C{"list of <name>"}.
    """

    name: str
    meaning: str
    duties: frozenset[str]
    result: str
    arguments: tuple[Argument, ...] = ()
    own: str = ""
    subject: str = ""
    changes: bool = False


def _required(name: str, type: Type, meaning: str) -> Argument:
    return Argument(name, type, meaning, required=True)


def _verb(
    name: str,
    meaning: str,
    duties: str,
    result: str,
    *arguments: Argument,
    own: str = "",
    subject: str = "",
    changes: bool = False,
) -> Verb:
    return Verb(name, meaning, frozenset(duties.split()), result, arguments, own, subject, changes)


_ALL = "administrator approver auditor user"
_IDENTITY = "identity name, such as user:priya or agent:ci"

_VERBS = (
    # -- oneself and the gateway -----------------------------------------------------------------------------
    _verb(
        "bootstrap",
        "become the first administrator, once; the call's own token is empty",
        "",
        "issued",
        _required("one_time_token", "secret", "what hoopctl bootstrap-token printed"),
        _required("name", "text", "the new identity: user:NAME"),
        subject="name",
        changes=True,
    ),
    _verb("whoami", "who the token says one is", _ALL, "caller"),
    _verb("status", "how the gateway is", "administrator auditor approver", "status"),
    _verb(
        "reload",
        "check the configuration on disk and become it; a wrong one is a ValueError, a reason a line, and changes nothing",
        "administrator",
        "nothing",
        changes=True,
    ),
    # -- identities ------------------------------------------------------------------------------------------
    _verb(
        "identities.add",
        "a new local identity, without password or token",
        "administrator",
        "identity",
        _required("name", "text", _IDENTITY),
        Argument("groups", "texts", "groups, without the word group:", default=()),
        Argument("duties", "texts", "administrator, approver, auditor; everybody has user", default=()),
        subject="name",
        changes=True,
    ),
    _verb("identities.list", "all local identities, by name", "administrator auditor", "list of identity"),
    _verb(
        "identities.groups",
        "replace its groups",
        "administrator",
        "identity",
        _required("name", "text", _IDENTITY),
        _required("groups", "texts", "all groups it shall have"),
        subject="name",
        changes=True,
    ),
    _verb(
        "identities.duties",
        "replace its duties",
        "administrator",
        "identity",
        _required("name", "text", _IDENTITY),
        _required("duties", "texts", "all duties it shall have"),
        subject="name",
        changes=True,
    ),
    _verb(
        "identities.password",
        "give a person another password, or none",
        "administrator",
        "nothing",
        _required("name", "text", _IDENTITY),
        Argument("password", "secret", "left out: only tokens prove it from now on"),
        own="name",
        subject="name",
        changes=True,
    ),
    _verb(
        "identities.disable",
        "lock an identity out, local or not; its sessions end",
        "administrator",
        "nothing",
        _required("name", "text", _IDENTITY),
        Argument("why", "text", "for the record and for whoever wonders", default=""),
        subject="name",
        changes=True,
    ),
    _verb(
        "identities.enable",
        "undo identities.disable",
        "administrator",
        "nothing",
        _required("name", "text", _IDENTITY),
        subject="name",
        changes=True,
    ),
    # -- tokens ----------------------------------------------------------------------------------------------
    _verb(
        "tokens.issue",
        "a token, shown once: one's own, never wider than the one it is asked for with; as administrator an agent's",
        "administrator",
        "issued",
        Argument("identity", "text", _IDENTITY + "; left out: the caller"),
        Argument("lifetime", "number", "seconds; left out: identity.token_lifetime"),
        Argument("scopes", "texts", "what it is narrowed to, such as target:orders* or do:read; left out: nothing"),
        Argument("act", "text", "identity on whose behalf an agent acts"),
        Argument("description", "text", "what it is for", default=""),
        own="identity",
        subject="identity",
        changes=True,
    ),
    _verb(
        "tokens.list",
        "issued tokens, newest first, never their secrets",
        "administrator auditor",
        "list of token",
        Argument("identity", "text", "only this identity's"),
        own="token",
    ),
    _verb(
        "tokens.revoke",
        "end a token now, and the sessions that rest on it",
        "administrator",
        "token",
        _required("id", "text", "its id, as tokens.list shows it"),
        own="token",
        subject="id",
        changes=True,
    ),
    # -- vault -----------------------------------------------------------------------------------------------
    _verb(
        "vault.put",
        "keep a target's password, replacing an older one",
        "administrator",
        "secret",
        _required("name", "text", "the name that a target's credential says"),
        _required("value", "secret", "the password"),
        subject="name",
        changes=True,
    ),
    _verb("vault.list", "all secrets, never their values", "administrator auditor", "list of secret"),
    _verb(
        "vault.remove",
        "forget a secret",
        "administrator",
        "nothing",
        _required("name", "text", "its name"),
        subject="name",
        changes=True,
    ),
    _verb(
        "vault.rotate-key",
        "a new master key; every data key is wrapped anew, no value is touched",
        "administrator",
        "rotation",
        changes=True,
    ),
    _verb("vault.check", "open every secret once", "administrator auditor", "problems"),
    # -- approvals -------------------------------------------------------------------------------------------
    _verb(
        "approvals.list",
        "held operations, newest first",
        "approver auditor administrator",
        "list of approval",
        Argument("states", "texts", "only these states, such as pending", default=()),
        Argument("requester", "text", "only this identity's"),
        Argument("target", "text", "only on this target"),
        own="approval",
    ),
    _verb(
        "approvals.show",
        "one held operation",
        "approver auditor administrator",
        "approval",
        _required("id", "text", "its id"),
        own="approval",
    ),
    _verb(
        "approvals.approve",
        "say yes; entitled by group, never the requester, never an agent",
        "approver",
        "approval",
        _required("id", "text", "its id"),
        _required("reason", "text", "why; kept for ever"),
        subject="id",
        changes=True,
    ),
    _verb(
        "approvals.deny",
        "say no",
        "approver",
        "approval",
        _required("id", "text", "its id"),
        _required("reason", "text", "why; the requester is told"),
        subject="id",
        changes=True,
    ),
    # -- sessions --------------------------------------------------------------------------------------------
    _verb(
        "sessions.list",
        "sessions, newest first",
        "auditor administrator",
        "list of session",
        Argument("identity", "text", "only this identity's (exact name)"),
        Argument("target", "text", "only on this target (exact name)"),
        Argument("since", "number", "only those not over before this time"),
        Argument("until", "number", "only those begun before this time"),
        Argument("open", "boolean", "only those that run (true) or are over (false)"),
        Argument("limit", "integer", "at most so many, to 1,000", default=100),
        own="session",
    ),
    _verb(
        "sessions.show",
        "one session",
        "auditor administrator",
        "session",
        _required("id", "text", "session id"),
        own="session",
    ),
    _verb(
        "sessions.recording",
        "a piece of its recording, as the file's own bytes; recorded as an auditor's act when offset is 0",
        "auditor",
        "piece",
        _required("id", "text", "session id"),
        Argument("offset", "integer", "from this byte", default=0),
        Argument("limit", "integer", f"at most so many bytes, to {PAGE_MAX}", default=PAGE_MAX),
        own="session",
        subject="id",
    ),
    _verb(
        "sessions.end",
        "end a running session now",
        "administrator",
        "nothing",
        _required("id", "text", "session id"),
        _required("why", "text", "the user is told"),
        own="session",
        subject="id",
        changes=True,
    ),
    # -- policy ----------------------------------------------------------------------------------------------
    _verb(
        "policy.explain",
        "what would happen to an identity's statement on a target, by which rules, and why; nothing is run",
        "administrator auditor approver",
        "explanation",
        Argument("identity", "text", _IDENTITY + "; left out: the caller"),
        _required("target", "text", "target name"),
        _required("statement", "text", "SQL"),
        Argument("groups", "texts", "groups to assume; left out: those of the local identity, if there is one"),
        Argument("reason", "text", "the reason that the user would give"),
        own="identity",
    ),
    _verb("policy.show", "the policy in force", "administrator auditor", "policy"),
    # -- audit -----------------------------------------------------------------------------------------------
    _verb(
        "audit.key", "the key that checkpoints are signed with, and the newest checkpoint: to be kept elsewhere", _ALL,
        "audit-key",
    ),
    _verb(
        "audit.checkpoint",
        "seal what is recorded, sign the ledger's present head and publish it to the witnesses",
        "administrator auditor",
        "audit-key",
    ),
)  # fmt: skip

#: every verb by its name
VERBS: Mapping[str, Verb] = MappingProxyType({verb.name: verb for verb in _VERBS})

#: Fields of the objects in answers. Those of values say which class they are the fields of.
SHAPES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "nothing": {},
        # hoopd.values.Identity
        "caller": {
            "name": "text: user:priya",
            "kind": "human or agent",
            "groups": "list of text",
            "duties": "list of text",
            "scopes": "list of text, or null: not narrowed",
            "act": "text or null",
            "proof": "how it was proven",
            "expires_at": "when the proof lapses, or null",
        },
        "status": {
            "version": "of hoopd",
            "generation": "how many reloads",
            "policy": "version of the policy in force",
            "started_at": "when this broker began",
            "targets": "list of {name, protocol, mode, description}",
            "sessions": "number of running sessions",
            "pending": "number of requests that wait for a decision",
            "ledger": "{origin, size, checkpoint: leaves under the newest checkpoint}",
            "processes": "list of {name, pid} attached to the broker",
            "problems": "list of text: what is not well; empty is well",
        },
        # hoopd.identity.values.LocalIdentity
        "identity": {
            "name": "text",
            "subject": "text",
            "kind": "human or agent",
            "groups": "list of text",
            "duties": "list of text",
            "password": "boolean: has one",
            "disabled": "boolean",
            "created_at": "time",
            "created_by": "identity name",
        },
        # hoopd.identity.values.IssuedToken
        "token": {
            "id": "text",
            "identity": "identity name",
            "scopes": "list of text or null",
            "act": "identity name or null",
            "description": "text",
            "created_at": "time",
            "created_by": "identity name",
            "expires_at": "time",
            "revoked_at": "time or null",
            "last_used_at": "time or null",
        },
        "issued": {"entry": "token", "token": "the token itself, shown once"},
        # hoopd.values.SecretEntry
        "secret": {
            "name": "text",
            "version": "integer",
            "created_at": "time",
            "created_by": "identity name",
            "master_key": "id of the master key it lies under",
        },
        "rotation": {"secrets": "number of secrets re-wrapped"},
        "problems": {"problems": "list of text; empty is well"},
        # hoopd.values.Approval; holds are hoopd.values.HoldTerms, votes hoopd.values.Vote
        "approval": {
            "id": "text",
            "state": "pending, approved, claimed, executed, failed, unknown, denied, expired or cancelled",
            "requester": "identity name",
            "act": "identity name or null",
            "target": "target name",
            "session": "session id",
            "redacted": "the statement, as people may see it, whole",
            "classes": "list of text",
            "objects": "list of text",
            "reason": "text or null",
            "holds": "list of {rule, by, quorum, wait, in_transaction, notify, why}",
            "policy": "policy version",
            "requested_at": "time",
            "deadline": "time",
            "claim_by": "time or null",
            "votes": "list of {identity, approve, reason, at, groups}",
            "settled_at": "time or null",
            "outcome": "text",
            "revision": "integer",
        },
        # hoopd.values.SessionSummary
        "session": {
            "id": "text",
            "identity": "identity name",
            "kind": "human or agent",
            "act": "identity name or null",
            "target": "target name",
            "protocol": "text",
            "peer": "address:port",
            "started_at": "time",
            "ended_at": "time or null: it runs",
            "ended_why": "text",
            "operations": "integer",
            "denied": "integer",
            "held": "integer",
            "recording": "path of its recording below the state directory",
        },
        "piece": {
            "offset": "of its first byte",
            "size": "bytes of the recording so far",
            "open": "boolean: the session runs, more will come",
            "bytes": "base64",
        },
        "explanation": {
            "verdict": "allow, deny or hold",
            "observed": "what enforcement would have said, or null",
            "rules": "list of rule ids that decided",
            "why": "text",
            "hint": "text",
            "text": "all of it as text for a person (hoopd.policy.explanation.render)",
        },
        "policy": {"version": "text", "files": "object: file name to text"},
        "audit-key": {
            "verifier": "C2SP signed note verifier key: name+hash+key",
            "origin": "name of the log",
            "checkpoint": "the newest signed checkpoint, or empty",
        },
    }
)


def checked(verb: Verb, arguments: Any) -> dict[str, Any]:
    """
    @param arguments: what somebody sent.
    @return: all arguments of C{verb}, defaults filled in; lists are tuples of text.
    @raise ValueError: unknown, missing, or of another type; says which, never its value.
    """
    if not isinstance(arguments, Mapping):
        raise ValueError("arguments must be a JSON object")
    known = {each.name: each for each in verb.arguments}
    for name in arguments:
        if name not in known:
            takes = ", ".join(known) or "none"
            raise ValueError(f"{verb.name} has no argument {str(name)[:64]!r}; it takes {takes}")
    result = {}
    for name, argument in known.items():
        value = arguments.get(name)
        if value is None:
            if argument.required:
                raise ValueError(f"{verb.name} needs the argument {name!r}: {argument.meaning}")
            result[name] = argument.default
        else:
            result[name] = _typed(verb, argument, value)
    return result


def _typed(verb: Verb, argument: Argument, value: Any) -> Any:
    where = f"{verb.name}: argument {argument.name!r}"
    if argument.type == "texts":
        if isinstance(value, str) or not isinstance(value, Iterable) or isinstance(value, Mapping):
            raise ValueError(f"{where} must be a list of text")
        found = tuple(value)
        if len(found) > LIST_MAX:
            raise ValueError(f"{where} has more than {LIST_MAX} entries")
        for each in found:
            _text(where, each)
        return found
    if isinstance(value, bool) != (argument.type == "boolean") or not isinstance(value, _PYTHON[argument.type]):
        raise ValueError(f"{where} must be {'text' if argument.type == 'secret' else argument.type}")
    if isinstance(value, str):
        _text(where, value)
    if isinstance(value, float) and not abs(value) < 1e15:
        raise ValueError(f"{where} is no usable number")
    return value


def _text(where: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{where} must be text")
    if len(value) > TEXT_MAX:
        raise ValueError(f"{where} is longer than {TEXT_MAX} characters")
    if "\0" in value:
        raise ValueError(f"{where} contains a NUL character")


def secrets(verb: Verb) -> frozenset[str]:
    """@return: names of the arguments that no log or record may show."""
    return frozenset(each.name for each in verb.arguments if each.type == "secret")
