"""What a database holds, as a frozen snapshot: relations, columns, who depends on whom; not how it is read.

L{QUERIES} are for somebody with a connection (the PostgreSQL adapter): the first with the role's own search_path, then
C{SET search_path = pg_catalog}, then the others, in one read-only transaction, values as text. PostgreSQL 12 to 18.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import Factory, evolve, field, frozen

from hoopd.sql.variables import path_of

#: oids below are made by initdb: the server's own
FIRST_USER_OID = 16384

#: whether an object belongs to an extension: those are installed by administrators, and many define an = of their own
_EXTENSION = (
    "EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.{}'::pg_catalog.regclass"
    " AND e.objid = {} AND e.deptype = 'e')"
)

QUERIES: tuple[tuple[str, str], ...] = (
    (
        "session",
        "SELECT pg_catalog.array_to_string(pg_catalog.current_schemas(false), E'\\n'), CURRENT_USER::pg_catalog.text,"
        " pg_catalog.current_setting('server_version_num'), pg_catalog.current_setting('server_encoding'),"
        " pg_catalog.current_setting('search_path')",
    ),
    (
        "schemas",
        # for the role itself and those that it may become; a superuser may become any: not the server's own, and not many
        "SELECT r.rolname, n.nspname FROM pg_catalog.pg_namespace n, pg_catalog.pg_roles r"
        " WHERE n.nspname !~ '^pg_(toast|temp_)' AND pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')"
        " AND (r.rolname = CURRENT_USER OR (r.rolname !~ '^pg_' AND pg_catalog.pg_has_role(CURRENT_USER, r.oid, 'MEMBER')"
        " AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_roles) <= 200))",
    ),
    (
        "relations",
        "SELECT c.oid, n.nspname, c.relname, c.relkind FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_(toast|temp_)'",
    ),
    (
        "columns",
        "SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.attisdropped, a.attgenerated <> '' FROM pg_catalog.pg_attribute a"
        " JOIN pg_catalog.pg_class c ON c.oid = a.attrelid"
        " WHERE a.attnum > 0 AND c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
    ),
    ("inherits", "SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits"),
    (
        "views",
        "SELECT DISTINCT w.ev_class, d.refobjid FROM pg_catalog.pg_rewrite w JOIN pg_catalog.pg_depend d"
        " ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid"
        " AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> w.ev_class"
        " WHERE w.ev_class >= 16384",
    ),
    (
        "view_functions",
        # immutable functions of extensions compute; the others may read (pg_stat_statements, dblink, tablefunc)
        "SELECT DISTINCT w.ev_class FROM pg_catalog.pg_rewrite w JOIN pg_catalog.pg_depend d"
        " ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid"
        " AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.refobjid >= 16384"
        " JOIN pg_catalog.pg_proc p ON p.oid = d.refobjid"
        " WHERE w.ev_class >= 16384 AND NOT (p.provolatile = 'i' AND " + _EXTENSION.format("pg_proc", "p.oid") + ")"
        # and these catalogs hold samples of other tables' columns
        " UNION SELECT w.ev_class FROM pg_catalog.pg_rewrite w JOIN pg_catalog.pg_depend d"
        " ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid"
        " AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid < 16384"
        " JOIN pg_catalog.pg_class c ON c.oid = d.refobjid WHERE w.ev_class >= 16384 AND c.relname IN"
        " ('pg_statistic', 'pg_stats', 'pg_stats_ext', 'pg_stats_ext_exprs', 'pg_statistic_ext_data',"
        " 'pg_largeobject', 'pg_stat_activity')",
    ),
    (
        "functions",
        "SELECT n.nspname, p.proname FROM pg_catalog.pg_proc p"
        " JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE p.oid >= 16384 AND NOT "
        + _EXTENSION.format("pg_proc", "p.oid"),
    ),
    (
        "operators",
        "SELECT DISTINCT o.oprname FROM pg_catalog.pg_operator o WHERE o.oid >= 16384 AND NOT "
        + _EXTENSION.format("pg_operator", "o.oid"),
    ),
    (
        "ruled",
        # what a write returns is made by rules (CREATE RULE … ON UPDATE) or by INSTEAD OF triggers
        "SELECT w.ev_class FROM pg_catalog.pg_rewrite w WHERE w.ev_class >= 16384 AND w.ev_type <> '1'"
        " UNION SELECT t.tgrelid FROM pg_catalog.pg_trigger t WHERE t.tgtype & 64 <> 0",
    ),
    (
        "definitions",
        # reading one locks it as a SELECT does: those that are being changed are left for later
        "SELECT c.oid, CASE WHEN pg_catalog.length(d.text) <= 32768 THEN d.text ELSE '' END"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,"
        " LATERAL (SELECT pg_catalog.pg_get_viewdef(c.oid) AS text OFFSET 0) d"
        " WHERE c.oid >= 16384 AND c.relkind IN ('v', 'm') AND n.nspname !~ '^pg_(toast|temp_)' AND c.oid <> ALL (ARRAY("
        "SELECT l.relation FROM pg_catalog.pg_locks l WHERE l.mode = 'AccessExclusiveLock' AND l.relation IS NOT NULL"
        " AND l.database = (SELECT b.oid FROM pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database())))",
    ),
)

#: may fail for want of a lock; what it reads is unknown then
OPTIONAL = frozenset({"definitions"})

Row = Sequence[str | None]

#: true as PostgreSQL and as Python write it
_TRUE = ("t", "true", "True")


@frozen
class Column:
    number: int
    name: str
    type_oid: int
    #: computed from other columns of its table
    generated: bool = False


@frozen
class Relation:
    """@ivar kind: pg_class.relkind: r table, p partitioned, v view, m materialised view, f foreign, S sequence."""

    oid: int
    schema: str
    name: str
    kind: str
    #: in table order, dropped ones left out
    columns: tuple[Column, ...] = ()

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)


@frozen
class Catalogue:
    """
    @ivar search_path: the role's own, existing schemas only.
    @ivar version: digest; equal means nothing changed.
    """

    search_path: tuple[str, ...]
    role: str
    server_version: int
    relations: Mapping[int, Relation] = field(factory=dict, repr=False)
    #: child oid to parents, and the reverse
    parents: Mapping[int, frozenset[int]] = field(factory=dict, repr=False)
    children: Mapping[int, frozenset[int]] = field(factory=dict, repr=False)
    #: relation to the views (materialised too) that read it directly
    readers: Mapping[int, frozenset[int]] = field(factory=dict, repr=False)
    #: views that call functions of the users
    opaque_views: frozenset[int] = frozenset()
    #: names of functions and operators that are neither the server's nor an extension's
    functions: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()
    #: role to the schemas that it may use
    usable: Mapping[str, frozenset[str]] = field(factory=dict, repr=False)
    #: search_path as it is set for the role, not resolved
    path: tuple[str, ...] = ()
    #: views (materialised too) to their queries, as the server writes them
    definitions: Mapping[int, str] = field(factory=dict, repr=False)
    #: relations whose writes return what rules or triggers make
    ruled: frozenset[int] = frozenset()
    version: str = ""
    #: name of each of L{QUERIES} to a digest of its rows
    parts: Mapping[str, bytes] = field(factory=dict, repr=False)
    _by_name: Mapping[tuple[str, str], Relation] = field(
        init=False,
        repr=False,
        default=Factory(
            lambda self: {(each.schema, each.name): each for each in self.relations.values()}, takes_self=True
        ),
    )

    def find(self, schema: str, name: str, search_path: Sequence[str] = ()) -> Relation | None:
        """The relation that C{schema.name} means; with an empty schema the first along C{search_path}."""
        if schema:
            return self._by_name.get((schema, name))
        for each in search_path:
            found = self._by_name.get((each, name))
            if found is not None:
                return found
        return None

    @property
    def partial(self) -> bool:
        """Some views were being changed as it was read: their definitions are not there."""
        return any(each.kind in ("v", "m") and each.oid not in self.definitions for each in self.relations.values())

    @classmethod
    def from_rows(cls, rows: Mapping[str, Sequence[Row]], before: Catalogue | None = None) -> Catalogue:
        """
        @param rows: name of each of L{QUERIES} to its rows, values as PostgreSQL's text
        @param before: says what queries that C{rows} has not said before
        @raise KeyError: a query is missing, or of relations and columns one is
        """
        parts = {**(before.parts if before is not None else {}), **{name: _digest(rows[name]) for name in rows}}
        whole = hashlib.sha256()
        for name, _ in QUERIES:
            whole.update(name.encode() + b"\0" + parts[name])
        made: dict[str, Any] = {"parts": parts, "version": whole.hexdigest()[:32]}
        if "relations" in rows or "columns" in rows:
            made["relations"] = _relations(rows["relations"], rows["columns"])
        for name, read in _READERS.items():
            if name in rows:
                made.update(read(rows[name]))
        return cls(**made) if before is None else evolve(before, **made)


def _digest(rows: Sequence[Row]) -> bytes:
    """Of rows in any order."""
    digest = hashlib.sha256()
    for row in sorted(repr(tuple(each)) for each in rows):
        digest.update(row.encode())
    return digest.digest()


def _session(rows: Sequence[Row]) -> dict[str, Any]:
    path, role, version, _encoding, written = rows[0]
    return {
        "search_path": tuple(part for part in (path or "").split("\n") if part),
        "role": role or "",
        "server_version": _int(version),
        "path": path_of(written or "") or (),
    }


def _schemas(rows: Sequence[Row]) -> dict[str, Any]:
    usable: dict[str, set[str]] = {}
    for user, schema in rows:
        usable.setdefault(user or "", set()).add(schema or "")
    return {"usable": {user: frozenset(schemas) for user, schemas in usable.items()}}


def _inherits(rows: Sequence[Row]) -> dict[str, Any]:
    pairs = [(_int(child), _int(parent)) for child, parent in rows]
    return {"parents": _grouped(pairs), "children": _grouped((parent, child) for child, parent in pairs)}


#: query to the fields of a L{Catalogue} that its rows make
_READERS: Mapping[str, Callable[[Sequence[Row]], dict[str, Any]]] = {
    "session": _session,
    "schemas": _schemas,
    "inherits": _inherits,
    "views": lambda rows: {"readers": _grouped((_int(read), _int(view)) for view, read in rows)},
    "view_functions": lambda rows: {"opaque_views": frozenset(_int(row[0]) for row in rows)},
    "ruled": lambda rows: {"ruled": frozenset(_int(row[0]) for row in rows)},
    "definitions": lambda rows: {"definitions": {_int(oid): text or "" for oid, text in rows}},
    "functions": lambda rows: {"functions": frozenset(row[1] or "" for row in rows)},
    "operators": lambda rows: {"operators": frozenset(row[0] or "" for row in rows)},
}


def _relations(relations: Sequence[Row], columns: Sequence[Row]) -> dict[int, Relation]:
    own: dict[int, list[Column]] = {}
    for oid, number, label, type_oid, dropped, generated in columns:
        if dropped not in _TRUE:
            column = Column(_int(number), label or "", _int(type_oid), generated in _TRUE)
            own.setdefault(_int(oid), []).append(column)
    made = {}
    for oid, schema, label, kind in relations:
        ordered = tuple(sorted(own.get(_int(oid), ()), key=lambda column: column.number))
        made[_int(oid)] = Relation(_int(oid), schema or "", label or "", kind or "", ordered)
    return made


def _int(text: str | None) -> int:
    return int(text or 0)


def _grouped(pairs: Iterable[tuple[int, int]]) -> dict[int, frozenset[int]]:
    grouped: dict[int, set[int]] = {}
    for key, value in pairs:
        grouped.setdefault(key, set()).add(value)
    return {key: frozenset(values) for key, values in grouped.items()}
