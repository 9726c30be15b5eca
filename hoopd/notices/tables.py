"""Tables of notices: one row for each notice and channel."""

MIGRATIONS = (
    (
        "notices-1",
        """
        CREATE TABLE notices (
            id TEXT PRIMARY KEY,
            channel TEXT NOT NULL,
            kind TEXT NOT NULL,
            subject TEXT NOT NULL,
            state TEXT NOT NULL,
            posted_at REAL NOT NULL,
            attempts INTEGER NOT NULL,
            next_at REAL NOT NULL,
            give_up_at REAL NOT NULL,
            settled_at REAL,
            outcome TEXT NOT NULL,
            body TEXT NOT NULL
        );
        CREATE INDEX notices_by_channel ON notices (state, channel, next_at);
        CREATE INDEX notices_by_time ON notices (posted_at)
        """,
    ),
)
