"""FGGB: the gradient of every dimension, weighted by what it adds to the cosine."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Key

from sdd_jax import checks
from sdd_jax.models import FaceClassifier
from sdd_jax.models.gallery import embedding_of
from sdd_jax.pair_saliency.pair import PairPass
from sdd_jax.pair_saliency.xssab import COSINE
from sdd_jax.saliency.placement import rescaled
from sdd_jax.types import Explanation


def fggb(
    model: FaceClassifier,
    pair: PairPass,
    key: Key[Array, "..."],
    *,
    threshold: float = 0.0,
) -> Explanation:
    """Return sum_k N(mean_c |du_k/dx|) (u_k v_k - threshold / D).

    u and v are the directions, of D dimensions; N makes an image's smallest value 0 and
    its largest 1. There is a backward pass for each dimension.

    Args:
        model: what embeds.
        pair: its pass of the pairs.
        key: not used; nothing is drawn.
        threshold: the cosine from which on two images count as of one person.

    Raises:
        InputError: the threshold is no cosine.

    References:
        Lu, Xu and Ebrahimi, "Explainable Face Verification via Feature-Guided Gradient
        Backpropagation", FG 2024, section III.
    """
    checks.require(threshold, COSINE, "threshold")
    layer = embedding_of(model)

    def directions(x: Array) -> Array:
        found = layer.embeddings(model.backbone(x))
        return found / jnp.linalg.norm(found, axis=1, keepdims=True)

    own, back = jax.vjp(directions, model.normalised(pair.probe.images))
    num_dimensions = own.shape[1]
    weights = own * pair.reference.directions - threshold / num_dimensions

    def add(k: Array, total: Array) -> Array:
        chosen = jnp.zeros_like(own).at[:, k].set(1.0)
        (gradients,) = back(chosen)
        strength = jnp.abs(gradients.astype(jnp.float32)).mean(3)
        return total + rescaled(strength) * weights[:, k][:, None, None]

    zeros = jnp.zeros(pair.probe.images.shape[:3], jnp.float32)
    return Explanation(jax.lax.fori_loop(0, num_dimensions, add, zeros))
