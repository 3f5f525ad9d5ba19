"""Which part of an aligned face a place of the crop belongs to.

Every place belongs to one part, so that what a map holds in the parts adds up to what
it holds. The borders are this project's, drawn around the five points of the template.
A cell of a network sees more of the image than its own place.
"""

import numpy as np
from jaxtyping import Float

from sdd_jax.images.alignment.similarity import SIZE

PARTS = ("forehead", "eyes and brows", "nose", "cheeks", "mouth", "chin and neck")
# In pixels of 112: where the rows of parts end, and between which columns the nose and
# the mouth are.
_ROWS = (32.0, 62.0, 82.0, 101.0)
_MIDDLE = (36.0, 76.0)


def part_of(x: float, y: float, size: int) -> str:
    """Return the part at a place in a crop of `size` x `size` pixels."""
    across, down = ((value + 0.5) * SIZE / size - 0.5 for value in (x, y))
    row = int(np.searchsorted(_ROWS, down, side="right"))
    is_middle = _MIDDLE[0] <= across < _MIDDLE[1]
    beside = "cheeks"
    return (
        "forehead",
        "eyes and brows",
        "nose" if is_middle else beside,
        "mouth" if is_middle else beside,
        "chin and neck",
    )[row]


def sums(
    grid: Float[np.ndarray, "rows columns"],
    *,
    offset: float | int,
    stride: float | int,
    size: int,
) -> dict[str, float]:
    """Return what the cells of each part add up to, in float64.

    Args:
        grid: a value a cell.
        offset: pixel of the first cell's centre, along both axes.
        stride: pixels from one centre to the next.
        size: of the crop.
    """
    found = dict.fromkeys(PARTS, 0.0)
    for row, column in np.ndindex(*grid.shape):
        part = part_of(offset + stride * column, offset + stride * row, size)
        found[part] += float(grid[row, column])
    return found
