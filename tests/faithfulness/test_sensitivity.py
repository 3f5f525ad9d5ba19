import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.faithfulness.sensitivity import max_sensitivity

KEYS = jax.random.split(jax.random.key(0), 3)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.integers(0, 256, (3, 4, 4, 3), np.uint8))


def brightness(images):
    return images.astype(jnp.float32).sum(3)


def test_a_map_that_does_not_change_is_not_sensitive(images):
    def explain(images):
        return jnp.ones(images.shape[:3])

    np.testing.assert_array_equal(max_sensitivity(explain, images, KEYS), [0, 0, 0])


def test_it_is_the_largest_relative_change_of_a_plain_loop(images):
    seen = []

    def explain(images):
        jax.debug.callback(lambda images: seen.append(np.asarray(images)), images)
        maps = brightness(images)
        return jnp.stack([maps, jnp.sqrt(maps)])

    found = max_sensitivity(explain, images, KEYS, num_draws=6)
    jax.effects_barrier()
    intact, *shifted = sorted(seen, key=lambda each: not (each == images).all())
    assert len(shifted) == 6
    for m, explain_one in enumerate((lambda x: x, np.sqrt)):
        for i in range(3):
            own = explain_one(np.float64(intact[i]).sum(2))
            largest = 0.0
            for each in shifted:
                change = explain_one(np.float64(each[i]).sum(2)) - own
                ratio = np.sqrt((change**2).sum()) / np.sqrt((own**2).sum())
                largest = max(largest, ratio)
            np.testing.assert_allclose(found[m, i], largest, rtol=1e-5)


def test_the_shift_is_uniform_in_two_per_cent_of_the_range_either_way():
    images = jnp.full((3, 20, 20, 3), 128, jnp.uint8).at[0].set(254)
    seen = []

    def explain(images):
        jax.debug.callback(lambda images: seen.append(np.asarray(images)), images)
        return brightness(images)

    max_sensitivity(explain, images, KEYS, num_draws=5)
    jax.effects_barrier()
    shifted = np.array([each for each in seen if (each != images).any()], int)
    assert len(shifted) == 5
    levels, numbers = np.unique(shifted[:, 1:] - 128, return_counts=True)
    np.testing.assert_array_equal(levels, range(-5, 6))
    # +-5.1 grey levels: the outermost whole numbers have 0.6 of 10.2, the others 1.
    shares = np.array([0.6, *[1] * 9, 0.6]) / 10.2
    np.testing.assert_allclose(numbers / numbers.sum(), shares, atol=0.012)
    assert shifted[:, 0].max() == 255 and shifted[:, 0].min() == 249


def test_every_image_draws_by_its_own_key(images):
    found = max_sensitivity(brightness, images, KEYS)
    alone = [
        max_sensitivity(brightness, images[i : i + 1], KEYS[i : i + 1])[0]
        for i in range(3)
    ]
    np.testing.assert_allclose(found, alone, rtol=1e-6)
    assert len(set(found.tolist())) == 3


def test_a_maps_unit_does_not_matter(images):
    expected = max_sensitivity(brightness, images, KEYS)
    found = max_sensitivity(lambda x: -7 * brightness(x), images, KEYS)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_of_a_map_that_says_nothing_it_is_0(images, value):
    def explain(images):
        return brightness(images).at[1].set(value)

    found = max_sensitivity(explain, images, KEYS)
    assert found[1] == 0
    assert (found[jnp.array([0, 2])] > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_draws": 0}, "^num_draws is 0, expected a whole number"),
        ({"radius": 0.0}, "^radius is 0.0, expected a number above 0"),
    ],
)
def test_no_draw_and_no_shift_are_refused(images, options, message):
    with pytest.raises(InputError, match=message):
        max_sensitivity(brightness, images, KEYS, **options)
