"""Prepared statements and cursors of a session, by name, and what EXECUTE and FETCH of them mean; not their life.

A name stands for the text that made it: PREPARE or DECLARE as SQL, or the text of a Parse message. Which names there are
is the server's to say (L{hoopd.protocols.postgres.names}).
"""

from __future__ import annotations

from typing import Any, Protocol

from attrs import field, frozen

from hoopd.sql.grammar import Node, Unparsed, only, parse
from hoopd.sql.variables import Effect

_BY_NAME = frozenset({"ExecuteStmt", "FetchStmt"})


@frozen
class Definition:
    """
    @ivar inner: C{text} is a PREPARE or DECLARE.
    @ivar settings: L{hoopd.sql.session_settings.SessionSettings} when a cursor was opened; None for a statement, which the server
        plans anew.
    @ivar source: whatever stands for it where it was kept.
    """

    text: bytes
    inner: bool
    settings: Any = None
    source: Any = field(default=None, eq=False)


class Named(Protocol):
    """What names mean in a session."""

    def statement(self, name: str) -> Definition | None: ...

    def cursor(self, name: str) -> Definition | None: ...


class _Nobody:
    def statement(self, name: str) -> Definition | None:
        return None

    def cursor(self, name: str) -> Definition | None:
        return None


#: no names at all
NOBODY: Named = _Nobody()


class Overlay:
    """The names as they will be for the next statement of a text, if those before it succeed."""

    def __init__(self, below: Named) -> None:
        self._below = below
        self._statements: dict[str, Definition | None] = {}
        self._cursors: dict[str, Definition | None] = {}
        self._no_statements = self._no_cursors = False

    def statement(self, name: str) -> Definition | None:
        if name in self._statements:
            return self._statements[name]
        return None if self._no_statements else self._below.statement(name)

    def cursor(self, name: str) -> Definition | None:
        if name in self._cursors:
            return self._cursors[name]
        return None if self._no_cursors else self._below.cursor(name)

    def follow(self, effect: Effect | None, text: bytes, settings: Any) -> None:
        """A statement with C{effect} ran."""
        kind, name = (effect.kind, effect.name or "") if effect is not None else ("", "")
        if kind == "prepare":
            self._statements[name] = Definition(text, True)
        elif kind == "declare":
            self._cursors[name] = Definition(text, True, settings)
        elif kind == "deallocate" and name:
            self._statements[name] = None
        elif kind == "close" and name:
            self._cursors[name] = None
        elif kind in ("deallocate", "discard"):
            self._statements, self._no_statements = {}, True
        if kind in ("discard", "rollback", "rollback-to", "commit") or (kind == "close" and not name):
            # which cursors live on is seen afterwards; until then none is known
            self._cursors, self._no_cursors = {}, True


@frozen
class Meant:
    """What a statement by name runs."""

    kind: str = ""
    node: Node = field(factory=dict, repr=False)
    settings: Any = None
    source: Definition | None = field(default=None, eq=False)
    refused: str = ""


def resolved(kind: str, node: Node, named: Named) -> Meant | None:
    """The statement that C{kind} means with names put in place, or None where it has none.

    EXPLAIN EXECUTE and CREATE TABLE … AS EXECUTE are given with the statement in place of EXECUTE.
    """
    if kind == "ExecuteStmt":
        return _statement(node, named)
    if kind == "FetchStmt":
        found = named.cursor(node.get("portalname", ""))
        # a cursor that code opened: nothing is known of its rows
        return None if found is None else _meant(found)
    if kind not in ("ExplainStmt", "CreateTableAsStmt"):
        return None
    below, query = only(node.get("query"))
    if below == "ExecuteStmt":
        meant = _statement(query, named)
    elif kind == "ExplainStmt" and below == "CreateTableAsStmt":
        found_below = resolved(below, query, named)
        if found_below is None:
            return None
        meant = found_below
    else:
        return None
    return meant if meant.refused else Meant(kind, {**node, "query": {meant.kind: meant.node}}, None, meant.source)


def _statement(node: Node, named: Named) -> Meant:
    name = node.get("name", "")
    found = named.statement(name)
    if found is None:
        return Meant(refused=f'prepared statement "{name}" does not exist')
    return _meant(found)


def _meant(definition: Definition) -> Meant:
    try:
        tree = parse(definition.text)
    except Unparsed as problem:
        return Meant(refused=str(problem))
    if len(tree.statements) != 1:
        return Meant(refused="an empty statement cannot be executed by name")
    (raw,) = tree.statements
    kind, node = only(raw.node["query"]) if definition.inner else (raw.kind, raw.node)
    if kind in _BY_NAME or only(node.get("query") if isinstance(node.get("query"), dict) else None)[0] in _BY_NAME:
        return Meant(refused="a name that stands for another name cannot be followed")
    return Meant(kind, node, definition.settings, definition)
