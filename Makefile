# Everything here needs Python 3.11 or newer, pip and make; the rest goes into .venv by itself.

.DEFAULT_GOAL := help
.PHONY: help setup test demo simulate campaign bench lint lock clean
SHELL := /bin/bash

# The Python that makes .venv: `make setup PYTHON=/path/to/python` names one.
PYTHON ?= python3.11 python3 python3.12 python3.13 python
BIN := .venv/bin
PYTEST_ARGS ?=
# Test processes at a time.
PYTEST_WORKERS ?= 3
# Seeds of each system in a long campaign, at level A; a tenth of them at level B.
SEEDS ?= 20000

help:
	@echo 'make setup     prepare .venv with every extra and group, from requirements.lock'
	@echo 'make test      lint, format check, types, tests; SLOW=1 runs the slow ones too, SLOW=only those,'
	@echo '               COVERAGE=1 reports branch coverage'
	@echo 'make demo      show the systems at work over real sockets and processes'
	@echo 'make simulate  a short campaign of simulated worlds, and every deliberate bug'
	@echo 'make campaign  the long forms of the randomised tests, and SEEDS=20000 worlds of each system'
	@echo 'make bench     run every benchmark'
	@echo 'make lint      lint, format check and types alone'
	@echo 'make lock      renew requirements.lock from pyproject.toml'
	@echo 'make clean     remove .venv and every cache'

setup: .venv/.kernels
	@:

# A python that only pretends to be there (a version manager's shim) fails the probe.
.venv/.installed: requirements.lock pyproject.toml
	@set -eu; \
	current='import sys; sys.exit(sys.version_info < (3, 11))'; \
	if ! $(BIN)/python -c "$$current" 2>/dev/null; then \
	  found=; \
	  for python in $(PYTHON); do \
	    if "$$python" -c "$$current" 2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then echo 'no Python 3.11 or newer found; name one with PYTHON=' >&2; exit 1; fi; \
	  "$$found" -m venv --clear .venv; \
	fi; \
	if ! $(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock; then \
	  echo 'requirements.lock cannot be installed here: resolving pyproject.toml instead' >&2; \
	  $(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'; \
	  $(BIN)/python -m pip install --quiet --group dev --editable '.[fast]'; \
	fi; \
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .; \
	touch $@

# Compile the hash kernels once, so that no later command waits for the compiler.
.venv/.kernels: .venv/.installed $(wildcard trio440/mining/engines/*.py)
	@set -eu; \
	if [ -f trio440/mining/engines/warm.py ]; then $(BIN)/python -m trio440.mining.engines.warm; fi; \
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest --numprocesses $(PYTEST_WORKERS) --dist worksteal \
	  $(if $(SLOW),-m $(if $(filter only,$(SLOW)),'slow and not campaign','not campaign')) $(if $(COVERAGE),--cov --cov-report=term) $(PYTEST_ARGS)

simulate: setup
	@set -e; for run in 'lsp A 80' 'lsp B 12' 'miner A 80' 'miner B 12' 'linekv A 80' 'linekv B 12' \
	  'core B 100' 'raft A 40' 'raft B 8' 'actors A 40' 'actors B 8' \
  'kv A 40' 'kv B 8'; do set -- $$run; \
	  $(BIN)/trio440 sim run $$1 --level $$2 --seeds 0:$$3 --profile hostile --no-shrink; done
	$(BIN)/trio440 sim ablations

campaign: setup
	TRIO440_RANDOM=1 $(BIN)/python -m pytest -m campaign -o faulthandler_timeout=1800 --numprocesses $(PYTEST_WORKERS) $(PYTEST_ARGS)
	$(BIN)/python -m pytest -m simulated --sim-seeds 100 -o faulthandler_timeout=1800 \
	  --numprocesses $(PYTEST_WORKERS) $(PYTEST_ARGS)
	@set -e; for system in lsp miner linekv raft actors kv; do \
	  $(BIN)/trio440 sim run $$system --level A --seeds 0:$(SEEDS) --profile hostile; done
	@set -e; for system in lsp miner linekv core raft actors kv; do for order in random pct; do \
	  $(BIN)/trio440 sim run $$system --level B --seeds 0:$$(($(SEEDS) / 10)) --profile hostile \
	    --order $$order; done; done

demo: setup
	$(BIN)/trio440 demo

bench: setup
	@set -e; for script in $(sort $(wildcard benchmarks/*.py)); do \
	  echo "== $$script"; $(BIN)/python "$$script"; done

lock: setup
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	  --generate-hashes --no-strip-extras --no-emit-index-url --no-header --no-annotate --all-extras --group dev \
	  --output-file requirements.lock pyproject.toml

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* htmlcov build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
