# `make demo` and `make test` do everything on a fresh machine with Python 3.11, make and a package index.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test prove check install install-dev system brokers clean

demo: install ## the whole loop on a simulated exchange: no keys, no services
	$(BIN)/springtide demo

test: check system ## every check and every suite, warnings as errors; those that kill processes one after the other
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile --ignore tests/crash
	$(BIN)/python -m pytest tests/crash

prove: install-dev ## the slow proofs: a hundred kills, a database that goes away, three workers on PostgreSQL and S3, latency (40 minutes)
	PYTHONPATH=. $(BIN)/python benchmarks/kills.py
	PYTHONPATH=. $(BIN)/python benchmarks/away.py
	PYTHONPATH=. $(BIN)/python benchmarks/workers.py
	PYTHONPATH=. $(BIN)/python benchmarks/submit.py
	PYTHONPATH=. $(BIN)/python benchmarks/scheduler.py

check: install-dev ## format, lint, types, import contracts, deployments
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
	$(BIN)/kubernetes-validate --strict --quiet deploy/kubernetes/*.yaml deploy/kubernetes/*.example

system: ## what is no Python package and some tests need; where it cannot be had they say so
	@command -v bwrap > /dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null \
	 && apt-get update -qq && apt-get install --yes -qq bubblewrap libgomp1; } \
	 || echo "bubblewrap is not there and cannot be installed: the tests of the sandbox will be skipped"
	@command -v nats-server redis-server rabbitmq-server > /dev/null || $(MAKE) --no-print-directory brokers \
	 || echo "brokers are not there and cannot be installed: the tests of their streams will be skipped"

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed
	$(BIN)/pip install --quiet -e '.[dev]'
	touch $@

brokers: ## real brokers for the tests of streams, where apt is (as root); tests of those that are missing are skipped by name
	@[ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && apt-get update -qq \
	 && apt-get install --yes -qq --no-install-recommends nats-server redis-server rabbitmq-server

clean:
	rm -rf $(VENV) var .mypy_cache .ruff_cache .pytest_cache .hypothesis
