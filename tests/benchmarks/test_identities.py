import json
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import identities

ROOT = Path(__file__).parents[2]


def test_both_ways_rank_alike():
    model = identities.random_model("ir_tiny", "float32", 50)
    rng = np.random.default_rng(0)
    feature_maps = jnp.asarray(rng.normal(0, 1, (4, 7, 7, 32)), jnp.float32)
    targets = jnp.array([0, 3, 17, 49])
    ours = model.head.ranking(feature_maps, targets, num_top=5, block=8)
    naive = identities.rank_all_scores(model.head, feature_maps, targets, num_top=5)
    np.testing.assert_array_equal(ours.classes, naive.classes)
    for name in ("probabilities", "target_probabilities"):
        np.testing.assert_allclose(getattr(ours, name), getattr(naive, name), rtol=1e-5)


@pytest.mark.slow
def test_every_number_of_identities_is_measured_in_both_ways():
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.identities", "--arch=ir_tiny"),
            *("--images=2", "--batch_size=2", "--identities=10,20000"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "identities" in done.stdout
    rows = json.loads(done.stdout.splitlines()[-1])
    assert [(row["identities"], row["way"]) for row in rows] == [
        *((10, "blocked"), (10, "naive"), (20_000, "blocked"), (20_000, "naive")),
    ]
    for row in rows:
        assert row["ms_per_image"] > 0
        assert 0 < row["peak_no_head_mb"] < row["peak_mb"]
