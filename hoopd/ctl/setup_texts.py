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

@ssh@[vault]
# Where the service runs under systemd, credential:hoopd-master-key keeps the key off this disk.
master_key = "file:master.key"

[audit]
# Witnesses get every checkpoint: put one on another machine, so that nobody here can rewrite history unnoticed.
# witness = ["/mnt/witness"]
"""

#: added to hoopd.toml where SSH clients are taken as well
SSH_TOML = """\
[listen.ssh]
address = @address@
port = @ssh_port@
workers = @workers@
host_keys = ["tls/ssh_host_ed25519_key"]   # more kinds: ssh-keygen -t ecdsa -N '' -f tls/ssh_host_ecdsa_key

"""

#: where they are not
NO_SSH_TOML = """\
# Sessions at SSH hosts: make the host key with ssh-keygen -t ed25519 -N '' -f tls/ssh_host_ed25519_key, take the # away.
# [listen.ssh]
# address = @address@
# port = 2222
# host_keys = ["tls/ssh_host_ed25519_key"]

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

# An SSH host: ssh -p 2222 web1@bastion. It trusts what hoopctl ssh ca prints (TrustedUserCAKeys in its sshd_config).

# [targets.web1]
# protocol = "ssh"
# host = "web1.internal.example"
# port = 22
# username = "deploy"            # the account, unless the client names another of [logins]
#
# [targets.web1.ssh]
# logins = ["app-*"]
# host_keys = ["ssh-ed25519 AAAA…"]   # as ssh-keyscan prints them, without the name; or hoopctl ssh trust web1 SHA256:…
"""

SSH_POLICY_TOML = """\
# Rules for SSH hosts whose names begin with "web"; they have files of their own. docs/ssh.md has every word.

targets = ["web*"]

allow.look   = { who = ["group:ops"], do = ["exec"], commands = ["uptime", "systemctl status *", "journalctl *"] }
allow.change = { who = ["group:ops"], do = ["exec"], commands = ["systemctl restart *", "sudo systemctl restart *"] }
hold.change  = { do = ["exec"], commands = ["systemctl restart *"], by = ["group:leads"], wait = "15m" }
deny.secrets = { do = ["exec", "download"], commands = ["* /etc/shadow"], why = "Nobody needs those" }

identity."user:sam" = { groups = ["ops"] }
test."user:sam uptime" = ["allow.look"]
test."user:sam systemctl restart nginx" = ["hold.change"]
test."user:sam cat /etc/shadow" = ["deny.secrets"]
test."user:sam systemctl status nginx; reboot" = []
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
