import jax
import jax.numpy as jnp
import naive_masks
import numpy as np
import pytest
from skimage.segmentation import slic

from sdd_jax.errors import InputError
from sdd_jax.saliency import clean_pass
from sdd_jax.saliency.lime import lime, random_subsets

TARGETS = np.arange(8) % 7
KEYS = jax.random.split(jax.random.key(0), 8)


@pytest.fixture(scope="module")
def clean(classifier, images):
    return clean_pass(classifier, images, jnp.asarray(TARGETS))


def naive(model, images, labels, subsets, kernel_width, penalty):
    """Return the coefficients, [batch, superpixels], by least squares in float64.

    subsets: [samples, batch, superpixels].
    """
    scores = []
    for kept in subsets:
        masks = np.stack([row[label] for row, label in zip(kept, labels, strict=True)])
        scores.append(
            naive_masks.scores(model, naive_masks.faded(images, masks), TARGETS)
        )
    scores = np.array(scores)
    found = []
    for image in range(len(images)):
        kept = subsets[:, image]
        size = kept.shape[1]
        ones = np.ones(size)
        cosine = (
            kept
            @ ones
            / np.maximum(np.linalg.norm(kept, axis=1) * np.linalg.norm(ones), 1e-12)
        )
        weights = np.sqrt(np.exp(-((1 - cosine) ** 2) / kernel_width**2))
        # The penalty, as samples: each coefficient should be 0, the intercept need not.
        inputs = np.concatenate([kept, np.ones((len(kept), 1))], axis=1)
        rows = np.concatenate(
            [
                np.sqrt(weights)[:, None] * inputs,
                np.sqrt(penalty) * np.eye(size, size + 1),
            ]
        )
        right = np.concatenate([np.sqrt(weights) * scores[:, image], np.zeros(size)])
        found.append(np.linalg.lstsq(rows, right, rcond=None)[0][:-1])
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kernel_width", "penalty", "block"), [(0.25, 1.0, 1), (0.6, 0.01, 8)]
)
def test_coefficients_are_those_of_a_weighted_ridge_regression(
    classifier, images, clean, kernel_width, penalty, block
):
    subsets = np.stack(
        [
            np.asarray(random_subsets(KEYS, jnp.int32(n), 9), np.float64)
            for n in range(30)
        ]
    )
    side = np.arange(17) * 3 // 17
    labels = np.broadcast_to(side[:, None] * 3 + side, (8, 17, 17))
    expected = naive(classifier, images, labels, subsets, kernel_width, penalty)
    found = lime(
        classifier,
        clean,
        KEYS,
        num_samples=30,
        cells=3,
        kernel_width=kernel_width,
        penalty=penalty,
        baseline="black",
        block=block,
    )
    coefficients = found.details["coefficients"]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(coefficients, expected, atol=1e-4 * scale)
    for image in range(8):
        np.testing.assert_array_equal(
            found.saliency[image], coefficients[image][labels[image]]
        )


def test_the_first_sample_is_the_intact_image_and_the_others_are_random():
    keys = jax.random.split(jax.random.key(1), 500)
    np.testing.assert_array_equal(random_subsets(keys, jnp.int32(0), 6), 1)
    first, second = (np.asarray(random_subsets(keys, jnp.int32(n), 6)) for n in (1, 2))
    assert set(first.ravel().tolist()) == {0, 1}
    # Four standard errors; of a half, and of two independent halves that agree.
    assert abs(first.mean() - 0.5) < 4 * 0.5 / np.sqrt(3000)
    assert abs((first == second).mean() - 0.5) < 4 * 0.5 / np.sqrt(3000)


def test_superpixels_may_be_any_that_were_found_before(classifier, images, clean):
    segments = np.stack(
        [slic(np.asarray(image), n_segments=6, start_label=0) for image in images]
    )
    found = jax.jit(
        lambda clean, keys: lime(
            classifier, clean, keys, num_samples=20, segments=segments
        )
    )(clean, KEYS)
    assert jnp.isfinite(found.saliency).all()
    for image in range(8):
        values = np.asarray(found.details["coefficients"])[image]
        np.testing.assert_array_equal(found.saliency[image], values[segments[image]])


@pytest.mark.slow
def test_ten_times_the_samples_take_no_more_memory(classifier, clean):
    def bytes_of(number):
        def program(clean, keys):
            return lime(classifier, clean, keys, num_samples=number).saliency

        return naive_masks.temporary_bytes(program, clean, KEYS)

    assert bytes_of(1000) == bytes_of(100) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "^num_samples is 0, expected a whole number from 1"),
        ({"kernel_width": 0.0}, "^kernel_width is 0.0, expected a number above 0"),
        ({"penalty": 0.0}, "^penalty is 0.0, expected a number above 0"),
        ({"cells": 18}, "^cells is 18, expected a whole number from 1 to 17$"),
    ],
)
def test_what_makes_no_sense_is_refused(classifier, clean, options, message):
    with pytest.raises(InputError, match=message):
        lime(classifier, clean, KEYS, **options)
