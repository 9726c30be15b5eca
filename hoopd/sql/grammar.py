"""PostgreSQL's own grammar (libpg_query, PostgreSQL 18) as a function from bytes to a tree; not its meaning.

The C library is the one that the postgast wheel brings, called here directly: its tree as JSON, read by msgspec, costs
a third of the protobuf route. Locations are byte offsets into the text. A text nested deeper than the JSON reader
follows is refused. Very long operator chains overflow the C stack (30,000 do): callers parse what is large in
L{hoopd.sql.pool}'s killable children.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import msgspec
from attrs import frozen
from postgast.native import lib

from hoopd.errors import HoopdError

Node = dict[str, Any]

#: largest text that L{parse} takes: 16,000 operators need 2 MiB of C stack, a main thread has 8
INLINE_MAX = 32 * 1024


class Unparsed(HoopdError):
    """The text is no SQL that PostgreSQL's grammar reads, or more than we read. The text of this error is safe.

    @ivar syntax: True for a syntax error, which PostgreSQL would have reported too.
    @ivar position: byte offset of the error, or None.
    @ivar redacted: the text without its literals, where somebody has taken them out already.
    """

    def __init__(
        self, why: str, syntax: bool = False, position: int | None = None, redacted: str | None = None
    ) -> None:
        super().__init__(why)
        self.syntax = syntax
        self.position = position
        self.redacted = redacted


@frozen
class RawStatement:
    """One statement of a text: the grammar's name of it, its fields, and where it stands (bytes)."""

    kind: str
    node: Node
    start: int
    end: int


@frozen
class ParseTree:
    text: bytes
    statements: tuple[RawStatement, ...]


def parse(text: bytes) -> ParseTree:
    """
    @param text: UTF-8, at most C{INLINE_MAX} bytes: larger ones go to L{hoopd.sql.pool}
    @raise Unparsed: not UTF-8, a NUL byte, a syntax error, too long or nested too deeply
    """
    if len(text) > INLINE_MAX:
        raise Unparsed(f"a statement of more than {INLINE_MAX} bytes is parsed in a process of its own only")
    return decode(text, parse_to_json(text))


def parse_to_json(text: bytes) -> bytes:
    """The grammar's answer as JSON bytes, for a child process to send on. @raise Unparsed"""
    if b"\0" in text:
        raise Unparsed("the statement has a NUL byte")
    try:
        text.decode()
    except UnicodeDecodeError as problem:
        raise Unparsed(f"the statement is not valid UTF-8 at byte {problem.start}") from None
    result = lib.pg_query_parse(text)
    try:
        if result.error:
            error = result.error.contents
            message = (error.message or b"syntax error").decode(errors="replace")
            raise Unparsed(message, syntax=True, position=max(error.cursorpos - 1, 0))
        tree: bytes = ctypes.string_at(result.parse_tree)
        return tree
    finally:
        lib.pg_query_free_parse_result(result)


def decode(text: bytes, json: bytes) -> ParseTree:
    """The tree from what L{parse_to_json} gave for C{text}. @raise Unparsed: nested too deeply"""
    try:
        tree = msgspec.json.decode(json)
    except (RecursionError, msgspec.DecodeError):
        raise Unparsed("the statement is nested too deeply to be judged") from None
    statements = []
    for each in tree.get("stmts", ()):
        ((kind, node),) = each["stmt"].items()
        start = each.get("stmt_location", 0)
        length = each.get("stmt_len", 0)
        statements.append(RawStatement(kind, node, start, start + length if length else len(text)))
    return ParseTree(text, tuple(statements))


def walk(node: Any) -> Iterator[tuple[str, Node]]:
    """Every tagged node below (and of) C{node} but constants: C{("ColumnRef", fields)}; C{("", fields)} for untagged ones.

    The grammar leaves the tag away where a field has one possible type (relations, WITH clauses, both arms of a set
    operation): such nodes come with an empty tag. Iterative: depth costs no Python stack.
    """
    stack = [node]
    while stack:
        top = stack.pop()
        if isinstance(top, list):
            stack.extend(reversed(top))
        elif isinstance(top, dict):
            tagged = len(top) == 1
            if tagged:
                ((tag, body),) = top.items()
                tagged = tag[:1].isupper() and isinstance(body, dict)
            if tagged:
                if tag == "A_Const":
                    continue  # half of a long statement, and nothing of interest below
                yield tag, body
                stack.extend(value for value in reversed(body.values()) if isinstance(value, dict | list))
            else:
                yield "", top
                stack.extend(value for value in reversed(top.values()) if isinstance(value, dict | list))


def only(node: Any) -> tuple[str, Node]:
    """The tag and fields of one tagged node; C{("", {})} for nothing."""
    if not node:
        return "", {}
    ((tag, body),) = node.items()
    return tag, body


def names(nodes: Any) -> tuple[str, ...]:
    """The strings of a list of String nodes: a qualified name."""
    return tuple(each["String"].get("sval", "") for each in nodes or () if "String" in each)
