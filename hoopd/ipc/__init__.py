"""Conversations between hoopd's own processes: AMP over socketpairs, never over a network."""
