"""SSH (RFC 4251 to 4254): the wire, its plugin, and what of it becomes operations."""
