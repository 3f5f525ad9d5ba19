"""Grad-CAM++: each cell's positive gradient counts by its share in the score."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.grad_cam import weighted_sum
from sdd_jax.saliency.gradients import placed_at_stage
from sdd_jax.types import Explanation


def grad_cam_plus_plus_map(
    activations: Float[Array, "batch rows columns channels"],
    gradients: Float[Array, "batch rows columns channels"],
) -> Float[Array, "batch rows columns"]:
    """Return Grad-CAM++ on a stage's cells."""
    activations, gradients = (
        maps.astype(jnp.float32) for maps in (activations, gradients)
    )
    # The square of the gradient cancels out of the published quotient. What programs
    # add to its denominator, 1e-6, would decide everything where gradients are small.
    denominators = 2 + activations.sum((1, 2), keepdims=True) * gradients
    is_defined = (gradients != 0) & (denominators != 0)
    shares = jnp.where(is_defined, 1 / jnp.where(is_defined, denominators, 1), 0)
    weights = (shares * jnp.maximum(gradients, 0)).sum((1, 2))
    return weighted_sum(activations, weights)


def grad_cam_plus_plus(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    stage: str | None = None,
) -> Explanation:
    """Return max(0, sum_k w_k A_k) with w_k = sum over cells of alpha max(0, g).

    alpha = g^2 / (2 g^2 + sum(A_k) g^3), 0 where g is 0: the score's exponential, whose
    derivatives these are, cancels out of alpha, and elsewhere scales an image's map as
    a whole. Signed activations can make alpha negative, or large.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        stage: a name in `model.stages`; the last, the feature maps', where None.

    Raises:
        InputError: the stage is not known.

    References:
        Chattopadhay, Sarkar, Howlader and Balasubramanian, "Grad-CAM++: Generalized
        Gradient-Based Visual Explanations for Deep Convolutional Networks", WACV 2018,
        equation 19.
    """
    return Explanation(placed_at_stage(model, clean, stage, grad_cam_plus_plus_map))
