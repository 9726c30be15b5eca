"""Issued tokens: their form, their digests and their rows; transactions of the store, not who may do what.

C{hoopd_<id>_<secret>}: the id is public, for lists, logs and revocation; the secret has 256 random bits. Kept is
HMAC-SHA256 of the whole under a pepper that is sealed in the vault, so that the store alone neither proves nor makes a
token. The prefix lets secret scanners find a leaked one.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable
from typing import Any

from attrs import frozen

from hoopd.identity.values import IssuedToken
from hoopd.secret import Secret
from hoopd.store.connection import Transaction
from hoopd.values import Kind

PREFIX = b"hoopd_"
_TOKEN = re.compile(rb"hoopd_([a-z2-7]{16})_[A-Za-z0-9_-]{43}")
#: use is noted at most so often: a pool that connects a hundred times a second shall not cost as many disk flushes
NOTE_USE_EVERY = 60.0

_COLUMNS = "id, identity, scopes, act, description, created_at, created_by, expires_at, revoked_at, last_used_at"


def make_token(entropy: Callable[[int], bytes]) -> tuple[str, Secret]:
    """@return: id and token."""
    id = base64.b32encode(entropy(10)).decode().lower()
    secret = base64.urlsafe_b64encode(entropy(32)).decode().rstrip("=")
    return id, Secret(f"hoopd_{id}_{secret}")


def token_id(token: bytes) -> str | None:
    """@return: the id within C{token}, or None if it has not the form of one."""
    found = _TOKEN.fullmatch(token)
    return found.group(1).decode() if found else None


def digest(pepper: bytes, purpose: str, token: bytes) -> str:
    """@return: what is kept of a token."""
    return hmac.new(pepper, purpose.encode() + b"\0" + token, "sha256").hexdigest()


@frozen
class Bearer:
    """What a good token says of its bearer."""

    token: IssuedToken
    kind: Kind
    subject: str
    groups: frozenset[str]
    duties: frozenset[str]


def _from_row(row: tuple[Any, ...]) -> IssuedToken:
    id, identity, scopes, act, description, created_at, created_by, expires_at, revoked_at, last_used_at = row
    return IssuedToken(
        id=id,
        identity=identity,
        scopes=None if scopes is None else tuple(json.loads(scopes)),
        act=act,
        description=description,
        created_at=created_at,
        created_by=created_by,
        expires_at=expires_at,
        revoked_at=revoked_at,
        last_used_at=last_used_at,
    )


def insert(tx: Transaction, token: IssuedToken, digest: str) -> None:
    """Keep C{token}."""
    scopes = None if token.scopes is None else json.dumps(token.scopes)
    tx.execute(
        "INSERT INTO tokens (id, identity, digest, scopes, act, description, created_at, created_by, expires_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            token.id,
            token.identity,
            digest,
            scopes,
            token.act,
            token.description,
            token.created_at,
            token.created_by,
            token.expires_at,
        ),
    )


def select(tx: Transaction, identity: str | None = None, id: str | None = None) -> list[IssuedToken]:
    """@return: tokens, newest first: all, or those of one identity, or the one with an id."""
    rows = tx.execute(
        f"SELECT {_COLUMNS} FROM tokens WHERE (? IS NULL OR identity = ?) AND (? IS NULL OR id = ?) "
        "ORDER BY created_at DESC, id",
        (identity, identity, id, id),
    )
    return [_from_row(row) for row in rows]


def bearer(tx: Transaction, id: str, wanted: str, now: float) -> tuple[Bearer | None, str]:
    """Whose token this is, if it is good; notes its use.

    @param wanted: its L{digest}.
    @return: C{(bearer, "")}, or C{(None, why not)} for the log.
    """
    rows = tx.execute(
        f"SELECT {', '.join('t.' + name for name in _COLUMNS.split(', '))}, t.digest, i.kind, i.subject, i.groups, "
        "i.duties, l.name FROM tokens t JOIN identities i ON i.name = t.identity "
        "LEFT JOIN identity_locks l ON l.name = i.name WHERE t.id = ?",
        (id,),
    )
    kept = rows[0][10] if rows else "0" * len(wanted)
    if not hmac.compare_digest(kept, wanted) or not rows:
        return None, "unknown token"
    token = _from_row(rows[0][:10])
    kind, subject, groups, duties, lock = rows[0][11:]
    if token.revoked_at is not None:
        return None, f"token {id} is revoked"
    if token.expires_at <= now:
        return None, f"token {id} has expired"
    if lock is not None:
        return None, f"{token.identity} is disabled"
    if token.last_used_at is None or not 0 <= now - token.last_used_at < NOTE_USE_EVERY:
        tx.execute("UPDATE tokens SET last_used_at = ? WHERE id = ?", (now, id))
    return Bearer(token, kind, subject, frozenset(json.loads(groups)), frozenset(json.loads(duties))), ""


def revoke(tx: Transaction, id: str, by: str, now: float) -> IssuedToken:
    """@return: the token as it was. @raise KeyError: no such token."""
    found = select(tx, id=id)
    if not found:
        raise KeyError(id)
    tx.execute("UPDATE tokens SET revoked_at = ?, revoked_by = ? WHERE id = ? AND revoked_at IS NULL", (now, by, id))
    return found[0]
