import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdd_jax.errors import InputError
from sdd_jax.models.classifier import FaceClassifier
from sdd_jax.models.heads import PooledHead
from sdd_jax.saliency import METHODS, clean_pass
from sdd_jax.saliency.controls import mean_map, of_wrong_class, wrong_classes

TARGETS = jnp.arange(8) % 7
KEYS = jax.random.split(jax.random.key(0), 8)


def test_a_wrong_class_is_any_but_the_target_with_equal_chances():
    number = 6000
    keys = jax.random.split(jax.random.key(1), 7 * number)
    targets = jnp.repeat(jnp.arange(7), number)
    wrong = np.asarray(wrong_classes(targets, keys, 7)).reshape(7, number)
    counts = np.array([np.bincount(row, minlength=7) for row in wrong])
    assert (np.diag(counts) == 0).all()
    others = counts[~np.eye(7, dtype=bool)]
    # Four standard deviations of a count with a chance of a sixth.
    assert np.abs(others - number / 6).max() < 4 * np.sqrt(number * 5 / 36)


def test_of_two_classes_the_other_is_wrong():
    targets = jnp.array([0, 1] * 4)
    np.testing.assert_array_equal(wrong_classes(targets, KEYS, 2), 1 - targets)


def test_no_class_stays_none():
    targets = jnp.array([-1, 7, 0, 1, 2, 3, 4, 5])
    wrong = wrong_classes(targets, KEYS, 7)
    np.testing.assert_array_equal(wrong[:2], [-1, 7])
    assert (wrong[2:] != targets[2:]).all()


def test_one_class_has_no_wrong_one(classifier, images):
    model = FaceClassifier(classifier.spec, classifier.backbone, PooledHead(5, 1))
    clean = clean_pass(model, images)
    with pytest.raises(InputError, match="^there is 1 class, and a wrong one needs"):
        of_wrong_class(METHODS["cam"])(model, clean, KEYS)


@pytest.mark.slow
@pytest.mark.parametrize("key", [KEYS[0], KEYS], ids=["one key", "a key each"])
@pytest.mark.parametrize(
    ("name", "options"),
    [("cam", {"centre": False}), ("sdd", {}), ("random_map", {})],
)
def test_the_same_method_explains_another_class(classifier, images, name, options, key):
    clean = clean_pass(classifier, images, TARGETS)
    found = of_wrong_class(METHODS[name])(classifier, clean, key, **options)
    wrong = found.details["wrong_class"]
    assert (wrong != TARGETS).all()
    again = clean_pass(classifier, images, wrong)
    expected = METHODS[name](classifier, again, key, **options)
    np.testing.assert_allclose(found.saliency, expected.saliency, rtol=1e-5)
    assert found.details.keys() - {"wrong_class"} == expected.details.keys()


def test_the_method_is_handed_the_scores_of_the_wrong_class(classifier, images):
    seen = []

    def spy(model, clean, key, *, bound):
        seen.append((clean, key, bound))
        return METHODS["centre"](model, clean, key)

    clean = clean_pass(classifier, images, TARGETS, num_top=3)
    method = of_wrong_class(functools.partial(spy, bound=5))
    wrong = method(classifier, clean, KEYS).details["wrong_class"]
    [(handed, key, bound)] = seen
    assert key is KEYS and bound == 5
    assert handed.images is clean.images
    assert handed.feature_maps is clean.feature_maps
    np.testing.assert_array_equal(handed.targets, wrong)
    expected = clean_pass(classifier, images, wrong, num_top=3).ranking
    for field in dataclasses.fields(expected):
        values = (
            getattr(ranking, field.name) for ranking in (handed.ranking, expected)
        )
        np.testing.assert_allclose(*values, rtol=1e-6)


@pytest.mark.slow
def test_an_images_wrong_class_does_not_depend_on_its_place(classifier, images):
    places = jnp.array([3, 7, 1])
    method = of_wrong_class(METHODS["cam"])
    whole = method(classifier, clean_pass(classifier, images, TARGETS), KEYS)
    clean = clean_pass(classifier, images[places], TARGETS[places])
    part = method(classifier, clean, KEYS[places])
    np.testing.assert_array_equal(
        part.details["wrong_class"], whole.details["wrong_class"][places]
    )


def test_the_mean_map_is_that_of_the_images_of_others(classifier, images):
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 7, 50)
    maps = rng.normal(1, 1, (50, 17, 17)).astype(np.float32)
    sums = np.zeros((7, 17, 17), np.float32)
    np.add.at(sums, labels, maps)
    clean = clean_pass(classifier, images, TARGETS)
    found = mean_map(
        classifier,
        clean,
        KEYS,
        sums=jnp.asarray(sums),
        counts=jnp.asarray(np.bincount(labels, minlength=7)),
    ).saliency
    assert found.dtype == jnp.float32
    for place, target in enumerate(TARGETS.tolist()):
        expected = maps[labels != target].mean(0)
        np.testing.assert_allclose(found[place], expected, atol=1e-5)


def test_where_nobody_else_has_a_map_the_mean_is_zero(classifier, images):
    clean = clean_pass(classifier, images, jnp.full(8, 2))
    sums = jnp.zeros((7, 17, 17)).at[2].set(5.0)
    counts = jnp.zeros(7, jnp.int32).at[2].set(4)
    found = mean_map(classifier, clean, KEYS, sums=sums, counts=counts).saliency
    np.testing.assert_array_equal(found, 0)
