"""Tables of break glass: each use with its review; kept for good, as approvals are."""

MIGRATIONS = (
    (
        "breakglass-1",
        """
        CREATE TABLE break_glass_uses (
            id TEXT PRIMARY KEY,
            identity TEXT NOT NULL,
            target TEXT NOT NULL,
            opened_at REAL NOT NULL,
            live INTEGER NOT NULL,
            reviewed INTEGER NOT NULL,
            body TEXT NOT NULL
        );
        CREATE INDEX break_glass_open ON break_glass_uses (live, reviewed)
        """,
    ),
)
