import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.faithfulness.average_drop import (
    average_drop,
    average_gain,
    explained_image,
    increase,
)


def test_drop_increase_and_gain_by_hand():
    p = np.array([0.5, 0.5, 0.5, 1.0], np.float32)
    explained = np.array([[0.125, 0.75, 0.5, 1.0], [0, 1, 0.25, 0.5]], np.float32)
    expected = {
        average_drop: [[75, 0, 0, 0], [100, 0, 50, 50]],
        increase: [[0, 100, 0, 0], [0, 100, 0, 0]],
        average_gain: [[0, 50, 0, 0], [0, 100, 0, 0]],
    }
    for measure, values in expected.items():
        found = measure(p, explained)
        np.testing.assert_array_equal(found, values)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(measure(p, explained[1]), values[1])


def test_the_measures_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.01, 0.99, 9).astype(np.float32)
    explained = rng.uniform(0, 1, (2, 9)).astype(np.float32)
    for m in range(2):
        for i in range(9):
            before, after = float(p[i]), float(explained[m, i])
            drop = 100 * max(0, before - after) / before
            gain = 100 * max(0, after - before) / (1 - before)
            for measure, value in (
                (average_drop, drop),
                (increase, 100 if after > before else 0),
                (average_gain, gain),
            ):
                np.testing.assert_allclose(measure(p, explained)[m, i], value, 1e-6)


def test_an_image_is_multiplied_by_its_map_from_0_to_1():
    # From -1 to 3: 0, a quarter, a half, 1.
    images = jnp.full((1, 2, 2, 3), jnp.array([100, 7, 255]), jnp.uint8)
    found = explained_image(images, jnp.array([[[-1.0, 0], [1, 3]]]))
    # 7 / 4 is 1.75, 255 / 4 63.75, 3.5 and 127.5 go to the even numbers.
    expected = [[[0, 0, 0], [25, 2, 64]], [[50, 4, 128], [100, 7, 255]]]
    np.testing.assert_array_equal(found[0], expected)
    assert found.dtype == jnp.uint8


@pytest.mark.slow
def test_of_a_map_that_says_nothing_nothing_is_shown():
    images = jnp.full((3, 2, 2, 3), 200, jnp.uint8)
    maps = jnp.array(
        [[[5.0, 5], [5, 5]], [[1, jnp.nan], [0, 0]], [[jnp.inf, 1], [0, 0]]]
    )
    np.testing.assert_array_equal(explained_image(images, maps), 0 * images)
