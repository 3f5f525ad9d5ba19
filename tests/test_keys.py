import jax
import jax.numpy as jnp
import numpy as np

from sdd_jax import keys


def data(k):
    return np.asarray(jax.random.key_data(k))


def test_an_image_keeps_its_key_wherever_it_stands():
    key = jax.random.key(0)
    whole = data(keys.for_indices(key, jnp.array([3, 0, 7, 5])))
    part = data(keys.for_indices(key, jnp.array([5, 3])))
    np.testing.assert_array_equal(part, whole[[3, 0]])


def test_images_and_seeds_have_keys_of_their_own():
    indices = jnp.arange(100)
    both = [data(keys.for_indices(jax.random.key(s), indices)) for s in (0, 1)]
    assert len({tuple(row) for row in np.concatenate(both)}) == 200


def test_one_key_is_split_among_the_images():
    split = data(keys.per_image(jax.random.key(0), 100))
    assert len({tuple(row) for row in split}) == 100


def test_keys_of_images_are_used_as_they_are():
    given = jax.random.split(jax.random.key(0), 3)
    np.testing.assert_array_equal(data(keys.per_image(given, 3)), data(given))
