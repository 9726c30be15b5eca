"""Tables of the rules' history: each set of files that ran, their texts, and the manifest accepted last; kept for good."""

MIGRATIONS = (
    (
        "governance-1",
        """
        CREATE TABLE policy_changes (number INTEGER PRIMARY KEY, body TEXT NOT NULL);
        CREATE TABLE policy_texts (sha256 TEXT PRIMARY KEY, content TEXT NOT NULL);
        CREATE TABLE policy_accepted (one INTEGER PRIMARY KEY CHECK (one = 1), body TEXT NOT NULL)
        """,
    ),
)
