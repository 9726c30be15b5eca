#!/bin/bash
# Runs inside the machine that tools/appliance_check.sh boots, as root: what an operator does by docs/installation.md,
# and then looks whether each promise of the unit is kept. Prints a line a finding; the last one is the verdict.
set -u
failed=0
check() { # check WHAT COMMAND…
  local what=$1
  shift
  if "$@" >/tmp/out 2>&1; then echo "ok    $what"; else
    failed=1
    echo "FAIL  $what"
    sed 's/^/      /' /tmp/out | tail -n 30
  fi
}
user_of() { ps -o user:20= -p "$1" | tr -d ' '; }
pid_of() { # pid_of ROLE: the first process of a role, by its own command line
  pgrep -of "hoopd.roles.child $1"
}
caps_of() { awk '/^Cap(Inh|Prm|Eff|Amb):/ && $2 != "0000000000000000" { bad = 1 } END { exit bad }' "/proc/$1/status"; }
export PATH=/usr/lib/hoopd/bin:$PATH PGCONNECT_TIMEOUT=10

# -- the target: the distribution's own PostgreSQL
check "PostgreSQL runs" bash -c 'for i in $(seq 60); do pg_isready -q && exit 0; sleep 0.5; done; exit 1'
check "a target" runuser -u postgres -- psql -qc "CREATE ROLE app LOGIN PASSWORD 'app-5ecret'" -c "CREATE DATABASE orders OWNER app"
check "a table" runuser -u postgres -- psql -q orders -c "CREATE TABLE customers (id int, card_number text)" \
  -c "INSERT INTO customers VALUES (1, '4111111111111111')" -c "ALTER TABLE customers OWNER TO app"

# -- docs/installation.md
check "install.sh" /usr/src/hoopd/tools/install.sh --port 6543
cat >/etc/hoopd/targets.d/orders.toml <<'TOML'
[targets.orders]
protocol = "postgres"
host = "127.0.0.1"
port = 5432
username = "app"
credential = "orders-app"
databases = ["orders"]
[targets.orders.tls]
mode = "off"
TOML
rm /etc/hoopd/targets.d/example.toml /etc/hoopd/policies.d/example.toml
cat >/etc/hoopd/policies.d/orders.toml <<'TOML'
targets = ["orders"]
mask.card = { columns = ["*.card_number"], show = "last4" }
allow.read = { who = ["group:eng"], do = ["read"] }
TOML
check "the configuration is good" hoopctl config check /etc/hoopd
check "the unit is well-formed" systemd-analyze verify hoopd.service
check "the unit starts" systemctl start hoopd
main=$(systemctl show -p MainPID --value hoopd)

# -- users and capabilities
check "the supervisor is hoopd" test "$(user_of "$main")" = hoopd
for pair in broker:hoopd worker:hoopd-worker verifier:hoopd-verifier control:hoopd-control; do
  role=${pair%%:*} user=${pair##*:} pid=$(pid_of "${pair%%:*}")
  check "$role is $user" test "$(user_of "$pid")" = "$user"
  check "$role has no capability" caps_of "$pid"
  check "$role can gain no privilege" grep -q '^NoNewPrivs:[[:space:]]*1' "/proc/$pid/status"
done
worker=$(pid_of worker)
for user in hoopd-worker hoopd-verifier hoopd-control; do
  check "$user cannot look into the state" bash -c "! setpriv --reuid=$user --regid=$user --init-groups -- ls /var/lib/hoopd"
  check "$user cannot read the master key" bash -c "! setpriv --reuid=$user --regid=$user --init-groups -- cat /run/credentials/hoopd.service/hoopd-master-key"
  check "$user cannot signal the broker" bash -c "! setpriv --reuid=$user --regid=$user --init-groups -- kill -0 $(pid_of broker)"
done
for user in hoopd-verifier hoopd-control; do
  check "$user cannot read the listener's key" bash -c "! setpriv --reuid=$user --regid=$user --init-groups -- cat /etc/hoopd/tls/server.key"
done
check "no worker's memory can be read by its own user" bash -c "! setpriv --reuid=hoopd-worker --regid=hoopd-worker --init-groups -- head -c1 /proc/$worker/mem"
check "the master key is not on the disk in clear" bash -c '! test -e /etc/hoopd/master.key'
check "no warning that separation is void" bash -c "! journalctl -u hoopd | grep -q 'separation between them is void'"
check "exposure is at most 2.0" bash -c 'systemd-analyze security --threshold=20 hoopd.service'
systemd-analyze security hoopd.service | tail -n 1

# -- the main job
check "the first administrator" bash -c "runuser -u hoopd -- /usr/lib/hoopd/bin/hoopctl bootstrap-token --state /var/lib/hoopd | hoopctl bootstrap --name user:root"
check "duties" hoopctl identities duties user:root administrator auditor vault
check "the target's password" bash -c "printf app-5ecret | hoopctl vault put orders-app"
check "an identity" hoopctl identities add agent:ci --group eng
token=$(hoopctl tokens issue agent:ci)
export PGPASSWORD=$token
dsn="host=127.0.0.1 port=6543 dbname=orders user=agent:ci sslmode=verify-full sslrootcert=/etc/hoopd/tls/ca.pem"
check "psql, masked" bash -c "psql -XAtc 'SELECT card_number FROM customers' '$dsn' | grep -qx -- '\*\*\*\*1111'"
check "psql, refused" bash -c "! psql -XAtc 'DROP TABLE customers' '$dsn'"
check "status finds nothing wrong" bash -c "hoopctl status | tee /tmp/status; ! grep WRONG /tmp/status"
cat /tmp/status

# -- reload keeps a session
mkfifo /tmp/in
psql -XAt "$dsn" </tmp/in >/tmp/said 2>&1 &
client=$!
exec 7>/tmp/in
echo "SELECT 'before';" >&7
check "a session" bash -c 'for i in $(seq 50); do grep -q before /tmp/said && exit 0; sleep 0.2; done; exit 1'
check "systemctl reload" systemctl reload hoopd
check "the same process" test "$(systemctl show -p MainPID --value hoopd)" = "$main"
echo "SELECT 'after', card_number FROM customers;" >&7
check "the session goes on, masked" bash -c 'for i in $(seq 50); do grep -qx "after|\*\*\*\*1111" /tmp/said && exit 0; sleep 0.2; done; cat /tmp/said; exit 1'
check "a new session after the reload" bash -c "psql -XAtc 'SELECT 1' '$dsn'"
echo "nonsense = 1" >>/etc/hoopd/hoopd.toml
systemctl reload hoopd
sed -i '$d' /etc/hoopd/hoopd.toml
check "a broken configuration changes nothing" bash -c "psql -XAtc 'SELECT 1' '$dsn'"

# -- kill -9
kill -9 "$(pid_of broker)"
check "a killed broker comes back" bash -c 'for i in $(seq 50); do hoopctl whoami && exit 0; sleep 0.3; done; exit 1'

# -- stop drains
systemctl stop hoopd 7>&- & # which must not hold the pipe of the session open
stopping=$!
sleep 2
echo "SELECT 'draining';" >&7
check "a session goes on while the service stops" bash -c 'for i in $(seq 50); do grep -q draining /tmp/said && exit 0; sleep 0.2; done; cat /tmp/said; exit 1'
exec 7>&-
wait $client
check "the service has stopped" wait $stopping
check "in good order" test "$(systemctl show -p Result --value hoopd)" = success
check "no process is left" bash -c '! pgrep -f "[h]oopd[.]roles"'
check "the record verifies" hoopctl audit verify /var/lib/hoopd
check "nothing failed in the log" bash -c "! journalctl -u hoopd | grep -i traceback"
[ $failed = 0 ] && echo "APPLIANCE OK" || { journalctl -u hoopd --no-pager | tail -n 60; echo "APPLIANCE FAILED"; }
