import jax.numpy as jnp
import numpy as np

from benchmarks import identities


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
