"""Controls: maps that know nothing of the pair, or only of other people's."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Key

from sdd_jax import keys
from sdd_jax.models import FaceClassifier
from sdd_jax.pair_saliency.pair import PairPass
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.types import Explanation


def centre(
    model: FaceClassifier, pair: PairPass, key: Key[Array, "..."]
) -> Explanation:
    """Return a Gaussian around the middle: it knows only that faces are centred."""
    batch, height, width = pair.probe.images.shape[:3]
    rows = jnp.linspace(-1, 1, height)[:, None]
    columns = jnp.linspace(-1, 1, width)[None, :]
    gaussian = jnp.exp(-2.0 * (rows**2 + columns**2))
    return Explanation(jnp.broadcast_to(gaussian, (batch, height, width)))


def random_map(
    model: FaceClassifier, pair: PairPass, key: Key[Array, "..."]
) -> Explanation:
    """Return uniform noise on the feature grid, placed as an exact map is."""
    batch, *shape = pair.probe.cells.shape[:3]
    image_keys = keys.per_image(key, batch)
    noise = jax.vmap(lambda own: jax.random.uniform(own, shape))(image_keys)
    return Explanation(upsample(noise, pair.probe.images.shape[1:3], model.cells))


def means_of_others(
    maps: Float[np.ndarray, "pairs height width"], people: Int[np.ndarray, "pairs 2"]
) -> Float[np.ndarray, "pairs height width"]:
    """Return for each pair the mean map of the pairs that have nobody of its own.

    It knows faces, and not whose. It is 0 where there is no such pair.

    Args:
        maps: a method's, of all pairs.
        people: who is on the probe and on the reference.
    """
    shared = (people[:, None, :, None] == people[None, :, None, :]).any((2, 3))
    weights = (~shared).astype(np.float64)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1)
    return np.einsum("pq,qhw->phw", weights, maps).astype(np.float32)
