"""Which of the catalogue's queries would answer differently than before: digests of the rows that they read.

Not the queries (L{hoopd.sql.catalogue}) nor their asking. A row of a system catalog that changes gets another C{xmin}
(manual, section 5.5), rows without one of interest are digested whole. Sums of 64-bit hashes and counts: two different
states are alike by an accident of 1 in 2**64. PostgreSQL 12 to 18.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hoopd.sql.catalogue import QUERIES


def _digest(row: str, source: str) -> str:
    return (
        "(SELECT pg_catalog.concat_ws(' ', pg_catalog.count(*),"
        f" pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', {row}), 0))) FROM pg_catalog.{source})"
    )


#: what is watched, as rows of a catalog
_SOURCES: Mapping[str, str] = {
    "relations": _digest("oid, xmin", "pg_class WHERE oid >= 16384"),
    "attributes": _digest("attrelid, attnum, xmin", "pg_attribute WHERE attrelid >= 16384"),
    "schemas": _digest("oid, xmin", "pg_namespace"),
    "inheritance": _digest("inhrelid, inhparent", "pg_inherits"),
    "rules": _digest("oid, xmin", "pg_rewrite WHERE oid >= 16384"),
    "functions": _digest("oid, xmin", "pg_proc WHERE oid >= 16384"),
    "operators": _digest("oid, xmin", "pg_operator WHERE oid >= 16384"),
    # of views and of extensions: ALTER EXTENSION … ADD changes nothing else
    "dependencies": _digest(
        "classid, objid, refclassid, refobjid, refobjsubid, deptype",
        "pg_depend WHERE objid >= 16384 AND (classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass"
        " OR refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass)",
    ),
    "triggers": _digest("oid, xmin", "pg_trigger WHERE tgtype & 64 <> 0"),
    # pg_authid is not for everybody; what of it counts is in the view
    "roles": _digest("oid, rolname, rolsuper, rolinherit", "pg_roles"),
    "members": _digest("roleid, member", "pg_auth_members"),
}

#: query to the sources that it reads; the session's own is asked each time
_READS: Mapping[str, tuple[str, ...]] = {
    "schemas": ("schemas", "roles", "members"),
    # together: a relation is built with its columns
    "relations": ("relations", "attributes", "schemas"),
    "columns": ("relations", "attributes", "schemas"),
    "inherits": ("inheritance",),
    "views": ("rules", "dependencies"),
    "view_functions": ("rules", "dependencies", "functions"),
    "functions": ("functions", "schemas", "dependencies"),
    "operators": ("operators", "dependencies"),
    "ruled": ("rules", "triggers"),
    # they are written with names of everything that they use
    "definitions": ("rules", "relations", "attributes", "schemas", "functions", "operators"),
}

#: one row; L{changed} compares two of them. Asked under C{search_path = pg_catalog}.
WATCH = "SELECT " + ", ".join(_SOURCES.values())

Watched = tuple["str | None", ...]


def changed(before: Watched, now: Watched) -> tuple[str, ...]:
    """Names of L{QUERIES} to ask again.

    @param before: an earlier answer to L{WATCH}; empty if there is none
    """
    moved = {name for number, name in enumerate(_SOURCES) if before[number : number + 1] != now[number : number + 1]}
    return tuple(name for name, reads in _READS.items() if not moved.isdisjoint(reads))


def texts(names: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Name and SQL of the queries C{names}, in their order."""
    return tuple((name, sql) for name, sql in QUERIES if name in names)
