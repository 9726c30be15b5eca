"""Every error that a client of the PostgreSQL listener is told, from ours to its protocol's; not the server's own.

SQLSTATEs: PostgreSQL documentation, appendix A.
"""

from __future__ import annotations

from hoopd.errors import AuthenticationFailed, Denied, PeerError, RecordError, TargetError, Unavailable
from hoopd.flow.route import Overdue
from hoopd.flow.waiting import StillOpen, Ticket, Withdrawn
from hoopd.protocols.postgres.backend import error_response
from hoopd.protocols.postgres.judgement import Refusal

#: the same words whatever was wrong: unknown name, wrong secret, expired or revoked token
AUTHENTICATION_FAILED = "authentication failed"

#: told in the server's words: syntax, names that are not there; or not to be told from the server's
_SERVERS_OWN = frozenset(("42601", "26000", "34000", "08006", "28P01"))


def refusal(error: BaseException | None) -> Refusal:
    """What C{error} is to a client. What is not ours is a bug of ours, and tells nothing."""
    match error:
        case AuthenticationFailed():
            return Refusal("28P01", AUTHENTICATION_FAILED)
        case Withdrawn() | Overdue():
            return Refusal("57014", error.why, error.rules)
        case StillOpen() | Ticket():
            return Refusal("55000", error.why, error.rules, error.hint)
        case Denied():
            return Refusal("42501", error.why, error.rules, error.hint)
        case PeerError():
            return Refusal("08P01", str(error))
        case TargetError():
            return Refusal("08006", str(error))
        case Unavailable():
            return Refusal("57P03", str(error) or "hoopd cannot answer now", hint="Try again in a moment.")
        case RecordError():
            full = "space" in str(error).lower() or "full" in str(error).lower()
            return Refusal(
                "53100" if full else "58030",
                "the record of this session cannot be written, so nothing is forwarded",
                hint="Tell the operators of hoopd; connect again once it is repaired.",
            )
    return Refusal("XX000", "internal error of hoopd", hint="The operators find the cause in hoopd's log.")


def response(refused: Refusal, severity: str = "ERROR") -> bytes:
    """The ErrorResponse for a refusal: the rules and why in its detail, whom to ask in its hint."""
    detail = f"Refused by rule {', '.join(refused.rules)}." if refused.rules else ""
    text = refused.why if refused.sqlstate in _SERVERS_OWN else f"hoopd: {refused.why}"
    return error_response(refused.sqlstate, text, detail, refused.hint, severity, position=refused.position)
