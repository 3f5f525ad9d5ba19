"""XGrad-CAM: activations, weighted by their channel's gradient where it is active."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.grad_cam import weighted_sum
from sdd_jax.saliency.gradients import placed_at_stage
from sdd_jax.types import Explanation


def xgrad_cam_map(
    activations: Float[Array, "batch rows columns channels"],
    gradients: Float[Array, "batch rows columns channels"],
) -> Float[Array, "batch rows columns"]:
    """Return XGrad-CAM on a stage's cells."""
    sums = activations.sum((1, 2))
    weights = (activations * gradients).sum((1, 2)) / jnp.where(sums == 0, 1, sums)
    return weighted_sum(activations, jnp.where(sums == 0, 0, weights))


def xgrad_cam(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    stage: str | None = None,
) -> Explanation:
    """Return max(0, sum_k w_k A_k) with w_k = sum(A_k g_k) / sum(A_k).

    Where gradients do not differ between cells, as on the last stage of a network that
    averages over them, it is Grad-CAM. A channel whose activations sum up to 0 counts
    nothing; signed activations can make a sum small and its weight large.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        stage: a name in `model.stages`; the last, the feature maps', where None.

    Raises:
        InputError: the stage is not known.

    References:
        Fu, Hu, Dong, Guo, Gao and Li, "Axiom-based Grad-CAM: Towards Accurate
        Visualization and Explanation of CNNs", BMVC 2020.
    """
    return Explanation(placed_at_stage(model, clean, stage, xgrad_cam_map))
