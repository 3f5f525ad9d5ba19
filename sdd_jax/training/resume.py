"""A TrainState as the trees a checkpoint holds, and back, to the bit."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from sdd_jax import checkpoints, models
from sdd_jax.training import division
from sdd_jax.training.step import init_state, merge
from sdd_jax.types import TrainState


def _numbered(tree: Any) -> dict[str, Any]:
    """Return the leaves by number: an optimiser's classes stay out of the file."""
    return {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def trees(graphdef: nnx.GraphDef, state: TrainState) -> dict[str, Any]:
    """Return the model, as `models.load` reads it, and the optimiser's arrays.

    What is divided among the devices is whole in them, and on the host.
    """
    model, opt_state = merge(graphdef, state), state.opt_state
    if model.head.is_divided:
        opt_state = division.whole(opt_state, model.num_classes)
    return {"model": models.variables(model), "optimizer": _numbered(opt_state)}


def restore(
    folder: Path,
    step: int,
    tx: optax.GradientTransformation,
    parts: str,
    *,
    divide_head: bool | None = False,
) -> tuple[nnx.GraphDef, TrainState]:
    """Return the structure and the state as they were when `step` was saved.

    Args:
        folder: the workdir.
        step: which step.
        tx: the optimiser.
        parts: what is trained; see `optimizer.trained_by`.
        divide_head: see `models.placed`; whatever it was before.
    """
    model = models.load(
        folder, step=step, divide_head=divide_head, copies=division.COPIES
    )
    graphdef, state = init_state(model, tx, parts)
    example = state.opt_state
    if model.head.is_divided:
        example = division.whole_shapes(example, model.num_classes)
    leaves = checkpoints.load(folder, step, {"optimizer": _numbered(example)})
    opt_state = jax.tree.unflatten(
        jax.tree.structure(example),
        [leaves["optimizer"][str(i)] for i in range(len(leaves["optimizer"]))],
    )
    if model.head.is_divided:
        opt_state = division.divided_moments(opt_state)
    opt_state = jax.tree.map(jnp.asarray, opt_state)
    return graphdef, dataclasses.replace(
        state, step=jnp.int32(step), opt_state=opt_state
    )
