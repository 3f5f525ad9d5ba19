"""Scaled directed divergence: the equation and its two adaptive parameters.

Maps enter raw, on the feature grid, float32: no ReLU, no per-image normalisation
before the subtraction.

References:
    "Explainable Face Recognition via Improved Localization", Electronics 2025, 14(14),
    2745, equation 3: exp(alpha (F x_t - sum_k x_k)), with F in [|S|, 50] from mean
    absolute values and alpha in [0.2, 0.4], both adaptive. The exact rules for F and
    alpha are not published; the ones here are this project's.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def adaptive_scale(
    target_map: Float[Array, "batch rows columns"],
    rival_maps: Float[Array, "batch rivals rows columns"],
    *,
    largest: float = 50.0,
) -> Float[Array, " batch"]:
    """Return F = clip(mean|sum_k x_k| / mean|x_t|, |S|, largest), an image each.

    A target map that is zero everywhere gives the largest F, unless the rivals' sum is
    zero too: then F = |S|.
    """
    num_rivals = rival_maps.shape[1]
    rivals = jnp.abs(rival_maps.sum(1)).mean((1, 2))
    target = jnp.abs(target_map).mean((1, 2))
    # Nothing is divided by zero, not even where the result is not taken: the gradient
    # of training with guidance would be NaN.
    ratio = rivals / jnp.where(target > 0, target, 1.0)
    without_target = jnp.where(rivals > 0, jnp.inf, 0.0)
    ratio = jnp.where(target > 0, ratio, without_target)
    return jnp.clip(ratio, num_rivals, largest)


def adaptive_amplification(
    divergence: Float[Array, "batch rows columns"],
    *,
    smallest: float = 0.2,
    largest: float = 0.4,
) -> Float[Array, " batch"]:
    """Return alpha = clip(2 / (max d - min d), smallest, largest), an image each."""
    span = _largest(divergence) + _largest(-divergence)
    wanted = jnp.where(span > 0, 2.0 / jnp.where(span > 0, span, 1.0), jnp.inf)
    return jnp.clip(wanted, smallest, largest)


def directed_exponent(
    target_map: Float[Array, "batch rows columns"],
    rival_maps: Float[Array, "batch rivals rows columns"],
    *,
    scale: Float[Array, " batch"] | None = None,
    amplification: Float[Array, " batch"] | None = None,
) -> tuple[
    Float[Array, "batch rows columns"], Float[Array, " batch"], Float[Array, " batch"]
]:
    """Return alpha (F x_t - sum_k x_k), less the image's largest, and F and alpha.

    All maps of an image are first divided by their common largest absolute value, so
    that alpha means the same for every network. The largest exponent of every image is
    0, which changes no order and keeps float32 from overflowing in the exponential.

    Args:
        target_map: x_t.
        rival_maps: x_k, for k in S.
        scale: F; adaptive where None.
        amplification: alpha; adaptive where None.
    """
    maps = jnp.concatenate([target_map[:, None], rival_maps], axis=1)
    common = _largest(jnp.abs(maps))[:, None, None, None]
    maps = maps / jnp.where(common > 0, common, 1.0)
    if scale is None:
        scale = adaptive_scale(maps[:, 0], maps[:, 1:])
    minus_ones = -jnp.ones((maps.shape[0], rival_maps.shape[1]), maps.dtype)
    coefficients = jnp.concatenate([scale[:, None], minus_ones], axis=1)
    divergence = jnp.einsum("bk,bkhw->bhw", coefficients, maps, precision="highest")
    if amplification is None:
        amplification = adaptive_amplification(divergence)
    below_largest = divergence - _largest(divergence)[:, None, None]
    return amplification[:, None, None] * below_largest, scale, amplification


def _largest(maps: Float[Array, "batch *rest"]) -> Float[Array, " batch"]:
    """Return each image's largest value, whose gradient goes to its place.

    The gradient of `max` goes to all that equal it. A compiler that computes the values
    once more, and rounds them otherwise, finds none, and divides by their number.
    """
    flat = maps.reshape(len(maps), -1)
    return jnp.take_along_axis(flat, flat.argmax(1)[:, None], axis=1)[:, 0]
