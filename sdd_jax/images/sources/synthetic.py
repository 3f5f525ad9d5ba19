"""Drawn faces whose identities differ by one coloured mark at a known place.

The mark's place on the face and its colour follow from the label. Everything else
(skin, hair, eyes, mouth, background, light, position, noise) follows from the seed and
the drawing's index alone, so the same index drawn for two labels gives two images
that are equal but for their marks: the mask of a mark is all there is to explain.
"""

import colorsys
import functools
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from sdd_jax import checks
from sdd_jax.errors import InputError
from sdd_jax.images import preprocess
from sdd_jax.images.splitting.collection import Maker
from sdd_jax.types import ImageSet


def splits(
    *,
    image_size: int,
    seed: int,
    record: Path | None = None,
    num_identities: int = 8,
    num_images: int = 10,
) -> dict[str, ImageSet]:
    """Return train, validation and test sets; a fifth of each identity's to each last.

    Args:
        image_size: Height and width of the images, in pixels.
        seed: What decides everything but the marks.
        record: Unused: a drawing is a function of its name and the seed.
        num_identities: How many marks there are.
        num_images: Drawings of each identity; "person3/7" is `draw(3, 7, ...)`.

    Raises:
        InputError: There would be nobody to tell apart, or an empty split.
    """
    del record
    if num_identities < 2 or num_images < 3:
        raise InputError(
            f"num_identities={num_identities}, num_images={num_images}: expected at "
            "least 2 identities with 3 drawings each"
        )
    num_held_out = max(1, num_images // 5)
    num_train = num_images - 2 * num_held_out
    indices = {
        "train": range(num_train),
        "validation": range(num_train, num_train + num_held_out),
        "test": range(num_train + num_held_out, num_images),
    }
    names = tuple(f"person{label}" for label in range(num_identities))
    sets = {}
    for split, chosen in indices.items():
        pairs = [(label, index) for label in range(num_identities) for index in chosen]
        sets[split] = ImageSet(
            names=names,
            files=tuple(f"{names[label]}/{index}" for label, index in pairs),
            labels=np.array([label for label, _ in pairs], np.int32),
            read=functools.partial(_read, pairs, image_size, seed, num_identities),
        )
    return sets


def maker(**_: Any) -> Maker:
    """Return how an image is made of a file, which no drawing is: the middle square."""
    return Maker(preprocess.middle)


def draw(
    label: int, index: int, *, image_size: int, seed: int, num_identities: int = 8
) -> tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """Return a drawn face and the mask of its mark, True on exactly its pixels."""
    checks.require_places([label], num_identities, "identity")
    checks.require(index, checks.whole(0), "index")
    checks.require(image_size, checks.whole(1), "image_size")
    checks.require(seed, checks.SEED, "seed")
    # The label is left out on purpose: nothing but the mark may depend on it.
    random = np.random.default_rng([seed, index])
    rows, columns = np.indices((image_size, image_size)) / image_size
    centre = 0.5 + random.uniform(-0.05, 0.05, 2)
    size = random.uniform(0.92, 1.08)
    # The face's own coordinates: (0, 0) between the eyes' and the mouth's height, and
    # the outline at a distance of 1.
    y, x = (rows - centre[0]) / (0.38 * size), (columns - centre[1]) / (0.30 * size)

    skin = np.array([225, 180, 150]) * random.uniform(0.75, 1.1)
    image = np.empty((image_size, image_size, 3))
    image[:] = random.uniform(60, 200, 3)
    image[_ellipse(y, x, -0.25, 0.0, 1.0, 1.15)] = random.uniform(10, 110, 3)
    image[_ellipse(y, x, 0.0, 0.0, 1.0, 1.0)] = skin
    for side in (-0.4, 0.4):
        image[_ellipse(y, x, -0.15, side, 0.11, 0.17)] = 245
        image[_ellipse(y, x, -0.15, side, 0.09, 0.08)] = 40
    smile = random.uniform(0.04, 0.1)
    image[_ellipse(y, x, 0.5, 0.0, smile, 0.3)] = [170, 70, 75]

    turn = label / num_identities
    angle = 2 * np.pi * turn
    mask = _ellipse(y, x, 0.6 * np.sin(angle), 0.6 * np.cos(angle), 0.2, 0.25)
    image[mask] = 255 * np.array(colorsys.hsv_to_rgb(turn, 1, 0.9))

    brighter = random.uniform(0.8, 1.1)
    slope = random.uniform(-0.2, 0.2) * (columns - 0.5)
    image *= (brighter + slope)[..., None]
    image += random.normal(0, 6, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), mask


def _read(
    pairs: list[tuple[int, int]],
    image_size: int,
    seed: int,
    num_identities: int,
    place: int,
) -> UInt8[np.ndarray, "{image_size} {image_size} 3"]:
    """Return the drawing of one (label, index) pair."""
    label, index = pairs[place]
    image, _ = draw(
        label, index, image_size=image_size, seed=seed, num_identities=num_identities
    )
    return image


def _ellipse(
    y: Float[np.ndarray, "height width"],
    x: Float[np.ndarray, "height width"],
    centre_y: float,
    centre_x: float,
    radius_y: float,
    radius_x: float,
) -> Bool[np.ndarray, "height width"]:
    """Return where an ellipse is, with a hard edge: no pixel belongs to it in part."""
    return ((y - centre_y) / radius_y) ** 2 + ((x - centre_x) / radius_x) ** 2 <= 1
