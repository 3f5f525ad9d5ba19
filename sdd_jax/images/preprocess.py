"""Images -> squares that show a face: cut, checked and resized; on the host.

Images are uint8 RGB, [height, width, 3], as `decoding` reads them from files. A
square that is too small for a face, or of one colour, is refused. Faces are not
detected or aligned.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.images.decoding import Box, decode

MIN_SIDE = 16  # of a square: the smallest faces that anybody trains on
# A square whose channels all span less is of one colour, give or take a scanner's or a
# JPEG's noise. No face is so faint.
_MIN_SPAN = 8


def square_crop(
    image: UInt8[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "side side 3"]:
    """Return the largest square in the middle, left or up of it if it cannot be."""
    height, width, _ = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def middle(name: str, contents: bytes) -> UInt8[np.ndarray, "side side 3"]:
    """Return the middle square of the image in a file, as `face_in` does."""
    return face_in(contents, name, square_crop)


def face_in(
    contents: bytes,
    name: str,
    cut: Callable[
        [UInt8[np.ndarray, "height width 3"]], UInt8[np.ndarray, "rows columns 3"]
    ],
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return what is cut out of the image in a file.

    Args:
        contents: A whole file.
        name: What errors call the image.
        cut: What cuts.

    Raises:
        InputError: As for `decode` and `checked`.
    """
    image = decode(contents, name)
    return checked(cut(image), name, of=image)


def checked(
    cut: UInt8[np.ndarray, "rows columns 3"],
    name: str,
    *,
    of: UInt8[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return what was cut out of an image, if it can show a face.

    Args:
        cut: What is to be looked at.
        name: What errors call the image.
        of: The whole image.

    Raises:
        InputError: A side of it is smaller than `MIN_SIDE`, or it is of one colour.
    """
    height, width, _ = of.shape
    rows, columns, _ = cut.shape
    if min(rows, columns) < MIN_SIDE:
        part = "" if cut.shape == of.shape else f", of which {columns}x{rows} are taken"
        raise InputError(
            f"{name}: {width}x{height} pixels{part}; expected at least "
            f"{MIN_SIDE}x{MIN_SIDE} of a face, replace or remove it"
        )
    return not_flat(cut, name)


def not_flat(
    image: UInt8[np.ndarray, "height width 3"], name: str
) -> UInt8[np.ndarray, "height width 3"]:
    """Return an image; InputError where all of it is of one colour."""
    # A few pixels decide about all images but the flat ones.
    for step in (max(1, min(image.shape[:2]) // 8), 1):
        pixels = image[::step, ::step].reshape(-1, 3)
        if np.ptp(pixels, axis=0).max() >= _MIN_SPAN:
            return image
    height, width, _ = image.shape
    red, green, blue = np.rint(image.reshape(-1, 3).mean(0)).astype(int)
    raise InputError(
        f"{name}: {width}x{height} pixels of one colour, red {red}, green {green}, "
        f"blue {blue}; expected a face, replace or remove it"
    )


def square_box(
    image: UInt8[np.ndarray, "height width 3"],
    box: Box,
    *,
    margin: float,
    name: str,
) -> UInt8[np.ndarray, "side side 3"]:
    """Return the square around a box, black where the image ends.

    Args:
        image: Of any size.
        box: Left, top, right, bottom, in pixels; the last two are not inside.
        margin: What is added on each side, as a share of the box's longer side.
        name: What the error calls the image.

    Raises:
        InputError: The box is empty or outside of the image.
    """
    left, top, right, bottom = box
    height, width, _ = image.shape
    inside = min(right, width) > max(left, 0) and min(bottom, height) > max(top, 0)
    if not (left < right and top < bottom and inside):
        raise InputError(
            f"{name}: the box {left},{top},{right},{bottom} has nothing of its "
            f"{width}x{height} pixels"
        )
    side = max(round((1 + 2 * margin) * max(right - left, bottom - top)), 1)
    if side > 2 * max(height, width):
        raise InputError(
            f"{name}: the box {left},{top},{right},{bottom} is more than twice "
            f"as large as its {width}x{height} pixels"
        )
    x, y = (left + right - side) // 2, (top + bottom - side) // 2
    square = np.zeros((side, side, 3), np.uint8)
    rows = slice(max(y, 0), min(y + side, height))
    columns = slice(max(x, 0), min(x + side, width))
    square[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x] = (
        image[rows, columns]
    )
    return square


def resize(
    image: UInt8[np.ndarray, "height width 3"], size: int
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Return the image at `size` x `size`, antialiased when it shrinks.

    The filter is Pillow's bilinear, a triangle as wide as the reduction. It has no
    negative weights, so it draws no bright seams beside hair and glasses, which a
    network could take for a feature.
    """
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    return np.array(resized)
