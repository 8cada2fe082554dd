# Everything runs in .venv, which `make` builds itself from requirements.lock: a fresh clone needs Python 3.11 or newer and make.
# pip's own settings (an index in its environment variables, say) are honoured, because none are passed here.

PYTHON ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Two workers with one thread each, so that two processes with two threads each do not fight over two cores; the models in the
# tests are too small to feed a second thread. WORKERS=0 runs all in one process: less processor time, as libraries load once.
# loadfile: what a file's tests share (a trained model, say) is made once.
WORKERS ?= 2
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-light bench fuzz check supply release-check docs format lock clean

# What needs none of the extra `train`: it is tested again where none of it is installed. A file of these folders that needs a base
# or a tensor is left out by name.
LIGHT := .venv-light
LIGHT_TESTS := tests/analysis tests/data tests/metrics tests/report tests/statistics tests/test_light.py
LEFT_OUT := tests/data/test_encoding.py tests/data/test_prompts.py tests/data/test_text_rows.py

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## run the small study on bundled tasks and write its report
	$(BIN)/xeric demo $(ARGS)

test: $(READY) ## run all tests; ARGS="-k name" picks some
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-light: ## install without the extra `train`, and run the tests that need none of it
	$(PYTHON) -m venv --clear $(LIGHT)
	$(LIGHT)/bin/python -m pip install --quiet --constraint requirements.lock . pytest pytest-xdist hypothesis
	$(LIGHT)/bin/xeric tasks list
	! $(LIGHT)/bin/python -c "import torch" 2>/dev/null
	OMP_NUM_THREADS=1 $(LIGHT)/bin/python -m pytest -n $(WORKERS) --dist loadfile -m "not browser and not real" \
		$(LEFT_OUT:%=--ignore=%) $(LIGHT_TESTS) $(ARGS)

# Versions are those of requirements.lock where what the bench compares with agrees. What else it can compare with, llama-cpp-python
# and vllm, is compared where it is installed by hand: the first is compiled, the second asks for another transformers.
BENCH := .venv-bench

bench: $(BENCH)/.ready ## measure speed against other libraries, hours; ARGS="--quick" for a look, ARGS="--help" for the choices
	HF_HUB_OFFLINE=1 $(BENCH)/bin/python -m bench.speed $(ARGS)

$(BENCH)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear $(BENCH)
	$(BENCH)/bin/python -m pip install --constraint requirements.lock -e '.[bench]' || $(BENCH)/bin/python -m pip install -e '.[bench]'
	@touch $@

# The short run is part of `make test`. SEED and N (inputs of each kind) are yours to choose.
SEED ?= 1
N ?= 10000
fuzz: $(READY) ## mutate N inputs of every kind that is read, from SEED on; ARGS="--only GGUF" picks a kind
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --seed $(SEED) --count $(N) $(ARGS)

check: $(READY) docs supply ## format, lint, types, import direction, file rules, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/check_files.py

# pip-audit lives in an environment of its own, so that what it needs is not part of what it looks at. A machine without a network
# skips it and says so.
AUDIT := .venv-audit
supply: $(READY) ## known vulnerabilities of requirements.lock (where they can be asked for), licences, bill of materials in build/
	@mkdir -p build
	@test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv --clear $(AUDIT) \
		&& $(AUDIT)/bin/python -m pip install --quiet --retries 0 --timeout 15 pip-audit 2>/dev/null; } || true
	$(BIN)/python tools/supply.py audit $(AUDIT)/bin/python
	$(BIN)/python tools/supply.py licences > build/licences.txt
	$(BIN)/python tools/supply.py sbom build/sbom.json

release-check: ## build wheel and source distribution twice; fails unless the bytes are the same
	$(PYTHON) -m venv --clear .venv-release
	.venv-release/bin/python -m pip install --quiet 'hatchling>=1.27'
	.venv-release/bin/python tools/release_check.py build/release
	rm -rf .venv-release

# mkdocs-material prints a note about a successor of mkdocs at every build; NO_MKDOCS_2_WARNING leaves it out.
docs: $(READY) ## build the documentation site into site/, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(READY) ## format the code and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## renew requirements.lock from the ranges in pyproject.toml
	$(PYTHON) -m venv --clear .venv-lock
	.venv-lock/bin/python -m pip install '.[dev,docs]'
	{ grep '^#' requirements.lock; .venv-lock/bin/python -m pip freeze --all --exclude pip --exclude xeric \
		| sed 's/+.*//' | grep -vE '^(cuda|nvidia|triton)'; } > requirements.lock.new
	mv requirements.lock.new requirements.lock
	rm -rf .venv-lock

clean: ## remove caches and what `make demo` left; .venv and your runs stay
	rm -rf .venv-light .venv-audit .venv-release .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist site demo-report
	find . -path ./$(VENV) -prune -o -type d -name __pycache__ -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Xeric needs Python 3.11 or newer: install it or name it, as in 'make PYTHON=python3.12'" >&2; exit 1; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -r requirements.lock
	$(BIN)/python -m pip install --no-deps -e .
	$(BIN)/python -m pip check
	@touch $@
