# Each target does its own set-up: a machine needs Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_FLAGS ?=
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt

.PHONY: demo test test-full lint generate benchmarks clean

demo: $(VENV)/.run ## a verifier, a device, an emulated 5G link between them, on real models
	$(BIN)/airdraft demo

test: $(VENV)/.dev lint ## everything that fits in 25 minutes on two cores
	$(BIN)/python -m pytest -m "not full"

test-full: $(VENV)/.dev lint ## every bar, with the real models: about two hours on two cores
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=proto:. $(BIN)/lint-imports

generate: $(VENV)/.dev ## the gRPC stubs, from proto/airdraft/wire/v1/*.proto
	$(BIN)/python -m airdraft.wire.generate

benchmarks: $(VENV)/.dev ## every figure in the documentation
	$(BIN)/python -m benchmarks

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "airdraft needs Python 3.11 or newer; this is %s. Try: make PYTHON=python3.11" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[edge,cloud]'
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
