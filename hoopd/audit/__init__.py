"""The record: recordings of sessions, the ledger that seals them, the log of decisions, and their proof offline."""
