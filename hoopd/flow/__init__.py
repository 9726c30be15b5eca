"""The route of one operation, once for all protocols: admit, decide, hold, record, forward, mask, deliver."""
