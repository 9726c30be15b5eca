"""The files that hoopctl setup writes; @word@ is replaced. The shipped etc/hoopd shows every key."""

HOOPD_TOML = """\
# hoopd's own settings, as hoopctl setup made them. Every key: hoopctl config reference. Is a file right:
# hoopctl config check. After a change: hoopctl reload (a wrong file changes nothing). No secrets in here.

[paths]
state = @state@
run = @run@

[listen.postgres]
address = @address@
port = @port@
workers = @workers@
certificate = "tls/server.pem"
key = "tls/server.key"

[vault]
# Where the service runs under systemd, credential:hoopd-master-key keeps the key off this disk.
master_key = "file:master.key"

[audit]
# Witnesses get every checkpoint: put one on another machine, so that nobody here can rewrite history unnoticed.
# witness = ["/mnt/witness"]
"""

TARGET_TOML = """\
# One table a target; clients name it as the database: psql "host=bastion dbname=orders". Take the # away.

# [targets.orders]
# protocol = "postgres"
# host = "db1.internal.example"
# port = 5432
# username = "hoopd_orders"      # the account that hoopd signs in with
# credential = "orders"          # the vault's name of its password: hoopctl vault put orders
# databases = ["orders"]
# labels = { env = "prod" }
#
# [targets.orders.tls]
# mode = "verify-full"
# authorities = "orders-ca.pem"  # beside this file; the system's authorities otherwise
"""

POLICY_TOML = """\
# Rules for targets whose names begin with "orders". Only "allow" opens; deny, hold, mask and limits only tighten;
# deny beats hold beats allow; what no rule allows is refused. Try them: hoopctl policy test DIRECTORY.

targets = ["orders*"]

mask.card   = { columns = ["*.card_number"], show = "last4" }
allow.read  = { who = ["group:eng"], do = ["read"], max_rows = 10000 }
allow.write = { who = ["group:eng"], do = ["write"] }
hold.write  = { who = ["group:eng"], do = ["write"], by = ["group:leads"], wait = "15m" }
deny.drop   = { do = ["drop", "truncate"], why = "Schema changes go through migrations" }

# Tests: the file does not load if one fails. Identities are for the tests alone.
identity."user:priya" = { groups = ["eng"] }
test."user:priya SELECT * FROM customers" = ["allow.read"]
test."user:priya DELETE FROM orders" = ["hold.write"]
test."user:priya DROP TABLE orders" = ["deny.drop"]
test."user:stranger SELECT * FROM customers" = []
"""
