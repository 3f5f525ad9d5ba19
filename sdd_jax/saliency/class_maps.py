"""What methods share: whom they explain, and how maps are placed in the picture.

Maps are float32, [batch, rows, columns]; pixels and cells count from the top left.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Float32, Int, UInt8

from sdd_jax import checks
from sdd_jax.models import FaceClassifier
from sdd_jax.types import CellGrid


def explained(
    model: FaceClassifier,
    images: UInt8[Array, "batch height width 3"],
    targets: Any,
) -> Int[Array, " batch"]:
    """Return the targets as an array; every method begins with it.

    Raises:
        InputError: there is not one for each picture, or one is no class of the model.
    """
    return checks.classes(targets, model.num_classes, "targets", (len(images),))


def interpolation_weights(
    num_pixels: int, num_cells: int, cells: CellGrid
) -> Float32[np.ndarray, "pixels cells"]:
    """Return each pixel's linear weights of the cells before and after it.

    Beyond the outermost centres there is nothing to interpolate: there a pixel takes
    the outermost cell's value.
    """
    position = (np.arange(num_pixels) - cells.offset) / cells.stride
    position = np.clip(position, 0, num_cells - 1)
    distance = np.abs(position[:, None] - np.arange(num_cells))
    return np.maximum(0, 1 - distance).astype(np.float32)


def upsample(
    maps: Float[Array, "batch rows columns"],
    height: int,
    width: int,
    cells: CellGrid,
) -> Float[Array, "batch height width"]:
    """Return the maps at the picture's resolution, bilinearly.

    Each value stands where its cell's centre lies in the picture, and a network without
    padding has its cells elsewhere than plain resizing would put them.
    """
    rows = interpolation_weights(height, maps.shape[1], cells)
    columns = interpolation_weights(width, maps.shape[2], cells)
    return jnp.einsum("hr,brc,wc->bhw", rows, maps, columns, precision="highest")
