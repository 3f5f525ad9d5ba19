"""Other people's maps of pairs, and controls, against their definitions in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from random_numbers import randomised

from sdd_jax.errors import InputError
from sdd_jax.models.classifier import FaceClassifier
from sdd_jax.models.embedding_heads import FlatEmbedding
from sdd_jax.pair_saliency import METHODS, methods, pair_pass
from sdd_jax.pair_saliency.controls import means_of_others
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.masked import BASELINES
from sdd_jax.types import CellGrid

KEY = jax.random.key(0)
SIZE = 17
THRESHOLD = 0.1


@pytest.fixture(scope="module")
def model(classifier):
    head = FlatEmbedding(5, size=4, num_dimensions=6, rngs=nnx.Rngs(0))
    head = nnx.view(randomised(head), use_running_average=True)
    return FaceClassifier(classifier.spec, classifier.backbone, head)


@pytest.fixture(scope="module")
def pair(model, images):
    return pair_pass(model, images[:3], images[3:6])


def directions(model, x):
    found = model.embeddings(model.backbone(x))
    return found / jnp.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def jacobians(model, pair):
    """Return d direction / d x of the probes, [pairs, dimensions, height, width, 3]."""
    x = model.normalised(pair.probe.images)
    one = jax.jacobian(lambda image: directions(model, image[None])[0])
    return np.stack([one(image) for image in x]).astype(np.float64)


def cosine_of(model, images, pair, i):
    return float(
        directions(model, model.normalised(images))[0] @ pair.reference.directions[i]
    )


def test_every_method_has_a_question_and_a_cost():
    assert METHODS.keys() == methods.QUESTIONS.keys()
    for name in METHODS:
        forward, backward = methods.passes(name, 128)
        assert forward >= 0 and backward >= 0
    assert methods.passes("fggb", 512).backward == 512
    named = methods.BLIND | methods.TAKES_RIVALS | methods.TAKES_THRESHOLD
    assert named <= METHODS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_map_is_finite_and_that_of_its_pair_in_any_batch(name, model, images):
    options = {"num_masks": 5} if name == "corr_rise" else {}
    keys = jax.random.split(KEY, 3)
    rivals = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 6)), jnp.float32)
    order = np.array([2, 0, 1])

    def explain(order):
        pair = pair_pass(model, images[:3][order], images[3:6][order])
        own = {"rivals": rivals[order]} if name in methods.TAKES_RIVALS else {}
        return METHODS[name](model, pair, keys[order], **options, **own).saliency

    maps = explain(np.arange(3))
    assert maps.shape == (3, SIZE, SIZE) and maps.dtype == jnp.float32
    assert np.isfinite(maps).all()
    np.testing.assert_allclose(explain(order), maps[order], atol=1e-5)


def test_grad_cam_is_its_definition(model, pair):
    def cosines(maps):
        found = model.head.embeddings(maps)
        return (found * pair.reference.directions).sum()

    g = np.asarray(jax.grad(cosines)(pair.probe.feature_maps))
    weights = g.mean((1, 2), keepdims=True)
    cells = np.maximum((weights * np.asarray(pair.probe.feature_maps)).sum(3), 0)
    expected = upsample(jnp.asarray(cells), (SIZE, SIZE), model.cells)
    found = METHODS["grad_cam"](model, pair, KEY).saliency
    assert cells.max() > 0
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_patch_cosine_is_the_cosine_of_cells(model, pair):
    one, other = (
        np.asarray(side.feature_maps, np.float64)
        for side in (pair.probe, pair.reference)
    )
    lengths = np.linalg.norm(one, axis=3) * np.linalg.norm(other, axis=3)
    cells = jnp.asarray((one * other).sum(3) / lengths, jnp.float32)
    expected = upsample(cells, (SIZE, SIZE), model.cells)
    found = METHODS["patch_cosine"](model, pair, KEY).saliency
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_xssab_is_its_definition(model, pair, jacobians):
    found = METHODS["xssab"](model, pair, KEY, threshold=THRESHOLD).saliency
    fixed = np.asarray(pair.reference.directions, np.float64)
    terms = np.asarray(pair.probe.directions) * fixed
    for i in range(3):
        chosen = terms[i] >= THRESHOLD / 6
        assert 0 < chosen.sum() < 6
        strengths = [
            np.abs(np.einsum("d,dhwc->hwc", fixed[i] * kept, jacobians[i])).mean(2)
            for kept in (chosen, ~chosen)
        ]
        expected = strengths[0] - strengths[1]
        np.testing.assert_allclose(found[i], expected, atol=1e-5)


def test_fggb_is_its_definition(model, pair, jacobians):
    found = METHODS["fggb"](model, pair, KEY, threshold=THRESHOLD).saliency
    terms = np.asarray(pair.probe.directions * pair.reference.directions, np.float64)
    for i in range(3):
        expected = np.zeros((SIZE, SIZE))
        for k in range(6):
            strength = np.abs(jacobians[i, k]).mean(2)
            low, high = strength.min(), strength.max()
            share = (strength - low) / (high - low)
            expected += share * (terms[i, k] - THRESHOLD / 6)
        np.testing.assert_allclose(found[i], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["occlusion", "occlusion_of_both"])
def test_occlusion_is_a_loop_over_windows(name, model, pair):
    found = METHODS[name](model, pair, KEY, cells=3, window=0.4).saliency
    step = SIZE / 3
    middles = (np.arange(3) + 0.5) * step - 0.5
    gains = np.zeros((3, 3, 3))
    for i in range(3):
        for row, y in enumerate(middles):
            for column, x in enumerate(middles):
                pixels = np.arange(SIZE)
                rows = np.abs(pixels - y) < 0.2 * SIZE
                columns = np.abs(pixels - x) < 0.2 * SIZE
                sides = []
                for side in (pair.probe, pair.reference):
                    image = np.array(side.images[i], np.float32)
                    mean = image.mean((0, 1))
                    image[np.ix_(rows, columns)] = np.round(mean)
                    covered = jnp.asarray(image[None].astype(np.uint8))
                    sides.append(directions(model, model.normalised(covered))[0])
                other = (
                    sides[1]
                    if name == "occlusion_of_both"
                    else pair.reference.directions[i]
                )
                gains[i, row, column] = sides[0] @ other - pair.cosine[i]
    sign = 1 if name == "occlusion_of_both" else -1
    cells = jnp.asarray(sign * gains, jnp.float32)
    expected = upsample(cells, (SIZE, SIZE), CellGrid((step - 1) / 2, step))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_corr_rise_is_the_correlation_of_keeping_with_rank(model, pair, monkeypatch):
    from sdd_jax.pair_saliency import corr_rise

    seen = {}
    known = corr_rise.covered_cosines

    def watched(model, pair, mask_of, num_masks, **options):
        found = known(model, pair, mask_of, num_masks, **options)
        seen["masks"] = np.stack([mask_of(i) for i in jnp.arange(num_masks)])
        seen["cosines"] = np.asarray(found)
        return found

    monkeypatch.setattr(corr_rise, "covered_cosines", watched)
    found = METHODS["corr_rise"](model, pair, KEY, num_masks=12).saliency
    masks, cosines = seen["masks"], seen["cosines"]
    assert masks.shape == (12, 3, SIZE, SIZE)
    side = round(30 / 112 * SIZE)
    hidden = (masks == 0).sum((2, 3))
    assert hidden.min() >= side**2 and hidden.max() <= 3 * side**2
    image = jnp.asarray(pair.probe.images[:1] * (masks[0, 0][None, :, :, None] > 0))
    np.testing.assert_allclose(
        cosines[0, 0], cosine_of(model, image, pair, 0), atol=1e-5
    )
    for i in range(3):
        ranks = np.argsort(np.argsort(cosines[:, i]))
        for row, column in ((0, 0), (5, 7), (8, 8), (16, 3)):
            kept = masks[:, i, row, column]
            expected = 0 if np.ptp(kept) == 0 else np.corrcoef(kept, ranks)[0, 1]
            np.testing.assert_allclose(found[i, row, column], expected, atol=1e-5)


def test_the_pixels_difference_is_theirs(model, pair):
    found = METHODS["pixel_difference"](model, pair, KEY, blur=0.0).saliency
    one, other = (
        np.asarray(side.images, np.float64) for side in (pair.probe, pair.reference)
    )
    np.testing.assert_allclose(found, np.abs(one - other).mean(3), rtol=1e-5)


def test_the_mean_of_others_leaves_everybody_of_the_pair_out():
    maps = np.arange(4.0)[:, None, None] * np.ones((4, 2, 2))
    # The last shares a person with each of the others but the first.
    people = np.array([[0, 1], [2, 2], [3, 4], [2, 3]])
    found = means_of_others(maps, people)[:, 0, 0]
    np.testing.assert_allclose(found, [2.0, 1.0, 0.5, 0.0])
    alone = means_of_others(maps[:2], np.array([[0, 1], [1, 0]]))
    np.testing.assert_array_equal(alone, 0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "xssab",
            {"threshold": 2.0},
            "^threshold is 2.0, expected a number from -1 to",
        ),
        ("fggb", {"threshold": -2.0}, "^threshold is -2.0, expected a number from -1"),
        ("occlusion", {"cells": 0}, "^cells is 0, expected a whole number from 1"),
        ("occlusion", {"window": 0.0}, "^window is 0.0, expected a number above 0"),
        ("occlusion_of_both", {"baseline": "x"}, "^unknown baseline 'x': expected one"),
        ("corr_rise", {"num_masks": 1}, "^num_masks is 1, expected a whole number fro"),
        ("corr_rise", {"num_patches": 0}, "^num_patches is 0, expected a whole number"),
        ("corr_rise", {"patch": 1.0}, "^patch is 1.0, expected a number between 0 and"),
        ("pixel_difference", {"blur": 2.0}, "^blur is 2.0, expected a number from 0 t"),
    ],
)
def test_what_makes_no_sense_is_refused(name, options, message, model, pair):
    assert set(BASELINES) == {"black", "grey", "mean"}
    with pytest.raises(InputError, match=message):
        METHODS[name](model, pair, KEY, **options)
