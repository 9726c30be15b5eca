"""Messages a client sends after start-up: parsed to values, and built for the target.

Not their order or effect (L{hoopd.protocols.postgres.core}). Specification: PostgreSQL documentation, "Message
Formats", the messages marked (F).
"""

from __future__ import annotations

from attrs import frozen

from hoopd.errors import PeerError
from hoopd.protocols.postgres.codec import INT16, INT32, SIGNED32, SMALL, Fields, message

BIND, CLOSE, COPY_DATA, COPY_DONE, COPY_FAIL = b"B", b"C", b"d", b"c", b"f"
DESCRIBE, EXECUTE, FLUSH, FUNCTION_CALL, PARSE = b"D", b"E", b"H", b"F", b"P"
PASSWORD, QUERY, SYNC, TERMINATE = b"p", b"Q", b"S", b"X"

#: the types a client may send in a session, with the largest length of those that are small by nature
LIMITS: dict[int, int | None] = {
    BIND[0]: None,
    CLOSE[0]: SMALL,
    COPY_DATA[0]: None,
    COPY_DONE[0]: SMALL,
    COPY_FAIL[0]: SMALL,
    DESCRIBE[0]: SMALL,
    EXECUTE[0]: SMALL,
    FLUSH[0]: 4,
    FUNCTION_CALL[0]: None,
    PARSE[0]: None,
    QUERY[0]: None,
    SYNC[0]: 4,
    TERMINATE[0]: 4,
}

SYNC_MESSAGE = message(SYNC)
FLUSH_MESSAGE = message(FLUSH)
TERMINATE_MESSAGE = message(TERMINATE)


@frozen
class Parse:
    name: bytes
    text: bytes
    types: tuple[int, ...] = ()

    def encode(self) -> bytes:
        types = INT16.pack(len(self.types)) + b"".join(map(INT32.pack, self.types))
        return message(PARSE, self.name + b"\0" + self.text + b"\0" + types)


@frozen
class Bind:
    portal: bytes
    statement: bytes
    formats: tuple[int, ...] = ()
    values: tuple[bytes | None, ...] = ()
    results: tuple[int, ...] = ()

    def encode(self) -> bytes:
        parts = [self.portal, b"\0", self.statement, b"\0", _int16s(self.formats), INT16.pack(len(self.values))]
        for value in self.values:
            parts.append(SIGNED32.pack(-1) if value is None else SIGNED32.pack(len(value)) + value)
        parts.append(_int16s(self.results))
        return message(BIND, b"".join(parts))


@frozen
class Named:
    """A Describe or Close: C{kind} is C{b"S"} (statement) or C{b"P"} (portal)."""

    kind: bytes
    name: bytes


@frozen
class Execute:
    portal: bytes
    #: rows after which the server suspends the portal; 0 is all
    rows: int = 0

    def encode(self) -> bytes:
        return message(EXECUTE, self.portal + b"\0" + INT32.pack(self.rows))


def _int16s(values: tuple[int, ...]) -> bytes:
    return INT16.pack(len(values)) + b"".join(map(INT16.pack, values))


def parse_query(payload: bytes) -> bytes:
    """@return: the text of a Query message."""
    # the server reads up to the first NUL and refuses what follows: so do we
    if payload[-1:] != b"\0" or payload.find(b"\0") != len(payload) - 1:
        raise PeerError("malformed Query message")
    return payload[:-1]


def parse_parse(payload: bytes) -> Parse:
    fields = Fields(payload, "Parse")
    name, text = fields.string(), fields.string()
    types = tuple(fields.int32() for _ in range(fields.int16()))
    fields.done()
    return Parse(name, text, types)


def _formats(fields: Fields, what: str) -> tuple[int, ...]:
    formats = tuple(fields.int16() for _ in range(fields.int16()))
    if any(format > 1 for format in formats):
        raise PeerError(f"malformed {what} message: unknown format code")
    return formats


def parse_bind(payload: bytes) -> Bind:
    fields = Fields(payload, "Bind")
    portal, statement = fields.string(), fields.string()
    formats = _formats(fields, "Bind")
    values = tuple(fields.value() for _ in range(fields.int16()))
    results = _formats(fields, "Bind")
    fields.done()
    if len(formats) > 1 and len(formats) != len(values):
        raise PeerError(f"Bind message has {len(formats)} parameter formats but {len(values)} parameters")
    return Bind(portal, statement, formats, values, results)


def parse_named(payload: bytes, what: str) -> Named:
    """Parse a Describe or Close."""
    fields = Fields(payload, what)
    kind, name = fields.byte(), fields.string()
    fields.done()
    if kind not in (b"S", b"P"):
        raise PeerError(f"malformed {what} message")
    return Named(kind, name)


def parse_execute(payload: bytes) -> Execute:
    fields = Fields(payload, "Execute")
    portal, rows = fields.string(), fields.int32()
    fields.done()
    return Execute(portal, rows)


@frozen
class FunctionCall:
    """@ivar function: its oid. @ivar result: the format that its result is wanted in."""

    function: int
    formats: tuple[int, ...] = ()
    values: tuple[bytes | None, ...] = ()
    result: int = 0


def parse_function_call(payload: bytes) -> FunctionCall:
    fields = Fields(payload, "FunctionCall")
    function = fields.int32()
    formats = _formats(fields, "FunctionCall")
    values = tuple(fields.value() for _ in range(fields.int16()))
    result = fields.int16()
    fields.done()
    if result > 1 or (len(formats) > 1 and len(formats) != len(values)):
        raise PeerError("malformed FunctionCall message")
    return FunctionCall(function, formats, values, result)


def query(text: bytes) -> bytes:
    """Build a Query."""
    return message(QUERY, text + b"\0")


def describe(kind: bytes, name: bytes) -> bytes:
    """Build a Describe."""
    return message(DESCRIBE, kind + name + b"\0")
