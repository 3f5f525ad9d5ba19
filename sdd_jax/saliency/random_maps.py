"""Maps that know nothing of the picture: what an explanation has to beat."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, Key, UInt8

from sdd_jax import keys
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.class_maps import explained, upsample


def _noise(key: Key[Array, "..."], shape: tuple[int, ...]) -> Array:
    draw = jax.vmap(lambda k: jax.random.uniform(k, shape[1:]))
    return draw(keys.per_image(key, shape[0]))


def random_map(
    model: FaceClassifier,
    images: UInt8[Array, "batch height width 3"],
    targets: Int[Array, " batch"],
    key: Key[Array, "..."],
) -> Float[Array, "batch height width"]:
    """Return uniform noise on the feature grid, placed as a class map is.

    This is the paper's "random CAM" as this project understands it.
    """
    explained(model, images, targets)
    grid = jax.eval_shape(model.feature_maps, images).shape[:3]
    noise = _noise(key, grid)
    return upsample(noise, images.shape[1], images.shape[2], model.cells)


def random_pixels(
    model: FaceClassifier,
    images: UInt8[Array, "batch height width 3"],
    targets: Int[Array, " batch"],
    key: Key[Array, "..."],
) -> Float[Array, "batch height width"]:
    """Return uniform noise, every pixel on its own."""
    explained(model, images, targets)
    return _noise(key, images.shape[:3])


def centre(
    model: FaceClassifier,
    images: UInt8[Array, "batch height width 3"],
    targets: Int[Array, " batch"],
    key: Key[Array, "..."],
) -> Float[Array, "batch height width"]:
    """Return a Gaussian around the middle: it knows only that faces are centred."""
    del key  # nothing is drawn
    explained(model, images, targets)
    batch, height, width = images.shape[:3]
    rows = jnp.linspace(-1, 1, height)[:, None]
    columns = jnp.linspace(-1, 1, width)[None, :]
    gaussian = jnp.exp(-2.0 * (rows**2 + columns**2))
    return jnp.broadcast_to(gaussian, (batch, height, width))
