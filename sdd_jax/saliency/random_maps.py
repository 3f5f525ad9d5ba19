"""Maps that know nothing of the image: what an explanation has to beat."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Key

from sdd_jax import keys
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.types import Explanation


def _noise(key: Key[Array, "..."], shape: tuple[int, ...]) -> Array:
    draw = jax.vmap(lambda k: jax.random.uniform(k, shape[1:]))
    return draw(keys.per_image(key, shape[0]))


def random_map(
    model: FaceClassifier, clean: CleanPass, key: Key[Array, "..."]
) -> Explanation:
    """Return uniform noise on the feature grid, placed as a class map is.

    This is the paper's "random CAM" as this project understands it.
    """
    noise = _noise(key, clean.feature_maps.shape[:3])
    return Explanation(upsample(noise, clean.images.shape[1:3], model.cells))


def random_pixels(
    model: FaceClassifier, clean: CleanPass, key: Key[Array, "..."]
) -> Explanation:
    """Return uniform noise, every pixel on its own."""
    return Explanation(_noise(key, clean.images.shape[:3]))


def centre(
    model: FaceClassifier, clean: CleanPass, key: Key[Array, "..."]
) -> Explanation:
    """Return a Gaussian around the middle: it knows only that faces are centred."""
    batch, height, width = clean.images.shape[:3]
    rows = jnp.linspace(-1, 1, height)[:, None]
    columns = jnp.linspace(-1, 1, width)[None, :]
    gaussian = jnp.exp(-2.0 * (rows**2 + columns**2))
    return Explanation(jnp.broadcast_to(gaussian, (batch, height, width)))
