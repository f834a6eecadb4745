# Needs Python 3.11 or newer, git and make. Every target first sets up .venv as far as it needs.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
ENVIRONMENT = $(or $(PYTHON),$(error facelex needs Python 3.11 or newer: set PYTHON=/path/to/python3)) tools/environment.py
BIN = .venv/bin
SAMPLES = src/facelex/samples/astronaut.jpg src/facelex/samples/grace_hopper.jpg
TESTS ?= tests
JOBS ?= 2
# Where Python may not keep what it has compiled, as some containers are set, each start of PyTorch takes seconds more.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test lint format constraints clean

help:
	@echo "make demo         recognise the emotions in the sample photos; writes demo-output/"
	@echo "make test         run the tests (TESTS=tests/losses one folder, JOBS=4 processes, OPTIONS=--runslow)"
	@echo "make lint         check style and types"
	@echo "make format       put the code into the agreed style"
	@echo "make constraints  pin the newest versions of everything"
	@echo "make clean        remove .venv, caches and what the demo wrote"

demo:
	@$(ENVIRONMENT)
	@$(BIN)/python -m facelex predict $(SAMPLES) --annotate demo-output
	@echo "The same faces by the model that learned from people's votes, and against words of your own:"
	@$(BIN)/python -m facelex predict $(SAMPLES) --model ferplus \
		--words "delighted, bored, thoughtful, barely hidden anger"
	@echo "The pictures with their faces marked lie in demo-output/"

test:
	@$(ENVIRONMENT) all dev
	@$(BIN)/python -m pytest -n $(JOBS) $(OPTIONS) $(TESTS)

lint:
	@$(ENVIRONMENT) all dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format:
	@$(ENVIRONMENT) all dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# One resolution for every platform and Python; names and versions only, so any index or mirror serves it.
constraints:
	@$(ENVIRONMENT) all dev
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --upgrade --no-header \
	    --output-file constraints/pinned.txt pyproject.toml

clean:
	rm -rf .venv demo-output htmlcov .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
