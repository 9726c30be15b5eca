"""Whose the rules are: signatures over them, the history of their changes, and what they would have done."""
