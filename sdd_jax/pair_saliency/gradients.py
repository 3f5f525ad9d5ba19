"""Gradients of a pair's cosine at every stage, from one backward pass a side."""

import jax
import jax.numpy as jnp
from jax import Array

from sdd_jax.models import FaceClassifier
from sdd_jax.models.gallery import embedding_of
from sdd_jax.pair_saliency.pair import PairPass


def cosine_gradients(model: FaceClassifier, pair: PairPass) -> dict[str, Array]:
    """Return d cosine / d activation of the probe's stages, by name.

    The reference's embedding stays as it is; `pair.swapped()` gives the gradients on
    the reference's side.

    Args:
        model: what embeds.
        pair: its pass of the pairs.
    """
    layer, fixed = embedding_of(model), pair.reference.directions

    def cosines(feature_maps: Array) -> Array:
        cells, bias = layer.cells_and_bias(feature_maps)
        embeddings = cells.sum((1, 2)) + bias
        lengths = jnp.linalg.norm(embeddings, axis=1)
        return jnp.einsum("bd,bd->b", embeddings, fixed, precision="highest") / lengths

    value, to_maps = jax.vjp(cosines, pair.probe.feature_maps)
    # No pair's cosine depends on another's maps: the sum's gradient is each one's own.
    (cotangent,) = to_maps(jnp.ones_like(value))
    (gradients,) = pair.probe.pullback(cotangent)
    return gradients
