import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sdd_jax import models
from sdd_jax.training import step as training

BACKBONES = {
    "ir_18": {"name": "ir_resnet", "arch": "ir_18"},
    "dlib": {"name": "dlib_resnet", "num_blocks": 5},
}
SIZE, NUM_CLASSES = 32, 5


def maps_of(model, pixels):
    """Small images: the size is the model's to check, not the backbone's."""
    return model.backbone(pixels)


def compiled_step(backbone, *, remat, update_batch_stats):
    """Return the compiled step and what it takes; the new state is the gradients."""
    head = {"name": "pooled", "num_classes": NUM_CLASSES}
    model = models.build({"backbone": BACKBONES[backbone], "head": head})
    shape = model.head.kernel.shape
    model.head.kernel[...] = jax.random.normal(jax.random.key(0), shape) / shape[0]
    # params - (params - gradients): a step whose result is the gradient itself.
    tx = optax.stateless(lambda updates, params: jax.tree.map(_minus, updates, params))
    graphdef, state = training.init_state(model, tx, ".*")
    step = functools.partial(
        training.train_step,
        graphdef=graphdef,
        tx=tx,
        feature_maps=maps_of,
        label_smoothing=0.1,
        update_batch_stats=update_batch_stats,
        remat=remat,
    )
    pixels = jax.random.normal(jax.random.key(1), (4, SIZE, SIZE, 3))
    arguments = state, pixels, jnp.array([0, 1, 2, 3])
    options = training.compiler_options(remat=remat)
    lowered = jax.jit(step, compiler_options=options).lower(*arguments)
    return lowered.compile(), arguments


def temporary_bytes(step) -> int:
    memory = step.memory_analysis()
    assert memory is not None
    return memory.temp_size_in_bytes


def _minus(gradient, param):
    return gradient - param


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "update_batch_stats"),
    [("ir_18", True), ("dlib", False)],
)
def test_rematerialising_changes_the_memory_and_nothing_else(
    backbone, update_batch_stats
):
    steps = [
        compiled_step(backbone, remat=remat, update_batch_stats=update_batch_stats)
        for remat in (False, True)
    ]
    kept, remade = (temporary_bytes(step) for step, _ in steps)
    assert remade < 0.9 * kept
    (state, metrics), (other, other_metrics) = (step(*a) for step, a in steps)
    assert float(metrics["gradient_norm"]) > 0
    np.testing.assert_allclose(metrics["loss"], other_metrics["loss"], rtol=1e-6)
    for tree, same in (
        (state.params, other.params),
        (state.batch_stats, other.batch_stats),
    ):
        assert jax.tree.structure(tree) == jax.tree.structure(same)
        for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(same), strict=True):
            scale = np.abs(np.asarray(a)).max()
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * scale + 1e-7)


def test_an_ordinary_step_keeps_the_compilers_passes():
    assert "xla_disable_hlo_passes" not in training.compiler_options(remat=False)
