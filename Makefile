# Each target sets up what it needs: python3 (3.11 or newer), make and the package
# registries are enough.
PYTHON ?= python3
BIN := .venv/bin
# Mostly XLA compiling, which takes one core; a file stays together for its fixtures.
TWO_AT_ONCE := -n 2 --dist loadfile

.PHONY: run test coverage lint parity seeds dry-run

run: .venv/installed
	$(BIN)/python main.py

test: .venv/installed
	$(BIN)/python -m pytest $(TWO_AT_ONCE) -rs

# The tests again, a quarter slower, and which lines they ran.
coverage: .venv/installed
	$(BIN)/python -m pytest $(TWO_AT_ONCE) --cov --cov-report=term

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check

# The AdaFace family against PyTorch, and TFDS; `make test` skips these where the
# packages are missing.
parity: .venv/installed-parity
	$(BIN)/python -m pytest $(TWO_AT_ONCE) tests -k "parity or tfds"

# The paper's commands on generated files of the real layouts and sizes, half an hour.
dry-run: .venv/installed
	$(BIN)/python tests/dry_run.py runs/dry-run

# Table 1 for three seeds, the figures of the README.
seeds: .venv/installed
	$(BIN)/python -m benchmarks.seeds

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

.venv/installed-parity: .venv/installed
	$(BIN)/pip install --quiet --editable '.[parity]'
	touch $@
