"""Saliency -> which pixels are the most salient, once for all masks.

The order of an image's pixels is total: by saliency, equal ones by lot, with the
image's own key, and equal lots by place. A mask of any fraction is a part of it.
"""

from collections.abc import Sequence

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
        InputError: the fraction is below 0 or above 1.
    """
    checks.require(fraction, checks.real(0, 1), "fraction")
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
    """Return True at exactly the `num_masked` largest values of every image.

    Equal values are chosen among at random, with the image's own key, never by
    position. Values are compared as float32; -0 equals 0. NaN is refused; under
    `jax.jit`, where nothing can be, it is below all others.

    Raises:
        InputError: the fraction is below 0 or above 1, or a value is NaN.
    """
    return (
        ranks(saliency, keys, counts=(num_masked(fraction, *saliency.shape[1:]),)) < 1
    )


def ranks(
    saliency: Float[Array, "batch height width"],
    keys: Key[Array, " batch"],
    *,
    counts: Sequence[int],
) -> UInt8[Array, "batch height width"]:
    """Return how many of the counts are too small to take each pixel in.

    The `counts[i]` most salient pixels of an image are those of a rank of at most i.
    So one array holds all masks that are asked for. Only these cuts through the order
    are found: on a CPU, sorting all pixels takes as long as fifteen of them.

    Args:
        saliency: larger is more salient.
        keys: each image's own, for ties; see `most_salient`.
        counts: numbers of pixels, rising, at most 255 of them.

    Raises:
        InputError: the counts do not rise, are too many or exceed the image, or a value
            is NaN.
    """
    _require_numbers(saliency)
    height, width = saliency.shape[1:]
    within = all(0 <= count <= height * width for count in counts)
    if sorted(set(counts)) != list(counts) or len(counts) > 255 or not within:
        raise InputError(
            f"the counts are {list(counts)}, expected at most 255 rising whole numbers "
            f"from 0 to {height * width}, the image's pixels"
        )

    def rank(values: Array, key: Array) -> Array:
        order = _order(values, key)
        ranked = jnp.zeros(values.shape, jnp.uint8)
        for count in counts:
            ranked += ~_largest(count, order)
        return ranked

    flat = saliency.reshape(len(saliency), height * width)
    return jax.vmap(rank)(flat, keys).reshape(saliency.shape)


def largest(
    saliency: Float[Array, "batch height width"],
    keys: Key[Array, " batch"],
    counts: Int[Array, " batch"],
) -> Bool[Array, "batch height width"]:
    """Return True at exactly `counts[i]` most salient pixels of image i.

    For counts that differ from image to image; otherwise as `most_salient`.

    Args:
        saliency: larger is more salient.
        keys: each image's own, for ties.
        counts: from 0 to the image's pixels.

    Raises:
        InputError: a value is NaN.
    """
    _require_numbers(saliency)

    def choose(values: Array, key: Array, count: Array) -> Array:
        return _largest(count, _order(values, key))

    flat = saliency.reshape(len(saliency), -1)
    return jax.vmap(choose)(flat, keys, counts).reshape(saliency.shape)


def _order(
    values: Float[Array, " pixels"], key: Key[Array, ""]
) -> tuple[UInt32[Array, " pixels"], UInt32[Array, " pixels"]]:
    """Return the numbers that pixels are chosen by: saliency, then lots."""
    lots = jax.random.bits(key, values.shape, jnp.uint32)
    return _rising(values), ~lots  # the smallest win


def _largest(
    count: int | Int[Array, ""], order: tuple[UInt32[Array, " pixels"], ...]
) -> Bool[Array, " pixels"]:
    """Return True at exactly `count` pixels: the largest by the first numbers.

    Equal ones are told apart by the next numbers, and last by their place.
    """
    # No sorting: counting finds the last number that is chosen, bit by bit, and among
    # those equal to it the last of the next. It is the same choice, in an eighth of the
    # time.
    left = jnp.int32(count)
    chosen = jnp.zeros(order[0].shape, bool)
    undecided = jnp.ones(order[0].shape, bool)
    for numbers in order:
        # None of the others reaches a threshold above 0.
        threshold = _reached_by(left, jnp.where(undecided, numbers, 0))
        above = undecided & (numbers > threshold)
        chosen |= above
        undecided &= numbers == threshold
        left -= above.sum()
    return chosen | undecided & (jnp.cumsum(undecided) <= left)


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
