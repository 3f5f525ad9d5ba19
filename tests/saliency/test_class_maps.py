import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.saliency.class_maps import interpolation_weights, upsample
from sdd_jax.types import CellGrid

DLIB = CellGrid(offset=17.0, stride=16.0)
HALF_PIXEL = CellGrid(offset=7.5, stride=16.0)


@pytest.fixture
def maps():
    return jnp.asarray(np.random.default_rng(0).normal(0, 1, (2, 8, 7)), jnp.float32)


@pytest.mark.parametrize("cells", [DLIB, HALF_PIXEL, CellGrid(3.0, 2.5)])
def test_each_pixel_takes_a_whole_from_at_most_two_neighbouring_cells(cells):
    weights = interpolation_weights(150, 8, cells)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    assert (weights >= 0).all()
    for row in weights:
        used = np.flatnonzero(row)
        assert len(used) <= 2
        assert used[-1] - used[0] <= 1


def test_weights_fall_off_linearly_between_two_centres():
    weights = interpolation_weights(7, 2, CellGrid(offset=1.0, stride=4.0))
    after = [0, 0, 0.25, 0.5, 0.75, 1, 1]
    np.testing.assert_array_equal(weights[:, 1], after)
    np.testing.assert_array_equal(weights[:, 0], 1 - np.array(after))


def test_each_cell_keeps_its_value_at_its_centre(maps):
    # dlib's network of 10 blocks on 150 pixels: centres at 17, 33, ..., 129.
    pixels = upsample(maps, (150, 134), DLIB)
    np.testing.assert_array_equal(pixels[:, 17:130:16, 17:114:16], maps)


def test_between_four_centres_lies_their_mean(maps):
    pixels = upsample(maps, (150, 134), DLIB)
    np.testing.assert_allclose(
        pixels[:, 17 + 8, 17 + 8], maps[:, :2, :2].mean((1, 2)), rtol=1e-6
    )


def test_beyond_the_outermost_centres_the_outermost_value_stays(maps):
    pixels = upsample(maps, (150, 134), DLIB)
    np.testing.assert_array_equal(
        pixels[:, :18, :18], np.broadcast_to(maps[:, :1, :1], (2, 18, 18))
    )
    np.testing.assert_array_equal(
        pixels[:, 129:, 113:], np.broadcast_to(maps[:, -1:, -1:], (2, 21, 21))
    )


def test_the_half_pixel_rule_is_common_resizing(maps):
    expected = jax.image.resize(maps, (2, 128, 112), "linear")
    np.testing.assert_allclose(
        upsample(maps, (128, 112), HALF_PIXEL), expected, atol=1e-6
    )


def test_a_constant_map_stays_constant():
    pixels = upsample(jnp.full((1, 8, 8), 3.0), (150, 150), DLIB)
    np.testing.assert_allclose(pixels, 3, rtol=1e-6)


def test_one_cell_a_pixel_changes_nothing(maps):
    np.testing.assert_array_equal(upsample(maps, (8, 7), CellGrid(0.0, 1.0)), maps)


def test_rows_are_rows_and_columns_are_columns():
    maps = jnp.array([[[0.0, 0, 0], [1, 1, 1]]])
    pixels = upsample(maps, (4, 6), CellGrid(0.5, 2.0))
    np.testing.assert_array_equal(
        pixels[0], np.repeat([[0], [0.25], [0.75], [1]], 6, axis=1)
    )
