"""The values that services and processes exchange: frozen, plain, without behaviour beyond their own names.

Not here: rules (L{hoopd.policy}), parse trees (L{hoopd.sql}), wire messages (L{hoopd.protocols}).
Times are seconds since the epoch (float, UTC), durations seconds. Words are those of docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import Factory, field, frozen

from hoopd.secret import Secret

Kind = Literal["human", "agent"]
Duty = Literal["administrator", "approver", "auditor", "user", "vault"]
Verdict = Literal["allow", "deny", "hold"]
Show = Literal["full", "last4", "partial", "hash", "null"]
Mode = Literal["enforce", "observe"]
#: how far an approval reaches: one run of exactly what was asked, its session, or a time
Scope = Literal["once", "session", "window"]

DUTIES: tuple[Duty, ...] = ("administrator", "approver", "auditor", "user", "vault")


def _mapping() -> Any:
    return field(factory=dict, hash=False)


@frozen
class Identity:
    """Who acts. C{kind} is set by the kind of proof, never by a claim."""

    subject: str
    kind: Kind
    groups: frozenset[str] = frozenset()
    #: scopes narrow: None is unrestricted; else target name patterns and operation classes, as
    #: C{"target:orders-*"} and C{"do:read"}
    scopes: tuple[str, ...] | None = None
    duties: frozenset[str] = frozenset({"user"})
    #: duties it holds that do not count, because the configuration says that they exclude each other
    withheld: frozenset[str] = frozenset()
    #: on whose behalf (RFC 8693 section 4.1 C{act}, turned round): an identity name or None
    act: str | None = None
    #: how it was proven: C{"oidc:<issuer>"}, C{"password"}, C{"token:<token id>"}
    proof: str = ""
    proven_at: float = 0.0
    #: when the proof lapses, or None
    expires_at: float | None = None
    claims: Mapping[str, Any] = _mapping()

    @property
    def name(self) -> str:
        """C{"user:priya"} or C{"agent:ci/orders@main"}, as policies write it."""
        return f"{'user' if self.kind == 'human' else 'agent'}:{self.subject}"


@frozen
class Peer:
    """The client's end of a connection, as the listener saw it."""

    address: str
    port: int
    encrypted: bool
    server_name: str | None = None


@frozen
class SshSignature:
    """An SSH key or certificate, in wire form, and its signature (RFC 4252 section 7); not verified.

    @ivar algorithm: what the client said it signed with.
    @ivar signed: the session's identifier and the authentication request, as they were signed.
    """

    blob: bytes
    algorithm: bytes
    signature: bytes
    signed: bytes


@frozen
class Proof:
    """What a client offers as proof of identity: a claimed name and a password or token, or a certificate.

    @ivar method: C{"password"} (a token may stand in its place), C{"bearer"} (a token and nothing else),
        C{"certificate"}: the peer has shown in its TLS handshake that it holds the key of C{certificates[0]};
        C{"ssh"}: a key or certificate and its signature; or C{"link"}: the secret is a L{LoginLink}'s token, by
        which somebody has logged in.
    """

    claimed: str
    secret: Secret
    peer: Peer
    method: Literal["password", "bearer", "certificate", "ssh", "link"] = "password"
    #: DER, the client's own first; as it sent them, not verified
    certificates: tuple[bytes, ...] = ()
    ssh: SshSignature | None = None


@frozen
class TargetTls:
    """How the leg to a target is secured. C{mode}: verify-full (default), verify-ca, or off (explicit)."""

    mode: Literal["verify-full", "verify-ca", "off"] = "verify-full"
    #: PEM text of the certificate authorities; None is the system's
    authorities: str | None = None
    server_name: str | None = None


@frozen
class TargetSsh:
    """How sessions reach an SSH host.

    @ivar logins: accounts that clients may name, as patterns, besides the target's own.
    @ivar sign_in: C{certificate}: one of ours, good for minutes; C{key}, C{password}: what the vault holds.
    @ivar host_keys: keys that are the host's, and authorities that certify it, as lines of known_hosts without names.
    """

    logins: tuple[str, ...] = ()
    sign_in: Literal["certificate", "key", "password"] = "certificate"
    host_keys: tuple[str, ...] = ()


@frozen
class Target:
    """One server that sessions can be opened to."""

    name: str
    protocol: str
    host: str
    port: int
    labels: Mapping[str, str] = _mapping()
    #: name of the vault secret; the account's name is not secret
    credential: str = ""
    username: str = ""
    #: databases a client may name (first is the default), for protocols that have them
    databases: tuple[str, ...] = ()
    tls: TargetTls = TargetTls()
    mode: Mode = "enforce"
    #: password methods allowed besides SCRAM: "md5", "cleartext" need explicit configuration
    weak_authentication: tuple[str, ...] = ()
    description: str = ""
    #: functions of the target's own that are known to reveal no masked column and to change nothing
    trusted_functions: tuple[str, ...] = ()
    ssh: TargetSsh = TargetSsh()


@frozen
class Grant:
    """Permission to open one target for one session: only an authorisation by the broker makes one."""

    session: str
    target: str
    identity: str
    issued_at: float
    expires_at: float
    #: unguessable; the broker answers challenges of this grant to its bearer only, once
    token: Secret


@frozen
class Admission:
    """The broker's answer to a client that proved itself: everything a worker needs to run one session."""

    session: str
    #: unguessable; every later request of this session carries it
    token: Secret
    identity: Identity
    target: Target
    grant: Grant
    #: descriptor of the open recording; the worker owns it and closes it
    recording: int
    started_at: float


@frozen
class Operation:
    """One judged unit, in protocol-neutral terms.

    @ivar classes: what it does, in the words of docs/policy.md (C{read write ddl insert update delete merge
        truncate drop create alter grant introspect session transaction copy-in copy-out call explain …}).
        Broad words come along with narrow ones: a DELETE carries C{{"write", "delete"}}.
    @ivar objects: what it touches, as C{"schema.table"}.
    @ivar facts: values that C{when} conditions read as C{op.<name>}.
    """

    protocol: str
    classes: frozenset[str]
    text: str
    objects: tuple[str, ...] = ()
    facts: Mapping[str, Any] = _mapping()
    reason: str | None = None


@frozen
class Mask:
    """One mask that applies to an identity on a target: which columns, and what is shown instead."""

    rule: str
    #: patterns C{"table.column"} or C{"schema.table.column"}; C{*} matches within one part
    columns: tuple[str, ...]
    show: Show
    #: "equality" permits comparing the column for equality with a constant
    find: Literal["", "equality"] = ""
    #: instead of columns: what is looked for in all text (L{hoopd.masking.detectors})
    detect: tuple[str, ...] = ()


@frozen
class HoldTerms:
    """Under which terms an operation waits."""

    rule: str
    #: groups (or identity names) entitled to approve: C{"group:leads"}
    by: tuple[str, ...]
    quorum: int = 1
    #: seconds that the requester's connection waits; the request stays open longer (C{approvals.open_for}); 0 is a
    #: ticket: it does not wait, and comes back
    wait: float = 900.0
    in_transaction: bool = False
    notify: tuple[str, ...] = ()
    why: str = ""
    #: the most rows that an approved operation may touch, whatever its approvers say
    max_rows: int | None = None
    #: the same as a multiple of the target's own estimate; approvers may say another number
    max_rows_factor: float | None = None
    #: how far a yes reaches if its approver says nothing else, how far it may, and how long a window at most, seconds
    scope: Scope = "once"
    scopes: tuple[Scope, ...] = ("once",)
    window_max: float = 3600.0


@frozen
class Limits:
    """Obligations on one statement: what comes back, and how long it may take; each with the rule that says so.

    C{max_rows} and C{max_bytes} are of what the client is sent, C{max_time} is seconds, C{max_changes} the rows that a
    writing statement may touch: with more it is rolled back.
    """

    max_rows: int | None = None
    max_bytes: int | None = None
    max_time: float | None = None
    max_changes: int | None = None
    rows_rule: str = ""
    bytes_rule: str = ""
    time_rule: str = ""
    changes_rule: str = ""


@frozen
class Unreasoned:
    """An operation is refused only because its reason is not what rules ask for, and would be held if it were: what
    was asked for ahead with such a reason runs all the same.

    @ivar patterns: what each of those rules asks for. @ivar why, hint: what the requester is told otherwise.
    """

    patterns: tuple[str, ...]
    why: str
    hint: str


@frozen
class Decision:
    """What policy says of one operation, with the ids of the rules that said it."""

    verdict: Verdict
    rules: tuple[str, ...] = ()
    why: str = ""
    hint: str = ""
    holds: tuple[HoldTerms, ...] = ()
    limits: Limits = Limits()
    policy: str = ""
    #: the target observes: what the verdict would have been; C{verdict} is then "allow"
    observed: Verdict | None = None
    #: the verdict if C{op.rows}, which nobody has told, were as the requester would wish; None: it changes nothing
    best: Verdict | None = None
    #: False where a condition read the clock, a parameter or a counter: decide again each time
    cacheable: bool = True
    #: ids of the rules that break glass lets this pass, and the L{Opening} that does; C{verdict} is then "hold": the
    #: broker has the last word on each such operation, and writes it down first
    skipped: tuple[str, ...] = ()
    break_glass: str = ""
    #: with the verdict "deny" and the C{holds} that there would be
    unreasoned: Unreasoned | None = None
    #: of a shell: each line that is typed in it is judged as a command
    watched: bool = False


@frozen
class Opening:
    """Break glass in use: one identity on one target, until its time is over or it is closed."""

    id: str
    identity: str
    act: str | None
    target: str
    #: the break_glass rule that gave the right
    rule: str
    #: what it lets pass: "holds", "denies", "masks"
    skip: tuple[str, ...]
    reason: str
    opened_at: float
    until: float
    #: scopes of the proof that it was opened with; others than None hold for sessions of the same scopes alone
    scopes: tuple[str, ...] | None = None


@frozen
class HeldOperation:
    """An operation that waits, as the worker hands it to the approvals.

    C{statement} and C{parameters} are exact (they are digested with the broker's key and not stored);
    C{redacted} is what people see and what is stored.
    """

    session: str
    protocol: str
    statement: bytes
    parameters: bytes
    #: session state that the meaning depends on: database, role, search_path …
    context: str
    redacted: str
    classes: tuple[str, ...]
    objects: tuple[str, ...]
    reason: str | None
    holds: tuple[HoldTerms, ...]
    policy: str
    #: rules that break glass skips, and its L{Opening}; C{holds} are what remains to be approved all the same
    skipped: tuple[str, ...] = ()
    break_glass: str = ""
    #: what the target expects it to touch; None where that is not known
    estimated_rows: int | None = None
    #: its row ceiling if approvers say no other number; None is none
    max_rows: int | None = None
    #: what else approvers should know: C{where}, C{in_transaction}, C{statements}; C{no_ceiling}: why none can be kept
    facts: Mapping[str, Any] = _mapping()
    #: nobody is asked: it runs if it was asked for ahead with a reason that fits
    unreasoned: Unreasoned | None = None
    #: requests that other operations of this session wait for: identical or not, this is none of them
    apart: tuple[str, ...] = ()


ApprovalState = Literal[
    "pending",
    "approved",
    "granted",
    "claimed",
    "executed",
    "failed",
    "unknown",
    "denied",
    "expired",
    "cancelled",
    "ended",
]


@frozen
class Vote:
    """One person's word on a held operation."""

    identity: str
    approve: bool
    reason: str
    at: float
    groups: frozenset[str] = frozenset()
    #: the row ceiling under which they say yes
    max_rows: int | None = None
    #: how far their yes reaches, and for how many seconds (None: until its session ends)
    scope: Scope = "once"
    lasts: float | None = None


@frozen
class Step:
    """One of several statements that were asked for together. @ivar digest: keyed, of the exact operation."""

    digest: str
    redacted: str
    classes: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()


@frozen
class Approval:
    """A held operation's visible side."""

    id: str
    state: ApprovalState
    requester: str
    act: str | None
    target: str
    session: str
    redacted: str
    classes: tuple[str, ...]
    objects: tuple[str, ...]
    reason: str | None
    holds: tuple[HoldTerms, ...]
    policy: str
    requested_at: float
    #: when the request lapses if nobody decides
    deadline: float
    #: when an approval lapses if nobody claims it; None before it is approved
    claim_by: float | None = None
    votes: tuple[Vote, ...] = ()
    settled_at: float | None = None
    outcome: str = ""
    revision: int = 0
    #: as in L{HeldOperation}
    estimated_rows: int | None = None
    #: exceeding it ends in rollback
    max_rows: int | None = None
    facts: Mapping[str, Any] = _mapping()
    #: what was asked for: one operation, several statements in order, or a time in which to run what C{classes} and
    #: C{objects} (patterns; empty is all) name
    kind: Literal["operation", "statements", "window"] = "operation"
    scope: Scope = "once"
    #: seconds that a window was asked for or granted; None is until its session ends
    lasts: float | None = None
    #: of one that is granted: when it ends, or None
    until: float | None = None
    #: how often it was used
    uses: int = 0
    steps: tuple[Step, ...] = ()
    #: this is one use of that approval
    grant: str = ""
    #: what the requester was granted there and does not cover this, each with why
    beside: tuple[str, ...] = ()


@frozen
class Covering:
    """What lets an operation run now. @ivar approval: None if nothing does.

    @ivar beside: what its requester was granted there and does not cover it, each with why.
    """

    approval: Approval | None
    beside: tuple[str, ...] = ()


@frozen
class Asked:
    """What came of asking ahead for statements. @ivar approval: None where nothing needs one.

    @ivar statements: of each its redacted text, the verdict, and the rules that gave it.
    """

    approval: Approval | None
    statements: tuple[tuple[str, Verdict, tuple[str, ...]], ...]


@frozen
class SessionSummary:
    """One session as lists show it."""

    id: str
    identity: str
    kind: Kind
    act: str | None
    target: str
    protocol: str
    peer: str
    started_at: float
    ended_at: float | None = None
    ended_why: str = ""
    operations: int = 0
    denied: int = 0
    held: int = 0
    recording: str = ""


@frozen
class SecretEntry:
    """A vault secret as lists show it: never its value."""

    name: str
    version: int
    created_at: float
    created_by: str
    master_key: str


@frozen
class ScramServerFirst:
    """What the target said in AuthenticationSASL, as the worker relays it to the vault."""

    mechanisms: tuple[str, ...]
    #: DER certificates the target presented, leaf first; empty without TLS
    certificates: tuple[bytes, ...] = ()
    server_name: str = ""


@frozen
class SshOffer:
    """With what to sign in at an SSH host. @ivar algorithm, blob: to be shown; C{password} where it takes nothing better"""

    method: Literal["certificate", "key", "password"]
    algorithm: bytes = b""
    blob: bytes = b""
    password: Secret | None = None


@frozen
class Pass:
    """Somebody is proven, and in no session. @ivar token: unguessable; the broker knows them by it"""

    identity: Identity
    token: Secret


@frozen
class LoginLink:
    """Where somebody may log in at a provider, and the code that they type in there (RFC 8628).

    @ivar token: unguessable; the broker knows the link by it.
    @ivar link, code: plain ASCII: what a terminal may show.
    @ivar seconds: how long the provider takes the code.
    """

    token: Secret
    provider: str
    link: str
    code: str
    seconds: float


@frozen
class Event:
    """One decision or act for the log, as a versioned line. C{name} is in L{hoopd.audit.events.CATALOGUE}."""

    name: str
    at: float
    fields: Mapping[str, Any] = Factory(dict)
