import jax
import numpy as np
import pytest

from sdd_jax.saliency import clean_pass
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.random_maps import centre, random_map, random_pixels


@pytest.fixture(scope="module")
def clean(classifier, images):
    return clean_pass(classifier, images)


def test_a_random_map_is_noise_on_the_cells_placed_as_class_maps_are(classifier, clean):
    saliency = random_map(classifier, clean, jax.random.key(0)).saliency
    cells = saliency[:, 2:15:4, 2:15:4]
    np.testing.assert_allclose(
        saliency, upsample(cells, (17, 17), classifier.cells), atol=1e-6
    )
    assert len(set(cells.ravel().tolist())) == 8 * 16


def test_every_random_pixel_is_drawn_on_its_own(classifier, clean):
    saliency = random_pixels(classifier, clean, jax.random.key(0)).saliency
    values = np.asarray(saliency)
    assert 0 <= values.min() and values.max() < 1
    # Four standard errors of the mean, and of a correlation of independent numbers.
    assert abs(values.mean() - 0.5) < 4 / np.sqrt(12 * values.size)
    for a, b in (
        (values[:, :, 1:], values[:, :, :-1]),
        (values[:, 1:], values[:, :-1]),
        (values[1:], values[:-1]),
    ):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / np.sqrt(a.size)


def test_the_centre_map_is_a_round_hill_in_the_middle(classifier, clean):
    hill = np.asarray(centre(classifier, clean, jax.random.key(0)).saliency)
    np.testing.assert_array_equal(hill, np.broadcast_to(hill[:1], hill.shape))
    np.testing.assert_allclose(hill, hill[:, ::-1], rtol=1e-6)
    np.testing.assert_allclose(hill, hill.transpose(0, 2, 1), rtol=1e-6)
    assert hill[0, 8, 8] == 1
    assert (np.diff(hill[0, :9, 8]) > 0).all()
    # A Gaussian's logarithm falls with the square of the distance.
    slope = np.log(hill[0, 8, 8:]) / np.arange(9.0).clip(1) ** 2
    np.testing.assert_allclose(slope[1:], slope[1], rtol=1e-5)
