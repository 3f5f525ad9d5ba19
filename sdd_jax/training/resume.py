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
from sdd_jax.training.guidance import Guidance
from sdd_jax.training.margins import Margin
from sdd_jax.training.step import init_state, merge
from sdd_jax.types import TrainState


def _numbered(tree: Any) -> dict[str, Any]:
    """Return the leaves by number: an optimiser's classes stay out of the file."""
    return {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def trees(graphdef: nnx.GraphDef, state: TrainState) -> dict[str, Any]:
    """Return the model, as `models.load` reads it, and the optimiser's arrays.

    After these come the loss's statistics, if it has any. What is divided among the
    devices is whole in them, and on the host.
    """
    model, kept = merge(graphdef, state), (state.opt_state, state.statistics)
    if model.head.is_divided:
        kept = division.whole(kept, model.num_classes)
    return {"model": models.variables(model), "optimizer": _numbered(kept)}


def restore(
    folder: Path,
    step: int,
    tx: optax.GradientTransformation,
    parts: str,
    *,
    divide_head: bool | None = False,
    margin: Margin | None = None,
    guidance: Guidance | None = None,
) -> tuple[nnx.GraphDef, TrainState]:
    """Return the structure and the state as they were when `step` was saved.

    Args:
        folder: the workdir.
        step: which step.
        tx: the optimiser.
        parts: what is trained; see `optimizer.trained_by`.
        divide_head: see `models.placed`; whatever it was before.
        margin: see `step.train_step`.
        guidance: see `step.train_step`.
    """
    model = models.load(
        folder, step=step, divide_head=divide_head, copies=division.COPIES
    )
    graphdef, state = init_state(model, tx, parts, margin, guidance)
    example = state.opt_state, state.statistics
    if model.head.is_divided:
        example = division.whole_shapes(example, model.num_classes)
    leaves = checkpoints.load(folder, step, {"optimizer": _numbered(example)})
    kept = jax.tree.unflatten(
        jax.tree.structure(example),
        [leaves["optimizer"][str(i)] for i in range(len(leaves["optimizer"]))],
    )
    if model.head.is_divided:
        kept = division.divided_moments(kept)
    opt_state, statistics = jax.tree.map(jnp.asarray, kept)
    return graphdef, dataclasses.replace(
        state, step=jnp.int32(step), opt_state=opt_state, statistics=statistics
    )
