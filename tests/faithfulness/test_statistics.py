import inspect

import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.faithfulness import statistics
from sdd_jax.faithfulness.statistics import bootstrap_means, estimate


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
