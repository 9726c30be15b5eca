"""What tools/bench.py is made of: routes to one database, and measures of them."""
