"""What can be said of a map or its mask without asking the network.

One number an image, [batch], under `jax.jit` or not. A map without positive values, or
with one that is not finite, is measured as an even one. `is_flat` tells which maps say
nothing: count those, and leave them out of a mean.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int


def is_flat(saliency: Float[Array, "batch height width"]) -> Bool[Array, " batch"]:
    """Return whether all values of a map are equal, or any of them is not finite."""
    even = saliency.max((1, 2)) == saliency.min((1, 2))
    return even | ~jnp.isfinite(saliency).all((1, 2))


def scaled(
    saliency: Float[Array, "batch height width"],
) -> Float[Array, "batch height width"]:
    """Return each map from 0, its smallest value, to 1, its largest; flat ones are 0.

    Flat is what `is_flat` says it is.
    """
    low, high = (end((1, 2), keepdims=True) for end in (saliency.min, saliency.max))
    flat = is_flat(saliency)[:, None, None]
    return jnp.where(flat, 0, (saliency - low) / jnp.where(flat, 1, high - low))


def edge_length(mask: Bool[Array, "batch height width"]) -> Int[Array, " batch"]:
    """Return the number of a mask's border pixels.

    Those are the pixels inside the mask with a pixel outside it straight above, below,
    left or right of them. The image's own border is none: beyond it nothing is filled.
    """
    # Beyond the border lies what lies at it.
    padded = jnp.pad(mask, ((0, 0), (1, 1), (1, 1)), mode="edge")
    straight = (
        padded[:, :-2, 1:-1],
        padded[:, 2:, 1:-1],
        padded[:, 1:-1, :-2],
        padded[:, 1:-1, 2:],
    )
    inner = jnp.stack(straight).all(0)
    return (mask & ~inner).sum((1, 2))


def gini(saliency: Float[Array, "batch height width"]) -> Float[Array, " batch"]:
    """Return the Gini index of a map's positive part over all n of its pixels.

    sum_k (2 k - n - 1) x_k / (n sum_k x_k), x_k rising: 0 where all pixels have the
    same, 1 - 1 / n where one has all. Larger is narrower.

    References:
        Hurley and Rickard, "Comparing Measures of Sparsity", IEEE Transactions on
        Information Theory 55(10), 2009. Chalasani, Chen, Chowdhury, Wu and Jha,
        "Concise Explanations of Neural Networks using Adversarial Training", ICML 2020,
        use it for explanations.
    """
    rising = _rising(saliency)
    num_pixels = rising.shape[1]
    # Between -1 and 1: with whole numbers, large terms would cancel.
    weights = (2 * jnp.arange(1, num_pixels + 1) - num_pixels - 1) / num_pixels
    return (weights * rising).sum(1) / rising.sum(1)


def half_mass_area(
    saliency: Float[Array, "batch height width"],
) -> Float[Array, " batch"]:
    """Return the smallest share of an image's pixels with half of the positive mass.

    From 1 / n, where one of the n pixels has half, to 1/2 of an even map (of an odd
    number, half a pixel more). Smaller is narrower.
    """
    falling = _rising(saliency)[:, ::-1]
    reached = jnp.cumsum(falling, axis=1)
    # The first pixel that reaches half is one of them.
    is_below = reached < falling.sum(1, keepdims=True) / 2
    return (is_below.sum(1) + 1) / falling.shape[1]


def positive_part(
    saliency: Float[Array, "batch height width"],
) -> Float[Array, "batch height width"]:
    """Return max(m, 0) over its largest value, so that no sum overflows.

    A map without positive values, or with one that is not finite, gives 1 everywhere.
    """
    # Only a unit: no share of the whole depends on it, and so no gradient either.
    largest = jax.lax.stop_gradient(saliency.max((1, 2), keepdims=True))
    says = jnp.isfinite(saliency).all((1, 2), keepdims=True) & (largest > 0)
    positive = jnp.maximum(saliency, 0) / jnp.where(says, largest, 1)
    return jnp.where(says, positive, 1)


def _rising(
    saliency: Float[Array, "batch height width"],
) -> Float[Array, "batch pixels"]:
    """Return the positive part, sorted."""
    positive = positive_part(saliency.astype(jnp.float32))
    return jnp.sort(positive.reshape(len(saliency), -1), axis=1)
