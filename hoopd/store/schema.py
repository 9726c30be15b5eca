"""Which migrations still have to run, and the store's own tables; pure, and not the running of them.

A migration is C{(name, sql)}: the name is unique for ever, the SQL one or more statements that SQLite and
PostgreSQL share. A migration that was applied is never edited, only followed by another one: its text is kept
as a digest, so that an edited one is noticed before it does harm.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping

from hoopd.errors import ConfigError

Migration = tuple[str, str]

#: where applied migrations are remembered; made by the store itself before any other
APPLIED = """CREATE TABLE IF NOT EXISTS migrations (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    applied_at REAL NOT NULL
)"""

MIGRATIONS: tuple[Migration, ...] = (
    ("store-1", "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);"),
)


def digest(sql: str) -> str:
    """@return: SHA-256 of the statements, hexadecimal; white space does not count: a reindent is no edit."""
    return hashlib.sha256(" ".join(sql.split()).encode()).hexdigest()


def statements(sql: str) -> list[str]:
    """Split C{sql} into its statements, as SQLite's own tokenizer sees them.

    @raise ValueError: the last one is not complete.
    """
    found: list[str] = []
    present = ""
    for piece in sql.split(";"):
        present += piece + ";"
        if sqlite3.complete_statement(present):
            if present.strip(" \t\r\n;"):
                found.append(present.strip())
            present = ""
    if present:
        raise ValueError(f"incomplete statement: {present.strip()[:80]}")
    return found


def pending(applied: Mapping[str, str], migrations: Iterable[Migration]) -> list[Migration]:
    """
    @param applied: name to L{digest} of what has run.
    @return: what has to run now, in the order given.
    @raise ConfigError: a migration that has run reads otherwise now: the program does not fit its store.
    @raise ValueError: two migrations of one name.
    """
    result: list[Migration] = []
    seen: set[str] = set()
    for name, sql in migrations:
        if name in seen:
            raise ValueError(f"two migrations are called {name}")
        seen.add(name)
        if name not in applied:
            result.append((name, sql))
        elif applied[name] != digest(sql):
            raise ConfigError(
                f"the store was made with another form of migration {name}",
                suggestion="run the version of hoopd that made it, or a newer one",
            )
    return result
