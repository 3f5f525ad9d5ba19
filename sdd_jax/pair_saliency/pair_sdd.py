"""Scaled directed divergence of a pair: why this person, and not those."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from sdd_jax import checks
from sdd_jax.errors import InputError
from sdd_jax.models import FaceClassifier
from sdd_jax.pair_saliency.pair import PairPass
from sdd_jax.pair_saliency.similarity import similarity_grid
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.divergence import directed_exponent
from sdd_jax.saliency.sdd import FACTOR
from sdd_jax.types import Explanation


def pair_sdd(
    model: FaceClassifier,
    pair: PairPass,
    key: Key[Array, "..."],
    *,
    rivals: Float[Array, "others rivals dimensions"],
    scale: float | None = None,
    amplification: float | None = None,
) -> Explanation:
    """Return exp(alpha (F x_t - sum_k x_k)), x the similarity maps of these people.

    The target is the reference; see `saliency.divergence`. The details are `scale` and
    `amplification`, the paper's F and alpha, float32 [batch].

    Args:
        model: what embeds.
        pair: its pass of the pairs.
        key: not used; nothing is drawn.
        rivals: for each pair, embeddings of others, of any length: those of the people
            that the probe is most like, after the reference's.
        scale: F; adaptive where None.
        amplification: alpha; adaptive where None.

    Raises:
        InputError: there are not some rivals for each pair, of the network's
            dimensions, or F or alpha is not above 0.

    References:
        "Explainable Face Recognition via Improved Localization", Electronics 2025,
        14(14), 2745, equation 3, there for the classes of a classifier.
    """
    for name, value in (("scale", scale), ("amplification", amplification)):
        if value is not None:
            checks.require(value, FACTOR, name)
    batch, dimensions = pair.probe.embeddings.shape
    if rivals.shape[::2] != (batch, dimensions) or not rivals.shape[1]:
        raise InputError(
            f"the rivals are of shape {rivals.shape}, expected ({batch}, any from 1, "
            f"{dimensions}): for each pair, embeddings of other people"
        )
    lengths = jnp.linalg.norm(rivals, axis=2) * pair.probe.norms[:, None]
    rival_maps = jnp.einsum(
        "bhwd,bkd->bkhw",
        pair.probe.cells,
        rivals / lengths[:, :, None],
        precision="highest",
    )
    exponent, scales, amplifications = directed_exponent(
        similarity_grid(pair)[0],
        rival_maps,
        scale=None if scale is None else jnp.full(batch, scale),
        amplification=None if amplification is None else jnp.full(batch, amplification),
    )
    saliency = upsample(jnp.exp(exponent), pair.probe.images.shape[1:3], model.cells)
    return Explanation(saliency, {"scale": scales, "amplification": amplifications})
