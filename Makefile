# Everything goes through .venv, made on first use: `make demo` and `make test` need only Python 3.11+, git and make.

PYTHON ?= python3
VENV ?= .venv
# The CPU build of torch. For CUDA: make TORCH_INDEX=https://download.pytorch.org/whl/cu128 demo
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow lint bench docs clean

help:  ## Show these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(READY)  ## Create .venv with everything in it

# torch goes first and alone: only it needs the second index, which is then asked for one package and not for sixty.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); a first time takes some minutes."
	$(BIN)/python -m pip install --quiet --retries 2 --no-deps --extra-index-url $(TORCH_INDEX) -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)  ## Decode, score and tune on the embedded model
	$(BIN)/dllm-decode demo

test: $(READY)  ## Run the test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow" --numprocesses auto --dist worksteal

test-slow: $(READY)  ## Run the tests that take long
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow --numprocesses auto --dist worksteal

lint: $(READY)  ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## Measure what the engine costs beyond the model
	$(BIN)/dllm-decode bench

docs: $(READY)  ## Write the pages of docs/ that are made from the code
	$(BIN)/python -m docs.generate

clean:  ## Remove .venv, caches and build outputs
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
