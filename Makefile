# Everything lives in .venv, which is made on first use and brought up to date when pyproject.toml changes.

PYTHON ?= python3
VENV ?= .venv
# With this release named, pip takes a CPU build where one lies ready; any torch >= 2.10 serves:
#   make test TORCH='torch>=2.10'
TORCH ?= torch==2.13.0
WORKERS ?= 2

BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test check format house clean

demo: $(VENV)/.demo-installed  ## Classify real photographs with the bundled model; writes demo/demo.png.
	$(BIN)/siglip2 demo

# A core for each worker: torch would otherwise start as many threads as there are cores in every one.
test: export OMP_NUM_THREADS ?= 1
test: $(VENV)/.dev-installed  ## Install everything and run the default test suite.
	$(BIN)/python -m pytest -n $(WORKERS)

check: $(VENV)/.dev-installed  ## Lint, formatting, types and import rules, as the commit hooks run them.
	$(BIN)/prek run --all-files

format: $(VENV)/.dev-installed  ## Put the code in the shape that `check` asks for.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

house:  ## Write the list of files in docs/architecture.md.
	$(PYTHON) docs/write_house.py

clean:  ## Remove the environment and what tools left behind.
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache .hypothesis demo

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo-installed: pyproject.toml | $(BIN)/python
	$(INSTALL) --editable '.[demo]'
	touch $@

$(VENV)/.dev-installed: pyproject.toml | $(BIN)/python
	$(INSTALL) '$(TORCH)'
	$(INSTALL) --editable '.[dev]'
	touch $(VENV)/.demo-installed $@
