import jax
import jax.numpy as jnp
import naive_masks
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.saliency import clean_pass
from sdd_jax.saliency.occlusion import occlusion

TARGETS = np.arange(8) % 7


@pytest.fixture(scope="module")
def clean(classifier, images):
    return clean_pass(classifier, images, jnp.asarray(TARGETS))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("window", "stride", "side", "starts"),
    [
        (0.3, 0.25, 5, [0, 4, 8, 12]),  # the last ends with the image by itself
        (0.4, 0.3, 7, [0, 5, 10]),
        (0.35, 0.35, 6, [0, 6, 11]),  # the last is moved back
        (1.0, 0.1, 17, [0]),
    ],
)
def test_a_pixel_has_the_mean_drop_of_the_windows_over_it(
    classifier, images, clean, window, stride, side, starts
):
    intact = naive_masks.scores(classifier, images, TARGETS)
    drops, covered = np.zeros((8, 17, 17)), np.zeros((17, 17))
    for row in starts:
        for column in starts:
            occluded = np.array(images)
            occluded[:, row : row + side, column : column + side] = 128
            drop = intact - naive_masks.scores(classifier, occluded, TARGETS)
            place = np.s_[row : row + side, column : column + side]
            drops[:, *place] += drop[:, None, None]
            covered[place] += 1
    assert covered.min() == 1
    found = occlusion(
        classifier, clean, jax.random.key(0), window=window, stride=stride, block=3
    ).saliency
    np.testing.assert_allclose(found, drops / covered, atol=2e-6)


def test_the_drop_may_be_that_of_another_score_under_another_baseline(
    classifier, images, clean
):
    colour = np.asarray(images, np.float64).mean((1, 2), keepdims=True)
    blank = np.broadcast_to(np.round(colour).astype(np.uint8), images.shape)
    values = [
        naive_masks.scores(classifier, each, TARGETS, "value")
        for each in (images, blank)
    ]
    found = occlusion(
        classifier,
        clean,
        jax.random.key(0),
        window=1.0,
        stride=1.0,
        score="value",
        baseline="mean",
    ).saliency
    expected = np.broadcast_to((values[0] - values[1])[:, None, None], (8, 17, 17))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["window", "stride"])
@pytest.mark.parametrize("part", [0.0, 1.1])
def test_parts_are_of_the_width(classifier, clean, name, part):
    options = {name: part}
    with pytest.raises(InputError, match=f"^{name} is {part}, expected a number above"):
        occlusion(classifier, clean, jax.random.key(0), **options)
