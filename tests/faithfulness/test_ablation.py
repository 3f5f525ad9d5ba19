import numpy as np
import pytest

from sdd_jax.faithfulness.ablation import smallest_enough, that_differ
from sdd_jax.faithfulness.comparison import Measured, table

COLUMN = ("srg", "all")
LABELS = np.repeat(np.arange(6), 2)
NOISE = np.random.default_rng(0).normal(0, 1, 12)
OPTIONS = {"seed": 0, "num_resamples": 400}


def row(mean, noise=NOISE, counted=True):
    values = mean + noise - noise.mean()
    return Measured({COLUMN: values}, {COLUMN: np.full(12, counted)})


def enough(margin, **rows):
    return smallest_enough(rows, LABELS, COLUMN, margin=margin, **OPTIONS)


def test_the_smallest_that_is_close_and_not_told_apart_is_enough():
    other = np.random.default_rng(1).normal(0, 1, 12)
    rows = {"two": row(10), "three": row(19.9, other), "five": row(20), "ten": row(19)}
    assert enough(0.5, **rows) == ("three", "five")
    # Closer than its mean is: only the best is left.
    assert enough(0.05, **rows) == ("five", "five")


def test_who_is_close_but_certainly_lower_is_not_enough():
    # Of equal noise the paired difference is 0.3 everywhere: its interval has no 0.
    rows = {"two": row(19.7), "three": row(20)}
    assert enough(1.0, **rows) == ("three", "three")


def test_rows_without_a_map_are_passed_over():
    rows = {"two": row(30, counted=False), "three": row(20)}
    assert enough(1.0, **rows) == ("three", "three")
    assert enough(1.0, two=row(30, counted=False)) is None


def test_the_margin_is_of_the_means_over_what_is_counted():
    first = row(20)
    values, counted = first.values[COLUMN].copy(), np.arange(12) > 1
    values[:2] = 1e6
    rows = {"two": Measured({COLUMN: values}, {COLUMN: counted}), "three": row(25)}
    assert enough(1.0, **rows) == ("three", "three")


def test_what_differs_has_an_interval_without_0_and_a_small_p():
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(12), 2)
    base = rng.normal(0, 1, 24)

    def measured(shift, sigma):
        values = base + shift + rng.normal(0, sigma, 24)
        return Measured({COLUMN: values}, {COLUMN: np.ones(24, bool)})

    rows = {
        "default": measured(0, 0),
        "lower": measured(-3, 0.1),
        "same": measured(0, 0.5),
    }
    found = table(rows, labels, reference="default", **OPTIONS)["differences"]
    differ = that_differ(found, ["lower", "same", "unknown"], COLUMN)
    assert list(differ) == ["lower"]
    assert differ["lower"]["value"] == pytest.approx(-3, abs=0.2)
    # The interval alone is not enough: of many choices, some stray.
    found["lower"]["srg"]["all"]["p"] = 0.06
    assert not that_differ(found, ["lower"], COLUMN)
    found["lower"]["srg"]["all"] |= {"p": 0.01, "high": 0.1}
    assert not that_differ(found, ["lower"], COLUMN)
