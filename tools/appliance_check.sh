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
packages=systemd,systemd-sysv,dbus,python3,python3-venv,python3-dev,gcc,libc6-dev,openssl,postgresql,ca-certificates,procps,passwd
if [ "$(cat "$base/.ready" 2>/dev/null)" != "$packages" ]; then
  echo "==> making a Debian 12 in $base"
  rm -rf "$base"
  mmdebstrap --quiet --variant=apt \
    --include="$packages" bookworm "$base"
  echo "$packages" >"$base/.ready"
fi
echo "==> installing hoopd into $tree"
rm -rf "$tree"
cp -a --reflink=auto "$base" "$tree"
mkdir -p "$tree/usr/src/hoopd" "$tree/var/log/journal"
git ls-files -z --cached --others --exclude-standard | while IFS= read -rd "" file; do [ ! -e "$file" ] || printf "%s\0" "$file"; done |
  tar --null -T - -c | tar -x -C "$tree/usr/src/hoopd"
cp -L /etc/resolv.conf "$tree/etc/resolv.conf"
cp -L /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/ca-certificates.crt"
# the programs come over the network, which the booted machine has not
chroot "$tree" env -u PIP_FIND_LINKS /usr/src/hoopd/tools/install.sh --programs
cat >"$tree/etc/systemd/system/appliance-check.service" <<'UNIT'
[Unit]
After=postgresql.service
[Service]
Type=oneshot
Environment=HOME=/root LC_ALL=C.UTF-8
ExecStart=/bin/bash -c 'bash /usr/src/hoopd/tests/appliance/inside.sh $(cat /etc/boot) >/var/log/appliance-check.log 2>&1'
ExecStopPost=/bin/systemctl --no-block poweroff
TimeoutStartSec=600
[Install]
WantedBy=multi-user.target
UNIT
chroot "$tree" systemctl -q enable appliance-check.service
for boot in first second; do
  echo "==> booting it: $boot"
  echo $boot >"$tree/etc/boot"
  rm -f "$tree/var/log/appliance-check.log"
  timeout 900 systemd-nspawn -q -D "$tree" --boot --register=no --keep-unit --private-network --console=pipe \
    </dev/null >"$tree.console" 2>&1 || true
  if ! cat "$tree/var/log/appliance-check.log"; then
    tail -n 20 "$tree.console" >&2
    echo "appliance-check: it did not boot; the whole console is in $tree.console" >&2
    exit 1
  fi
  tail -n 1 "$tree/var/log/appliance-check.log" | grep -qx "APPLIANCE OK"
done
