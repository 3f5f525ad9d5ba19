# Each target sets up what it needs: python3 (3.11 or newer), make and the package
# registries are enough.
PYTHON ?= python3
MINUTES ?= 2
BIN := .venv/bin
# Mostly XLA compiling, which takes one core; a file stays together for its fixtures.
TWO_AT_ONCE := -n 2 --dist loadfile
REQUIRE_PYTHON = @$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
  { echo "error: Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }

PAIRS = $(BIN)/python main.py --config=configs/verify.py --workdir=runs/verify
VERIFY = $$(sed -n 's/^verify = \["\(.*\)"\]/\1/p' pyproject.toml)

.PHONY: help run test test-fast coverage lowest lint parity seeds compare guided verify dry-run failures fuzz

# Fine-tune, explain and evaluate the embedded default; also what `make` alone does.
run: .venv/installed
	$(BIN)/python main.py

# Everything the README claims that can be tested.
test: .venv/installed
	$(BIN)/python -m pytest $(TWO_AT_ONCE) -rs

# The tests without the slow ones, which run whole commands.
test-fast: .venv/installed
	$(BIN)/python -m pytest $(TWO_AT_ONCE) -m "not slow"

# The tests again, a quarter slower, and which lines they ran.
coverage: .venv/installed
	$(BIN)/python -m pytest $(TWO_AT_ONCE) --cov --cov-report=term

# The tests without the slow ones, on the lowest versions that pyproject.toml allows.
# Their warnings are of each other's age, and no errors here.
lowest: .venv-lowest/installed
	.venv-lowest/bin/python -m pytest $(TWO_AT_ONCE) -m "not slow" -W default

# Style and types.
lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check

# The AdaFace family and saliency against PyTorch, and TFDS; skipped by `make test` where the
# packages are missing.
parity: .venv/installed-parity
	$(BIN)/python -m pytest $(TWO_AT_ONCE) tests -k "parity or tfds"

# The paper's commands on generated files of the real layouts and sizes, half an hour.
dry-run: .venv/installed
	$(BIN)/python tests/dry_run.py runs/dry-run

# Damaged files and command lines for two minutes each, and a table of what was found;
# docs/fuzz.md. MINUTES=10 for longer.
fuzz: .venv/installed-fuzz
	$(BIN)/python tests/fuzz/long_run.py runs/fuzz --minutes=$(MINUTES)

# Table 1 for three seeds, the figures of the README.
seeds: .venv/installed
	$(BIN)/python -m benchmarks.seeds

# All methods beside each other on the embedded default, after `make run`.
compare: .venv/installed
	$(BIN)/python main.py --config=configs/orl.py --workdir=runs/orl --mode=compare

# Does training with explanations help? docs/guided.md; it goes on where it stopped.
guided: .venv/installed
	$(BIN)/python -m benchmarks.guided

# One person or two: measured, explained for two pairs, and the maps proved.
verify: .venv/installed
	$(PAIRS) --mode=verify
	$(PAIRS) --mode=explain_pair s1/1.pgm s21/7.pgm
	$(PAIRS) --mode=explain_pair s1/1.pgm s1/7.pgm
	$(PAIRS) --mode=prove_pairs

# Do several processes agree with one, and what is left when one is killed: an hour.
failures: .venv/installed
	$(BIN)/python tests/failures/agree.py runs/agree
	$(BIN)/python tests/failures/kill.py runs/kill --kills=100

# This list.
help:
	@awk '/^#/ { said = said substr($$0, 2); next } \
	  /^[a-z-]+:/ && said { sub(":.*", ""); printf "make %-10s%s\n", $$0, said } \
	  { said = "" }' Makefile

.venv/installed: pyproject.toml
	$(REQUIRE_PYTHON)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[test]'
	$(BIN)/pip install --quiet --no-deps $(VERIFY)
	touch $@

.venv-lowest/installed: pyproject.toml
	$(REQUIRE_PYTHON)
	$(PYTHON) -m venv --clear .venv-lowest
	sed -n '/^dependencies/,$$s/.*"\([A-Za-z_-]*\)>=\([0-9.]*\)".*/\1==\2/p' $< \
	  > .venv-lowest/floors.txt
	.venv-lowest/bin/pip install --quiet --constraint .venv-lowest/floors.txt \
	  --editable '.[test]'
	.venv-lowest/bin/pip install --quiet --no-deps $(VERIFY)
	touch $@

.venv/installed-fuzz: .venv/installed
	$(BIN)/pip install --quiet --editable '.[fuzz]'
	touch $@

.venv/installed-parity: .venv/installed
	$(BIN)/pip install --quiet --editable '.[parity]'
	touch $@
