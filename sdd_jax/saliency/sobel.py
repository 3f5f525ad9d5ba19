"""The image's own edges: a control that asks no network."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Key

from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.types import LUMA, Explanation


def sobel(
    model: FaceClassifier, clean: CleanPass, key: Key[Array, "..."]
) -> Explanation:
    """Return how strong the grey image's edges are.

    It is the length of the gradient by Sobel's two 3x3 filters, in grey values of 0 to
    255 a pixel, with the border's pixels repeated beyond it.
    """
    grey = (clean.images.astype(jnp.float32) * jnp.array(LUMA)).sum(3)
    padded = jnp.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    columns = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    across = (rows[:, :, 2:] - rows[:, :, :-2]) / 8
    along = (columns[:, 2:] - columns[:, :-2]) / 8
    return Explanation(jnp.sqrt(across**2 + along**2))
