"""Rows of the rules' history in the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from hoopd.governance.changes import Change
from hoopd.governance.manifest import Accepted
from hoopd.ipc import wire

_ACCEPTED = "SELECT body FROM policy_accepted"


def last(tx: Any, rules: bool = False) -> Change | None:
    """The newest change. @param rules: of what rules depend on."""
    number = None
    while found := newest(tx, 20, number):
        for change in found:
            if change.rules or not rules:
                return change
            number = change.number
    return None


def newest(tx: Any, most: int, below: int | None = None) -> list[Change]:
    """Changes, newest first, C{most} at most; those before number C{below}."""
    limit = below if below is not None else 1 << 62
    found = tx.execute("SELECT body FROM policy_changes WHERE number < ? ORDER BY number DESC LIMIT ?", (limit, most))
    return [wire.decode(body.encode(), Change) for (body,) in found]


def get(tx: Any, number: int) -> Change:
    """@raise KeyError: there is no such change."""
    found = tx.execute("SELECT body FROM policy_changes WHERE number = ?", (number,))
    if not found:
        raise KeyError(str(number))
    change: Change = wire.decode(found[0][0].encode(), Change)
    return change


def write(tx: Any, change: Change, texts: Mapping[str, str]) -> None:
    """@param texts: SHA-256 to text of every file of it."""
    for digest in sorted(texts):
        tx.execute(
            "INSERT INTO policy_texts (sha256, content) VALUES (?, ?) ON CONFLICT (sha256) DO NOTHING",
            (digest, texts[digest]),
        )
    body = wire.encode(change).decode()
    tx.execute(
        "INSERT INTO policy_changes (number, body) VALUES (?, ?) ON CONFLICT (number) DO UPDATE SET body = excluded.body",
        (change.number, body),
    )


def texts(tx: Any, files: Mapping[str, str]) -> dict[str, str]:
    """@param files: path to SHA-256. @return: path to text."""
    found = {}
    for path in sorted(files):
        ((found[path],),) = tx.execute("SELECT content FROM policy_texts WHERE sha256 = ?", (files[path],))
    return found


def accepted(tx: Any) -> Accepted | None:
    """The manifest accepted last."""
    return _accepted(tx.execute(_ACCEPTED))


def accept(tx: Any, now: Accepted | None) -> None:
    """Remember C{now}, or nothing."""
    tx.execute("DELETE FROM policy_accepted")
    if now is not None:
        tx.execute("INSERT INTO policy_accepted (one, body) VALUES (1, ?)", (wire.encode(now).decode(),))


def accepted_in(path: str) -> Accepted | None:
    """L{accepted}, read from the file C{path} by another process than the broker; blocking. @raise sqlite3.Error"""
    opened = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=5.0)
    try:
        if not opened.execute("SELECT 1 FROM sqlite_master WHERE name = 'policy_accepted'").fetchall():
            return None  # of a version before
        return _accepted(opened.execute(_ACCEPTED).fetchall())
    finally:
        opened.close()


def _accepted(found: Iterable[tuple[Any, ...]]) -> Accepted | None:
    for (body,) in found:
        known: Accepted = wire.decode(body.encode(), Accepted)
        return known
    return None
