import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny_classifier import INPUT, NUM_FEATURES, TinyBackbone

from sdd_jax import checkpoints, models, sharding
from sdd_jax.models import FaceClassifier, classifier
from sdd_jax.models.heads import PooledHead
from sdd_jax.models.ranking import LOWEST
from sdd_jax.training import division, resume
from sdd_jax.training import step as training
from sdd_jax.training.margins import LOSSES
from sdd_jax.training.objective import outcomes
from sdd_jax.training.optimizer import make_optimizer
from sdd_jax.types import Batch

pytestmark = pytest.mark.skipif(
    jax.device_count() != 8, reason="conftest.py makes eight devices of the CPU only"
)
NUM_CLASSES, BATCH_SIZE = 19, 16  # 2 x 10 - 1 and 8 x 3 - 5
TX = make_optimizer(
    {
        "steps": 20,
        "warmup_fraction": 0.0,
        "head_learning_rate": 0.05,
        "backbone_learning_rate": 0.01,
        "weight_decay": 0.1,
        "clip_norm": 0.5,
    }
)


def model_of(num_classes=NUM_CLASSES) -> FaceClassifier:
    head = PooledHead(NUM_FEATURES, num_classes)
    shape = (NUM_FEATURES, num_classes)
    head.kernel[...] = jax.random.normal(jax.random.key(1), shape)
    head.offset[...] = jax.random.normal(jax.random.key(2), shape[1:])
    head.feature_deviation[...] = jnp.array([1.0, 2.0, 0.5, 1.5])
    return FaceClassifier(INPUT, TinyBackbone(rngs=nnx.Rngs(0)), head)


def started(model, parts=".*", margin=None):
    """Return a state on the mesh's devices, with the head divided among them."""
    model = models.placed(model, divide_head=True)
    graphdef, state = training.init_state(model, TX, parts, margin)
    return graphdef, division.placed(state, is_divided=model.head.is_divided)


def maps_of(model, images):
    return model.feature_maps(images)


def cells_of(model, cells):
    return cells


def make_step(graphdef, feature_maps=maps_of, margin=None):
    return jax.jit(
        functools.partial(
            training.train_step,
            graphdef=graphdef,
            tx=TX,
            feature_maps=feature_maps,
            label_smoothing=0.1,
            update_batch_stats=False,
            margin=margin,
        )
    )


def batch_of(step, num_classes=NUM_CLASSES):
    draws = np.random.default_rng(step)
    images = draws.integers(0, 256, (BATCH_SIZE, 8, 8, 3)).astype(np.uint8)
    return images, draws.integers(0, num_classes, BATCH_SIZE).astype(np.int32)


def assert_close(found, expected, rtol=2e-5, atol=2e-6):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol),
        found,
        expected,
    )


@functools.cache
def trained(num_devices, loss="softmax", num_steps=2):
    """Return the trees of a checkpoint, the steps' metrics, and the state."""
    margin = LOSSES[loss]
    with jax.set_mesh(sharding.make_mesh(num_devices)):
        graphdef, state = started(model_of(), margin=margin)
        step, metrics = make_step(graphdef, margin=margin), []
        for number in range(num_steps):
            state, numbers = step(state, *sharding.shard_batch(batch_of(number)))
            metrics.append(jax.tree.map(float, numbers))
        return resume.trees(graphdef, state), metrics, state


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "num_devices"),
    [("softmax", 2), ("softmax", 8), ("arcface", 8), ("adaface", 8)],
)
def test_a_divided_head_learns_what_a_whole_one_does(loss, num_devices):
    whole, expected, _ = trained(1, loss)
    found, metrics, _ = trained(num_devices, loss)
    assert expected[0]["gradient_norm"] > 1  # so that it is clipped
    assert_close(metrics, expected)
    assert found["model"]["head"]["kernel"].shape == (NUM_FEATURES, NUM_CLASSES)
    assert_close(found, whole)


def test_a_device_holds_its_part_of_the_head_and_of_its_moments():
    _, _, state = trained(8)
    kept = state.params, state.opt_state
    parts = []
    division.of_divided(parts.append, kept)
    assert len(parts) == 6  # kernel and offset, and two moments of each
    for array in parts:
        assert {part.data.shape[-1] for part in array.addressable_shards} == {3}
    rest = []
    division.of_divided(lambda x: x, kept, rest.append)
    assert all(array.sharding.is_fully_replicated for array in rest)


def test_what_makes_up_the_last_part_learns_nothing():
    _, _, state = trained(8)
    offset = np.asarray(state.params["head"]["offset"])
    kernel = np.asarray(state.params["head"]["kernel"])
    np.testing.assert_array_equal(offset[NUM_CLASSES:], np.float32(LOWEST))
    np.testing.assert_array_equal(kernel[:, NUM_CLASSES:], 0)
    moments = []
    division.of_divided(moments.append, state.opt_state)
    for moment in moments:
        np.testing.assert_array_equal(np.asarray(moment)[..., NUM_CLASSES:], 0)


@pytest.mark.parametrize("loss", ["softmax", "adaface"])
def test_logits_and_kernel_are_never_brought_together(loss):
    """The program is one device's: a whole would stand in it with its own shape."""
    num_classes, part = 530, 67
    with jax.set_mesh(sharding.make_mesh(8)):
        graphdef, state = started(model_of(num_classes), "head", LOSSES[loss])
        cells = np.zeros((BATCH_SIZE, 1, 1, NUM_FEATURES), np.float32)
        batch = sharding.shard_batch((cells, batch_of(0, num_classes)[1]))
        step = make_step(graphdef, cells_of, LOSSES[loss])
        text = str(step.lower(state, *batch).compile().as_text())
    shapes = set(re.findall(r"f32\[([\d,]+)\]", text))
    assert f"{NUM_FEATURES},{part}" in shapes
    assert f"{BATCH_SIZE},{part}" in shapes
    sizes = {int(size) for shape in shapes for size in shape.split(",")}
    assert max(sizes) == part
    travel = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
    moved = re.findall(rf"^.* = (.*?) (?:{travel})(?:-start)?\(", text, re.M)
    assert moved
    assert not any(str(part) in re.findall(r"\d+", shape) for shape in moved)


@pytest.mark.parametrize("wrong", [-1, NUM_CLASSES, NUM_CLASSES + 1])
def test_the_loss_of_a_label_that_is_no_class_is_nan(wrong):
    with jax.set_mesh(sharding.make_mesh(8)):
        graphdef, state = started(model_of())
        images, labels = batch_of(0)
        labels[3] = wrong
        _, metrics = make_step(graphdef)(state, *sharding.shard_batch((images, labels)))
    assert np.isnan(metrics["loss"])


def test_of_equal_logits_the_first_class_is_predicted():
    cells = np.zeros((8, 1, 1, NUM_FEATURES), np.float32)
    labels = np.arange(8, dtype=np.int32)
    head = PooledHead(NUM_FEATURES, NUM_CLASSES)
    head.offset[...] = jnp.zeros(NUM_CLASSES).at[jnp.array([7, 12])].set(1.0)
    with jax.set_mesh(sharding.make_mesh(8)):
        graphdef, arrays = nnx.split(head.divided())
        found = jax.jit(
            lambda arrays, *batch: outcomes(
                nnx.merge(graphdef, arrays), *batch, label_smoothing=0.0
            )
        )(arrays, *sharding.shard_batch((cells, labels)))
    np.testing.assert_array_equal(found.predicted, 7)
    total = np.log(17 + 2 * np.e)
    expected = total - (labels == 7)
    np.testing.assert_allclose(found.losses, expected, rtol=1e-6)


def test_validation_of_a_divided_head_is_that_of_a_whole_one():
    images, labels = batch_of(5)
    valid = np.arange(BATCH_SIZE) < 13
    batch = Batch(images, labels, np.arange(BATCH_SIZE, dtype=np.int32), valid)
    sums = []
    for num_devices in (1, 8):
        with jax.set_mesh(sharding.make_mesh(num_devices)):
            graphdef, state = started(model_of())
            validate = functools.partial(training.validation_step, graphdef=graphdef)
            sums.append(jax.jit(validate)(state, sharding.shard_batch(batch)))
    assert_close(sums[1], sums[0], rtol=1e-5)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_devices(tmp_path, monkeypatch):
    """The loss is the one whose statistics must go on, too."""
    monkeypatch.setitem(classifier.BACKBONES, "tiny", (TinyBackbone, INPUT))
    head = {"name": "pooled", "num_classes": NUM_CLASSES}
    known = {"model": {"backbone": {"name": "tiny"}, "head": head}}
    margin = LOSSES["adaface"]
    trees, _, _ = trained(2, "adaface", num_steps=1)
    checkpoints.save(tmp_path, 1, trees, known, 0.0)
    expected, wanted, _ = trained(1, "adaface")
    for num_devices in (1, 8):
        with jax.set_mesh(sharding.make_mesh(num_devices)):
            graphdef, state = resume.restore(
                *(tmp_path, 1, TX, ".*"), divide_head=True, margin=margin
            )
            state = division.placed(state, is_divided=num_devices > 1)
            assert_close(resume.trees(graphdef, state), trees, rtol=0, atol=0)
            step = make_step(graphdef, margin=margin)
            state, numbers = step(state, *sharding.shard_batch(batch_of(1)))
            assert_close(jax.tree.map(float, numbers), wanted[1])
            assert_close(resume.trees(graphdef, state), expected)
            assert int(state.step) == 2
