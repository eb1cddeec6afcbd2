# SPDX-License-Identifier: Apache-2.0
# Plain `make` prints the list of commands. Needs Python 3.11+ with venv, make and git; nothing else for `demo`.

PYTHON ?= python3
VENV := .venv
SIGNER := .venv-signer
BIN := $(VENV)/bin
PIP_INSTALL := -m pip install --compile --quiet --disable-pip-version-check --no-input
LOCKED := --require-hashes
FUZZ_SECONDS ?= 60
TEST_WORKERS ?= 2
PYTEST_ARGS ?=

# What is installed stands in stamp files inside the environments; a changed lock makes its stamp old.
RUNTIME_STAMP := $(VENV)/.stamp-runtime
DEV_STAMP := $(VENV)/.stamp-dev
PROJECT_STAMP := $(VENV)/.stamp-project
SIGNER_STAMP := $(SIGNER)/.stamp-locked

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help install demo dev check test attacks mutants model bench fuzz interop lock clean

help:  ## print this list
	@echo "make demo      install what runs, from hash-locked files, and watch one signing cycle from end to end"
	@echo "make dev       the same with everything a developer needs"
	@echo "make check     format, lint, types, import contracts, size limits, unit tests (about a minute)"
	@echo "make test      every test, with branch coverage; installs outside verifiers where it may"
	@echo "make attacks   only the attack suite: a dishonest hub, courier, person or file"
	@echo "make mutants   take each check between a request and a key away; a test must notice (MODULE=... for a part)"
	@echo "make model     explore the model of the signing cycle (docs/model) to its end; needs spin and gcc"
	@echo "make interop   only the comparisons with outside verifiers; builds some of them where Go is"
	@echo "make fuzz      each parser for FUZZ_SECONDS ($(FUZZ_SECONDS)) seconds"
	@echo "make bench     the figures, as a table and as JSON"
	@echo "make lock      regenerate the lock files; UPGRADE=1 also takes newer versions"
	@echo "make clean     remove environments, caches and results"

# ── environments ────────────────────────────────────────────────────────────────────────────────────────────────

$(VENV)/pyvenv.cfg $(SIGNER)/pyvenv.cfg:
	@scripts/check-python "$(PYTHON)"
	@echo "creating $(@D)"
	@"$(PYTHON)" -m venv "$(@D)"

$(RUNTIME_STAMP): requirements.lock | $(VENV)/pyvenv.cfg
	@echo "installing requirements.lock into $(VENV)"
	@$(BIN)/python $(PIP_INSTALL) $(LOCKED) -r requirements.lock
	@touch $@

$(DEV_STAMP): requirements-dev.lock | $(VENV)/pyvenv.cfg
	@echo "installing requirements-dev.lock into $(VENV)"
	@$(BIN)/python $(PIP_INSTALL) $(LOCKED) -r requirements-dev.lock
	@touch $@

$(SIGNER_STAMP): requirements-signer.lock | $(SIGNER)/pyvenv.cfg
	@echo "installing requirements-signer.lock into $(SIGNER)"
	@$(SIGNER)/bin/python $(PIP_INSTALL) $(LOCKED) -r requirements-signer.lock
	@touch $@

# The project itself, with the locked build backend. Either lock brings that backend, so whichever is there serves.
$(PROJECT_STAMP): pyproject.toml
	@$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation --no-index -e .
	@touch $@

install: $(RUNTIME_STAMP) $(SIGNER_STAMP)
	@$(MAKE) --silent --no-print-directory $(PROJECT_STAMP)

dev: $(DEV_STAMP) $(SIGNER_STAMP)
	@$(MAKE) --silent --no-print-directory $(PROJECT_STAMP)

# ── what people come for ────────────────────────────────────────────────────────────────────────────────────────

demo: install
	@$(BIN)/signwright demo

bench: dev
	@$(BIN)/signwright bench

# ── checks ──────────────────────────────────────────────────────────────────────────────────────────────────────

check: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -q tests/architecture
	$(BIN)/pytest -q -n $(TEST_WORKERS) tests/unit

test: dev
	@if scripts/install-test-tools; then export SIGNWRIGHT_TOOLS_INSTALLABLE=1; fi; \
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile --durations=15 --cov --cov-report=term:skip-covered $(PYTEST_ARGS)

attacks: dev
	$(BIN)/pytest -v -m attacks

# Not part of `test`: minutes, and only what it says is alive asks for anything.
mutants: dev
	$(BIN)/python -m tests.mutants --jobs $(TEST_WORKERS) $(if $(MODULE),--module $(MODULE))

model: dev
	@if scripts/install-test-tools; then export SIGNWRIGHT_TOOLS_INSTALLABLE=1; fi; $(BIN)/pytest -v tests/model

interop: dev
	@scripts/build-peers || true
	@if scripts/install-test-tools; then export SIGNWRIGHT_TOOLS_INSTALLABLE=1; fi; $(BIN)/pytest -v -m interop

fuzz: dev
	$(BIN)/python fuzz/run.py --seconds $(FUZZ_SECONDS)

# ── upkeep ──────────────────────────────────────────────────────────────────────────────────────────────────────

lock:
	@scripts/lock $(if $(UPGRADE),--upgrade)

clean:
	rm -rf $(VENV) $(SIGNER) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench-results .peers
	rm -f .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
