import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.saliency.divergence import (
    adaptive_amplification,
    adaptive_scale,
    directed_exponent,
)


@pytest.fixture
def maps():
    """Three images, a target and four rivals, 3x4 cells, none of F or alpha clipped.

    Their units differ as much as those of networks do.
    """
    rng = np.random.default_rng(0)
    maps = rng.normal(2, 1, (3, 5, 3, 4))
    maps[:, 0] = rng.normal(0, 1, (3, 3, 4)) * np.array([0.6, 0.5, 0.4])[:, None, None]
    maps *= np.array([0.01, 1, 300])[:, None, None, None]
    return jnp.asarray(maps, jnp.float32)


@jax.jit
def sdd(maps, **options):
    exponent, *factors = directed_exponent(maps[:, 0], maps[:, 1:], **options)
    return jnp.exp(exponent), *factors


def test_two_cells_by_hand():
    # Common largest value 8: x_t = (0.5, -0.125), rivals (1, 0.25) and (0.25, 0.5).
    # Rivals' sum (1.25, 0.75): F = 1 / 0.3125 = 3.2 > |S| = 2. d = (0.35, -1.15).
    # Span 1.5: alpha = 2 / 1.5, above 0.4. Result: (1, exp(-0.4 * 1.5)).
    maps = jnp.array([[[[4.0, -1.0]], [[8.0, 2.0]], [[2.0, 4.0]]]])
    divergence, scale, amplification = sdd(maps)

    np.testing.assert_allclose(scale, [3.2], rtol=1e-6)
    np.testing.assert_allclose(amplification, [0.4], rtol=1e-6)
    np.testing.assert_allclose(divergence, [[[1, math.exp(-0.6)]]], rtol=1e-6)


def test_scale_is_the_rivals_mean_over_the_targets():
    target = jnp.array([[[1.0, -3.0]]])
    rivals = jnp.array([[[[10.0, -5.0]], [[6.0, 3.0]]]])
    # mean(|16|, |-2|) / mean(1, 3)
    np.testing.assert_array_equal(adaptive_scale(target, rivals), [4.5])


def test_rivals_are_summed_before_absolute_values_are_taken():
    target = jnp.array([[[1.0, 1.0]]])
    rivals = jnp.array([[[[40.0, -40.0]], [[-40.0, 40.0]]]])
    np.testing.assert_array_equal(adaptive_scale(target, rivals), [2])


@pytest.mark.parametrize("num_rivals", [1, 2, 4])
@pytest.mark.parametrize(
    ("target", "rivals_sum", "expected"),
    [
        (1.0, 0.5, None),  # below |S|
        (0.1, 4.5, 45.0),
        (0.1, 5.5, 50.0),  # above the largest
        (0.0, 1.0, 50.0),
        (0.0, 0.0, None),
        (1.0, 0.0, None),
    ],
)
def test_scale_stays_between_the_number_of_rivals_and_fifty(
    num_rivals, target, rivals_sum, expected
):
    scale = adaptive_scale(
        jnp.full((1, 2, 2), target),
        jnp.full((1, num_rivals, 2, 2), rivals_sum / num_rivals),
    )
    np.testing.assert_allclose(scale, [expected or num_rivals], rtol=1e-6)


def test_each_image_has_its_own_scale_and_amplification(maps):
    _, scale, amplification = sdd(maps)
    for image in range(3):
        alone = sdd(maps[image : image + 1])
        np.testing.assert_array_equal(alone[1], scale[image : image + 1])
        np.testing.assert_array_equal(alone[2], amplification[image : image + 1])
    assert len(set(scale.tolist())) == len(set(amplification.tolist())) == 3


@pytest.mark.parametrize(
    ("span", "expected"),
    [(0.0, 0.4), (4.0, 0.4), (5.0, 0.4), (8.0, 0.25), (10.0, 0.2), (100.0, 0.2)],
)
def test_amplification_is_two_over_the_span_between_two_and_four_tenths(span, expected):
    divergence = jnp.array([[[1.0, 1.0 - span], [1.0, 1.0 - span / 2]]])
    np.testing.assert_allclose(
        adaptive_amplification(divergence), [expected], rtol=1e-6
    )


def test_the_largest_value_is_one_and_none_is_negative(maps):
    divergence = sdd(maps)[0]
    np.testing.assert_array_equal(divergence.max((1, 2)), 1)
    assert (divergence > 0).all()


def test_given_parameters_are_used(maps):
    scale, amplification = jnp.array([1.0, 7.0, 60.0]), jnp.array([0.1, 1.0, 0.5])
    divergence, used_scale, used_amplification = sdd(
        maps, scale=scale, amplification=amplification
    )
    np.testing.assert_array_equal(used_scale, scale)
    np.testing.assert_array_equal(used_amplification, amplification)
    x = np.asarray(maps, np.float64)
    x /= np.abs(x).max((1, 2, 3), keepdims=True)
    d = scale[:, None, None] * x[:, 0] - x[:, 1:].sum(1)
    exponent = np.asarray(amplification)[:, None, None] * d
    exponent -= exponent.max((1, 2), keepdims=True)
    np.testing.assert_allclose(divergence, np.exp(exponent), rtol=1e-5)


@pytest.mark.parametrize("power", [-40, -3, 5, 40])
def test_the_unit_of_the_maps_changes_nothing(maps, power):
    for result, expected in zip(sdd(2.0**power * maps), sdd(maps), strict=True):
        np.testing.assert_array_equal(result, expected)


def test_the_order_of_the_rivals_changes_nothing(maps):
    permuted = maps[:, jnp.array([0, 3, 1, 4, 2])]
    for result, expected in zip(sdd(permuted), sdd(maps), strict=True):
        np.testing.assert_allclose(result, expected, rtol=2e-6)


def test_more_for_the_target_is_more_and_more_for_a_rival_is_less(maps):
    fixed = dict(scale=jnp.full(3, 4.0), amplification=jnp.full(3, 0.3))
    # The common largest value must stay, or all would change.
    maps = maps.at[:, 1, 2, 3].set(1000.0)
    before = sdd(maps, **fixed)[0]
    above = sdd(maps.at[:, 0, 1, 1].add(10.0), **fixed)[0]
    below = sdd(maps.at[:, 2, 1, 1].add(10.0), **fixed)[0]
    ratio = [x[:, 1, 1] / x[:, 0, 0] for x in (below, before, above)]
    assert (ratio[0] < ratio[1]).all()
    assert (ratio[1] < ratio[2]).all()


def test_what_target_and_rivals_share_cancels_at_the_smallest_scale(maps):
    # F = |S|: sum_k (x_t - x_k).
    fixed = dict(scale=jnp.full(3, 4.0), amplification=jnp.full(3, 0.3))
    maps = maps.at[:, 1, 2, 3].set(1000.0).at[:, 0, 2, 3].set(0)
    shared = maps.at[:, :, 0, 1].add(50.0)
    np.testing.assert_allclose(
        sdd(shared, **fixed)[0], sdd(maps, **fixed)[0], rtol=1e-6
    )


def test_maps_of_zeros_say_that_all_positions_are_alike():
    divergence, scale, amplification = sdd(jnp.zeros((1, 5, 2, 2)))
    np.testing.assert_array_equal(divergence, 1)
    np.testing.assert_array_equal(scale, [4])
    np.testing.assert_allclose(amplification, [0.4], rtol=1e-6)


def test_no_exponent_overflows(maps):
    huge = maps.at[:, 0].multiply(1e30)
    divergence = sdd(huge, scale=jnp.full(3, 50.0), amplification=jnp.full(3, 1e4))[0]
    assert jnp.isfinite(divergence).all()
    np.testing.assert_array_equal(divergence.max((1, 2)), 1)
