import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from skimage.metrics import structural_similarity

from sdd_jax.errors import InputError
from sdd_jax.faithfulness.sanity import similarity, spearman, ssim


@pytest.fixture(scope="module")
def maps():
    """Return five pairs of maps, more and less alike, the last two with many ties."""
    rng = np.random.default_rng(0)
    first, noise = rng.normal(0, 3, (2, 5, 17, 14))
    second = first + np.array([0, 0.1, 1, 5, 1])[:, None, None] * noise
    first[3:], second[3:] = np.round(first[3:]), np.round(second[3:])
    return jnp.asarray(first, jnp.float32), jnp.asarray(second, jnp.float32)


def test_rank_correlation_by_hand():
    # Ranks 1, 2.5, 2.5, 4 against 4, 3, 1.5, 1.5: the products of what they are apart
    # from 2.5 sum to -2.25 + 0 + 0 - 1.5, their squares to 4.5 each.
    first, second = jnp.array([[[0.0, 1], [1, 9]]]), jnp.array([[[8.0, 5], [-1, -1]]])
    found = jax.jit(spearman)(first, second)
    np.testing.assert_allclose(found, [-3.75 / 4.5], rtol=1e-6)


def test_rank_correlation_is_scipys(maps):
    expected = [
        stats.spearmanr(np.ravel(a), np.ravel(b)).statistic
        for a, b in zip(*maps, strict=True)
    ]
    np.testing.assert_allclose(jax.jit(spearman)(*maps), expected, atol=1e-6)


def test_structural_similarity_is_scikit_images(maps):
    expected = []
    for pair in zip(*maps, strict=True):
        low_to_high = [np.float64(each - each.min()) for each in pair]
        scaled = [each / each.max() for each in low_to_high]
        expected.append(
            structural_similarity(
                *scaled,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=1.0,
            )
        )
    np.testing.assert_allclose(jax.jit(ssim)(*maps), expected, atol=1e-6)


@pytest.mark.slow
def test_a_map_is_like_itself_and_unlike_its_inverse(maps):
    first, _ = maps
    same, scaled = similarity(first, first), similarity(first, 5 * first + 2)
    for found in (same, scaled):
        np.testing.assert_allclose(found.spearman, 1, rtol=1e-6)
        np.testing.assert_allclose(found.ssim, 1, rtol=1e-5)
        assert not found.is_flat.any()
    inverse = similarity(first, -first)
    np.testing.assert_allclose(inverse.spearman, -1, rtol=1e-6)
    assert (inverse.ssim < 0).all()


@pytest.mark.slow
def test_places_matter_to_ssim_and_not_to_ranks(maps):
    first, second = maps
    order = np.random.default_rng(0).permutation(17)
    mixed = first[:, order], second[:, order]
    found, expected = similarity(*mixed), similarity(*maps)
    np.testing.assert_allclose(found.spearman, expected.spearman, atol=1e-6)
    assert not np.allclose(found.ssim[1:], expected.ssim[1:], atol=1e-3)


@pytest.mark.parametrize("worst", [3.0, np.nan, np.inf])
def test_a_map_that_says_nothing_is_flagged_on_either_side(maps, worst):
    broken = maps[0].at[2].set(3).at[2, 0, 0].set(worst)
    for found in (similarity(broken, maps[0]), similarity(maps[0], broken)):
        np.testing.assert_array_equal(found.is_flat, np.arange(5) == 2)
        assert found.spearman[2] == found.ssim[2] == 0
        assert np.isfinite(found.spearman).all() and np.isfinite(found.ssim).all()


def test_maps_smaller_than_the_window_are_refused():
    maps = jnp.zeros((1, 30, 10))
    with pytest.raises(InputError, match="^the maps are 30 x 10 pixels, .* 11 x 11"):
        inspect.unwrap(ssim)(maps, maps)
