"""Ablation-CAM: activations weighted by what the target loses without them."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.activations import activations_at
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.types import Explanation


def _without(
    model: FaceClassifier,
    clean: CleanPass,
    activations: Float[Array, "batch rows columns channels"],
    stage: str | None,
    channel: Array,
) -> Float[Array, "batch"]:
    """Return the targets' values with one channel of the stage set to 0."""
    is_channel = jnp.arange(activations.shape[3]) == channel
    if stage is None or stage == model.stages[-1].name:
        feature_maps = jnp.where(is_channel, 0, activations)
    else:
        # What is added takes the channel away.
        tap = jnp.where(is_channel, -activations, 0)
        feature_maps, _ = model.with_taps(clean.images, {stage: tap})
    return model.scores(feature_maps, clean.targets).value


def ablation_cam(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    stage: str | None = None,
    relu: bool = True,
) -> Explanation:
    """Return ReLU(sum_k w_k A_k), with w_k = (y - y_k) / |y|.

    y is the target's value, a classifier's logit, and y_k what is left of it with
    channel k of the stage set to 0. Without the absolute value, which the paper does
    not have, a logit below 0 would turn the map over.

    At the last stage only the head is asked again, and no pass through the network is
    needed. At another there is a whole pass for each channel. One channel is set to 0
    at a time, so memory does not grow with their number.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        stage: whose channels; the last one's where None.
        relu: leave out what speaks against the target, as the paper does.

    Raises:
        InputError: there is no stage of that name.

    References:
        Desai and Ramaswamy, "Ablation-CAM: Visual Explanations for Deep Convolutional
        Network via Gradient-free Localization", WACV 2020, section 3.
    """
    activations, cells = activations_at(model, clean, stage)

    def without(channel: Array) -> Array:
        return _without(model, clean, activations, stage, channel)

    left = jax.lax.map(without, jnp.arange(activations.shape[3]))
    value = clean.scores.value
    weights = (value - left) / jnp.where(value == 0, 1, jnp.abs(value))
    maps = jnp.einsum(
        "bhwk,kb->bhw", activations.astype(jnp.float32), weights, precision="highest"
    )
    maps = jax.nn.relu(maps) if relu else maps
    return Explanation(upsample(maps, clean.images.shape[1:3], cells))
