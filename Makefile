# Two commands do everything on a fresh Debian or Ubuntu with Python 3.11 or newer: make run, make test.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ONCE   ?=
ARGS   ?=
SECONDS ?= 300
SEEDS   ?= 20
ENGINE  ?= sqlite

.PHONY: help run test lint check bench chaos fuzz demo demo-dmp demo-circle lock fixtures clean python
.DEFAULT_GOAL := help

help:
	@echo "make run     the gateway with simulated DMP, MSSanté and DPI on loopback, a first document sent (ONCE=1: then stop)"
	@echo "make demo-dmp  what becomes of documents in the DMP, the hard cases too, as a table (ONCE=1: then stop)"
	@echo "make demo-circle  from one hospital's DPI to another's and back, message by message (ONCE=1: then stop)"
	@echo "make test    all tests"
	@echo "make lint    ruff, mypy strict, import-linter"
	@echo "make check   make lint, and the fast tests"
	@echo "make chaos   SEEDS=20 runs with kills, cuts, full disks… against real processes: does the promise hold (ENGINE=postgres: two nodes)"
	@echo "make fuzz    ever new hostile messages, streams and documents for SECONDS=300 (pip install -e .[fuzz] adds atheris)"
	@echo "make bench   throughput and latency over loopback (ARGS=... to choose)"
	@echo "make lock    resolve the dependencies again"

# What is missing on a bare system is said in one line, before anything else is done.
python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "Python 3.11 or newer is needed:  sudo apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make run PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing:  sudo apt-get install python3-venv" >&2; exit 1; }

$(VENV)/runtime.done: requirements.lock pyproject.toml | python
	@echo "[1/3] virtual environment in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "[2/3] locked dependencies (every file checked against its hash)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@echo "[3/3] the gateway itself"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.done: requirements-dev.lock $(VENV)/runtime.done
	@echo "[dev] test and lint tools"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

run: $(VENV)/runtime.done
	@$(BIN)/segur-gateway demo $(if $(ONCE),--once) $(ARGS)

demo-dmp: $(VENV)/runtime.done
	@$(BIN)/python -m gateway.demo_dmp $(if $(ONCE),--once) $(ARGS)

demo-circle: $(VENV)/runtime.done
	@$(BIN)/python -m gateway.demo_circle $(if $(ONCE),--once) $(ARGS)

test: $(VENV)/dev.done
	@command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || echo "No Chromium here: the tests of pages are skipped. On Debian:  sudo apt-get install chromium" >&2
	$(BIN)/python -m pytest -n auto $(ARGS)

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint
	$(BIN)/python -m pytest -n auto -m "not slow" $(ARGS)

fuzz: $(VENV)/dev.done
	$(BIN)/python -m fuzz $(SECONDS)

chaos: $(VENV)/dev.done
	@$(BIN)/python -m chaos --seeds $(SEEDS) --engine $(ENGINE) $(ARGS)

bench: $(VENV)/dev.done
	$(BIN)/python -m benchmarks.ack $(ARGS)

fixtures: $(VENV)/runtime.done
	$(BIN)/python -m fixtures.make

# The lock files name no host: they are installed from whatever index the machine is set up with.
lock:
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml --extra build -o requirements.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml --extra build --extra dev -o requirements-dev.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml --extra build --extra pdf --extra postgres --extra schematron -c requirements-dev.lock -o requirements-image.lock

clean:
	rm -rf $(VENV) var .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
