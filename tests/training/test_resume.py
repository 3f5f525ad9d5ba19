import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_classifier import INPUT, NUM_CLASSES, TinyBackbone

from sdd_jax import checkpoints, models, sharding
from sdd_jax.errors import InputError
from sdd_jax.models import classifier
from sdd_jax.training import resume
from sdd_jax.training.optimizer import make_optimizer
from sdd_jax.training.step import init_state, merge, train_step

DESCRIPTION = {
    "backbone": {"name": "tiny"},
    "head": {"name": "pooled", "num_classes": NUM_CLASSES},
}
PARTS = "head|backbone/blocks/"
TX = make_optimizer(
    {
        "steps": 20,
        "warmup_fraction": 0.2,
        "head_learning_rate": 0.05,
        "backbone_learning_rate": 0.01,
        "weight_decay": 0.1,
        "clip_norm": 1.0,
    }
)


def batch_of(step: int):
    draws = np.random.default_rng(step)
    images = draws.integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
    return jnp.array(images), jnp.array(draws.integers(0, NUM_CLASSES, 4))


def maps_of(model, images):
    return model.feature_maps(images)


def logits_of(model, images):
    return model.logits(model.feature_maps(images))


def assert_same_bits(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def save(folder, graphdef, state):
    trees = resume.trees(graphdef, state)
    known = {"model": DESCRIPTION}
    checkpoints.save(folder, int(state.step), trees, known, 0.0)


@pytest.fixture(scope="module")
def model():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(classifier.BACKBONES, "tiny", (TinyBackbone, INPUT))
        yield models.build(DESCRIPTION, seed=3)


@pytest.fixture(scope="module")
def stopped(model, tmp_path_factory):
    """Return a folder, what was saved in it after three steps, and the step."""
    graphdef, state = init_state(model, TX, PARTS)
    state = sharding.replicate(state)
    step = jax.jit(
        functools.partial(
            train_step,
            graphdef=graphdef,
            tx=TX,
            feature_maps=maps_of,
            label_smoothing=0.1,
            update_batch_stats=True,
        )
    )
    for number in range(3):
        state, _ = step(state, *batch_of(number))
    folder = tmp_path_factory.mktemp("stopped")
    save(folder, graphdef, state)
    return folder, graphdef, state, step


@pytest.mark.slow
def test_a_restored_run_takes_the_same_steps_to_the_bit(stopped):
    folder, graphdef, state, step = stopped
    restored_graphdef, restored = resume.restore(folder, 3, TX, PARTS)
    assert_same_bits(restored, state)
    restored = sharding.replicate(restored)
    for number in (3, 4):
        state, metrics = step(state, *batch_of(number))
        restored, restored_metrics = step(restored, *batch_of(number))
        assert_same_bits(restored_metrics, metrics)
    assert_same_bits(restored, state)
    assert int(restored.step) == 5
    models_after = (merge(graphdef, state), merge(restored_graphdef, restored))
    images, _ = batch_of(5)
    assert_same_bits(*(logits_of(model, images) for model in models_after))


def test_the_saved_model_is_what_models_load_reads(stopped):
    folder, graphdef, state, _ = stopped
    loaded = models.variables(models.load(folder))
    assert_same_bits(loaded, models.variables(merge(graphdef, state)))


@pytest.mark.parametrize("parts", ["head", ".*"])
def test_any_parts_come_back_with_every_moment_in_its_place(model, tmp_path, parts):
    graphdef, state = init_state(model, TX, parts)
    numbers = iter(range(1000))
    state = jax.tree.map(lambda x: jnp.full_like(x, next(numbers)), state)
    save(tmp_path, graphdef, state)
    step = int(state.step)
    assert_same_bits(resume.restore(tmp_path, step, TX, parts)[1], state)


def test_a_run_that_trained_other_parts_is_refused(stopped):
    with pytest.raises(InputError, match="does not fit its model"):
        resume.restore(stopped[0], 3, TX, "head")


def test_a_head_that_would_be_divided_is_restored_whole(stopped, monkeypatch):
    """Divided, it has another number of columns than the optimiser's arrays."""
    folder, graphdef, state, _ = stopped
    jax.set_mesh(sharding.make_mesh(8))
    monkeypatch.setattr(sharding, "device_memory", lambda: 100)  # bytes
    assert models.load(folder, step=3).head.is_divided
    assert_same_bits(resume.restore(folder, 3, TX, PARTS)[1], state)
