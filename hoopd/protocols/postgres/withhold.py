"""What may be passed on of a server's errors, notices and notifications where masks apply.

Error texts quote values: C{Key (card)=(4111…) already exists}, C{invalid input syntax for type integer: "4111…"}.
Unless the statement surely touches nothing masked, only texts of routines of the server that quote names alone are
passed on. The routine's name (field R) is the server's own and cannot be set by SQL; RAISE has C{exec_stmt_raise}, and
what runs inside functions has a context (field W). Specification: "Error and Notice Message Fields".
"""

from __future__ import annotations

from hoopd.masking.detectors import Scanner
from hoopd.protocols.postgres import backend
from hoopd.protocols.postgres.codec import Fields, message

#: routines of PostgreSQL 12 to 18 whose messages hold only names, types and the client's own words
_NAMES_ONLY = frozenset(
    {
        b"parserOpenTable", b"errorMissingColumn", b"errorMissingRTE", b"scanner_yyerror", b"ParseFuncOrColumn",
        b"op_error", b"check_ungrouped_columns_walker", b"transformAssignedExpr", b"checkInsertTargets",
        b"transformInsertRow", b"aclcheck_error", b"checkNameSpaceConflicts", b"select_common_type",
        b"ProcessInterrupts", b"exec_simple_query", b"exec_parse_message", b"exec_bind_message",
        b"exec_execute_message", b"exec_describe_portal_message", b"exec_describe_statement_message",
        b"FetchPreparedStatement", b"DeadLockReport", b"PreventInTransactionBlock", b"PreventCommandIfReadOnly",
        b"UserAbortTransactionBlock", b"EndTransactionBlock", b"BeginTransactionBlock", b"WarnNoTransactionBlock",
        b"CheckTransactionBlock", b"RollbackToSavepoint", b"ReleaseSavepoint", b"heap_lock_tuple",
        b"heap_update", b"heap_delete", b"heap_create_with_catalog", b"DefineIndex", b"DropErrorMsgNonExistent",
        b"does_not_exist_skipping", b"transformColumnDefinition", b"transformCreateStmt", b"reportDependentObjects",
    }
)  # fmt: skip

#: fields that hold names and places, never values
_KEPT = frozenset("SVCstcdnFLR")

_WHY = b"The statement touches masked columns, and the server's text may quote their values."


def scrubbed(payload: bytes) -> bytes:
    """The payload of an ErrorResponse or NoticeResponse without what may quote a value."""
    fields = backend.parse_error(payload)
    plain = fields.get("R") in _NAMES_ONLY and "W" not in fields and "q" not in fields
    kept = {code: value for code, value in fields.items() if code in _KEPT or (plain and code in "MP")}
    if not plain:
        kept["M"] = b"text withheld by hoopd (SQLSTATE " + fields.get("C", b"?????") + b")"
        kept["D"] = _WHY
    return backend.error_payload(kept)


def scanned(payload: bytes, scanner: Scanner) -> bytes:
    """The payload of an ErrorResponse or NoticeResponse without what detectors find in it."""
    return backend.error_payload({code: scanner(value) for code, value in backend.parse_error(payload).items()})


def scanned_notification(payload: bytes, scanner: Scanner) -> bytes:
    """A NotificationResponse whose payload text has nothing that detectors find."""
    fields = Fields(payload, "NotificationResponse")
    sender, channel, text = fields.take(4), fields.string(), fields.string()
    return message(backend.NOTIFICATION, sender + channel + b"\0" + scanner(text) + b"\0")


def notification(payload: bytes) -> bytes:
    """A NotificationResponse whose payload text is taken out: anybody's trigger may have put a value there."""
    fields = Fields(payload, "NotificationResponse")
    sender, channel = fields.take(4), fields.string()
    return message(backend.NOTIFICATION, sender + channel + b"\0\0")
