# `make demo` fits a model to the example data, `make test` runs every check. Both set up what they need in .venv first;
# the stamp files in it make the second run quick.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable
RUN_STAMP := .venv/.installed-run
TEST_STAMP := .venv/.installed-test
SOURCES := pyproject.toml constraints.txt

# The matrices are small: one thread is faster than several that wait for one another, and the tests run side by side.
export OMP_NUM_THREADS ?= 1

.PHONY: help demo test lint format types unit test-all install install-test test-oldest clean

help:
	@echo "make demo     set up, then fit the CKLS model to quarterly US T-bill rates; the result is in fit/"
	@echo "make test     set up, then run the linter, the type checker and all tests"
	@echo "make install-test | lint | format | types | unit     the parts of make test one by one"
	@echo "make test-all the same with the exhaustive tests, some minutes more"
	@echo "make test-oldest     the tests with the oldest dependencies that pyproject.toml admits"
	@echo "make clean    remove the environment, the demo's result and the caches"

demo: install
	$(BIN)/pdekit fit examples/data/us_tbill.csv --time date --column rate --model ckls --out fit/ --overwrite

test: lint types unit

lint: install-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: install-test
	$(BIN)/pyright

unit: install-test
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

test-all: lint types
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 -m "slow or not slow"

install: $(RUN_STAMP)
install-test: $(TEST_STAMP)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pdekit needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

$(RUN_STAMP): $(SOURCES) | $(BIN)/python
	@echo "Installing pdekit into .venv; the first time takes a few minutes."
	$(INSTALL) .
	@touch $@

$(TEST_STAMP): $(SOURCES) | $(BIN)/python
	@echo "Installing pdekit and its test tools into .venv; the first time takes a few minutes."
	$(INSTALL) '.[test]'
	@touch $@ $(RUN_STAMP)

test-oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --quiet --constraint constraints-oldest.txt --editable '.[test]'
	.venv-oldest/bin/python -m pytest --numprocesses auto --maxprocesses 4

clean:
	rm -rf .venv .venv-oldest .pytest_cache .ruff_cache .hypothesis build dist fit
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
