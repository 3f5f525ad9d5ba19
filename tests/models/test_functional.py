import jax
import numpy as np
from flax import nnx

from sdd_jax.models.functional import join_model, split_model


def test_a_model_survives_being_split_and_joined(classifier, images):
    graphdef, arrays = split_model(classifier)
    joined = join_model(graphdef, jax.tree.map(np.asarray, arrays))
    np.testing.assert_array_equal(
        joined.feature_maps(images), classifier.feature_maps(images)
    )
    jax.tree.map(
        np.testing.assert_array_equal,
        nnx.to_pure_dict(nnx.state(joined)),
        nnx.to_pure_dict(nnx.state(classifier)),
    )
