# Two commands are all a fresh machine needs: `make run` and `make test` (Python >= 3.11, make, network).
VENV   := .venv
BIN    := $(VENV)/bin
PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do \
            $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
STAMP  := $(VENV)/.installed

.PHONY: run test lint types contracts unit conformance ray install clean
.DEFAULT_GOAL := run

run: install            ## bring up the default system and show it; Ctrl-C stops it
	@$(BIN)/rayvisor up topology.yaml

test: lint types contracts unit conformance ray

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "rayvisor needs Python 3.11, 3.12 or 3.13 on the PATH" >&2; exit 1; }
	@echo "installing into $(VENV) (once; about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q actors supervisors
	@touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

contracts: install
	$(BIN)/lint-imports --no-cache

unit: install
	$(BIN)/pytest tests/unit tests/property tests/actors tests/contract tests/docs -m "not ray"

conformance: install
	$(BIN)/pytest tests/conformance

ray: install
	$(BIN)/python -m compileall -q actors supervisors
	$(BIN)/pytest tests/ray

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis
