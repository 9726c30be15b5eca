"""Tables of emergencies: officers' public keys, and which credentials were exported; no secret is in them."""

from __future__ import annotations

from hoopd.store.schema import Migration

MIGRATIONS: tuple[Migration, ...] = (
    (
        "emergency-1",
        # digest: of the exported value, under a key of the vault: tells whether it is still the one in use
        """
        CREATE TABLE officer_keys (
            identity TEXT PRIMARY KEY,
            recipient TEXT NOT NULL UNIQUE,
            registered_at REAL NOT NULL
        );
        CREATE TABLE emergency_exports (
            id TEXT PRIMARY KEY,
            target TEXT NOT NULL,
            credential TEXT NOT NULL,
            version INTEGER NOT NULL,
            digest TEXT NOT NULL,
            officers TEXT NOT NULL,
            made_at REAL NOT NULL,
            made_by TEXT NOT NULL,
            reason TEXT NOT NULL,
            opened_at REAL,
            settled_at REAL,
            settled TEXT NOT NULL DEFAULT ''
        );
        CREATE INDEX emergency_exports_outstanding ON emergency_exports (settled_at);
        """,
    ),
)
