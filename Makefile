# Everything runs in .venv; PYTHON picks the interpreter it is made from (3.11 or later).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help bench test check format perf clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.runs: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.tests: $(VENV)/.runs
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

bench: $(VENV)/.runs ## set up, replay the built-in bursty trace against the default model, write a report
	$(BIN)/dynbatch bench --trace bursty.json

check: $(VENV)/.tests ## lint, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## check, then the test suite
	$(BIN)/pytest

format: $(VENV)/.tests ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

perf: $(VENV)/.tests ## benchmarks of dynbatch itself: ratios measured side by side in one run
	$(BIN)/python -m tests.perf

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
