import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.saliency.superpixels import spread, superpixels


def test_the_grid_has_cells_squared_superpixels_row_by_row():
    labels, number = superpixels((2, 4, 6, 3), 2)
    assert number == 4
    expected = [[0, 0, 0, 1, 1, 1]] * 2 + [[2, 2, 2, 3, 3, 3]] * 2
    np.testing.assert_array_equal(labels, [expected] * 2)


@pytest.mark.parametrize("cells", [1, 3, 7, 17])
def test_cells_differ_by_at_most_a_pixel_along_an_axis(cells):
    labels, number = superpixels((1, 17, 17, 3), cells)
    assert set(np.asarray(labels).ravel().tolist()) == set(range(number))
    lengths = np.bincount(np.asarray(labels)[0, 0])
    assert np.ptp(lengths) <= 1


def test_each_pixel_takes_its_superpixels_value():
    labels = jnp.array([[[0, 1], [1, 2]], [[2, 2], [0, 1]]])
    values = jnp.array([[5.0, 6.0, 7.0], [8.0, 9.0, 1.0]])
    expected = [[[5, 6], [6, 7]], [[1, 1], [8, 9]]]
    np.testing.assert_array_equal(spread(values, labels), expected)


def test_superpixels_may_be_given():
    segments = np.array([[[0, 4], [1, 1]]])
    labels, number = superpixels((1, 2, 2, 3), 7, segments)
    np.testing.assert_array_equal(labels, segments)
    assert number == 5


@pytest.mark.parametrize(
    ("cells", "segments", "message"),
    [
        (0, None, "^cells is 0, expected a whole number from 1 to 2$"),
        (3, None, "^cells is 3, expected a whole number from 1 to 2$"),
        (1, [[[0, -1], [0, 0]]], r"^segments\[0, 0, 1\] is -1"),
        (1, [[0, 1], [2, 3]], r"^segments are of shape \(2, 2\), expected \(1, 2, 2\)"),
        (1, [[[0.0, 1.0], [2.0, 3.0]]], "^segments are float64"),
    ],
)
def test_what_makes_no_sense_is_refused(cells, segments, message):
    with pytest.raises(InputError, match=message):
        superpixels((1, 2, 2, 3), cells, segments)
