"""A state of training whose head is divided among the devices, and whole again.

With the head's kernel and offset go the optimiser's moments of them, each as large as
they are. A device has a part of the classes of all of these, and a whole copy of the
rest. Files have neither parts nor what makes up the last one: a checkpoint of any
number of devices goes on with any other.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from sdd_jax import sharding

COPIES = 4  # arrays of the head's size: itself, its gradient, and Adam's two moments
_DIVIDED = (("head", "kernel"), ("head", "offset"))


def _is_divided(path: tuple[Any, ...]) -> bool:
    """Return whether a leaf's last two names are those of what a head divides."""
    return tuple(getattr(part, "key", None) for part in path[-2:]) in _DIVIDED


def of_divided(function: Callable[[Any], Any], tree: Any, others: Any = None) -> Any:
    """Return the tree with a function of what a divided head divides.

    Args:
        function: of an array whose last axis is the classes.
        tree: parameters, or an optimiser's state of them.
        others: likewise of the other arrays; they stay as they are without it.
    """

    def of_leaf(path: tuple[Any, ...], leaf: Any) -> Any:
        chosen = function if _is_divided(path) else others
        return leaf if chosen is None else chosen(leaf)

    return jax.tree_util.tree_map_with_path(of_leaf, tree)


def placed(state: Any, *, is_divided: bool) -> Any:
    """Return the state with all on every device that is not divided already."""
    if not is_divided:
        return sharding.replicate(state)
    return of_divided(lambda leaf: leaf, state, sharding.replicate)


def whole_shapes(tree: Any, num_classes: int) -> Any:
    """Return the tree with the shapes that what is divided has in a file."""

    def shape(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*leaf.shape[:-1], num_classes), leaf.dtype)

    return of_divided(shape, tree)


def whole(tree: Any, num_classes: int) -> Any:
    """Return the tree with what is divided as a file has it, NumPy's."""

    def of_leaf(leaf: Any) -> np.ndarray:
        return sharding.to_host(leaf)[..., :num_classes]

    return of_divided(of_leaf, tree)


def divided_moments(tree: Any) -> Any:
    """Return an optimiser's state from a file, as `placed` has it; padding is zero."""
    return of_divided(lambda leaf: sharding.divide(leaf, fill=0.0), tree)
