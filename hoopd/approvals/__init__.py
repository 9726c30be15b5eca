"""Held operations: who may decide them, what was decided, and that each runs at most once."""
