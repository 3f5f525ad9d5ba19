"""How much a map changes where its image changes by what nobody sees."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, Key, UInt8

from sdd_jax import checks

NUM_DRAWS = 10
RADIUS = 0.02  # of the range of pixels


def max_sensitivity(
    explain: Callable[[Array], Array],
    images: UInt8[Array, "batch height width 3"],
    keys: Key[Array, " batch"],
    *,
    saliency: Float[Array, "*methods batch height width"] | None = None,
    num_draws: int = NUM_DRAWS,
    radius: float = RADIUS,
) -> Float[Array, "*methods batch"]:
    """Return max over draws of |phi(x + u) - phi(x)| / |phi(x)|; lower is better.

    Every channel of every pixel gets its own u, uniform in +-`radius` of the range of
    pixels; images stay whole numbers from 0 to 255. Norms are Euclidean, over an
    image's pixels. It is 0 where the norm of phi(x) is 0 or not finite: such maps are
    flat (see `map_measures.is_flat`).

    Args:
        explain: phi: images -> saliency, [batch, height, width], or one such map a
            method, [methods, batch, height, width].
        images: x, RGB.
        keys: each image's own, for u.
        saliency: phi(x), where it is known.
        num_draws: how often u is drawn.
        radius: above 0, at most 1.

    Raises:
        InputError: there is no draw, or the radius is not such a number.

    References:
        Yeh, Hsieh, Suggala, Inouye and Ravikumar, "On the (In)fidelity and Sensitivity
        of Explanations", NeurIPS 2019, SENS_MAX of section 3; there not divided by
        |phi(x)|.
    """
    checks.require(num_draws, checks.whole(1), "num_draws")
    checks.require(radius, checks.real(0, 1, above=True), "radius")
    known = explain(images) if saliency is None else saliency

    def draw(place: Array, largest: Array) -> Array:
        other = explain(shifted(images, keys, place, radius=radius))
        return jnp.maximum(largest, relative_change(known, other))

    return jax.lax.fori_loop(0, num_draws, draw, jnp.zeros(known.shape[:-2]))


def shifted(
    images: UInt8[Array, "batch height width 3"],
    keys: Key[Array, " batch"],
    place: Int[Array, ""] | int,
    *,
    radius: float = RADIUS,
) -> UInt8[Array, "batch height width 3"]:
    """Return x + u, for the draw of that place; see `max_sensitivity`."""
    own = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, place)
    shift = 255 * jax.vmap(
        lambda key: jax.random.uniform(
            key, images.shape[1:], minval=-radius, maxval=radius
        )
    )(own)
    return jnp.clip(jnp.round(images + shift), 0, 255).astype(jnp.uint8)


def relative_change(
    saliency: Float[Array, "*methods batch height width"],
    other: Float[Array, "*methods batch height width"],
) -> Float[Array, "*methods batch"]:
    """Return |other - saliency| / |saliency|; 0 where |saliency| is 0 or not finite."""
    norm = _norm(saliency)
    says = (norm > 0) & jnp.isfinite(norm)
    change = _norm(other - saliency) / jnp.where(says, norm, 1)
    return jnp.where(says, change, 0)


def _norm(
    saliency: Float[Array, "*methods batch height width"],
) -> Float[Array, "*methods batch"]:
    return jnp.sqrt((saliency**2).sum((-2, -1)))
