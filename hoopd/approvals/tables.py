"""Tables of held operations. Statements are kept redacted only; what was exact is in the digest."""

MIGRATIONS = (
    (
        "approvals-1",
        """
        CREATE TABLE approvals (
            id TEXT PRIMARY KEY,
            state TEXT NOT NULL,
            requester TEXT NOT NULL,
            target TEXT NOT NULL,
            digest TEXT NOT NULL,
            requested_at REAL NOT NULL,
            claimed_by TEXT NOT NULL,
            revision INTEGER NOT NULL,
            body TEXT NOT NULL
        );
        CREATE INDEX approvals_by_digest ON approvals (digest, state);
        CREATE INDEX approvals_by_state ON approvals (state, requested_at);
        CREATE INDEX approvals_by_requester ON approvals (requester, state);
        CREATE TABLE approval_outbox (
            approval TEXT NOT NULL,
            revision INTEGER NOT NULL,
            queued_at REAL NOT NULL,
            leaf TEXT NOT NULL,
            PRIMARY KEY (approval, revision)
        )
        """,
    ),
)
