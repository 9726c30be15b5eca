# hoopd: `make demo` shows it working, `make test` runs everything. Both set up what they need (Debian 12).
.PHONY: help appliance-check demo test unit integration lint bench bench-check suites setup clean

PY := .venv/bin/python
# tools/setup.sh puts a newer Node.js there where the system's is too old for the tests
export PATH := $(CURDIR)/.venv/node/node_modules/node/bin:$(PATH)
# what tests and demo run must not depend on who runs them: locale, a home that can be written, files that others can read
export LC_ALL := C.UTF-8
export HOME := $(shell [ -w "$$HOME" ] && echo "$$HOME" || echo "$(CURDIR)/.venv/home")

help:
	@echo "make demo         start hoopd with a throw-away PostgreSQL and sshd and show the main job"
	@echo "make test         set up, then lint, types, unit and integration tests"
	@echo "make unit         the fast tests alone"
	@echo "make bench        measure hoopd beside direct connections, PgBouncer and a stock SSH bastion"
	@echo "make suites       run PostgreSQL's and psycopg2's own tests straight and through hoopd"
	@echo "make appliance-check  install on a fresh Debian 12, boot that under systemd, and look (root, mmdebstrap, nspawn)"
	@echo "make clean        remove the virtual environment and what demo and tests left"

setup:
	@tools/setup.sh test

demo:
	@tools/setup.sh run
	@$(PY) tools/demo.py

test: setup lint
	$(PY) -m pytest -n 2 --dist loadfile --timeout 300 tests

unit: setup
	$(PY) -m pytest -n 2 --dist loadfile --timeout 120 tests --ignore tests/integration

integration: setup
	$(PY) -m pytest -n 2 --dist loadfile --timeout 300 tests/integration

lint: setup
	.venv/bin/ruff check hoopd tests tools twisted
	.venv/bin/mypy

bench: setup
	$(PY) tools/bench.py

bench-check: setup
	$(PY) tools/bench.py --check

suites: setup
	$(PY) tools/suites.py fetch
	$(PY) tools/suites.py regress
	$(PY) tools/suites.py psycopg2

appliance-check:
	tools/appliance_check.sh

clean:
	rm -rf .venv .demo build dist *.egg-info tests/integration/*/node_modules hoopd/protocols/postgres/*.so
