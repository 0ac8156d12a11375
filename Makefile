# Everything runs in .venv; PYTHON picks the interpreter it is made from (3.11 or later). For a
# second one beside it: make test PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Other batchers bring many dependencies, which may clash with ours.
PEERS := .venv-perf
SERVERS := .venv-exports

.DEFAULT_GOAL := help
.PHONY: same-python help bench test test-long check check-exports format perf fidelity perf-faults soak calibrate search-quality mutants gpu-reference gpu-reference-summary clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# A PYTHON that is named is the one used, or there is nothing done.
same-python:
ifneq ($(origin PYTHON),file)
	@test ! -x $(BIN)/python || test "$$($(BIN)/python -V)" = "$$($(PYTHON) -V)" || { \
	  echo "PYTHON must be the $$($(BIN)/python -V) that $(VENV) was made from, but got $(PYTHON):" \
	    "make clean, or name a second environment: VENV=.venv-NAME" >&2; exit 2; }
endif

$(VENV)/.runs: pyproject.toml constraints.txt | same-python
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.tests: $(VENV)/.runs
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.mutants: $(VENV)/.tests
	$(PIP) install --quiet --constraint constraints.txt --editable '.[mutants]'
	@touch $@

$(PEERS)/.peers: pyproject.toml tests/perf/constraints-peers.txt tests/perf/install_peers.py
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@echo '*' > $(PEERS)/.gitignore
	$(PEERS)/bin/python tests/perf/install_peers.py perf tests/perf/constraints-peers.txt
	@touch $@

$(SERVERS)/.servers: pyproject.toml tests/check_exports/constraints.txt tests/perf/install_peers.py
	@test -x $(SERVERS)/bin/python || $(PYTHON) -m venv $(SERVERS)
	@echo '*' > $(SERVERS)/.gitignore
	$(SERVERS)/bin/python tests/perf/install_peers.py exports tests/check_exports/constraints.txt
	@touch $@

bench: $(VENV)/.runs ## set up, replay the built-in bursty trace against the default model, write a report
	$(BIN)/dynbatch bench --trace bursty.json

check: $(VENV)/.tests ## lint, format, types, import rules, sizes of folders
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.house_figures --check

test: check ## check, then the test suite
	$(BIN)/pytest --numprocesses 2 --dist loadfile -m "not long"

test-long: $(VENV)/.tests ## the tests of whole commands and tunings, and of the reference run on its stand-in
	$(BIN)/pytest --numprocesses 2 --dist load -m long

format: $(VENV)/.tests ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

perf: $(VENV)/.tests $(PEERS)/.peers ## benchmarks of dynbatch itself and beside other batchers: ratios taken in one run
	$(BIN)/python -m tests.perf
	$(PEERS)/bin/python -m tests.perf peers

fidelity: $(VENV)/.tests ## how far simulations are off here; DYNBATCH_RECORDING=FILE adds a recorded trace
	$(BIN)/python -m tests.perf.fidelity $(ARGS)

perf-faults: $(PEERS)/.peers ## what happens when things go wrong, in dynbatch and in other batchers
	$(PEERS)/bin/python -m tests.perf_faults

check-exports: $(SERVERS)/.servers ## what dynbatch export writes, against the servers' own packages
	$(SERVERS)/bin/python -m pytest -W ignore -v tests/check_exports/accepted.py tests/check_exports/behaviour.py

soak: $(VENV)/.tests ## a million requests with everything going wrong at once, and 11,000 generated lives of a batcher
	$(BIN)/python -m tests.soak

calibrate: $(VENV)/.tests ## how often verdicts and comparisons are wrong, on simulated queues whose truth is known
	$(BIN)/python -m tests.calibration
	$(BIN)/python -m tests.calibration.paired

search-quality: $(VENV)/.tests ## regret of what tune hands over, beside other searches; DYNBATCH_RECORDING=FILE adds a recorded trace
	$(BIN)/python -m tests.search_quality $(ARGS)

mutants: $(VENV)/.mutants ## small changes to the code that no test notices: ARGS="--number 200 --seed 1", ARGS="--list FILE"
	nice $(BIN)/python -m tests.mutants $(ARGS)

# An existing environment is used as it is (PYTHON=python3); without PYTHON, .venv is set up.
DEVICE := cuda
OUT :=
ifeq ($(origin PYTHON),file)
REFERENCE := $(BIN)/python
gpu-reference gpu-reference-summary: $(VENV)/.tests
else
REFERENCE := $(PYTHON)
endif
REFERENCE += tests/reference --device $(DEVICE) $(if $(OUT),--out $(OUT))

gpu-reference: ## what is claimed of a GPU, in 9 minutes: DEVICE=cuda, OUT=folder, ARGS="--budget 540s --archive FILE"
	$(REFERENCE) $(ARGS)

gpu-reference-summary: ## its tables again, of the folder OUT
	$(REFERENCE) --summary

clean: ## remove the environment and caches
	rm -rf $(VENV) $(PEERS) $(SERVERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
