#!/usr/bin/env bash
# All that is measured on one GPU, in ten minutes: benchmarks/on_gpu.py says what.
#     benchmarks/on_gpu.sh [--rehearse]
set -euo pipefail
cd "$(dirname "$0")/.."
python=python3
if [ -x .venv/bin/python ]; then python=.venv/bin/python; fi
# The steps take turns, so each may have nearly all of the device's memory.
export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.9}"
exec "${PYTHON:-$python}" -m benchmarks.on_gpu "$@"
