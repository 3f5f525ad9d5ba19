import inspect
import itertools
import math

import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.faithfulness import statistics
from sdd_jax.faithfulness.statistics import (
    bootstrap_identity_means,
    bootstrap_means,
    estimate,
    holm,
    identity_means,
    wilcoxon,
)


def test_the_bootstrap_is_a_loop_over_drawn_images():
    values = np.random.default_rng(0).normal(0, 1, (6, 3))
    counts = np.random.default_rng(5).multinomial(6, [1 / 6] * 6, size=20)
    means = bootstrap_means(values, seed=5, num_resamples=20)

    assert means.shape == (20, 3)
    for row, times in zip(means, counts, strict=True):
        images = [i for i in range(6) for _ in range(times[i])]
        assert len(images) == 6
        np.testing.assert_allclose(row, values[images].mean(0), rtol=1e-12)


@pytest.mark.parametrize("at_a_time", [1, 13, 60])
def test_a_large_split_is_drawn_a_few_resamples_at_a_time(monkeypatch, at_a_time):
    values = np.random.default_rng(0).normal(0, 1, (6, 3))
    whole = bootstrap_means(values, seed=5, num_resamples=20)
    monkeypatch.setattr(statistics, "_DRAWS_AT_A_TIME", at_a_time)
    parts = bootstrap_means(values, seed=5, num_resamples=20)
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


def test_the_seed_decides_the_draws():
    values = np.random.default_rng(0).normal(0, 1, (50, 2))
    first, again, other = (
        bootstrap_means(values, seed=seed, num_resamples=30) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(1).all()


def test_columns_are_drawn_together():
    # A metric and the same one shifted by 3 differ by 3 in every resample.
    column = np.random.default_rng(0).normal(0, 1, 50)
    means = bootstrap_means(
        np.stack([column, column + 3], axis=1), seed=0, num_resamples=100
    )
    np.testing.assert_allclose(means[:, 1] - means[:, 0], 3, rtol=1e-12)


def test_the_interval_of_a_normal_sample_is_the_textbooks():
    values = np.random.default_rng(0).normal(50, 10, (400, 1))
    means = bootstrap_means(values, seed=1, num_resamples=4000)
    result = estimate(values.mean(), means[:, 0])

    error = values.std() / np.sqrt(400)
    assert result["value"] == values.mean()
    # A quantile of 4,000 resamples is known to about 0.05 standard errors.
    np.testing.assert_allclose(result["low"], values.mean() - 1.96 * error, atol=0.1)
    np.testing.assert_allclose(result["high"], values.mean() + 1.96 * error, atol=0.1)


def test_the_interval_leaves_out_the_tails():
    means = np.arange(1001.0)
    for level, low, high in ((0.95, 25, 975), (0.8, 100, 900)):
        result = estimate(500.0, means, level=level)
        np.testing.assert_allclose(list(result.values()), [500, low, high], rtol=1e-12)


def test_what_never_varies_has_no_interval():
    means = bootstrap_means(np.full((30, 1), 100.0), seed=0, num_resamples=50)
    assert estimate(100.0, means[:, 0]) == {"value": 100, "low": 100, "high": 100}


def test_estimates_are_plain_numbers():
    result = estimate(np.float64(1.5), np.array([1.0, 2.0]))
    assert {type(value) for value in result.values()} == {float}


@pytest.mark.parametrize(
    ("num_images", "options", "message"),
    [
        (3, {"seed": -1, "num_resamples": 9}, "^seed is -1, expected a whole number"),
        (3, {"seed": 0, "num_resamples": 0}, "^num_resamples is 0, expected a whole"),
        (0, {"seed": 0, "num_resamples": 9}, "^there is no image to draw from"),
    ],
)
def test_a_bootstrap_of_nothing_is_refused(num_images, options, message):
    with pytest.raises(InputError, match=message):
        bootstrap_means(np.zeros((num_images, 2)), **options)


@pytest.mark.parametrize("level", [0.0, 1.0, 95, float("nan")])
def test_a_level_is_a_share(level):
    with pytest.raises(InputError, match="^level is .*, expected a number between 0"):
        inspect.unwrap(estimate)(1.0, np.arange(3.0), level=level)


LABELS = np.array([7, 2, 7, 7, 2, 9])


def test_identities_are_drawn_with_all_their_images():
    values = np.random.default_rng(0).normal(0, 1, (6, 3))
    counts = np.random.default_rng(5).multinomial(3, [1 / 3] * 3, size=20)
    means = bootstrap_identity_means(values, LABELS, seed=5, num_resamples=20)

    assert means.shape == (20, 3)
    for row, times in zip(means, counts, strict=True):
        images = [
            image
            for label, number in zip((2, 7, 9), times, strict=True)
            for _ in range(number)
            for image in np.flatnonzero(label == LABELS)
        ]
        np.testing.assert_allclose(row, values[images].mean(0), rtol=1e-12)


def test_two_identities_have_three_resamples_by_hand():
    # One of two images with 0 and 6, one of a single image with 12: both drawn in half
    # of the resamples, one of them twice in a quarter.
    means = bootstrap_identity_means(
        np.array([[0.0], [6], [12]]), np.array([0, 0, 1]), seed=0, num_resamples=4000
    )
    found, numbers = np.unique(means, return_counts=True)
    np.testing.assert_array_equal(found, [3, 6, 12])
    # Four standard errors of a share of 4,000.
    np.testing.assert_allclose(numbers / 4000, [0.25, 0.5, 0.25], atol=0.032)


def test_an_identity_an_image_is_the_bootstrap_over_images():
    values = np.random.default_rng(0).normal(0, 1, (6, 3))
    options = {"seed": 3, "num_resamples": 10}
    np.testing.assert_allclose(
        bootstrap_identity_means(values, np.arange(6), **options),
        bootstrap_means(values, **options),
        rtol=1e-12,
    )


def test_what_is_not_counted_is_no_part_of_a_mean():
    values = np.random.default_rng(0).normal(0, 1, (6, 2))
    counted = np.ones((6, 2), bool)
    counted[[0, 4, 5], 1] = False
    broken = np.where(counted, values, np.nan)
    options = {"seed": 3, "num_resamples": 200}
    means = bootstrap_identity_means(broken, LABELS, counted=counted, **options)
    whole = bootstrap_identity_means(values, LABELS, **options)
    np.testing.assert_array_equal(means[:, 0], whole[:, 0])

    draws = np.random.default_rng(3).multinomial(3, [1 / 3] * 3, size=200)
    for found, (two, seven, _) in zip(means[:, 1], draws, strict=True):
        if two + seven:
            total = two * values[1, 1] + seven * (values[2, 1] + values[3, 1])
            np.testing.assert_allclose(found, total / (two + 2 * seven), rtol=1e-12)
        else:  # only the identity whose image does not count
            assert np.isnan(found)
    assert np.isnan(means[:, 1]).any()

    people = identity_means(broken, LABELS, counted)
    np.testing.assert_allclose(people[0], [values[[1, 4], 0].mean(), values[1, 1]])
    np.testing.assert_allclose(people[1, 1], values[[2, 3], 1].mean())
    assert np.isnan(people[2, 1])


def test_images_of_a_person_that_are_alike_widen_the_interval():
    people = np.random.default_rng(0).normal(0, 1, 30)
    values, labels = np.repeat(people, 10)[:, None], np.repeat(np.arange(30), 10)
    over_people = bootstrap_identity_means(values, labels, seed=0, num_resamples=2000)
    over_images = bootstrap_means(values, seed=0, num_resamples=2000)
    ratio = over_people.std() / over_images.std()
    np.testing.assert_allclose(ratio, np.sqrt(10), rtol=0.1)


@pytest.mark.parametrize(
    ("labels", "message"),
    [([], "^there is no image to draw from"), ([1], "^there are 1 labels, expected")],
)
def test_identities_of_nothing_are_refused(labels, message):
    values = np.zeros((2 * len(labels), 1))
    with pytest.raises(InputError, match=message):
        inspect.unwrap(bootstrap_identity_means)(
            values, np.array(labels, int), seed=0, num_resamples=9
        )


def test_wilcoxon_by_hand():
    # Of the 2^5 signs, those of ranks 1 to 5 whose negative ones sum to at most 1: two;
    # and as many the other way round.
    assert wilcoxon(np.array([2.0, -1, 4, 8, 16])) == pytest.approx(4 / 32)
    assert wilcoxon(np.array([-2.0, 1, -4, -8, -16])) == pytest.approx(4 / 32)
    assert wilcoxon(np.array([0.0, 2, np.nan, -1, 4, 8, 16])) == pytest.approx(4 / 32)


def test_wilcoxon_is_the_share_of_signs_at_least_as_far_from_even():
    values = np.random.default_rng(0).normal(0.5, 1, 10)
    sizes = np.argsort(np.argsort(np.abs(values))) + 1
    middle = sizes.sum() / 2

    def distance(is_positive):
        return abs((sizes * is_positive).sum() - middle)

    signs = itertools.product((0, 1), repeat=10)
    reached = [distance(np.array(each)) >= distance(values > 0) for each in signs]
    assert wilcoxon(values) == pytest.approx(np.mean(reached))


def test_wilcoxon_of_ties_is_the_normal_approximation_by_hand():
    # Ranks 2, 2, 2, 4: the sum of the positive ones is 8, of 5 expected; its variance
    # is the sum of the squares, 28, over 4.
    deviation = (8 - 5) / np.sqrt(28 / 4)
    expected = math.erfc(deviation / math.sqrt(2))
    assert wilcoxon(np.array([1.0, -1, 1, 3])) == pytest.approx(expected)


@pytest.mark.parametrize("values", [[], [0.0, 0, 0], [np.nan], [5.0], [1.0, -1]])
def test_of_nothing_nothing_follows(values):
    assert wilcoxon(np.array(values, float)) == 1


def test_holm_by_hand():
    # 0.01 times 4; 0.02 times 3; 0.03 times 2 is 0.06 as well; 0.5 stands.
    p_values = np.array([0.5, 0.01, 0.03, 0.02])
    np.testing.assert_allclose(holm(p_values), [0.5, 0.04, 0.06, 0.06])
    # 0.03 times 2 is no less than the 0.12 before it; 0.9 times 2 is at most 1.
    np.testing.assert_allclose(holm(np.array([0.04, 0.05, 0.05])), [0.12, 0.12, 0.12])
    np.testing.assert_allclose(holm(np.array([0.9, 0.6])), [1, 1])
    assert holm(np.array([])).shape == (0,)
