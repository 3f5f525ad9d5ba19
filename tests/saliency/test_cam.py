import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.saliency import clean_pass
from sdd_jax.saliency.cam import cam


@pytest.mark.parametrize("centre", [False, True])
def test_cam_is_the_sum_of_the_targets_weights_times_the_feature_maps(
    classifier, images, centre
):
    targets = np.arange(8) % 7
    features = np.asarray(classifier.feature_maps(images), np.float64)
    kernel = np.asarray(classifier.head.kernel[...], np.float64)
    weights = kernel / np.asarray(classifier.head.feature_deviation[...])[:, None]
    expected = np.zeros((8, 4, 4))
    for image, target in enumerate(targets):
        for k in range(5):
            shared = weights[k].mean() if centre else 0.0
            expected[image] += (weights[k, target] - shared) * features[image, ..., k]

    clean = clean_pass(classifier, images, jnp.asarray(targets))
    saliency = cam(classifier, clean, jax.random.key(0), centre=centre).saliency
    # The cells are centred at pixels 2, 6, 10 and 14; what is between, upsampling says.
    np.testing.assert_allclose(saliency[:, 2:15:4, 2:15:4], expected, atol=1e-5)


def test_cam_is_centred_unless_told_otherwise(classifier, images):
    clean = clean_pass(classifier, images, jnp.arange(8) % 7)
    arguments = (classifier, clean, jax.random.key(0))
    default = cam(*arguments).saliency
    np.testing.assert_array_equal(default, cam(*arguments, centre=True).saliency)
    assert (default != cam(*arguments, centre=False).saliency).any()
