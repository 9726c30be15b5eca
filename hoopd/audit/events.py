"""Every name that the record uses: frames of recordings, leaves of the ledger, events of the log; not their writing.

One catalogue each, so that a misspelt name is an error where it is written and not a gap where it is looked for.
The fields listed are those that replay, search and proof rely on. A frame or leaf may carry more (a newer writer's
are kept); an event's field that is not listed is redacted in the log: what is not classified is secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from attrs import frozen

from hoopd.errors import HoopdError

FieldClass = Literal["public", "redacted"]

#: what stands in the log where a redacted field was
REDACTED = "[redacted]"


class UnknownName(HoopdError, LookupError):
    """A name that is in no catalogue: our own mistake, found where it is made."""


@frozen
class Frame:
    """A kind of recording frame.

    @ivar code: its number in the file; never used again for another kind.
    @ivar fields: what it carries, and what that means.
    """

    code: int
    meaning: str
    fields: Mapping[str, str]


_OPERATION = "id of the operation within the session, from 1"

FRAMES: Mapping[str, Frame] = MappingProxyType(
    {
        "open": Frame(
            1,
            "the session began; written by the broker, always the first frame",
            {
                "session": "session id",
                "identity": "name of the identity, such as user:priya",
                "kind": "human or agent",
                "act": "on whose behalf, or null",
                "groups": "groups of the identity",
                "proof": "how the identity was proven",
                "target": "name of the target",
                "protocol": "postgres, ssh …",
                "peer": "address:port of the client",
                "policy": "version of the policy",
            },
        ),
        "operation": Frame(
            2,
            "an operation and its decision, written before anything of it is forwarded; a denied one has it too",
            {
                "operation": _OPERATION,
                "text": "statement, scrubbed and masked",
                "parameters": "bound values, masked, or null",
                "statement": "name of the prepared statement, or null",
                "classes": "what it does",
                "objects": "what it touches",
                "decision": "allow, deny or hold (a hold that was approved and claimed)",
                "observed": "what enforcement would have decided, where the target only observes",
                "observed_masks": "ids of the mask rules that enforcement would have applied",
                "rules": "ids of the rules that decided",
                "why": "the reason policy gave",
                "hint": "whom to ask",
                "masks": "ids of the mask rules in force",
                "approval": "id of the approval it was claimed under, or null",
                "reason": "the user's own reason, or null",
                "policy": "version of the policy that decided",
                "break_glass": "id of the break glass in use; absent without",
                "skipped": "ids of the rules that it let pass",
            },
        ),
        "decision": Frame(
            3,
            "a decision taken after the operation frame, such as a row limit reached",
            {"operation": _OPERATION, "decision": "allow, deny or hold", "rules": "ids", "why": "the reason"},
        ),
        "hold": Frame(
            4,
            "a held operation's request changed its state, as far as this session saw it",
            {
                "operation": _OPERATION,
                "approval": "approval id",
                "state": "its state",
                "rules": "ids of the rules that hold",
                "text": "the held statement, scrubbed",
                "reason": "the user's own reason, or null",
                "deadline": "when the request lapses, seconds since the epoch",
            },
        ),
        "approval": Frame(
            5,
            "who decided on a held operation",
            {
                "operation": _OPERATION,
                "approval": "approval id",
                "state": "approved, denied, expired or cancelled",
                "votes": "list of {identity, approve, reason, at}",
            },
        ),
        # 6 was to be "forwarded", and never was written: docs/decisions/0005-no-forwarded-frame.md
        "rows": Frame(
            7,
            "rows of a result, masked as the user saw them, up to the listener's record_rows and record_bytes",
            {
                "operation": _OPERATION,
                "columns": "column names; in the first of a result's frames",
                "rows": "list of lists of text or null; bytes that are no UTF-8 as {hex: …}",
                "masked": "positions of masked columns, from 0",
            },
        ),
        "input": Frame(
            8,
            "what the client sent to a running operation (COPY input, stdin), masked",
            {"operation": _OPERATION, "text": "the input", "bytes": "its size", "sha256": "of what is not kept"},
        ),
        "result": Frame(
            9,
            "the target finished an operation",
            {
                "operation": _OPERATION,
                "tag": "command tag or exit status",
                "rows": "number of rows",
                "bytes": "size of the result",
                "kept": "rows that are in the recording",
                "sha256": "of the masked result as delivered, hexadecimal",
                "duration": "seconds from forwarding to the end",
            },
        ),
        "notice": Frame(
            10,
            "something the user was told beside the result, by target or gateway",
            {"operation": _OPERATION, "severity": "NOTICE, WARNING …", "code": "SQLSTATE", "text": "the message"},
        ),
        "error": Frame(
            11,
            "an error the user was given, by target or gateway; scrubbed",
            {
                "operation": _OPERATION,
                "severity": "ERROR, FATAL …",
                "code": "SQLSTATE",
                "text": "the message",
                "from": "gateway or target",
            },
        ),
        "cancel": Frame(12, "a cancellation was sent to the target", {"operation": _OPERATION, "why": "who asked"}),
        "output": Frame(
            13,
            "text of a terminal or stream, scrubbed; bytes that are no UTF-8 as {hex: …}",
            {"operation": _OPERATION, "stream": "out or err", "text": "as it came"},
        ),
        "resize": Frame(14, "the terminal's size", {"operation": _OPERATION, "columns": "width", "rows": "height"}),
        "state": Frame(
            15, "session state that later operations depend on", {"name": "such as search_path", "value": "its value"}
        ),
        "close": Frame(
            16,
            "the session ended; the last frame, by the worker, or by the broker where the worker could not",
            {
                "why": "the reason",
                "operations": "operations forwarded",
                "denied": "operations refused",
                "held": "operations held",
                "by": "worker or broker",
            },
        ),
        "torn": Frame(
            17,
            "the bytes before this frame are the part of a frame that could not be written",
            {"offset": "where they begin", "bytes": "how many"},
        ),
        "transfer": Frame(
            18,
            "a file has gone to the target or come from it, or a part of it; its contents are not in the recording",
            {
                "operation": _OPERATION,
                "direction": "download or upload",
                "via": "sftp, scp or rsync",
                "path": "at the target",
                "name": "of scp: what its sender called it; the path is that of the command, and may be a directory",
                "bytes": "how many went; more than are in the file where parts were asked for again",
                "sha256": "of them, in their order from the file's beginning; null where they did not come so",
                "whole": "they are the whole file",
                "ranges": "list of [from, to) in the file, where they are not all of it; at most 64",
                "tag": "closed, or why it ended",
                "duration": "seconds from opening to end",
            },
        ),
    }
)

#: code to kind
FRAME_KINDS: Mapping[int, str] = MappingProxyType({frame.code: kind for kind, frame in FRAMES.items()})

#: kind to the fields of its leaves
LEAVES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # the log's own verifier key: the first leaf, and one for each new key
        "checkpoint-key": ("verifier",),
        "started": ("version", "policy", "recovered"),
        "session-opened": ("session", "path", "identity", "target", "protocol", "peer", "kind", "act", "policy"),
        "segment": ("session", "number", "offset", "length", "first", "last", "sha256"),
        "session-closed": ("session", "why", "size", "frames", "sha256", "torn", "segments"),
        "tamper": ("session", "what", "offset", "detail"),
        "approval": (
            "approval",
            "revision",
            "event",
            "was",
            "state",
            "by",
            "reason",
            "requester",
            "act",
            "target",
            "session",
            "digest",
            "policy",
        ),
        # acts of administrators and auditors through hoopctl or the console
        "administration": ("verb", "by", "subject", "detail"),
        # somebody was shown something of the record
        "viewed": ("by", "verb", "subject", "detail"),
        "identity": ("act", "by", "subject", "detail"),
        "vault": ("act", "by", "secret", "version", "master_key"),
        # loaded (with what differs), refused, confirmed by somebody else, terms forgotten by whoever has the machine
        "policy": (
            "act",
            "by",
            "author",
            "number",
            "digest",
            "previous",
            "version",
            "rules",
            "serial",
            "signers",
            "added",
            "removed",
            "changed",
            "diff",
            "diff_sha256",
            "why",
        ),
        "configuration": ("act", "by", "digest"),
        # created, confirmed, used and void; a code goes by its id
        "recovery-code": (
            "event",
            "identity",
            "by",
            "sheet",
            "code",
            "count",
            "void",
            "remaining",
            "peer",
            "groups",
            "duties",
        ),
        # registered and removed; the recipient is public
        "officer-key": ("event", "identity", "by", "recipient"),
        # made, opened, rotated, closed; file: SHA-256 of what was handed out
        "emergency-export": (
            "event",
            "export",
            "by",
            "target",
            "secret",
            "version",
            "officers",
            "recipients",
            "reason",
            "file",
            "offline",
        ),
        # one use of break glass: opened, skipped (once for each operation that passes), ended, overdue, reviewed
        "break-glass": (
            "use",
            "event",
            "by",
            "identity",
            "act",
            "target",
            "rule",
            "skip",
            "reason",
            "until",
            "review_due",
            "session",
            "skipped",
            "digest",
            "why",
            "operations",
            "verdict",
            "findings",
            "late",
            "policy",
        ),
        # a notice that reached nobody
        "notice": ("notice", "channel", "kind", "subject", "act", "attempts", "why"),
    }
)

_public: FieldClass = "public"
_redacted: FieldClass = "redacted"


def _event(public: str, redacted: str = "") -> Mapping[str, FieldClass]:
    fields: dict[str, FieldClass] = dict.fromkeys(public.split(), _public)
    fields.update(dict.fromkeys(redacted.split(), _redacted))
    return MappingProxyType(fields)


_GLASS = "use identity act target rule"

#: Event name to the classes of its fields. Statement text is public because it is scrubbed and masked before it
#: comes here; what a client claims without proof is public because it is what an operator looks for.
CATALOGUE: Mapping[str, Mapping[str, FieldClass]] = MappingProxyType(
    {
        # processes
        "process.started": _event("process role pid version generation separation"),
        "process.ended": _event("process role pid status why"),
        "process.restarted": _event("process role pid delay"),
        "process.draining": _event("process role pid why sessions"),
        "broker.away": _event("process since"),
        "broker.back": _event("process sessions unknown"),
        "config.loaded": _event("by digest targets policies"),
        "config.refused": _event("by why file key"),
        "policy.loaded": _event("by policy rules targets"),
        "policy.refused": _event("by why file"),
        "policy.changed": _event("number by author digest previous version rules serial signers added removed changed"),
        "policy.confirmed": _event("number by digest why"),
        # identities
        "identity.authenticated": _event("identity kind proof peer act"),
        "identity.failed": _event("claimed peer why provider", "secret"),
        "identity.added": _event("identity by duties"),
        "identity.changed": _event("identity by duties what"),
        "identity.removed": _event("identity by"),
        "identity.duties-clash": _event("identity duties"),
        "identity.throttled": _event("peer failures claimed"),
        "token.issued": _event("token identity by expires scopes"),
        "token.revoked": _event("token identity by why"),
        "ssh.certified": _event("key identity by fingerprint expires"),
        "ssh.key-added": _event("key identity by fingerprint expires"),
        "ssh.key-revoked": _event("key identity by"),
        # login links: outcome is proven, denied, lapsed, refused, failed or left
        "login.offered": _event("provider peer"),
        "login.settled": _event("provider peer outcome identity why"),
        "provider.unavailable": _event("provider why"),
        "provider.keys-changed": _event("provider keys"),
        # sessions
        "session.opened": _event("session identity kind act target peer protocol policy proof"),
        "session.refused": _event("claimed identity peer target why rules hint"),
        "session.closed": _event("session identity target why operations denied held seconds"),
        "session.resumed": _event("session identity target worker"),
        "session.revoked": _event("session identity by why"),
        # operations
        "operation.decided": _event(
            "session identity act target operation decision observed rules why classes objects text approval policy reason",
            "parameters",
        ),
        "operation.allowed": _event(
            "session identity act target operation rules classes objects text approval policy reason observed",
            "parameters",
        ),
        "operation.denied": _event(
            "session identity act target operation rules why hint classes objects text policy reason", "parameters"
        ),
        "operation.held": _event(
            "session identity act target operation rules why classes objects text approval policy reason", "parameters"
        ),
        "operation.finished": _event("session identity target operation tag rows bytes seconds code outcome approval"),
        "transfer.finished": _event(
            "session identity target operation direction via path name bytes sha256 whole tag seconds approval"
        ),
        "operation.cancel-requested": _event("session peer operation"),
        "operation.limited": _event("session identity target operation rules limit rows bytes why"),
        # approvals: one event a transition
        "approval.requested": _event("approval requester act target session rules text reason deadline policy"),
        "approval.joined": _event("approval requester target session state"),
        "approval.voted": _event("approval by approve reason state"),
        "approval.approved": _event("approval by requester target reason claim_by"),
        "approval.denied": _event("approval by requester target reason"),
        "approval.granted": _event("approval by requester target reason scope until"),
        "approval.used": _event("approval requester target session grant uses"),
        "approval.ended": _event("approval requester target uses reason"),
        "approval.claimed": _event("approval requester target session"),
        "approval.executed": _event("approval requester target session detail"),
        "approval.failed": _event("approval requester target session detail"),
        "approval.unknown": _event("approval requester target session detail"),
        "approval.expired": _event("approval requester target was"),
        "approval.cancelled": _event("approval requester target by reason"),
        "approval.refused": _event("approval by act why"),
        # emergencies
        "recovery.created": _event("identity sheet count"),
        "recovery.confirmed": _event("identity by sheet void"),
        "recovery.void": _event("identity by void"),
        "recovery.used": _event("identity peer remaining proof"),
        "emergency.key": _event("identity recipient counts_at"),
        "emergency.key-removed": _event("identity by"),
        "emergency.exported": _event("export by target secret version officers reason"),
        "emergency.opened": _event("export by target secret reason"),
        "emergency.settled": _event("export by target secret how"),
        # break glass
        "break-glass.opened": _event(f"{_GLASS} reason until skip"),
        "break-glass.refused": _event("identity act target why"),
        "break-glass.operation": _event(f"{_GLASS} session operation decision rules classes objects text reason"),
        "break-glass.skipped": _event(f"{_GLASS} session rules text classes objects"),
        "break-glass.ended": _event(f"{_GLASS} by why skipped"),
        "break-glass.overdue": _event(f"{_GLASS} review_due"),
        "break-glass.reviewed": _event(f"{_GLASS} by verdict findings"),
        "break-glass.misuse": _event(f"{_GLASS} by verdict findings"),
        # vault
        "vault.put": _event("secret by version master_key", "value"),
        "vault.removed": _event("secret by"),
        "vault.rotated": _event("by secrets master_key"),
        "vault.checked": _event("by secrets problems"),
        "vault.answered": _event("session target mechanism binding"),
        "vault.refused": _event("session target why"),
        # the record itself
        "audit.sealed": _event("session segment bytes first last leaf"),
        "audit.tamper": _event("session what offset detail"),
        "audit.torn": _event("session offset bytes"),
        "audit.recovered": _event("session path frames torn why"),
        "audit.unwritable": _event("session what why"),
        "audit.checkpoint": _event("origin size root witnesses"),
        "audit.witness-failed": _event("witness size why attempts"),
        "audit.witness-conflict": _event("witness size why"),
        "audit.log-dropped": _event("lines"),
        "audit.viewed": _event("by verb subject detail"),
        # administration
        "administration.called": _event("by verb subject outcome", "arguments"),
        "administration.refused": _event("by verb why", "arguments"),
        # notices: outcome, why: in our own words, nothing of what a receiver said
        "notify.delivered": _event("notice channel kind subject attempts seconds outcome"),
        "notify.failed": _event("notice channel kind subject attempts why next"),
        "notify.given-up": _event("notice channel kind subject attempts why"),
        # bad input and limits
        "peer.error": _event("peer session protocol what"),
        "peer.limited": _event("peer protocol limit what"),
        "target.error": _event("session target what"),
        "catalogue.refreshed": _event("target database objects why"),
        "catalogue.failed": _event("target database why"),
    }
)


#: how loud a line of the log is, in the words of syslog (RFC 5424 section 6.2.1), where it is not C{info}
SEVERITY: Mapping[str, str] = MappingProxyType(
    {
        "audit.tamper": "alert",
        "audit.witness-conflict": "alert",
        "recovery.created": "notice",
        "recovery.confirmed": "notice",
        "recovery.void": "notice",
        "recovery.used": "alert",
        "policy.refused": "warning",
        "policy.changed": "notice",
        "policy.confirmed": "notice",
        "emergency.key": "notice",
        "emergency.key-removed": "notice",
        "emergency.exported": "alert",
        "emergency.opened": "alert",
        "emergency.settled": "notice",
        "break-glass.opened": "alert",
        "break-glass.refused": "warning",
        "break-glass.operation": "warning",
        "break-glass.skipped": "warning",
        "break-glass.ended": "notice",
        "break-glass.overdue": "alert",
        "break-glass.reviewed": "notice",
        "break-glass.misuse": "alert",
    }
)


def frame_code(kind: str) -> int:
    """@return: the number of a frame kind. @raise UnknownName"""
    try:
        return FRAMES[kind].code
    except KeyError:
        raise UnknownName(f"no frame kind is called {kind!r}") from None


def check_leaf(kind: str) -> None:
    """@raise UnknownName: no such leaf kind."""
    if kind not in LEAVES:
        raise UnknownName(f"no leaf kind is called {kind!r}")


def publishable(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an event as they may stand in the log: those not public are redacted.

    @raise UnknownName: no such event.
    """
    try:
        classes = CATALOGUE[name]
    except KeyError:
        raise UnknownName(f"no event is called {name!r}") from None
    return {field: value if classes.get(field) == _public else REDACTED for field, value in fields.items()}
