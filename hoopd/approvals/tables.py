"""Tables of held operations. The outbox holds transitions that the ledger does not have yet."""

MIGRATIONS = (
    (
        "approvals-1",
        """
        CREATE TABLE approvals (
            id TEXT PRIMARY KEY,
            revision INTEGER NOT NULL,
            state TEXT NOT NULL,
            requester TEXT NOT NULL,
            target TEXT NOT NULL,
            session TEXT NOT NULL,
            digest TEXT NOT NULL,
            requested_at REAL NOT NULL,
            document TEXT NOT NULL
        )
        """,
    ),
    ("approvals-2", "CREATE INDEX approvals_by_state ON approvals (state)"),
    ("approvals-3", "CREATE INDEX approvals_by_digest ON approvals (digest)"),
    (
        "approvals-4",
        "CREATE TABLE approvals_outbox (number INTEGER PRIMARY KEY, approval TEXT NOT NULL, leaf TEXT NOT NULL)",
    ),
)
