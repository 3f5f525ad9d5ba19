import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from sdd_jax import sharding
from sdd_jax.errors import InputError
from sdd_jax.models.heads import PooledHead
from sdd_jax.models.ranking import LOWEST
from sdd_jax.training import margins
from sdd_jax.training.margins import LOSSES, SCALE, Margin
from sdd_jax.training.objective import outcomes

NUM_FEATURES, NUM_CLASSES, BATCH_SIZE = 3, 5, 4
LABELS = (0, 4, 2, 2)


def head_of(kernel, offset=None) -> PooledHead:
    head = PooledHead(*kernel.shape)
    head.kernel = nnx.Param(jnp.asarray(kernel))
    if offset is not None:
        head.offset = nnx.Param(jnp.asarray(offset))
    return head


def as_cells(features):
    return jnp.asarray(features)[:, None, None]


def log_softmax(logits):
    return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


def test_arcface_adds_its_angle_to_that_of_the_true_class():
    """Classes at 0 and 90 degrees, an image at 30: cosines of 30 and 60 degrees."""
    features = np.array([[3.0, math.sqrt(3)]], np.float32)  # its length is no matter
    kernel = np.array([[2.0, 0.0], [0.0, 7.0]], np.float32)  # nor is theirs
    found = outcomes(
        head_of(kernel), as_cells(features), jnp.array([0]), margin=LOSSES["arcface"]
    )
    logits = SCALE * np.array([math.cos(math.pi / 6 + 0.5), 0.5])
    np.testing.assert_allclose(found.losses, -log_softmax(logits)[0], rtol=1e-5)
    np.testing.assert_array_equal(found.predicted, 0)  # without the margin


def test_adafaces_margin_goes_from_an_angle_to_a_number_as_norms_grow():
    """At -1, ArcFace of m; at 0, CosFace of m; at 1, an angle of -m and 2 m less."""
    statistics = {"norm_mean": 20.0, "norm_deviation": 2.0}
    norms = jnp.array([1.0, 20.0, 99.0])
    angles, less, _ = margins.adaface(norms, statistics, momentum=0.0)
    np.testing.assert_allclose(angles, [0.4, 0.0, -0.4], atol=1e-6)
    np.testing.assert_allclose(less, [0.0, 0.4, 0.8], atol=1e-6)


def test_adafaces_statistics_move_a_hundredth_towards_the_batchs_own():
    norms = np.array([2.0, 5.0, 8.0, 300.0])  # the last counts as 100
    start = {"norm_mean": 20.0, "norm_deviation": 100.0}
    assert LOSSES["adaface"] and LOSSES["adaface"].start == start
    angles, _, found = margins.adaface(jnp.float32(norms), start)
    seen = np.minimum(norms, 100)
    deviation = math.sqrt(((seen - seen.mean()) ** 2).sum() / 3)
    expected = 0.99 * 20 + 0.01 * seen.mean(), 0.99 * 100 + 0.01 * deviation
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-6)
    quality = 0.333 * (seen - expected[0]) / (expected[1] + 1e-3)
    np.testing.assert_allclose(angles, -0.4 * quality, rtol=1e-5)


def test_beyond_the_opposite_direction_there_is_no_angle():
    moved = margins.with_margin(*(jnp.array([x]) for x in (-0.99, 0.5, 0.0)))
    np.testing.assert_allclose(moved, -1)


@pytest.mark.slow
@pytest.mark.parametrize("num_devices", [1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_those_of_finite_differences(loss, num_devices):
    """In float64. Norms are no part of the gradient: their margins stay as they are."""
    with jax.enable_x64(True), jax.set_mesh(sharding.make_mesh(num_devices)):
        rng = np.random.default_rng(0)
        features = 3 * rng.normal(size=(BATCH_SIZE, NUM_FEATURES))
        kernel = rng.normal(size=(NUM_FEATURES, NUM_CLASSES))
        offset = rng.normal(size=NUM_CLASSES)
        margin = LOSSES[loss]
        if margin is not None:
            norms = jnp.linalg.norm(features, axis=1)
            statistics = {"norm_mean": 5.0, "norm_deviation": 2.0}
            shifts = margin.shifts(norms, statistics)
            margin = Margin(lambda norms, statistics: shifts)

        @jax.jit
        def value(features, kernel, offset):
            head = PooledHead(NUM_FEATURES, NUM_CLASSES)
            head.is_divided = num_devices > 1
            missing = (0, -NUM_CLASSES % num_devices)
            head.kernel = nnx.Param(jnp.pad(kernel, ((0, 0), missing)))
            padded = jnp.pad(offset, missing, constant_values=LOWEST)
            head.offset = nnx.Param(padded)
            found = outcomes(
                head,
                as_cells(features),
                jnp.array(LABELS, jnp.int32),
                label_smoothing=0.1,
                margin=margin,
            )
            return found.losses @ jnp.arange(1.0, BATCH_SIZE + 1)

        arguments = features, kernel, offset
        assert value(*arguments).dtype == jnp.float64
        check_grads(value, arguments, order=1, modes=["rev"], rtol=1e-6, eps=1e-5)


def test_after_a_step_the_linear_head_answers_with_the_largest_cosine():
    """Columns have one length and logits are cosines by the features' length."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(4, 9)).astype(np.float32)
    features = rng.normal(size=(6, 4)).astype(np.float32)
    features *= 2 / np.linalg.norm(features, axis=1, keepdims=True)  # as usual: sqrt(4)
    params = {"head": {"kernel": jnp.asarray(kernel)}, "backbone": {}}
    linear = margins.as_linear(params)["head"]["kernel"]
    logits = head_of(linear).logits(as_cells(features))
    expected = SCALE * margins.cosines(jnp.asarray(features), jnp.asarray(kernel))
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_without_a_trained_head_nothing_has_another_length():
    params = {"backbone": {"kernel": jnp.ones(3)}}
    assert margins.as_linear(params) == params


def test_columns_start_in_random_directions():
    kernel = margins.start(jax.random.key(0), (256, 40))
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), SCALE / 16, rtol=1e-5)
    among = np.asarray(margins.cosines(kernel.T, kernel))
    assert np.abs(among - np.eye(40)).max() < 0.35  # five deviations of 1/16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "cosface"}, "^train.loss is 'cosface': expected one of softmax, arc"),
        ({"loss": "adaface"}, "^train.batch_size is 1, .* choose at least 2$"),
    ],
)
def test_a_loss_that_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        margins.named(options | {"batch_size": 1})
