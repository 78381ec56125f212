# One word per task; the same words run in CI. `make help` lists them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Every worker that starts would compile the libraries anew: 4 seconds each, and the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast check docs fmt bench clean bytecode

help: ## list the words
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(STAMP) ## make the virtual environment in .venv (once, about three minutes)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "raysample needs Python 3.11 or newer")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing raysample and what it needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: $(STAMP) ## the whole loop on simulated assistant traffic, offline
	@$(BIN)/raysample run examples/demo.yaml
	@echo "(the commands raysample and mlflow are in $(BIN))"

# KubeRay's published schemas, where they are at hand: the manifests are then checked against them, too.
RAYSAMPLE_KUBERAY_SCHEMAS ?= $(wildcard ../shared/kuberay)
ifneq ($(RAYSAMPLE_KUBERAY_SCHEMAS),)
export RAYSAMPLE_KUBERAY_SCHEMAS
endif

# Three processes for two cores: two of them often wait for Ray (tests/conftest.py says which tests stay together).
WORKERS ?= 3

test: $(STAMP) ## all tests, offline
	@$(BIN)/python -m pytest --numprocesses=$(WORKERS) --no-loadscope-reorder

test-fast: $(STAMP) ## the tests that need no Ray and start no server
	@$(BIN)/python -m pytest -m "not ray and not slow"

# Python's bytecode of the libraries and the tests: the processes of `make test` would each make it at once.
bytecode: $(STAMP)
	@$(BIN)/python -m pytest --collect-only --quiet >/dev/null

check: $(STAMP) ## lint, types, borders between the rooms
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(STAMP) ## build the documentation site in site/, strictly and offline
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --clean

fmt: $(STAMP) ## format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(STAMP) ## every benchmark, its quick form
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script --quick || exit 1; done

clean: ## remove the environment and what runs wrote
	rm -rf $(VENV) runs build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
