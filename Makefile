# Everything a target makes stays in this checkout: the environment in .venv, results in runs.
#
# PYTHON       the interpreter .venv is made with, 3.11 or newer
# TORCH_INDEX  where torch is looked for beside the package index; https://download.pytorch.org/whl/cpu on a machine
#              without a GPU leaves out gigabytes of CUDA libraries

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
TORCH_INDEX ?=
BIN := .venv/bin
INSTALL = $(BIN)/python -m pip install --no-cache-dir --constraint constraints.txt $(TORCH_INDEX:%=--extra-index-url %)

.PHONY: help setup run test test-full bench lint check-pins clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

setup: .venv/installed ## make .venv and install the project

run: setup ## run the smoke suite, then price what it measured
	@out=runs/$$(date -u +%Y%m%dT%H%M%SZ) && \
	{ $(BIN)/bench run smoke --out "$$out" || [ $$? -eq 1 ]; } && $(BIN)/bench compare "$$out"

test: .venv/with-test ## the core tests: no root, no network, minutes
	$(BIN)/pytest -m 'not (slow or gpu or vllm or browser)'

test-full: .venv/with-test ## every test this machine can run
	$(BIN)/pytest

bench: .venv/with-test ## time the parts that must be fast
	$(BIN)/pytest tests/benchmarks

lint: .venv/with-dev ## style, types and the layers between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

check-pins: $(BIN)/python ## look for a wheel of every pin, for x86_64 and aarch64
	$(BIN)/python scripts/check_pins.py

clean: ## remove all but the results
	rm -rf .venv build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis .benchmarks
	find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "$(PYTHON) is no Python 3.11 or newer: name one, as in make setup PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(INSTALL) pip

.venv/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable .
	touch $@

.venv/with-%: .venv/installed
	$(INSTALL) --editable '.[$*]'
	touch $@
