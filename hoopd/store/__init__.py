"""Durable state of the broker: one transactional store, whose tables each domain declares itself.

L{hoopd.store.sqlite} is the real one, L{hoopd.store.memory} the one for tests. A domain declares its tables
in C{hoopd/<package>/tables.py} as C{MIGRATIONS}; the broker gives all of them to C{migrate} once at its start.
"""
