import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.faithfulness.map_measures import (
    edge_length,
    gini,
    half_mass_area,
    is_flat,
)

SQUARE = np.zeros((4, 4), bool)
SQUARE[:3, 1:4] = True  # in the upper right corner


@pytest.fixture(scope="module")
def maps():
    """Return maps of noise, some negative, some with ties."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (6, 5, 7)).astype(np.float32)
    values[3:] = np.round(values[3:])
    return values


def measured(measure, *maps):
    """Return a measure, compiled, of maps that are each one image."""
    return np.asarray(jax.jit(measure)(jnp.asarray(np.stack(maps))))


def test_the_edge_of_a_square_by_hand():
    # . # # #     of the square's nine pixels, the left column and the lowest row
    # . # # #     lie at what is filled, but nothing is filled beyond the image
    # . # # #
    # . . . .
    one, row = np.zeros((2, 4, 4), bool)
    one[2, 1] = True
    row[1] = True
    nothing, everything = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    chequered = np.indices((4, 4)).sum(0) % 2 == 0
    found = measured(edge_length, SQUARE, one, row, nothing, everything, chequered)
    np.testing.assert_array_equal(found, [5, 1, 4, 0, 0, 8])


def test_the_edge_is_that_of_a_plain_loop():
    masks = np.random.default_rng(0).random((5, 6, 7)) < 0.6
    expected = []
    for mask in masks:
        length = 0
        for row in range(6):
            for column in range(7):
                beside = [(row - 1, column), (row + 1, column)]
                beside += [(row, column - 1), (row, column + 1)]
                inside = [(r, c) for r, c in beside if 0 <= r < 6 and 0 <= c < 7]
                length += mask[row, column] and not all(mask[at] for at in inside)
        expected.append(length)
    np.testing.assert_array_equal(measured(edge_length, *masks), expected)


def test_gini_and_half_mass_by_hand():
    # Of sixteen pixels, four have 1, 2, 3 and 4, of 10 together.
    four = np.full((4, 4), -5.0)
    four[1] = 1, 2, 3, 4
    one, constant = np.zeros((4, 4)), np.full((4, 4), 3.0)
    one[0, 3] = 0.25
    # sum_k (2 k - 17) x_k = 9 * 1 + 11 * 2 + 13 * 3 + 15 * 4 = 130, over 16 * 10.
    found = measured(gini, four, one, constant)
    np.testing.assert_allclose(found, [130 / 160, 15 / 16, 0], atol=1e-6)
    # 4 alone is less than half, 4 and 3 are more.
    found = measured(half_mass_area, four, one, constant)
    np.testing.assert_array_equal(found, [2 / 16, 1 / 16, 8 / 16])


def test_gini_is_the_mean_difference_over_twice_the_mean(maps):
    expected = []
    for values in np.maximum(maps, 0).reshape(6, -1).astype(np.float64):
        apart = sum(abs(a - b) for a in values for b in values) / 35**2
        expected.append(apart / (2 * values.mean()))
    np.testing.assert_allclose(measured(gini, *maps), expected, atol=1e-6)


def test_half_of_the_mass_is_that_of_a_plain_loop(maps):
    expected = []
    for values in np.maximum(maps, 0).reshape(6, -1).astype(np.float64):
        number, mass = 0, 0.0
        for value in sorted(values, reverse=True):
            if mass >= values.sum() / 2:
                break
            number, mass = number + 1, mass + value
        expected.append(number / 35)
    np.testing.assert_allclose(measured(half_mass_area, *maps), expected, atol=1e-6)


@pytest.mark.parametrize("measure", [gini, half_mass_area])
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_a_maps_unit_does_not_matter(maps, measure, scale):
    found = measured(measure, *(maps * np.float32(scale)))
    np.testing.assert_allclose(found, measured(measure, *maps), atol=1e-6)


@pytest.mark.parametrize("worst", [np.nan, np.inf, -np.inf])
def test_maps_that_say_nothing_are_flagged_and_have_even_measures(worst):
    broken, negative = np.zeros((4, 4)), np.full((4, 4), -1.0)
    broken[0, 0], negative[0, 0] = worst, -2
    nothing = np.zeros((4, 4))
    maps = broken, nothing, negative
    np.testing.assert_array_equal(measured(is_flat, *maps), [True, True, False])
    np.testing.assert_array_equal(measured(gini, *maps), [0, 0, 0])
    np.testing.assert_array_equal(measured(half_mass_area, *maps), [0.5, 0.5, 0.5])
