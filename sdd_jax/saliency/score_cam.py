"""Score-CAM: activations weighted by what the image scores where they are strong."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Key

from sdd_jax import checks
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.activations import activations_at
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.masked import masked_scores
from sdd_jax.saliency.placement import rescaled
from sdd_jax.types import Explanation


def score_cam(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    stage: str | None = None,
    num_channels: int | None = None,
    score: str = "value",
    relu: bool = True,
    block: int = 1,
) -> Explanation:
    """Return ReLU(sum_k a_k A_k), with a = softmax over k of f(x H_k) - f(black).

    H_k is the channel's activation A_k at the image's resolution, scaled from 0 to 1.
    What the black image scores is the same for all channels, and goes out in the
    softmax.

    The paper's algorithm, followed here, takes the logit for f; its section 3.2 prefers
    the probability, and the authors' program weights by it without a softmax over the
    channels.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        stage: whose activations; the last one's where None.
        num_channels: only so many channels of each image, those that vary most over
            their positions (standard deviation); all where None. The paper takes all.
        score: what f is, a name in `masked.SCORES`.
        relu: leave out what speaks against the target, as the paper does.
        block: how many channels are scored at a time; see `masked.masked_scores`.

    Raises:
        InputError: a stage or a score is not known, or a number is below 1.

    References:
        Wang, Wang, Du, Yang, Zhang, Ding, Mardziel and Hu, "Score-CAM: Score-Weighted
        Visual Explanations for Convolutional Neural Networks", CVPR Workshops 2020,
        equations 6 to 9 and algorithm 1.
    """
    activations, cells = activations_at(model, clean, stage)
    activations = activations.astype(jnp.float32)
    if num_channels is not None:
        checks.require(num_channels, checks.whole(1), "num_channels")
        number = min(num_channels, activations.shape[3])
        _, channels = jax.lax.top_k(activations.std((1, 2)), number)
        activations = jnp.take_along_axis(
            activations, channels[:, None, None, :], axis=3
        )
    size = clean.images.shape[1:3]

    def mask_of(channel: Array) -> Array:
        return rescaled(upsample(activations[..., channel], size, cells))

    scores = masked_scores(
        model, clean, mask_of, activations.shape[3], score=score, block=block
    )
    weights = jax.nn.softmax(scores, axis=0)
    maps = jnp.einsum("bhwk,kb->bhw", activations, weights, precision="highest")
    return Explanation(upsample(jax.nn.relu(maps) if relu else maps, size, cells))
