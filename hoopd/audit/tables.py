"""Tables of the record in the store: indexes of sessions and of what was observed, and leaves on their way.

The record itself is in files.
"""

from hoopd.audit import transfers

MIGRATIONS = (
    (
        "audit-1",
        """
        CREATE TABLE sessions (
            id TEXT PRIMARY KEY,
            identity TEXT NOT NULL,
            kind TEXT NOT NULL,
            act TEXT,
            target TEXT NOT NULL,
            protocol TEXT NOT NULL,
            peer TEXT NOT NULL,
            started_at REAL NOT NULL,
            ended_at REAL,
            ended_why TEXT NOT NULL,
            operations INTEGER NOT NULL,
            denied INTEGER NOT NULL,
            held INTEGER NOT NULL,
            recording TEXT NOT NULL
        );
        CREATE INDEX sessions_by_time ON sessions (started_at);
        CREATE INDEX sessions_by_identity ON sessions (identity, started_at);
        CREATE INDEX sessions_by_target ON sessions (target, started_at)
        """,
    ),
    # leaves of changes that are on disk already, until the ledger has them (hoopd.audit.pending)
    (
        "audit-pending-1",
        "CREATE TABLE pending_leaves (number INTEGER PRIMARY KEY, kind TEXT NOT NULL, fields TEXT NOT NULL)",
    ),
    (
        "audit-2",
        """
        CREATE TABLE observed (
            hour INTEGER NOT NULL,
            target TEXT NOT NULL,
            identity TEXT NOT NULL,
            act TEXT NOT NULL,
            outcome TEXT NOT NULL,
            rule TEXT NOT NULL,
            statement TEXT NOT NULL,
            why TEXT NOT NULL,
            count INTEGER NOT NULL,
            first REAL NOT NULL,
            last REAL NOT NULL,
            session TEXT NOT NULL,
            operation INTEGER NOT NULL,
            example TEXT NOT NULL,
            PRIMARY KEY (hour, target, identity, act, outcome, rule, statement)
        );
        CREATE TABLE observed_progress (
            session TEXT PRIMARY KEY REFERENCES sessions (id),
            path TEXT NOT NULL,
            next_offset INTEGER NOT NULL,
            next_sequence INTEGER NOT NULL
        )
        """,
    ),
    transfers.MIGRATION,
)
