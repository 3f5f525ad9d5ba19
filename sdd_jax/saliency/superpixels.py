"""Superpixels: parts of an image that are kept or covered as a whole."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from sdd_jax import checks


def superpixels(
    shape: tuple[int, ...], cells: int, segments: Any = None
) -> tuple[Int[Array, "batch height width"], int]:
    """Return the number of each pixel's superpixel, and how many numbers there are.

    Args:
        shape: of the images; the first three are batch, height and width.
        cells: of a regular grid, along each axis.
        segments: whole numbers from 0, [batch, height, width], for superpixels of
            another kind, made beforehand; the grid where None.

    Raises:
        InputError: `cells` is below 1 or above the height or the width, or segments are
            no whole numbers from 0 of that shape.
    """
    if segments is not None:
        # How many there are decides on shapes, so they are NumPy's, never traced.
        known = np.asarray(segments)
        labels = checks.classes(known, None, "segments", shape[:3])
        return labels, int(known.max()) + 1
    checks.require(cells, checks.whole(1, min(shape[1:3])), "cells")
    rows, columns = (np.arange(size) * cells // size for size in shape[1:3])
    labels = rows[:, None] * cells + columns
    return jnp.broadcast_to(jnp.asarray(labels, jnp.int32), shape[:3]), cells**2


def spread(
    values: Float[Array, "batch superpixels"],
    labels: Int[Array, "batch height width"],
) -> Float[Array, "batch height width"]:
    """Return each pixel's value, its superpixel's."""
    return jax.vmap(lambda values, labels: values[labels])(values, labels)
