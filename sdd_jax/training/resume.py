"""A TrainState as the trees a checkpoint holds, and back, to the bit."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from sdd_jax import checkpoints, models
from sdd_jax.training.step import init_state, merge
from sdd_jax.types import TrainState


def _numbered(tree: Any) -> dict[str, Any]:
    """Return the leaves by number: an optimiser's classes stay out of the file."""
    return {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def trees(graphdef: nnx.GraphDef, state: TrainState) -> dict[str, Any]:
    """Return the model, as `models.load` reads it, and the optimiser's arrays."""
    model = models.variables(merge(graphdef, state))
    return {"model": model, "optimizer": _numbered(state.opt_state)}


def restore(
    folder: Path, step: int, tx: optax.GradientTransformation, parts: str
) -> tuple[nnx.GraphDef, TrainState]:
    """Return the structure and the state as they were when `step` was saved."""
    # Whole, as it was trained: a head divided among the devices has other shapes.
    model = models.load(folder, step=step, divide_head=False)
    graphdef, state = init_state(model, tx, parts)
    wanted = {"optimizer": _numbered(state.opt_state)}
    leaves = checkpoints.load(folder, step, wanted)["optimizer"]
    opt_state = jax.tree.unflatten(
        jax.tree.structure(state.opt_state),
        [jnp.asarray(leaves[str(i)]) for i in range(len(leaves))],
    )
    return graphdef, TrainState(
        jnp.int32(step), state.params, state.batch_stats, state.frozen, opt_state
    )
