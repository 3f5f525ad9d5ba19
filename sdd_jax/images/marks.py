"""Small coloured marks with a hard edge: no pixel belongs to one in part.

A mark is its identity's: shape, colour, place and strength are the same in all images,
but that it moves a little with the image's name, as a real mole or scar would in
photographs that are not aligned to the pixel.
"""

import colorsys
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from sdd_jax import checks

_MOST_MOVED = 0.02  # of the image's size, up or down, left or right
_APART = 0.3  # the two marks of a pair, centre to centre


def _disc(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return y**2 + x**2 <= 1


def _square(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.maximum(abs(y), abs(x)) <= 0.9


def _cross(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (np.maximum(abs(y), abs(x)) <= 1) & (np.minimum(abs(y), abs(x)) <= 0.4)


def _triangle(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (y <= 0.8) & (abs(x) <= (y + 1) / 1.8)


# Coordinates about the centre, 1 at the radius -> where the mark is.
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "disc": _disc,
    "square": _square,
    "cross": _cross,
    "triangle": _triangle,
}


class Mark(NamedTuple):
    """What a mark looks like; lengths are shares of the image's size."""

    shape: str  # a name in SHAPES
    row: float  # of the centre
    column: float
    radius: float
    colour: tuple[float, float, float]  # RGB, 0 to 255
    strength: float  # the colour's share in a pixel; the rest is the image's


def pair(random: np.random.Generator, strength: float) -> tuple[Mark, Mark]:
    """Return two marks that differ in shape, colour and place, and never overlap.

    Args:
        random: what all of it is drawn from.
        strength: the largest; a mark has three quarters of it or more.
    """
    shapes = random.permutation(list(SHAPES))[:2]
    places = random.uniform(0.25, 0.75, (2, 2))
    while np.hypot(*(places[0] - places[1])) < _APART:
        places = random.uniform(0.25, 0.75, (2, 2))
    hue = random.uniform()
    first, second = (
        Mark(
            shape=str(shapes[place]),
            row=float(places[place, 0]),
            column=float(places[place, 1]),
            radius=float(random.uniform(0.07, 0.09)),
            colour=_colour(hue + place / 2),
            strength=float(strength * random.uniform(0.75, 1)),
        )
        for place in range(2)
    )
    return first, second


def mask_of(
    mark: Mark, file: str, *, image_size: int, seed: int
) -> Bool[np.ndarray, "size size"]:
    """Return where a mark is in an image: True on exactly its pixels.

    A pure function of its arguments.

    Args:
        mark: the mark.
        file: the image's name; with the seed it says how far the mark has moved.
        image_size: height and width, in pixels.
        seed: of the data.
    """
    checks.require(image_size, checks.whole(1), "image_size")
    checks.require(seed, checks.SEED, "seed")
    random = np.random.default_rng([seed, zlib.crc32(file.encode())])
    moved = random.uniform(-_MOST_MOVED, _MOST_MOVED, 2)
    rows, columns = (np.indices((image_size, image_size)) + 0.5) / image_size
    y = (rows - mark.row - moved[0]) / mark.radius
    x = (columns - mark.column - moved[1]) / mark.radius
    return SHAPES[mark.shape](y, x)


def drawn(
    image: UInt8[np.ndarray, "size size 3"],
    mark: Mark,
    mask: Bool[np.ndarray, "size size"],
) -> UInt8[np.ndarray, "size size 3"]:
    """Return an image with a mark, which differs from it on all of the mask's pixels.

    A pixel that has the mark's colour already is changed by one level.
    """
    colour = np.array(mark.colour)
    mixed = np.rint((1 - mark.strength) * image[mask] + mark.strength * colour)
    mixed = mixed.astype(np.uint8)
    mixed[(mixed == image[mask]).all(-1)] ^= 1
    marked = image.copy()
    marked[mask] = mixed
    return marked


def _colour(hue: float) -> tuple[float, float, float]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, 1, 0.9)
    return 255 * red, 255 * green, 255 * blue
