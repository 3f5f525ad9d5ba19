import itertools

import jax
import jax.numpy as jnp
import naive_masks
import numpy as np
import pytest
from skimage.transform import resize

from sdd_jax.errors import InputError
from sdd_jax.saliency import clean_pass
from sdd_jax.saliency.rise import random_masks, rise

TARGETS = np.array([3, 1])


@pytest.fixture(scope="module")
def clean(classifier, images):
    return clean_pass(classifier, images[:2], jnp.asarray(TARGETS))


@pytest.fixture(scope="module")
def all_masks():
    """Every mask of 2x2 bits on 17x17 pixels, and its number of bits that are 1.

    A cell is 9 pixels, the whole 27, and 9x9 parts of it are an image's.
    """
    masks, ones = [], []
    for bits in itertools.product((0.0, 1.0), repeat=4):
        grid = np.array(bits).reshape(2, 2)
        whole = resize(grid, (27, 27), order=1, mode="edge", anti_aliasing=False)
        for row, column in np.ndindex(9, 9):
            masks.append(whole[row : row + 17, column : column + 17])
            ones.append(sum(bits))
    return np.array(masks), np.array(ones)


@pytest.mark.slow
def test_masks_are_random_bits_upsampled_and_shifted(all_masks):
    mask_of = random_masks(
        jax.random.split(jax.random.key(0), 3), (17, 17), cells=2, probability=0.5
    )
    found = np.asarray(jax.vmap(mask_of)(jnp.arange(100))).reshape(300, -1)
    known = all_masks[0].reshape(len(all_masks[0]), -1)
    distances = np.array([np.abs(known - mask).max(1) for mask in found])
    assert distances.min(1).max() < 1e-5
    # 848 masks differ: of 300 that are drawn independently, two thirds.
    assert len(set(distances.argmin(1).tolist())) > 150


@pytest.mark.slow
@pytest.mark.parametrize("probability", [0.5, 0.3])
def test_the_map_is_the_mean_score_where_a_pixel_is_kept(
    classifier, images, clean, all_masks, probability
):
    masks, ones = all_masks
    chances = probability**ones * (1 - probability) ** (4 - ones) / 81
    number = 2000
    saliency = rise(
        classifier,
        clean,
        jax.random.key(0),
        num_masks=number,
        cells=2,
        probability=probability,
        block=50,
    ).saliency
    for place, target in enumerate(TARGETS):
        image = np.asarray(images[place : place + 1])
        faded = np.concatenate([naive_masks.faded(image, mask) for mask in masks])
        scores = naive_masks.scores(classifier, faded, np.full(len(masks), target))
        values = scores[:, None, None] * masks / probability
        mean = np.einsum("n,nhw->hw", chances, values)
        deviation = np.sqrt(np.einsum("n,nhw->hw", chances, (values - mean) ** 2))
        error = np.abs(saliency[place] - mean)
        assert (error <= 5 * deviation / np.sqrt(number)).all()
        # Tell one expectation from another: the map is not flat at this error.
        assert np.ptp(mean) > 5 * deviation.max() / np.sqrt(number)


@pytest.mark.slow
def test_each_mask_is_a_loops(classifier, images, clean):
    key = jax.random.key(4)
    mask_of = random_masks(jax.random.split(key, 2), (17, 17), cells=7, probability=0.5)
    total = np.zeros((2, 17, 17))
    for number in range(9):
        mask = np.asarray(mask_of(jnp.int32(number)))
        faded = naive_masks.faded(images[:2], mask)
        scores = naive_masks.scores(classifier, faded, TARGETS)
        total += scores[:, None, None] * mask
    found = rise(classifier, clean, key, num_masks=9, block=4).saliency
    # A pixel in a thousand may be rounded the other way.
    np.testing.assert_allclose(found, total / (9 * 0.5), rtol=1e-3)


@pytest.mark.slow
def test_ten_times_the_masks_take_no_more_memory(classifier, clean):
    def bytes_of(num_masks):
        def program(clean, key):
            return rise(classifier, clean, key, num_masks=num_masks).saliency

        return naive_masks.temporary_bytes(program, clean, jax.random.key(0))

    assert bytes_of(4000) == bytes_of(400) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probability": 1.0}, "^probability is 1.0, expected a number between 0 and"),
        ({"cells": 0}, "^cells is 0, expected a whole number from 1"),
    ],
)
def test_what_makes_no_sense_is_refused(classifier, clean, options, message):
    with pytest.raises(InputError, match=message):
        rise(classifier, clean, jax.random.key(0), **options)
