"""Messages a server sends: parsed to values, and built for the client.

Not their order (L{hoopd.protocols.postgres.core}), not their rewriting
(L{hoopd.protocols.postgres.rows}). Specification: PostgreSQL documentation, "Message Formats", the messages
marked (B), and "Error and Notice Message Fields".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from struct import Struct

from attrs import frozen

from hoopd.protocols.postgres.codec import INT16, INT32, SIGNED32, Fields, message

AUTHENTICATION, BACKEND_KEY, BIND_COMPLETE, CLOSE_COMPLETE = b"R", b"K", b"2", b"3"
COMMAND_COMPLETE, COPY_BOTH, COPY_DATA, COPY_DONE = b"C", b"W", b"d", b"c"
COPY_IN, COPY_OUT, DATA_ROW, EMPTY_QUERY, ERROR = b"G", b"H", b"D", b"I", b"E"
FUNCTION_RESULT, NEGOTIATE, NO_DATA, NOTICE, NOTIFICATION = b"V", b"v", b"n", b"N", b"A"
PARAMETER_DESCRIPTION, PARAMETER_STATUS, PARSE_COMPLETE = b"t", b"S", b"1"
PORTAL_SUSPENDED, READY, ROW_DESCRIPTION = b"s", b"Z", b"T"

AUTH_OK, AUTH_CLEARTEXT, AUTH_MD5, AUTH_SASL, AUTH_SASL_CONTINUE, AUTH_SASL_FINAL = 0, 3, 5, 10, 11, 12

_COLUMN = Struct(">IHIhiH")


@frozen
class Column:
    """One field of a RowDescription."""

    name: bytes
    table_oid: int
    #: attribute number in that table; 0 if not a simple column
    attribute: int
    type_oid: int
    size: int = -1
    modifier: int = -1
    format: int = 0


def parse_row_description(payload: bytes) -> tuple[Column, ...]:
    fields = Fields(payload, "RowDescription")
    columns = []
    for _ in range(fields.int16()):
        name = fields.string()
        columns.append(Column(name, *_COLUMN.unpack(fields.take(18))))
    fields.done()
    return tuple(columns)


def row_description(columns: Iterable[Column]) -> bytes:
    """Build a RowDescription."""
    parts = [
        column.name
        + b"\0"
        + _COLUMN.pack(column.table_oid, column.attribute, column.type_oid, column.size, column.modifier, column.format)
        for column in columns
    ]
    return message(ROW_DESCRIPTION, INT16.pack(len(parts)) + b"".join(parts))


def data_row(values: Sequence[bytes | None]) -> bytes:
    """Build a DataRow."""
    parts = [INT16.pack(len(values))]
    for value in values:
        parts.append(SIGNED32.pack(-1) if value is None else SIGNED32.pack(len(value)) + value)
    return message(DATA_ROW, b"".join(parts))


def parse_data_row(payload: bytes) -> tuple[bytes | None, ...]:
    """Read one DataRow; rows in bulk are L{hoopd.protocols.postgres.rows}'s."""
    fields = Fields(payload, "DataRow")
    values = tuple(fields.value() for _ in range(fields.int16()))
    fields.done()
    return values


def parse_error(payload: bytes) -> dict[str, bytes]:
    """Read the fields of an ErrorResponse or NoticeResponse, by their one-letter codes."""
    fields = Fields(payload, "ErrorResponse")
    values: dict[str, bytes] = {}
    while fields.left:
        code = fields.byte()
        if code == b"\0":
            break
        values[code.decode("latin-1")] = fields.string()
    return values


def error_payload(values: Mapping[str, bytes]) -> bytes:
    """Fields in wire form; NUL bytes cannot be carried and are taken out."""
    parts = [code.encode("latin-1") + value.replace(b"\0", b"") + b"\0" for code, value in values.items()]
    return b"".join(parts) + b"\0"


def error_response(
    sqlstate: str,
    text: str,
    detail: str = "",
    hint: str = "",
    severity: str = "ERROR",
    kind: bytes = ERROR,
    position: int | None = None,
) -> bytes:
    """Build an ErrorResponse, or a NoticeResponse with C{kind=NOTICE}.

    @param position: where in the client's text, in characters from 1.
    """
    values = {"S": severity, "V": severity, "C": sqlstate, "M": text, "D": detail, "H": hint}
    if position is not None:
        values["P"] = str(position)
    encoded = {code: value.encode("utf-8", "replace") for code, value in values.items() if value}
    return message(kind, error_payload(encoded))


def notice(text: str, detail: str = "", hint: str = "", severity: str = "NOTICE") -> bytes:
    """Build a NoticeResponse. @param severity: NOTICE or WARNING"""
    code = "01000" if severity == "WARNING" else "00000"
    return error_response(code, text, detail, hint, severity, NOTICE)


def authentication(code: int, payload: bytes = b"") -> bytes:
    """Build one of the Authentication messages."""
    return message(AUTHENTICATION, INT32.pack(code) + payload)


def parameter_status(name: bytes, value: bytes) -> bytes:
    """Build a ParameterStatus."""
    return message(PARAMETER_STATUS, name + b"\0" + value + b"\0")


def parse_parameter_status(payload: bytes) -> tuple[bytes, bytes]:
    fields = Fields(payload, "ParameterStatus")
    name, value = fields.string(), fields.string()
    fields.done()
    return name, value


def parse_function_result(payload: bytes) -> bytes | None:
    """FunctionCallResponse: the value."""
    fields = Fields(payload, "FunctionCallResponse")
    value = fields.value()
    fields.done()
    return value


def function_result(value: bytes | None) -> bytes:
    return message(FUNCTION_RESULT, SIGNED32.pack(-1) if value is None else SIGNED32.pack(len(value)) + value)


def parse_copy_response(payload: bytes) -> tuple[int, bool]:
    """CopyOutResponse: how many columns, and whether in the binary format."""
    fields = Fields(payload, "CopyOutResponse")
    binary, columns = fields.take(1) == b"\1", fields.int16()
    return columns, binary


def backend_key(key: bytes) -> bytes:
    """Build BackendKeyData: process id (4 bytes) and secret (4 bytes in 3.0, up to 256 in 3.2) in one."""
    return message(BACKEND_KEY, key)


def command_complete(tag: str) -> bytes:
    """Build a CommandComplete."""
    return message(COMMAND_COMPLETE, tag.encode("ascii") + b"\0")


def ready(status: bytes) -> bytes:
    """Build ReadyForQuery: C{b"I"}, C{b"T"} or C{b"E"}."""
    return message(READY, status)


def negotiate_version(minor: int, unknown: Sequence[bytes]) -> bytes:
    """Build NegotiateProtocolVersion: the newest minor version spoken, options not understood.

    The first field is the whole protocol version since PostgreSQL 18's documentation and was the same in the
    code of earlier servers (3.0 is 196608).
    """
    names = b"".join(name + b"\0" for name in unknown)
    return message(NEGOTIATE, INT32.pack(0x30000 | minor) + INT32.pack(len(unknown)) + names)
