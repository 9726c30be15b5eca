#!/usr/bin/env bash
# Makes a checked-out hoopd the machine's service (docs/installation.md): users, programs, configuration, master key, unit.
# As root. Arguments go to hoopctl setup. Safe to repeat: what is there stays. --programs (nothing else) installs or
# upgrades the programs alone, the only part that needs a network.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022
[ "$(id -u)" = 0 ] || { echo "install: needs root" >&2; exit 1; }

missing=()
[ -e /usr/lib/python3.11/ensurepip ] || missing+=(python3-venv)
# without a compiler rows of results are cut by plain Python, which is slow
command -v gcc >/dev/null && [ -e /usr/include/stdio.h ] || missing+=(gcc libc6-dev)
[ -e /usr/include/python3.11/Python.h ] || missing+=(python3-dev)
[ ${#missing[@]} = 0 ] || { echo "install: missing Debian packages: apt-get install ${missing[*]}" >&2; exit 1; }

programs() {
  [ -x /usr/lib/hoopd/bin/python ] || /usr/bin/python3 -m venv /usr/lib/hoopd
  /usr/lib/hoopd/bin/pip install --quiet --upgrade pip setuptools wheel
  /usr/lib/hoopd/bin/pip install --quiet --upgrade .
  # twistd's list of plugins, which the service may not write
  /usr/lib/hoopd/bin/twistd --help-reactors >/dev/null
  ln -sf /usr/lib/hoopd/bin/hoopctl /usr/bin/hoopctl
}
if [ "${1:-}" = --programs ]; then
  programs
  echo "install: programs are in /usr/lib/hoopd; systemctl reload hoopd runs them"
  exit
fi

for user in hoopd hoopd-worker hoopd-verifier hoopd-notifier hoopd-control; do
  getent passwd "$user" >/dev/null ||
    useradd --system --user-group --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin "$user"
done
# control makes its socket in the service's runtime directory, which is the group's to write
usermod -aG hoopd hoopd-control

[ -x /usr/lib/hoopd/bin/twistd ] || programs

install -d -m 0755 /etc/hoopd
install -d -m 0700 -o hoopd -g hoopd /var/lib/hoopd
hoopctl setup "$@"
if ! grep -q '^users = ' /etc/hoopd/hoopd.toml; then
  cat >>/etc/hoopd/hoopd.toml <<'TOML'

[processes]
users = { worker = "hoopd-worker", verifier = "hoopd-verifier", notifier = "hoopd-notifier", control = "hoopd-control" }
TOML
fi
# the key of the vault: encrypted for this machine, readable for the broker alone
credential=/etc/credstore.encrypted/hoopd-master-key
if [ ! -e $credential ]; then
  install -d -m 0700 /etc/credstore.encrypted
  systemd-creds encrypt --name=hoopd-master-key /etc/hoopd/master.key $credential
  chmod 0600 $credential
  echo "install: only this machine can read the vault's key now; for a copy to keep: systemd-creds decrypt $credential -"
fi
sed -i 's|^master_key = "file:master.key"|master_key = "credential:hoopd-master-key"|' /etc/hoopd/hoopd.toml
# in clear it was needed only until now; a repeated setup makes one that nobody uses
! grep -q '^master_key = "credential:' /etc/hoopd/hoopd.toml || rm -f /etc/hoopd/master.key
# the workers show the certificate, and nobody else needs its key
chgrp hoopd-worker /etc/hoopd/tls/server.key
chmod 0640 /etc/hoopd/tls/server.key
for key in /etc/hoopd/tls/ssh_host_*_key; do
  [ -f "$key" ] || continue
  chgrp hoopd-worker "$key"
  chmod 0640 "$key"
done
rmdir /run/hoopd 2>/dev/null || true

install -m 0644 systemd/hoopd.service /etc/systemd/system/hoopd.service
systemctl daemon-reload
echo "install: describe targets and policies in /etc/hoopd, then: systemctl enable --now hoopd"
