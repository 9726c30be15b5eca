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
if [ "$want" = test ]; then
  need pgbouncer pgbouncer
  need node nodejs
  need npm npm
  need java default-jre-headless
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
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

stamp=$venv/.ready-$want-$(cat setup.cfg pyproject.toml | sha256sum | cut -c1-16)
if [ ! -e "$stamp" ]; then
  if [ ! -x $venv/bin/python ]; then
    say "creating the virtual environment $venv"
    /usr/bin/python3 -m venv $venv
    $venv/bin/pip install --quiet --upgrade pip setuptools wheel
  fi
  extras=
  [ "$want" = test ] && extras="[test]"
  say "installing hoopd and its libraries into $venv (a minute or two the first time)"
  $venv/bin/pip install --quiet --editable ".$extras"
  # An editable install does not lay twisted/plugins beside Twisted's own: a path file makes the checkout visible.
  pwd >"$($venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/hoopd-checkout.pth"
  touch "$stamp"
fi
if [ "$want" = test ] && [ -f tests/integration/oidc/package.json ] && [ ! -d tests/integration/oidc/node_modules ]; then
  say "installing the OpenID Connect provider that the tests talk to"
  (cd tests/integration/oidc && npm ci --silent --no-fund --no-audit)
fi
say "set up"
