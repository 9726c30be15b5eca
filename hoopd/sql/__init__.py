"""What a SQL text does, to what, and where its output comes from: pure, on PostgreSQL's own grammar."""
