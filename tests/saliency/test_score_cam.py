import jax
import jax.numpy as jnp
import naive_masks
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.saliency import clean_pass
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.score_cam import score_cam

TARGETS = np.arange(8) % 7
KEY = jax.random.key(0)
# A pixel in a thousand may be rounded the other way than by the loop.
ROUNDED = 1e-3


def naive(model, images, activations, cells, score):
    """Return the weighted sum on the cells, channel by channel."""
    black = naive_masks.scores(model, np.zeros_like(images), TARGETS, score)
    increases = []
    for channel in range(activations.shape[3]):
        mask = np.asarray(upsample(activations[..., channel], (17, 17), cells))
        low, high = (f(mask, (1, 2), keepdims=True) for f in (np.min, np.max))
        span = np.where(high > low, high - low, 1)  # a flat channel is a black image
        faded = naive_masks.faded(images, (mask - low) / span)
        increases.append(naive_masks.scores(model, faded, TARGETS, score) - black)
    weights = np.exp(increases) / np.exp(increases).sum(0)
    return np.einsum("bhwk,kb->bhw", np.asarray(activations, np.float64), weights)


def assert_close(found, maps, cells):
    expected = np.asarray(upsample(jnp.asarray(maps, jnp.float32), (17, 17), cells))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=ROUNDED * scale)


@pytest.mark.slow
@pytest.mark.parametrize("score", ["value", "confidence"])
@pytest.mark.parametrize("block", [1, 3])
def test_channels_are_weighted_by_the_softmax_of_what_they_add(
    classifier, images, score, block
):
    clean = clean_pass(classifier, images, jnp.asarray(TARGETS))
    maps = naive(classifier, images, clean.feature_maps, classifier.cells, score)
    for relu in (True, False):
        found = score_cam(classifier, clean, KEY, score=score, block=block, relu=relu)
        expected = np.maximum(maps, 0) if relu else maps
        assert_close(found.saliency, expected, classifier.cells)
    assert maps.min() < 0 < maps.max()


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["first", "last"])
def test_any_stages_activations_serve(staged, images, stage):
    clean = clean_pass(staged, images, jnp.asarray(TARGETS))
    places = {known.name: known.cells for known in staged.stages}
    activations = staged.with_taps(images, dict.fromkeys(places, jnp.zeros(())))[1]
    if stage == "last":
        assert (np.ptp(activations[stage], (1, 2)) == 0).any()  # what is flat is tested
    maps = naive(staged, images, activations[stage], places[stage], "value")
    found = score_cam(staged, clean, KEY, stage=stage)
    assert_close(found.saliency, np.maximum(maps, 0), places[stage])


@pytest.mark.slow
def test_only_the_channels_that_vary_most_are_looked_at(classifier, images):
    clean = clean_pass(classifier, images, jnp.asarray(TARGETS))
    features = np.asarray(clean.feature_maps)
    order = np.argsort(-features.std((1, 2)), axis=1)[:, :2]
    chosen = np.take_along_axis(features, order[:, None, None], axis=3)
    maps = naive(classifier, images, jnp.asarray(chosen), classifier.cells, "value")
    found = score_cam(classifier, clean, KEY, num_channels=2, relu=False)
    assert_close(found.saliency, maps, classifier.cells)
    every = score_cam(classifier, clean, KEY, num_channels=100).saliency
    np.testing.assert_allclose(
        every, score_cam(classifier, clean, KEY).saliency, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stage": "third"}, "^unknown stage 'third': expected one of first, last$"),
        ({"num_channels": 0}, "^num_channels is 0, expected a whole number from 1"),
        ({"score": "logit"}, "^unknown score 'logit'"),
    ],
)
def test_what_makes_no_sense_is_refused(staged, images, options, message):
    clean = clean_pass(staged, images, jnp.asarray(TARGETS))
    with pytest.raises(InputError, match=message):
        score_cam(staged, clean, KEY, **options)
