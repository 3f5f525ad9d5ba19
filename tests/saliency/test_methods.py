"""What every method owes: a method added to METHODS is tested here."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.saliency import METHODS
from sdd_jax.saliency.sdd import explain

TARGETS = jnp.arange(8) % 7
KEYS = jax.random.split(jax.random.key(0), 8)
# What a method's maps have to do with, besides the size of the pictures.
DEPENDS_ON = {
    "sdd": {"pictures", "targets"},
    "cam": {"pictures", "targets"},
    "random_map": {"key"},
    "random_pixels": {"key"},
    "centre": set(),
}

methods = pytest.mark.parametrize("name", METHODS)


@pytest.fixture(scope="module")
def saliency_of(classifier):
    """Compiled once, as the runs do."""

    @functools.partial(jax.jit, static_argnums=0)
    def saliency_of(name, images, targets, key):
        return METHODS[name](classifier, images, targets, key)

    return saliency_of


@methods
@pytest.mark.parametrize("key", [KEYS[0], KEYS], ids=["one key", "a key each"])
def test_saliency_is_a_finite_float32_map_a_picture(saliency_of, images, name, key):
    saliency = saliency_of(name, images, TARGETS, key)
    assert saliency.shape == images.shape[:3]
    assert saliency.dtype == jnp.float32
    assert jnp.isfinite(saliency).all()
    assert (saliency.max((1, 2)) > saliency.min((1, 2))).all()


@methods
@pytest.mark.parametrize(
    ("changed", "pictures", "targets", "keys"),
    [
        (None, False, 0, KEYS),
        ("pictures", True, 0, KEYS),
        ("targets", False, 1, KEYS),
        ("key", False, 0, jax.random.split(jax.random.key(1), 8)),
    ],
)
def test_every_map_depends_on_what_it_should_and_on_nothing_else(
    saliency_of, images, name, changed, pictures, targets, keys
):
    before = saliency_of(name, images, TARGETS, KEYS)
    after = saliency_of(
        name, 255 - images if pictures else images, (TARGETS + targets) % 7, keys
    )
    differs = (before != after).any((1, 2))
    np.testing.assert_array_equal(differs, [changed in DEPENDS_ON[name]] * 8)


@methods
def test_a_pictures_map_depends_neither_on_the_others_nor_on_its_place(
    saliency_of, images, name
):
    places = jnp.array([0, 5, 2, 0, 0, 0, 0, 7])
    padding = jnp.array([True, False, False, True, True, True, True, False])
    padded = jnp.where(padding[:, None, None, None], 0, images[places])
    whole = saliency_of(name, images, TARGETS, KEYS)
    part = saliency_of(name, padded.astype(jnp.uint8), TARGETS[places], KEYS[places])
    np.testing.assert_array_equal(part[~padding], whole[jnp.array([5, 2, 7])])


@methods
@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            [0, -1, 0, 0, 0, 0, 0, 0],
            r"^targets\[1\] is -1, .* class from 0 to 6$",
        ),
        (np.full(8, 7), r"^targets\[0\] is 7, expected a class from 0 to 6$"),
        (jnp.ones(8), "^targets are float32, expected classes"),
        (jnp.zeros(7, int), r"^targets are of shape \(7,\), expected \(8\)$"),
        (jnp.zeros((8, 1), int), r"^targets are of shape \(8, 1\), expected \(8\)$"),
    ],
)
def test_whom_nobody_knows_nobody_can_explain(
    classifier, images, name, targets, message
):
    # Unwrapped: the annotations, which only tests check, would refuse some first.
    method = inspect.unwrap(METHODS[name])
    with pytest.raises(InputError, match=message):
        if name == "sdd":
            inspect.unwrap(explain)(classifier, images, targets)
        else:
            method(classifier, images, targets, KEYS)


@pytest.mark.parametrize("name", ["sdd", "cam"])
def test_under_jit_the_map_of_no_class_is_nan(saliency_of, images, name):
    targets = jnp.array([-1, 7, 0, 1, 2, 3, 4, 100])
    saliency = saliency_of(name, images, targets, KEYS)
    wrong = np.isnan(saliency).all((1, 2))
    np.testing.assert_array_equal(wrong, [True, True] + [False] * 5 + [True])
    assert np.isfinite(saliency[2:7]).all()
