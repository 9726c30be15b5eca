"""A family of processes with the real supervisor, children and ipc, around roles small enough to look through."""
