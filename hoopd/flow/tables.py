"""Tables of the broker's live sessions; rows leave when the session ends (the index of all sessions is the audit's)."""

MIGRATIONS = (
    (
        "flow-1",
        """
        CREATE TABLE live_sessions (
            id TEXT PRIMARY KEY,
            token_digest TEXT NOT NULL,
            worker TEXT NOT NULL,
            identity TEXT NOT NULL,
            target TEXT NOT NULL,
            protocol TEXT NOT NULL,
            peer TEXT NOT NULL,
            started_at REAL NOT NULL
        )
        """,
    ),
)
