# What people do here. Each target sets up what it needs in .venv, once; the versions are those of constraints.txt.

PYTHON ?= $(firstword $(shell command -v python3.11 python3))
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -c constraints.txt

# Short waits of idle threads: on a shared machine long ones cost more than the work itself.
export GOMP_SPINCOUNT ?= 1000

.PHONY: help demo report lab test chromium lint bench hooks constraints clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(VENV)/.ready  ## build a hybrid of two small pretrained models; ends with the path of the report
	$(BIN)/manticore report notebooks/01_build_a_hybrid.ipynb

report: $(VENV)/.ready  ## make report NOTEBOOK=01_build_a_hybrid ARGS="-p preset=smoke"
	$(BIN)/manticore report $(NOTEBOOK) $(ARGS)

lab: $(VENV)/.ready-dev  ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab notebooks $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

# One thread per worker: with the cores shared out among workers, more threads only get in each other's way.
test: $(VENV)/.ready-dev chromium  ## run the tests, those in a browser too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal $(ARGS)

lint: $(VENV)/.ready-dev  ## formatting, lint, types, and no outputs in notebooks
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright --pythonpath $(BIN)/python
	git ls-files -z '*.ipynb' | xargs -0r $(BIN)/nbstripout --verify

bench: $(VENV)/.ready-dev chromium  ## measure speed and write docs/benchmarks.md (a quick look: ARGS=--quick)
	$(BIN)/python -m benchmarks $(ARGS)

hooks: $(VENV)/.ready-dev  ## have git run the checks before each commit
	$(BIN)/pre-commit install

constraints:  ## after a change of dependencies: pin the newest versions that fit, in constraints.txt
	rm -rf build/fresh && $(PYTHON) -m venv build/fresh
	build/fresh/bin/python -m pip install "$$(grep '^torch==' constraints.txt)" -e ".[dev,lab,tune]"
	{ grep '^#' constraints.txt; build/fresh/bin/python -m pip freeze --all --exclude pip --exclude-editable | sed '/^torch==/s/+.*//'; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

clean:  ## remove the environment, reports and caches
	rm -rf $(VENV) build reports .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Name another: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	touch $@

$(VENV)/.ready-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[dev,lab,tune]"
	touch $@ $(VENV)/.ready

chromium: $(VENV)/.ready-dev
	@$(BIN)/python -c 'import sys; from manticore_kit.doctor import find_chromium; sys.exit(find_chromium() is None)' || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -q && apt-get install -q -y --no-install-recommends chromium; \
	else \
	  echo "No Chromium found, so the tests in a browser are skipped. Install it with your system's package manager."; \
	fi
