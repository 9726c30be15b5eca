#!/usr/bin/env bash
# Installs hoopd on a fresh Debian 12 as an operator would, boots that under systemd in a container, and checks users,
# capabilities, sandbox, psql, reload, drain. As root, with mmdebstrap and systemd-container; needs a few minutes, the
# Debian archive and PyPI the first time. Usage: tools/appliance_check.sh [TREE]
set -euo pipefail
cd "$(dirname "$0")/.."
tree=${1:-/var/tmp/hoopd-appliance}
[ "$(id -u)" = 0 ] || { echo "appliance-check: needs root, for the container" >&2; exit 1; }
for tool in mmdebstrap systemd-nspawn; do
  command -v $tool >/dev/null || { echo "appliance-check: $tool is missing: apt-get install mmdebstrap systemd-container" >&2; exit 1; }
done
base=$tree.base
if [ ! -e "$base/.ready" ]; then
  echo "==> making a Debian 12 in $base"
  rm -rf "$base"
  mmdebstrap --quiet --variant=apt \
    --include=systemd,systemd-sysv,dbus,python3,python3-venv,openssl,postgresql,ca-certificates,procps,passwd bookworm "$base"
  touch "$base/.ready"
fi
echo "==> installing hoopd into $tree"
rm -rf "$tree"
cp -a --reflink=auto "$base" "$tree"
mkdir -p "$tree/usr/src/hoopd" "$tree/var/log/journal"
git ls-files -z | tar --null -T - -c | tar -x -C "$tree/usr/src/hoopd"
cp -L /etc/resolv.conf "$tree/etc/resolv.conf"
cp -L /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/ca-certificates.crt"
# the programs come over the network, which the booted machine has not
chroot "$tree" /usr/bin/python3 -m venv /usr/lib/hoopd
chroot "$tree" /usr/lib/hoopd/bin/pip install --quiet /usr/src/hoopd
cat >"$tree/etc/systemd/system/appliance-check.service" <<'UNIT'
[Unit]
After=postgresql.service
[Service]
Type=oneshot
Environment=HOME=/root LC_ALL=C.UTF-8
ExecStart=/bin/bash -c 'bash /usr/src/hoopd/tests/appliance/inside.sh >/var/log/appliance-check.log 2>&1'
ExecStopPost=/bin/systemctl --no-block poweroff
TimeoutStartSec=600
[Install]
WantedBy=multi-user.target
UNIT
chroot "$tree" systemctl -q enable appliance-check.service
echo "==> booting it"
timeout 900 systemd-nspawn -q -D "$tree" --boot --register=no --keep-unit --private-network --console=pipe \
  </dev/null >"$tree.console" 2>&1 || true
cat "$tree/var/log/appliance-check.log"
tail -n 1 "$tree/var/log/appliance-check.log" | grep -qx "APPLIANCE OK"
