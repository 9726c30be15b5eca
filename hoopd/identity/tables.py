"""Tables of identity: who this gateway knows itself, which tokens it issued, and whom it locked out.

Passwords and tokens are kept as hashes only. Lists are JSON arrays. C{identity_locks} has no reference to
C{identities}: somebody who is proven by a provider elsewhere can be locked out as well.
"""

from __future__ import annotations

from hoopd.store.schema import Migration

MIGRATIONS: tuple[Migration, ...] = (
    (
        "identity-1",
        """
        CREATE TABLE identities (
            name TEXT PRIMARY KEY,
            kind TEXT NOT NULL,
            subject TEXT NOT NULL,
            groups TEXT NOT NULL,
            duties TEXT NOT NULL,
            password TEXT,
            created_at REAL NOT NULL,
            created_by TEXT NOT NULL
        );
        CREATE TABLE identity_locks (
            name TEXT PRIMARY KEY,
            locked_at REAL NOT NULL,
            locked_by TEXT NOT NULL,
            why TEXT NOT NULL
        );
        CREATE TABLE tokens (
            id TEXT PRIMARY KEY,
            identity TEXT NOT NULL REFERENCES identities (name),
            digest TEXT NOT NULL,
            scopes TEXT,
            act TEXT,
            description TEXT NOT NULL,
            created_at REAL NOT NULL,
            created_by TEXT NOT NULL,
            expires_at REAL NOT NULL,
            revoked_at REAL,
            revoked_by TEXT,
            last_used_at REAL
        );
        CREATE INDEX tokens_identity ON tokens (identity);
        CREATE TABLE bootstrap_token (
            single INTEGER PRIMARY KEY CHECK (single = 1),
            digest TEXT NOT NULL,
            expires_at REAL NOT NULL
        );
        """,
    ),
    (
        # administrators filled the vault before that was a duty of its own: they go on until somebody decides
        "identity-2",
        """
        UPDATE identities SET duties = REPLACE(duties, '"user"]', '"user", "vault"]')
        WHERE duties LIKE '%"administrator"%'
        """,
    ),
    (
        "identity-recovery-1",
        # expires_at and session_digest are those of the session that a use begins
        """
        CREATE TABLE recovery_codes (
            id TEXT PRIMARY KEY,
            sheet TEXT NOT NULL,
            identity TEXT NOT NULL,
            digest TEXT NOT NULL,
            groups TEXT NOT NULL,
            duties TEXT NOT NULL,
            created_at REAL NOT NULL,
            lapses_at REAL NOT NULL,
            confirmed_by TEXT NOT NULL DEFAULT '',
            used_at REAL,
            expires_at REAL,
            session_digest TEXT,
            ended INTEGER NOT NULL DEFAULT 0
        );
        CREATE INDEX recovery_codes_identity ON recovery_codes (identity);
        """,
    ),
)
