#!/bin/bash
# Runs inside the machine that tools/appliance_check.sh boots, as root. First boot: what an operator does by
# docs/installation.md, and whether each promise of the unit is kept. Second boot: nobody does anything.
# Prints a line a finding; the last one is the verdict. Usage: inside.sh first|second
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
soon() { # soon COMMAND…: within 30 s
  local try
  for try in $(seq 100); do "$@" && return; sleep 0.3; done
  return 1
}
said() { soon grep -qx -- "$1" /tmp/said || { cat /tmp/said; return 1; }; }
main_pid() { systemctl show -p MainPID --value hoopd; }
inside() { # inside PID COMMAND…: as root, with the mounts that process sees
  nsenter --mount --target "$1" -- "${@:2}"
}
verdict() {
  check "nothing failed in the log" bash -c "! journalctl -b -u hoopd | grep -i traceback"
  if [ $failed = 0 ]; then echo "APPLIANCE OK"; else
    journalctl -b -u hoopd --no-pager | tail -n 80
    echo "APPLIANCE FAILED"
  fi
  exit $failed
}
export PATH=/usr/lib/hoopd/bin:$PATH PGCONNECT_TIMEOUT=10
dsn="host=127.0.0.1 port=6543 dbname=orders user=agent:ci sslmode=verify-full sslrootcert=/etc/hoopd/tls/ca.pem"
masked() { psql -XAtc 'SELECT card_number FROM customers' "$dsn" | grep -qx -- '\*\*\*\*1111'; }

if [ "$1" = second ]; then
  PGPASSWORD=$(cat /root/agent-token)
  export PGPASSWORD
  check "it runs after a boot, by itself" soon systemctl -q is-active hoopd
  check "psql, masked" soon masked
  check "what was sealed before is there" bash -c "hoopctl sessions list | grep -q agent:ci"
  check "status finds nothing wrong" bash -c "hoopctl status | tee /tmp/status; ! grep WRONG /tmp/status"
  verdict
fi

# -- the target: the distribution's own PostgreSQL
check "PostgreSQL runs" soon pg_isready -q
check "a target" runuser -u postgres -- psql -qc "CREATE ROLE app LOGIN PASSWORD 'app-5ecret'" -c "CREATE DATABASE orders OWNER app"
check "a table" runuser -u postgres -- psql -q orders -c "CREATE TABLE customers (id int, card_number text)" \
  -c "INSERT INTO customers VALUES (1, '4111111111111111')" -c "ALTER TABLE customers OWNER TO app"

# -- docs/installation.md
check "install.sh" /usr/src/hoopd/tools/install.sh --port 6543
made() { find /etc/hoopd /etc/credstore.encrypted -type f -exec sha256sum {} + | sort; find /etc/hoopd /var/lib/hoopd -printf '%p %u %g %m\n' | sort; }
made >/tmp/before
check "install.sh again" /usr/src/hoopd/tools/install.sh --port 6543
made >/tmp/after
check "it has changed nothing" diff /tmp/before /tmp/after
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
main=$(main_pid)

# -- users and capabilities
check "the supervisor is hoopd" test "$(user_of "$main")" = hoopd
for pair in broker:hoopd worker:hoopd-worker verifier:hoopd-verifier control:hoopd-control; do
  role=${pair%%:*} user=${pair##*:} pid=$(pid_of "${pair%%:*}")
  check "$role is $user" test "$(user_of "$pid")" = "$user"
  check "$role has no capability" caps_of "$pid"
  check "$role can gain no privilege" grep -q '^NoNewPrivs:[[:space:]]*1' "/proc/$pid/status"
done
worker=$(pid_of worker)
for user in hoopd-worker hoopd-verifier hoopd-notifier hoopd-control; do
  check "$user cannot look into the state" bash -c "! setpriv --reuid=$user --regid=$user --init-groups -- ls /var/lib/hoopd"
  check "$user cannot read the master key" bash -c "! setpriv --reuid=$user --regid=$user --init-groups -- cat /run/credentials/hoopd.service/hoopd-master-key"
  check "$user cannot signal the broker" bash -c "! setpriv --reuid=$user --regid=$user --init-groups -- kill -0 $(pid_of broker)"
done
for user in hoopd-verifier hoopd-notifier hoopd-control; do
  check "$user cannot read the listener's key" bash -c "! setpriv --reuid=$user --regid=$user --init-groups -- cat /etc/hoopd/tls/server.key"
done
check "no worker's memory can be read by its own user" bash -c "! setpriv --reuid=hoopd-worker --regid=hoopd-worker --init-groups -- head -c1 /proc/$worker/mem"
check "system calls are filtered" grep -q '^Seccomp:[[:space:]]*2' "/proc/$worker/status"
for place in /etc/hoopd /usr/lib/hoopd /var /opt; do
  check "not even root's rights write to $place there" bash -c "! nsenter --mount --target $worker -- touch $place/x"
done
check "the state can be written there" inside "$worker" touch /var/lib/hoopd
check "homes are not there" bash -c "! nsenter --mount --target $worker -- ls /root/.bashrc"
check "devices are not there" bash -c "! nsenter --mount --target $worker -- ls /dev/kmsg"
check "whoever keeps copies can have one of the key" bash -c 'systemd-creds decrypt /etc/credstore.encrypted/hoopd-master-key - | grep -q .'
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
echo "$token" >/root/agent-token
check "psql, masked" masked
check "psql, refused" bash -c "! psql -XAtc 'DROP TABLE customers' '$dsn'"
check "status finds nothing wrong" bash -c "hoopctl status | tee /tmp/status; ! grep WRONG /tmp/status"
cat /tmp/status

# -- the journal
journalctl -b -u hoopd -o cat | grep '^{' >/tmp/events
check "events are JSON lines" python3 -c 'for line in open("/tmp/events"):
    import json; assert json.loads(line)["v"] == 1'
for event in session.opened operation.allowed operation.denied session.closed vault.put token.issued; do
  check "$event is in the journal" grep -q "\"event\":\"$event\"" /tmp/events
done
for secret in app-5ecret 4111111111111111 "$token"; do
  check "no secret in the journal" bash -c "! journalctl -b | grep -F -- '$secret'"
done

# -- reload keeps a session
generation() { hoopctl status --json | python3 -c 'import json, sys; print(max(one["generation"] for one in json.load(sys.stdin)["processes"]))'; }
mkfifo /tmp/in
psql -XAt "$dsn" </tmp/in >/tmp/said 2>&1 &
client=$!
exec 7>/tmp/in
echo "SELECT 'before';" >&7
check "a session" said before
check "systemctl reload" systemctl reload hoopd
renewed() { [ "$(generation)" = 2 ]; }
check "the reload is done" soon renewed
check "the same process" test "$(main_pid)" = "$main"
echo "SELECT 'after', card_number FROM customers;" >&7
check "the session goes on, masked" said "after|\*\*\*\*1111"
check "a new session after the reload" masked
echo "nonsense = 1" >>/etc/hoopd/hoopd.toml
check "systemctl reload of a broken configuration fails" bash -c "! systemctl reload hoopd"
check "and says why" bash -c "journalctl -b -u hoopd | grep -q 'nonsense: unknown key'"
sed -i '$d' /etc/hoopd/hoopd.toml
check "and changes nothing" test "$(generation)" = 2
check "and who comes is served" masked

# -- crashes
kill -9 "$(pid_of broker)"
check "a killed broker comes back" soon hoopctl whoami
echo "SELECT 'broker', card_number FROM customers;" >&7
check "the session outlives it" said "broker|\*\*\*\*1111"
kill -9 "$main"
back() { now=$(main_pid); [ "$now" != 0 ] && [ "$now" != "$main" ] && systemctl -q is-active hoopd; }
check "a killed supervisor comes back" soon back
check "as another process, and serves" soon masked
exec 7>&-
wait $client
check "nothing is left of the old family" test "$(pgrep -fc 'hoopd[.]roles[.]child broker')" = 1
check "systemctl restart" systemctl restart hoopd
check "who comes is served" soon masked

# -- stop drains
rm /tmp/in
mkfifo /tmp/in
psql -XAt "$dsn" </tmp/in >/tmp/said 2>&1 &
client=$!
exec 7>/tmp/in
echo "SELECT 'again';" >&7
check "a session" said again
systemctl stop hoopd 7>&- & # which must not hold the pipe of the session open
stopping=$!
sleep 2
echo "SELECT 'draining';" >&7
check "a session goes on while the service stops" said draining
exec 7>&-
wait $client
check "the service has stopped" wait $stopping
check "in good order" test "$(systemctl show -p Result --value hoopd)" = success
check "no process is left" bash -c '! pgrep -f "[h]oopd[.]roles"'
check "the record verifies" hoopctl audit verify /var/lib/hoopd
check "systemctl enable" systemctl -q enable hoopd
verdict
