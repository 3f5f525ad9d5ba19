import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.faithfulness import metrics
from sdd_jax.faithfulness.metrics import (
    METRICS,
    bootstrap_means,
    effects,
    estimate,
    sums,
    total,
)
from sdd_jax.faithfulness.summary import summarise

SHAPE = (3, 2, 2)  # methods, fills, schemes


@pytest.fixture
def predictions():
    """Ten pictures: confidences and classes, intact and under each mask."""
    rng = np.random.default_rng(0)
    return (
        jnp.asarray(rng.uniform(0.2, 1, 10), jnp.float32),
        jnp.asarray(rng.uniform(0, 1, (*SHAPE, 10)), jnp.float32),
        jnp.asarray(rng.integers(0, 3, 10), jnp.int32),
        jnp.asarray(rng.integers(0, 3, (*SHAPE, 10)), jnp.int32),
    )


def part(predictions, pictures):
    return tuple(values[..., pictures] for values in predictions)


def test_effects_worked_by_hand():
    result = effects(
        jnp.array([0.5, 0.25, 0.5]),
        jnp.array([0.125, 0.5, 0.5]),
        jnp.array([3, 3, 1]),
        jnp.array([3, 0, 1]),
    )
    assert set(result) == set(METRICS)
    np.testing.assert_array_equal(result["confidence_drop"], [75, 0, 0])
    np.testing.assert_array_equal(result["confidence_drop_signed"], [75, -100, 0])
    np.testing.assert_array_equal(result["confidence_drop_points"], [37.5, -25, 0])
    np.testing.assert_array_equal(result["prediction_change"], [0, 100, 0])


def test_sums_are_those_of_a_loop_over_the_pictures_that_count(predictions):
    confidence, masked_confidence, prediction, masked_prediction = (
        np.asarray(values, float) for values in predictions
    )
    valid = np.arange(10) % 3 > 0
    expected = {name: np.zeros(SHAPE) for name in METRICS}
    for job in np.ndindex(SHAPE):
        for i in np.flatnonzero(valid):
            p, q = confidence[i], masked_confidence[(*job, i)]
            expected["confidence_drop"][job] += 100 * ((p - q) / p if p > q else 0)
            expected["confidence_drop_signed"][job] += 100 * (p - q) / p
            expected["confidence_drop_points"][job] += 100 * (p - q)
            changed = prediction[i] != masked_prediction[(*job, i)]
            expected["prediction_change"][job] += 100 if changed else 0

    result = sums(effects(*predictions), jnp.asarray(valid))
    assert result.pop("num_images") == 6
    assert set(result) == set(expected)
    for name in METRICS:
        np.testing.assert_allclose(result[name], expected[name], rtol=1e-5, atol=1e-4)


def test_batches_add_up_to_the_whole(predictions):
    whole = sums(effects(*predictions), jnp.ones(10, bool))
    parts = []
    for pictures in (slice(0, 4), slice(4, 7), slice(7, 10)):
        values = effects(*part(predictions, pictures))
        parts.append(sums(values, jnp.ones(len(values[METRICS[0]].T), bool)))
    merged = total(jax.tree.map(lambda *values: np.stack(values), *parts))

    assert merged["num_images"] == 10
    for name in METRICS:
        assert merged[name].dtype == np.float64
        np.testing.assert_allclose(merged[name], whole[name], rtol=1e-6, atol=1e-4)


def test_the_total_loses_nothing_beside_a_large_sum():
    # In float32 the next number after 2**24 is 2**24 + 2.
    assert total({"x": np.array([2.0**24, 1, 1], np.float32)})["x"] == 2**24 + 2


def test_padding_changes_no_sum(predictions):
    alone = sums(effects(*predictions), jnp.ones(10, bool))
    padding = (  # As bad as it gets: 0 / 0.
        jnp.zeros(2),
        jnp.zeros((*SHAPE, 2)),
        jnp.zeros(2, jnp.int32),
        jnp.ones((*SHAPE, 2), jnp.int32),
    )
    padded = tuple(
        jnp.concatenate(both, axis=-1)
        for both in zip(predictions, padding, strict=True)
    )
    result = sums(effects(*padded), jnp.arange(12) < 10)
    for name, value in alone.items():
        np.testing.assert_allclose(result[name], value, rtol=1e-6)


def test_effects_on_the_host_are_those_on_the_device(predictions):
    on_host = effects(*(np.asarray(values) for values in predictions))
    for name, value in effects(*predictions).items():
        np.testing.assert_array_equal(on_host[name], value)


def test_the_bootstrap_is_a_loop_over_drawn_pictures():
    values = np.random.default_rng(0).normal(0, 1, (6, 3))
    counts = np.random.default_rng(5).multinomial(6, [1 / 6] * 6, size=20)
    means = bootstrap_means(values, seed=5, num_resamples=20)

    assert means.shape == (20, 3)
    for row, times in zip(means, counts, strict=True):
        pictures = [i for i in range(6) for _ in range(times[i])]
        assert len(pictures) == 6
        np.testing.assert_allclose(row, values[pictures].mean(0), rtol=1e-12)


@pytest.mark.parametrize("at_a_time", [1, 13, 60])
def test_a_large_split_is_drawn_a_few_resamples_at_a_time(monkeypatch, at_a_time):
    values = np.random.default_rng(0).normal(0, 1, (6, 3))
    whole = bootstrap_means(values, seed=5, num_resamples=20)
    monkeypatch.setattr(metrics, "_DRAWS_AT_A_TIME", at_a_time)
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
        (0, {"seed": 0, "num_resamples": 9}, "^there is no picture to draw from"),
    ],
)
def test_a_bootstrap_of_nothing_is_refused(num_images, options, message):
    with pytest.raises(InputError, match=message):
        bootstrap_means(np.zeros((num_images, 2)), **options)


@pytest.mark.parametrize("num_resamples", [1, 39])
def test_an_interval_of_too_few_resamples_has_no_ends(num_resamples):
    with pytest.raises(InputError, match="^num_resamples is .*, .* from 40 to"):
        summarise({}, {}, methods=(), fills=(), seed=0, num_resamples=num_resamples)


@pytest.mark.parametrize("level", [0.0, 1.0, 95, float("nan")])
def test_a_level_is_a_share(level):
    with pytest.raises(InputError, match="^level is .*, expected a number between 0"):
        inspect.unwrap(estimate)(1.0, np.arange(3.0), level=level)
