"""Grad-CAM: activations, weighted by their channel's mean gradient."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.gradients import placed_at_stage
from sdd_jax.types import Explanation


def weighted_sum(
    activations: Float[Array, "batch rows columns channels"],
    weights: Float[Array, "batch channels"],
) -> Float[Array, "batch rows columns"]:
    """Return max(0, sum_k w_k A_k)."""
    maps = jnp.einsum(
        "bhwk,bk->bhw", activations.astype(jnp.float32), weights, precision="highest"
    )
    return jnp.maximum(maps, 0)


def grad_cam_map(
    activations: Float[Array, "batch rows columns channels"],
    gradients: Float[Array, "batch rows columns channels"],
) -> Float[Array, "batch rows columns"]:
    """Return Grad-CAM on a stage's cells."""
    return weighted_sum(activations, gradients.astype(jnp.float32).mean((1, 2)))


def grad_cam(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    stage: str | None = None,
) -> Explanation:
    """Return max(0, sum_k mean(g_k) A_k), g the gradient of the target's logit.

    On the last stage of a network that averages over its h w cells and has one linear
    layer, it is max(0, CAM) / (h w), of a class map that is not centred. A map that is
    negative everywhere becomes flat.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        stage: a name in `model.stages`; the last, the feature maps', where None.

    Raises:
        InputError: the stage is not known.

    References:
        Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra, "Grad-CAM: Visual
        Explanations from Deep Networks via Gradient-based Localization", ICCV 2017,
        equations 1 and 2.
    """
    return Explanation(placed_at_stage(model, clean, stage, grad_cam_map))
