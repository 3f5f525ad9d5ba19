import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HAS_LIBTPU = importlib.util.find_spec("libtpu") is not None
needs_libtpu = pytest.mark.skipif(
    not HAS_LIBTPU, reason="the TPU's compiler needs the extra [tpu]"
)


def run(*options: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.aot_tpu", "--arch=ir_tiny", *options],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=600,
    )


@needs_libtpu
@pytest.mark.slow
def test_a_tiny_network_is_compiled_for_four_chips():
    done = run(
        *("--topologies=v5e:2x2", "--programs=train,eval"),
        *("--batch_size=32", "--images=65", "--divide_head"),
    )
    assert done.returncode == 0, done.stderr
    train, evaluation = json.loads(done.stdout.splitlines()[-1])["rows"]
    assert [train["program"], evaluation["program"]] == ["train", "eval"]
    for row in (train, evaluation):
        assert 0 < sum(row["memory"].values()) < 16e9
        assert row["images_per_second"] > 0
    assert train["collectives"]["all-reduce"] > 0  # gradients
    assert evaluation["collectives"]["all-gather"] > 0  # each image's numbers
    # 33.5 million operations an image, eight images a chip, five passes; besides the
    # network there is next to nothing, but the network is tiny.
    assert 1.0 < evaluation["flops"] / (5 * 8 * 33.5e6) < 1.5


@needs_libtpu
@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_told_in_one_line():
    done = run(
        *("--topologies=v5e:2x2", "--programs=train"),
        *(f"--batch_size={2**17}", "--images=65"),
    )
    assert done.returncode != 0
    assert "does not fit on v5e:2x2" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(HAS_LIBTPU, reason="libtpu is installed")
def test_without_the_compiler_one_line_says_where_to_get_it():
    done = run()
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "pip install 'jax[tpu]'" in done.stderr
