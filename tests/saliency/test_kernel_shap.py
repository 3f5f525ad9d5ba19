import itertools
import math

import jax
import jax.numpy as jnp
import naive_masks
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.saliency import clean_pass
from sdd_jax.saliency.kernel_shap import kernel_shap, paired_coalitions

TARGETS = np.arange(8) % 7
KEYS = jax.random.split(jax.random.key(0), 8)
# Eight superpixels, two rows of four.
SIDES = np.arange(17) * 2 // 17, np.arange(17) * 4 // 17
EIGHT = np.broadcast_to(SIDES[0][:, None] * 4 + SIDES[1], (8, 17, 17))


@pytest.fixture(scope="module")
def clean(classifier, images):
    return clean_pass(classifier, images, jnp.asarray(TARGETS))


@pytest.fixture(scope="module")
def game(classifier, images):
    """What every coalition of the eight superpixels scores, by its members."""
    coalitions = [
        members
        for size in range(9)
        for members in itertools.combinations(range(8), size)
    ]
    faded = [
        naive_masks.faded(images, np.isin(EIGHT, members)) for members in coalitions
    ]
    scores = naive_masks.scores(
        classifier, np.concatenate(faded), np.tile(TARGETS, len(coalitions))
    )
    return dict(zip(coalitions, scores.reshape(-1, 8), strict=True))


def shapley_values(game):
    """Return what each player adds to a coalition, by Shapley's definition."""
    values = []
    for player in range(8):
        value = 0.0
        for members, score in game.items():
            if player not in members:
                joined = tuple(sorted((*members, player)))
                size = len(members)
                orders = math.factorial(size) * math.factorial(7 - size)
                value = value + orders / math.factorial(8) * (game[joined] - score)
        values.append(value)
    return np.stack(values, axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("block", [1, 16])
def test_all_coalitions_give_the_shapley_values(classifier, clean, game, block):
    found = kernel_shap(
        classifier, clean, KEYS, segments=EIGHT, baseline="black", block=block
    )
    expected = shapley_values(game)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        found.details["values"], expected, atol=2e-5 * scale, rtol=0
    )
    for image in range(8):
        values = np.asarray(found.details["values"])[image]
        np.testing.assert_array_equal(found.saliency[image], values[EIGHT[image]])


@pytest.mark.slow
def test_drawn_coalitions_give_the_constrained_least_squares_solution(
    classifier, clean, game
):
    number = 100
    coalition = paired_coalitions(KEYS, 8)
    drawn = np.stack([np.asarray(coalition(jnp.int32(n))[0]) for n in range(number)])
    found = kernel_shap(
        classifier, clean, KEYS, segments=EIGHT, baseline="black", num_samples=number
    ).details["values"]
    total = game[tuple(range(8))] - game[()]
    exact = shapley_values(game)
    for image in range(8):
        kept = drawn[:, image].astype(np.float64)
        scores = np.array(
            [game[tuple(np.flatnonzero(row).tolist())][image] for row in kept]
        )
        # The last value is what is left of the total: no constraint any more.
        right = scores - game[()][image] - kept[:, -1] * total[image]
        free = np.linalg.lstsq(kept[:, :-1] - kept[:, -1:], right, rcond=None)[0]
        expected = np.append(free, total[image] - free.sum())
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found[image], expected, atol=1e-4 * scale)
    # And it is near what all coalitions give.
    assert np.corrcoef(np.asarray(found).ravel(), exact.ravel())[0, 1] > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"cells": 3}, {"cells": 4, "num_samples": 200}])
@pytest.mark.parametrize("score", ["confidence", "value"])
def test_the_values_sum_to_what_the_image_scores_above_its_baseline(
    classifier, images, clean, options, score
):
    found = kernel_shap(
        classifier, clean, KEYS, score=score, baseline="grey", **options
    ).details["values"]
    grey = np.full_like(np.asarray(images), 128)
    above, below = (
        naive_masks.scores(classifier, each, TARGETS, score) for each in (images, grey)
    )
    np.testing.assert_allclose(found.sum(1), above - below, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_coalitions_come_in_pairs_and_sizes_as_the_kernel_weighs_them():
    number, players = 4000, 6
    coalition = paired_coalitions(jax.random.split(jax.random.key(1), number), players)
    first, second, third = (
        np.asarray(coalition(jnp.int32(place))[0]) for place in (0, 1, 2)
    )
    np.testing.assert_array_equal(first + second, 1)
    assert (first != third).any(1).mean() > 0.8
    sizes = np.arange(1, players)
    chances = 1 / (sizes * (players - sizes))
    chances /= chances.sum()
    counts = np.bincount(first.sum(1).astype(int), minlength=players + 1)
    assert counts[0] == counts[players] == 0
    # Four standard deviations.
    bounds = 4 * np.sqrt(number * chances * (1 - chances))
    assert (np.abs(counts[1:-1] - number * chances) < bounds).all()
    # Of a size, no player is in more often than another.
    pairs = first[first.sum(1) == 2]
    assert (np.abs(pairs.mean(0) - 1 / 3) < 4 * np.sqrt(2 / 9 / len(pairs))).all()


@pytest.mark.slow
def test_too_few_coalitions_still_give_numbers(classifier, clean):
    found = kernel_shap(classifier, clean, KEYS, cells=5, num_samples=4)
    assert jnp.isfinite(found.saliency).all()


@pytest.mark.slow
def test_ten_times_the_samples_take_no_more_memory(classifier, clean):
    def bytes_of(number):
        def program(clean, keys):
            return kernel_shap(classifier, clean, keys, num_samples=number).saliency

        return naive_masks.temporary_bytes(program, clean, KEYS)

    assert bytes_of(2000) == bytes_of(200) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "^num_samples is 0, expected a whole number from 1"),
        ({"cells": 1}, "^there is 1 superpixel, .*: use at least 2$"),
    ],
)
def test_what_makes_no_sense_is_refused(classifier, clean, options, message):
    with pytest.raises(InputError, match=message):
        kernel_shap(classifier, clean, KEYS, **options)
