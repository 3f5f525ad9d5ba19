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
    position = (np.arange(150) - cells.offset) / cells.stride
    covered = (position >= -0.5) & (position <= 7.5)
    np.testing.assert_allclose(weights[covered].sum(1), 1, rtol=1e-6)
    assert (weights[~covered].sum(1) < 1).all()
    assert (weights >= 0).all()
    for row in weights:
        used = np.flatnonzero(row)
        assert len(used) <= 2
        assert (np.diff(used) == 1).all()


def test_weights_fall_off_linearly_between_two_centres():
    weights = interpolation_weights(7, 2, CellGrid(offset=1.0, stride=4.0))
    np.testing.assert_array_equal(weights[:, 1], [0, 0, 0.25, 0.5, 0.75, 1, 1])
    np.testing.assert_array_equal(weights[:, 0], [1, 1, 0.75, 0.5, 0.25, 0, 0])


def test_each_cell_keeps_its_value_at_its_centre(maps):
    # dlib's network of 10 blocks on 150 pixels: centres at 17, 33, ..., 129.
    pixels = upsample(maps, (150, 134), DLIB)
    np.testing.assert_allclose(pixels[:, 17:130:16, 17:114:16], maps, atol=1e-6)


def test_between_four_centres_lies_their_mean(maps):
    pixels = upsample(maps, (150, 134), DLIB)
    np.testing.assert_allclose(
        pixels[:, 17 + 8, 17 + 8], maps[:, :2, :2].mean((1, 2)), rtol=1e-6
    )


def test_beyond_the_outermost_centres_the_outermost_value_stays_in_its_square(maps):
    pixels = upsample(maps, (150, 134), DLIB)
    np.testing.assert_allclose(
        pixels[:, 9:18, 9:18], np.broadcast_to(maps[:, :1, :1], (2, 9, 9)), atol=1e-6
    )
    np.testing.assert_allclose(
        pixels[:, 129:138, 113:122],
        np.broadcast_to(maps[:, -1:, -1:], (2, 9, 9)),
        atol=1e-6,
    )


def test_where_cells_end_before_the_image_a_map_fades_to_its_mean(maps):
    pixels = upsample(maps, (150, 134), DLIB)
    mean = maps.mean((1, 2))
    # Column 1 is a whole cell from the first centre, column 5 three quarters.
    for column, left in ((0, 0.0), (1, 0.0), (5, 0.5)):
        expected = mean[:, None] + left * (maps[:, :, 0] - mean[:, None])
        found = pixels[:, 17:130:16, column]
        np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(
        pixels[:, 145:, 129:],
        np.broadcast_to(mean[:, None, None], (2, 5, 5)),
        atol=1e-6,
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
    pixels = upsample(maps, (8, 7), CellGrid(0.0, 1.0))
    np.testing.assert_allclose(pixels, maps, atol=1e-6)


def test_rows_are_rows_and_columns_are_columns():
    maps = jnp.array([[[0.0, 0, 0], [1, 1, 1]]])
    pixels = upsample(maps, (4, 6), CellGrid(0.5, 2.0))
    expected = np.repeat([[0], [0.25], [0.75], [1]], 6, axis=1)
    np.testing.assert_allclose(pixels[0], expected, atol=1e-6)
