"""Saliency -> masks -> masked pictures.

A mask is bool, [batch, height, width], True = keep, one for all three channels.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, Key, UInt8, UInt32

from sdd_jax import checks
from sdd_jax.errors import InputError
from sdd_jax.screen import first_of

FRACTION = checks.real(0, 1, above=True, below=True)

_SIGN = np.uint32(1 << 31)  # the first bit, of a float32 its sign


def num_masked(fraction: float, height: int, width: int) -> int:
    """Return round(fraction * height * width), halves to the even number.

    Raises:
        InputError: the fraction is not between 0 and 1.
    """
    checks.require(fraction, FRACTION, "fraction")
    return round(fraction * height * width)


def _rising(values: Float[Array, " pixels"]) -> UInt32[Array, " pixels"]:
    """Return whole numbers in the values' order; equal values have equal ones.

    Read as whole numbers, positive floats rise and negative ones fall. NaN comes first,
    then minus infinity.
    """
    values = jnp.where(values == 0, 0.0, values.astype(jnp.float32))  # -0 equals 0
    bits = jax.lax.bitcast_convert_type(values, jnp.uint32)
    rising = jnp.where(bits >= _SIGN, ~bits, bits | _SIGN)
    return jnp.where(jnp.isnan(values), 0, rising)


def _reached_by(
    count: Int[Array, ""], numbers: UInt32[Array, " pixels"]
) -> UInt32[Array, ""]:
    """Return the largest threshold that at least `count` of the numbers reach."""

    def set_bit(place: Array, threshold: Array) -> Array:
        higher = threshold | _SIGN >> place.astype(jnp.uint32)
        return jnp.where((numbers >= higher).sum() >= count, higher, threshold)

    return jax.lax.fori_loop(0, 32, set_bit, jnp.uint32(0))


def most_salient(
    saliency: Float[Array, "batch height width"],
    keys: Key[Array, " batch"],
    *,
    fraction: float,
) -> Bool[Array, "batch height width"]:
    """Return True at exactly the `num_masked` largest values of every picture.

    Equal values are chosen among at random, with the picture's own key, never by
    position. Values are compared as float32; -0 equals 0. NaN is refused; under
    `jax.jit`, where nothing can be, it is below all others.

    Raises:
        InputError: the fraction is not between 0 and 1, or a value is NaN.
    """
    _require_numbers(saliency)
    height, width = saliency.shape[1:]
    count = num_masked(fraction, height, width)

    def choose(values: Array, key: Array) -> Array:
        # No sorting: counting finds the last value that is chosen, bit by bit, and
        # among those equal to it the last lot. It is the same choice, in an eighth of
        # the time.
        lots = jax.random.bits(key, values.shape)
        left = jnp.int32(count)
        chosen, undecided = jnp.zeros(values.shape, bool), jnp.ones(values.shape, bool)
        for numbers in (_rising(values), ~lots):  # the smallest lots win
            # None of the others reaches a threshold above 0.
            threshold = _reached_by(left, jnp.where(undecided, numbers, 0))
            above = undecided & (numbers > threshold)
            chosen |= above
            undecided &= numbers == threshold
            left -= above.sum()
        return chosen | undecided & (jnp.cumsum(undecided) <= left)  # equal lots

    flat = saliency.reshape(len(saliency), height * width)
    return jax.vmap(choose)(flat, keys).reshape(saliency.shape)


def _require_numbers(saliency: Float[Array, "batch height width"]) -> None:
    """Raise InputError where a map holds NaN, which is neither more nor less."""
    if isinstance(saliency, jax.core.Tracer):
        return
    damaged = np.flatnonzero(np.isnan(np.asarray(saliency)).any((1, 2))).tolist()
    if damaged:
        places = first_of([str(place) for place in damaged], 5)
        raise InputError(
            f"the saliency of {len(damaged)} of {len(saliency)} images holds NaN "
            f"(images {places}), so nobody can tell what is most salient: the network, "
            f"or the method, is broken for them"
        )


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
