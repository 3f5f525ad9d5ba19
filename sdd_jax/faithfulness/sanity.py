"""How alike two maps of an image are: of a network and of a spoilt one, of two classes.

Values are from -1 to 1, one an image, [batch], under `jax.jit` or not. A map that is
flat or not finite is like nothing: its values are 0 and it is flagged, to be counted
and left out of a mean. So is the untouched network, which is like itself.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from sdd_jax.errors import InputError
from sdd_jax.faithfulness.map_measures import is_flat, scaled

_SIGMA, _RADIUS = 1.5, 5  # of the Gaussian window, in pixels: 11 by 11
_C1, _C2 = 0.01**2, 0.03**2  # (K1 L)^2 and (K2 L)^2, of a range L of 1


class Similarity(NamedTuple):
    """How alike two maps are; arrays of one shape."""

    spearman: Any  # float32
    ssim: Any  # float32
    is_flat: Any  # bool, one of the two at least: the values say nothing


def similarity(
    saliency: Float[Array, "batch height width"],
    other: Float[Array, "batch height width"],
) -> Similarity:
    """Return both measures, and which of them say nothing.

    Raises:
        InputError: the maps have a side of less than 11 pixels.

    References:
        Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim, "Sanity Checks for Saliency
        Maps", NeurIPS 2018, which compares maps by both.
    """
    return Similarity(
        spearman(saliency, other),
        ssim(saliency, other),
        is_flat(saliency) | is_flat(other),
    )


def spearman(
    saliency: Float[Array, "batch height width"],
    other: Float[Array, "batch height width"],
) -> Float[Array, " batch"]:
    """Return the correlation of the pixels' ranks; equal values share their mean rank.

    References:
        Spearman, "The Proof and Measurement of Association between Two Things",
        American Journal of Psychology 15(1), 1904.
    """
    flat = is_flat(saliency) | is_flat(other)
    first, second = (_centred_ranks(each) for each in (saliency, other))
    squares = (first**2).sum(1) * (second**2).sum(1)
    product = (first * second).sum(1)
    return jnp.where(flat, 0, product / jnp.sqrt(jnp.where(flat, 1, squares)))


def ssim(
    saliency: Float[Array, "batch height width"],
    other: Float[Array, "batch height width"],
) -> Float[Array, " batch"]:
    """Return the structural similarity of two maps, each scaled to [0, 1].

    The mean over all windows of 11 by 11 pixels that lie inside, weighted by a Gaussian
    of 1.5 pixels.

    Raises:
        InputError: the maps have a side of less than 11 pixels.

    References:
        Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error
        Visibility to Structural Similarity", IEEE Transactions on Image Processing
        13(4), 2004, equation 13, with its constants K1 = 0.01 and K2 = 0.03.
    """
    height, width = saliency.shape[1:]
    if min(height, width) <= 2 * _RADIUS:
        raise InputError(
            f"the maps are {height} x {width} pixels, expected at least "
            f"{2 * _RADIUS + 1} x {2 * _RADIUS + 1}: the window of SSIM"
        )
    windows = _windows(height), _windows(width)

    def mean(maps: Array) -> Array:
        return jnp.einsum(
            "ih,bhw,jw->bij", windows[0], maps, windows[1], precision="highest"
        )

    # Variances are the same around 0, where float32 is finer.
    x, y = (scaled(each) - 0.5 for each in (saliency, other))
    mean_x, mean_y = mean(x), mean(y)
    variances = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    brightness = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (variances + _C2)
    flat = is_flat(saliency) | is_flat(other)
    return jnp.where(flat, 0, (brightness * structure).mean((1, 2)))


def _centred_ranks(
    saliency: Float[Array, "batch height width"],
) -> Float[Array, "batch pixels"]:
    """Return the pixels' ranks, shifted and scaled to lie between -1 and 1."""

    def rank(values: Array) -> Array:
        rising = jnp.sort(values)
        below = jnp.searchsorted(rising, values, side="left")
        not_above = jnp.searchsorted(rising, values, side="right")
        return (below + not_above - len(values)) / len(values)

    return jax.vmap(rank)(saliency.reshape(len(saliency), -1))


def _windows(size: int) -> Float[np.ndarray, "places size"]:
    """Return the matrix that averages one axis in every window inside it."""
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    matrix = np.zeros((size - 2 * _RADIUS, size))
    for place, row in enumerate(matrix):
        row[place : place + 2 * _RADIUS + 1] = weights / weights.sum()
    return matrix.astype(np.float32)
