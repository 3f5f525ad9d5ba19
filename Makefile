# Each target sets up what it needs: python3 (3.11 or newer), make and the package
# registries are enough.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test lint parity seeds

run: .venv/installed
	$(BIN)/python main.py

test: .venv/installed
	$(BIN)/python -m pytest -rs --cov --cov-report=term

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check

# The AdaFace family against PyTorch; `make test` skips these where torch is missing.
parity: .venv/installed-parity
	$(BIN)/python -m pytest tests -k parity

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
