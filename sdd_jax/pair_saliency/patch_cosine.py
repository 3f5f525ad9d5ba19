"""The cosine of what both images have in each cell, as xCos shows it."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Key

from sdd_jax.models import FaceClassifier
from sdd_jax.pair_saliency.pair import PairPass
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.types import Explanation


def patch_cosine(
    model: FaceClassifier, pair: PairPass, key: Key[Array, "..."]
) -> Explanation:
    """Return f_hw . f'_hw / (|f_hw| |f'_hw|) of the feature maps' cells; 0 of nothing.

    The paper trains features for this, and an attention that weights the cells. Here
    are the published network's own features, without weights.

    Args:
        model: what embeds.
        pair: its pass of the pairs.
        key: not used; nothing is drawn.

    References:
        Lin, Liu, Chen, Chiu, Cheng, Huang, Wang, Hsu, "xCos: An Explainable Cosine
        Metric for Face Verification Task", ACM TOMM 17(3s), 2021, equation 1.
    """
    one, other = (
        side.feature_maps.astype(jnp.float32) for side in (pair.probe, pair.reference)
    )
    product = (one * other).sum(3)
    lengths = jnp.linalg.norm(one, axis=3) * jnp.linalg.norm(other, axis=3)
    cells = jnp.where(lengths > 0, product / jnp.where(lengths > 0, lengths, 1), 0)
    return Explanation(upsample(cells, pair.probe.images.shape[1:3], model.cells))
