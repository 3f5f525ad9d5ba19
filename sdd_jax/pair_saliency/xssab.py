"""xSSAB: the gradients of what speaks for one person, less those of the rest."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Key

from sdd_jax import checks
from sdd_jax.models import FaceClassifier
from sdd_jax.models.gallery import embedding_of
from sdd_jax.pair_saliency.pair import PairPass
from sdd_jax.types import Explanation

COSINE = checks.real(-1, 1)


def xssab(
    model: FaceClassifier,
    pair: PairPass,
    key: Key[Array, "..."],
    *,
    threshold: float = 0.0,
) -> Explanation:
    """Return mean_c |ds+/dx| - mean_c |ds-/dx|, x the normalised probe.

    Of D dimensions, those with u_k v_k at or above threshold / D speak for one person:
    s+ is the sum of their u_k v_k, s- that of the others; u and v are the directions.

    Args:
        model: what embeds.
        pair: its pass of the pairs.
        key: not used; nothing is drawn.
        threshold: the cosine from which on two images count as of one person.

    Raises:
        InputError: the threshold is no cosine.

    References:
        Huber, Luu, Terhoerst and Damer, "Efficient Explainable Face Verification Based
        on Similarity Score Argument Backpropagation", WACV 2024, section 3.
    """
    checks.require(threshold, COSINE, "threshold")
    layer, fixed = embedding_of(model), pair.reference.directions

    def products(x: Array) -> Array:
        found = layer.embeddings(model.backbone(x))
        return found / jnp.linalg.norm(found, axis=1, keepdims=True) * fixed

    terms, back = jax.vjp(products, model.normalised(pair.probe.images))
    speaks_for = terms >= threshold / terms.shape[1]

    def strength(chosen: Array) -> Array:
        (gradients,) = back(chosen.astype(terms.dtype))
        return jnp.abs(gradients.astype(jnp.float32)).mean(3)

    return Explanation(strength(speaks_for) - strength(~speaks_for))
