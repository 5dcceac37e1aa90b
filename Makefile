# Two commands: `make rehearsal` shows what the pipeline does, `make test` runs everything that CI runs.

PYTHON ?= python3
WORK ?= work
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

# Hundreds of processes would each compile the whole project, if the person's settings keep Python from storing that.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: rehearsal test lint docs benchmarks fuzz faults clean

rehearsal: .venv/installed
	$(BIN)/mlperf-submission run rehearsal --work $(WORK)

test: .venv/installed-for-tests lint
	$(BIN)/python -m pytest --numprocesses 6 --dist loadfile --no-loadscope-reorder

lint: .venv/installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Writes the pages that are made from the code, and fails if a link of the documentation leads nowhere.
docs: .venv/installed-for-tests
	$(BIN)/python -m tools.docs

benchmarks: .venv/installed-for-tests
	$(BIN)/python -m tools.benchmarks

# What reads the files of others, with damaged ones: FUZZ_SECONDS=3600 for an hour.
FUZZ_SECONDS ?= 600

fuzz: .venv/installed-for-tests
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

faults: .venv/installed-for-tests
	$(BIN)/python -m tests.faults

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[tensorrt-rtx]'
	touch $@

.venv/installed-for-tests: .venv/installed
	$(INSTALL) --editable '.[tensorrt-rtx,dev]'
	touch $@

clean:
	rm -rf .venv work .pytest_cache .mypy_cache .ruff_cache .hypothesis
