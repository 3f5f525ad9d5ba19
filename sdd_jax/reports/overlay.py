"""Saliency over an image: one image in, one image out, uint8 RGB, [height, width, 3].

Saliency is a float map of the image's own height and width, larger = more important.
It is stretched to [0, 1] here and only here, each map by its own smallest and largest
value: colours of different maps cannot be compared. Nothing is resized or written.
"""

import io

import numpy as np
from jaxtyping import Bool, Float, Num, UInt8
from matplotlib import colormaps
from PIL import Image

from sdd_jax.errors import InputError
from sdd_jax.types import LUMA

# Lightness rises evenly along it and no part of it is grey, so that a map can be told
# from the grey face under it, by colour-blind readers too.
COLOUR_MAP = "plasma"
# At the strongest place, low enough for the face to remain recognisable there.
OPACITY = 0.8


def heat_map(
    saliency: Float[np.ndarray, "height width"],
) -> UInt8[np.ndarray, "height width 3"]:
    """Return the map in colours, dark blue the least and yellow the most important."""
    colours = colormaps[COLOUR_MAP](_stretched(saliency))[..., :3]
    return np.rint(255 * colours).astype(np.uint8)


def overlay(
    image: UInt8[np.ndarray, "height width 3"],
    saliency: Float[np.ndarray, "height width"],
) -> UInt8[np.ndarray, "height width 3"]:
    """Return the image in grey with the map over it, opaque where it is important.

    Every colour seen is the map's, and a constant map leaves the image bare.
    """
    grey = (image @ np.array(LUMA))[..., None]
    opacity = OPACITY * _stretched(saliency)[..., None]
    blend = (1 - opacity) * grey + opacity * heat_map(saliency)
    return np.rint(blend).astype(np.uint8)


def masked(
    image: UInt8[np.ndarray, "height width 3"],
    mask: Bool[np.ndarray, "height width"],
    fill: Num[np.ndarray, "... 3"],
) -> UInt8[np.ndarray, "height width 3"]:
    """Return the image where the mask is True (keep) and the fill elsewhere.

    Args:
        fill: RGB in [0, 255], a colour or an image; fractions are rounded.
    """
    return np.where(mask[..., None], image, np.rint(fill).astype(np.uint8))


def png(image: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """Return the image as a PNG file, every pixel kept."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG", optimize=True)
    return file.getvalue()


def _stretched(
    saliency: Float[np.ndarray, "height width"],
) -> Float[np.ndarray, "height width"]:
    num_bad = int(np.count_nonzero(~np.isfinite(saliency)))
    if num_bad:
        raise InputError(
            f"Saliency holds {num_bad} values that are not finite, expected none: "
            "the checkpoint's weights are damaged, train or convert it again."
        )
    # float64: a difference of two float32 values can overflow.
    saliency = saliency.astype(np.float64)
    lowest, highest = saliency.min(), saliency.max()
    if lowest == highest:
        return np.zeros_like(saliency)
    return (saliency - lowest) / (highest - lowest)
