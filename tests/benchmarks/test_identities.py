import json

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import identities


@pytest.mark.slow
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


def test_every_size_is_measured_in_both_ways_and_a_failure_keeps_the_rest(
    monkeypatch, capsys
):
    def row(way, num_identities, options):
        if num_identities == 9 and way == "naive":
            return {"way": way, "identities": 9, "failed": 137}
        names = "ms_per_image", "compiled_mb", "peak_mb", "peak_no_head_mb"
        return {"way": way, "identities": num_identities} | dict.fromkeys(names, 1.5)

    monkeypatch.setattr(identities, "in_its_own_process", row)
    assert identities.main(["--identities=4,9"]) == 0
    printed = capsys.readouterr().out
    assert [
        (x["identities"], x["way"]) for x in json.loads(printed.splitlines()[-1])
    ] == [
        *((4, "blocked"), (4, "naive"), (9, "blocked"), (9, "naive")),
    ]
    assert printed.count("failed") == 4 + 1  # the row's cells, and in the JSON line
