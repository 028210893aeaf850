# Every target makes `.venv` itself and does nothing twice: stamps inside `.venv` say what
# is installed. `demo` needs the base install only; everything else installs all extras on
# top of it, in the same `.venv`, so that the order of the targets does not matter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet \
	--constraint constraints.txt
BASE := $(VENV)/.installed-base
DEV := $(VENV)/.installed-dev
PINS := pyproject.toml constraints.txt
ARGS ?=

.PHONY: help demo test slow lint format bench docs clean
.DELETE_ON_ERROR:

help:  ## this list (the default)
	@awk -F ':.*  ## ' '/^[a-z]+:.*  ## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

demo: $(BASE)  ## what is in the sample photographs, and where; base install, no torch
	@$(BIN)/whatwhere predict samples --save out/demo

test: $(DEV)  ## the test suite (ARGS='-k name' for a part of it)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --durations=15 $(ARGS)

slow: $(DEV)  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow --durations=15 $(ARGS)

lint: $(DEV)  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV)  ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV)  ## the quick benchmarks
	@for script in benchmarks/[a-z]*.py; do \
		echo "$$script"; $(BIN)/python "$$script" --quick $(ARGS) || exit 1; \
	done

docs: $(DEV)  ## check the documents: every link, every code block
	$(BIN)/python -m pytest tests/test_docs.py $(ARGS)

clean:  ## remove .venv, caches and outputs; runs/ stays, it may hold hours of training
	rm -rf $(VENV) out dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The recipe of a stamp ends by touching it, so that a broken install is tried again.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Whatwhere needs Python 3.11 or newer, and '$(PYTHON)' is" \
			"$$($(PYTHON) --version 2>/dev/null || echo not there):" \
			"name another with  make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments: install its venv module" \
			"(Debian and Ubuntu: apt install python3-venv)" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV)

$(BASE): $(BIN)/python $(PINS)
	@echo "Installing Whatwhere into $(VENV) ..."
	@$(PIP) --upgrade pip
	@$(PIP) --build-constraint constraints.txt --editable .
	@touch $@

$(DEV): $(BASE)
	@echo "Installing all extras and the development tools (torch is large) ..."
	@$(PIP) --build-constraint constraints.txt --editable . --group dev
	@touch $@
