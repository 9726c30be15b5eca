"""Tables of the vault: sealed secrets, and which master key they are sealed with; no key lies in any of them."""

from __future__ import annotations

from hoopd.store.schema import Migration

MIGRATIONS: tuple[Migration, ...] = (
    (
        "vault-1",
        """
        CREATE TABLE vault_master_keys (
            id TEXT PRIMARY KEY,
            derivation TEXT NOT NULL,
            created_at REAL NOT NULL,
            created_by TEXT NOT NULL,
            retired_at REAL
        );
        CREATE TABLE vault_secrets (
            name TEXT PRIMARY KEY,
            version INTEGER NOT NULL,
            master_key TEXT NOT NULL REFERENCES vault_master_keys (id),
            wrapped BLOB NOT NULL,
            sealed BLOB NOT NULL,
            created_at REAL NOT NULL,
            created_by TEXT NOT NULL
        );
        """,
    ),
)
