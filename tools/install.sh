#!/usr/bin/env bash
# Makes a checked-out hoopd the machine's service (docs/installation.md): users, programs, configuration, master key, unit.
# As root. Arguments go to hoopctl setup. Safe to repeat: what is there stays.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "install: needs root" >&2; exit 1; }

for user in hoopd hoopd-worker hoopd-verifier hoopd-control; do
  getent passwd "$user" >/dev/null ||
    useradd --system --user-group --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin "$user"
done
# control makes its socket in the service's runtime directory, which is the group's to write
usermod -aG hoopd hoopd-control

if [ ! -x /usr/lib/hoopd/bin/twistd ]; then
  /usr/bin/python3 -m venv /usr/lib/hoopd
  /usr/lib/hoopd/bin/pip install --quiet .
fi
ln -sf /usr/lib/hoopd/bin/hoopctl /usr/bin/hoopctl

install -d -m 0755 /etc/hoopd
install -d -m 0700 -o hoopd -g hoopd /var/lib/hoopd
hoopctl setup "$@"
if ! grep -q '^users = ' /etc/hoopd/hoopd.toml; then
  cat >>/etc/hoopd/hoopd.toml <<'TOML'

[processes]
users = { worker = "hoopd-worker", verifier = "hoopd-verifier", control = "hoopd-control" }
TOML
fi
# the key of the vault: encrypted for this machine, readable for the broker alone
credential=/etc/credstore.encrypted/hoopd-master-key
if [ ! -e $credential ]; then
  install -d -m 0700 /etc/credstore.encrypted
  systemd-creds encrypt --name=hoopd-master-key /etc/hoopd/master.key $credential
  chmod 0600 $credential
  sed -i 's|^master_key = "file:master.key"|master_key = "credential:hoopd-master-key"|' /etc/hoopd/hoopd.toml
  rm -f /etc/hoopd/master.key
fi
chown -R root:root /etc/hoopd
# the workers show the certificate, and nobody else needs its key
chgrp hoopd-worker /etc/hoopd/tls/server.key
chmod 0640 /etc/hoopd/tls/server.key
rmdir /run/hoopd 2>/dev/null || true

install -m 0644 systemd/hoopd.service /etc/systemd/system/hoopd.service
systemctl daemon-reload
echo "install: describe targets and policies in /etc/hoopd, then: systemctl enable --now hoopd"
