"""Saliency -> masks -> masked pictures.

A mask is bool, [batch, height, width], True = keep, one for all three channels.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Key, UInt8

from sdd_jax.errors import InputError


def num_masked(fraction: float, height: int, width: int) -> int:
    """Return round(fraction * height * width), halves to the even number."""
    if not 0 < fraction < 1:
        raise InputError(
            f"fraction is {fraction}, expected a number between 0 and 1, both excluded"
        )
    return round(fraction * height * width)


def most_salient(
    saliency: Float[Array, "batch height width"],
    keys: Key[Array, " batch"],
    *,
    fraction: float,
) -> Bool[Array, "batch height width"]:
    """Return True at exactly the `num_masked` largest values of every picture.

    Equal values are chosen among at random, with the picture's own key, never by
    position.

    Raises:
        InputError: the fraction is not between 0 and 1.
    """
    height, width = saliency.shape[1:]
    count = num_masked(fraction, height, width)

    def choose(values: Array, key: Array) -> Array:
        lots = jax.random.bits(key, values.shape)
        places = jnp.arange(values.size)
        order = jax.lax.sort((-values, lots, places), num_keys=2)[2]
        return jnp.zeros(values.shape, bool).at[order[:count]].set(True)

    flat = saliency.reshape(len(saliency), height * width)
    return jax.vmap(choose)(flat, keys).reshape(saliency.shape)


def black(
    images: UInt8[Array, "batch height width 3"],
) -> UInt8[Array, "batch 1 1 3"]:
    """Return black: the paper's "set to 0"."""
    return jnp.zeros((len(images), 1, 1, 3), images.dtype)


def mean(
    images: UInt8[Array, "batch height width 3"],
) -> UInt8[Array, "batch 1 1 3"]:
    """Return each picture's own mean colour, to the nearest whole number."""
    colour = images.astype(jnp.float32).mean((1, 2), keepdims=True)
    return jnp.round(colour).astype(images.dtype)


FILLS = {"black": black, "mean": mean}


def apply(
    images: UInt8[Array, "batch height width 3"],
    mask: Bool[Array, "batch height width"],
    fill: UInt8[Array, "batch 1 1 3"],
) -> UInt8[Array, "batch height width 3"]:
    """Return the pictures with the fill wherever the mask does not keep a pixel."""
    return jnp.where(mask[..., None], images, fill)
