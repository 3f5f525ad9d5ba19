"""What methods share: how maps are placed in the image.

Maps are float32, [batch, rows, columns]; pixels and cells count from the top left.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Float32

from sdd_jax.types import CellGrid


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
    size: tuple[int, ...],
    cells: CellGrid,
) -> Float[Array, "batch height width"]:
    """Return the maps at the image's resolution, bilinearly.

    Each value stands where its cell's centre lies in the image, and a network without
    padding has its cells elsewhere than plain resizing would put them.

    Args:
        maps: a value for each cell.
        size: the image's height and width.
        cells: where they lie.
    """
    rows = interpolation_weights(size[0], maps.shape[1], cells)
    columns = interpolation_weights(size[1], maps.shape[2], cells)
    return jnp.einsum("hr,brc,wc->bhw", rows, maps, columns, precision="highest")
