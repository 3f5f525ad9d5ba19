"""Each benchmark runs, and its last line says what it measured."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(
    not HAS_TORCH, reason="PyTorch's side needs the extra [parity]"
)


def result_of(name: str, *options: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs_torch
def test_torch_baseline():
    result = result_of(
        *("torch_baseline", "--arch=ir_tiny", "--images=4"),
        *("--batch_size=2", "--repeats=1"),
    )
    rates, effects = result["images_per_second"], result["effects"]
    assert rates["PyTorch by hand"] > 0
    assert set(effects["PyTorch by hand"]) == {"sdd", "random_map"}
    # Left out, with its figures, where it is not installed.
    theirs = effects["pytorch-grad-cam"]
    assert (theirs is None) == (rates["pytorch-grad-cam"] is None)
    assert theirs is None or set(theirs) == {"grad_cam", "random_map"}
    assert result["batch_size"] == 2 and result["dtype"] == "float32"
