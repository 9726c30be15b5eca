"""The processes of hoopd: the supervisor, its children, and what each child runs."""
