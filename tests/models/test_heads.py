import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdd_jax import sharding
from sdd_jax.errors import InputError
from sdd_jax.models.heads import PooledHead


@pytest.fixture
def head():
    """Five features, seven classes, every number random."""
    rng = np.random.default_rng(0)
    head = PooledHead(5, 7)
    head.kernel[...] = jnp.asarray(rng.normal(0, 1, (5, 7)), jnp.float32)
    head.offset[...] = jnp.asarray(rng.normal(0, 1, 7), jnp.float32)
    head.feature_mean[...] = jnp.asarray(rng.normal(0, 1, 5), jnp.float32)
    head.feature_deviation[...] = jnp.asarray(rng.uniform(0.2, 2, 5), jnp.float32)
    return head


@pytest.fixture
def feature_maps():
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.normal(0.5, 1, (2, 3, 4, 5)), jnp.float32)


def test_dividing_a_head_leaves_it_as_it_was(head, feature_maps):
    expected = head.logits(feature_maps)
    with jax.set_mesh(sharding.make_mesh(8)):
        divided = head.divided()
        logits = divided.logits(sharding.replicate(feature_maps))
    np.testing.assert_allclose(logits[:, :7], expected, rtol=1e-5, atol=1e-5)
    arrays = jax.tree.leaves(nnx.state(head))
    assert len(arrays) == 4 and all(len(array.devices()) == 1 for array in arrays)
    assert not head.is_divided
    np.testing.assert_array_equal(head.logits(feature_maps), expected)


ALL = jnp.broadcast_to(jnp.arange(7), (2, 7))


def test_a_new_head_prefers_no_class(feature_maps):
    np.testing.assert_array_equal(PooledHead(5, 7).logits(feature_maps), 0)


def test_logits_are_the_linear_layer_on_standardised_means(head, feature_maps):
    expected = np.zeros((2, 7))
    for b, c, f in np.ndindex(2, 7, 5):
        pooled = np.asarray(feature_maps, np.float64)[b, :, :, f].mean()
        standardised = (pooled - head.feature_mean[f]) / head.feature_deviation[f]
        expected[b, c] += standardised * head.kernel[f, c]
    expected += np.asarray(head.offset[...])

    np.testing.assert_allclose(head.logits(feature_maps), expected, atol=3e-6)


def test_class_maps_average_to_the_logits(head, feature_maps):
    maps = head.class_maps(feature_maps, ALL)
    np.testing.assert_allclose(
        maps.mean((2, 3)) + head.bias, head.logits(feature_maps), atol=5e-6
    )


def test_class_maps_are_a_sum_of_weighted_feature_maps(head, feature_maps):
    expected = np.zeros((2, 7, 3, 4))
    for b, c, y, x, k in np.ndindex(2, 7, 3, 4, 5):
        weight = float(head.kernel[k, c]) / float(head.feature_deviation[k])
        expected[b, c, y, x] += weight * feature_maps[b, y, x, k]

    np.testing.assert_allclose(head.class_maps(feature_maps, ALL), expected, atol=1e-5)


def test_centred_class_maps_average_to_the_logit_above_the_mean_logit(
    head, feature_maps
):
    # Biases are no part of a map, so neither is their mean.
    evidence = head.logits(feature_maps) - head.bias
    maps = head.class_maps(feature_maps, ALL, centre=True)
    np.testing.assert_allclose(
        maps.mean((2, 3)), evidence - evidence.mean(1, keepdims=True), atol=1e-5
    )


def test_centred_maps_of_all_classes_cancel(head, feature_maps):
    maps = head.class_maps(feature_maps, ALL, centre=True)
    np.testing.assert_allclose(maps.sum(1), 0, atol=2e-5)


def test_what_all_classes_share_changes_no_centred_map(head, feature_maps):
    centred = head.class_maps(feature_maps, ALL, centre=True)
    raw = head.class_maps(feature_maps, ALL)
    head.kernel[...] += jnp.array([[3.0], [-1.0], [0.5], [2.0], [-4.0]])

    np.testing.assert_allclose(
        head.class_maps(feature_maps, ALL, centre=True), centred, atol=2e-5
    )
    assert abs(head.class_maps(feature_maps, ALL) - raw).max() > 1


@pytest.mark.parametrize("centre", [False, True])
def test_each_image_has_the_maps_of_the_classes_it_asks_for(head, feature_maps, centre):
    every = head.class_maps(feature_maps, ALL, centre=centre)
    classes = jnp.array([[6, 0, 6], [2, 5, 1]])
    maps = head.class_maps(feature_maps, classes, centre=centre)

    assert maps.shape == (2, 3, 3, 4)
    for image, places in enumerate(classes):
        np.testing.assert_allclose(
            maps[image], every[image, places], rtol=1e-6, atol=1e-6
        )


def test_bfloat16_maps_are_summed_in_float32(head):
    # A sum of 256 numbers near 1 moves in steps of 2 in bfloat16.
    rng = np.random.default_rng(2)
    half = jnp.asarray(rng.uniform(0.5, 1.5, (2, 16, 16, 5)), jnp.bfloat16)
    whole = half.astype(jnp.float32)

    for result, expected in [
        (head.pool(half), head.pool(whole)),
        (head.logits(half), head.logits(whole)),
        (head.class_maps(half, ALL), head.class_maps(whole, ALL)),
    ]:
        assert result.dtype == jnp.float32
        np.testing.assert_array_equal(result, expected)


def test_logits_of_pooled_maps_are_the_logits_of_the_maps(head, feature_maps):
    pooled = head.pool(feature_maps)
    assert pooled.shape == (2, 1, 1, 5)
    np.testing.assert_array_equal(head.logits(pooled), head.logits(feature_maps))


def test_class_weights_and_bias_are_one_linear_layer_on_raw_features(
    head, feature_maps
):
    raw = feature_maps.mean((1, 2)) @ head.class_weights + head.bias
    np.testing.assert_allclose(raw, head.logits(feature_maps), atol=5e-6)
    assert head.num_classes == 7


# Unwrapped: the annotations, which only tests check, would refuse some of these first.
class_maps = inspect.unwrap(PooledHead.class_maps)
ranking = inspect.unwrap(PooledHead.ranking)


@pytest.mark.parametrize("kind", [list, np.asarray, jnp.asarray])
@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([[0, -1], [1, 2]], r"^classes\[0, 1\] is -1, expected a class from 0 to 6$"),
        ([[0, 1], [7, 2]], r"^classes\[1, 0\] is 7, expected a class from 0 to 6$"),
        ([[0.0, 1.0], [1.0, 2.0]], "^classes are float"),
        ([0, 1], r"^classes are of shape \(2,\), expected \(2, any\)$"),
        ([[0, 1]], r"^classes are of shape \(1, 2\), expected \(2, any\)$"),
    ],
)
def test_a_class_that_does_not_exist_has_no_map(
    head, feature_maps, kind, classes, message
):
    with pytest.raises(InputError, match=message):
        class_maps(head, feature_maps, kind(classes))


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        ([0, -1], {}, r"^targets\[1\] is -1, expected a class from 0 to 6$"),
        (np.array([7, 0]), {}, r"^targets\[0\] is 7, expected a class from 0 to 6$"),
        (np.array([1.0, 0]), {}, "^targets are float64, expected classes"),
        ([1], {}, r"^targets are of shape \(1,\), expected \(2\)$"),
        (None, {"num_top": 0}, "^num_top is 0, expected a whole number from 1 to"),
        (None, {"num_top": 2.0}, "^num_top is 2.0, expected a whole number"),
        (None, {"block": 0}, "^block is 0, expected a whole number"),
    ],
)
def test_a_ranking_that_makes_no_sense_is_refused(
    head, feature_maps, targets, options, message
):
    with pytest.raises(InputError, match=message):
        ranking(head, feature_maps, targets, **options)


def test_under_jit_what_is_no_class_is_nan_and_leaves_the_others_alone(
    head, feature_maps
):
    @jax.jit
    def both(feature_maps, classes):
        maps = head.class_maps(feature_maps, classes, centre=True)
        ranked = head.ranking(feature_maps, classes[:, 0])
        return maps, ranked.target_probabilities

    maps, probabilities = both(feature_maps, jnp.array([[-1, 2, 7], [3, -8, 6]]))
    np.testing.assert_array_equal(
        np.isnan(maps).all((2, 3)), [[True, False, True], [False, True, False]]
    )
    np.testing.assert_array_equal(np.isnan(probabilities), [True, False])
    expected = head.class_maps(feature_maps, ALL, centre=True)
    np.testing.assert_allclose(maps[0, 1], expected[0, 2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_classes", [0, -3, 2.5])
def test_a_head_of_no_classes_is_refused(num_classes):
    with pytest.raises(InputError, match=f"^num_classes is {num_classes}, expected a"):
        inspect.unwrap(PooledHead.__init__)(None, 5, num_classes)
