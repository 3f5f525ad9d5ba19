"""Finer-CAM: Grad-CAM of what sets the target apart from the classes closest to it."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Key

from sdd_jax import checks
from sdd_jax.errors import InputError
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.grad_cam import grad_cam_map
from sdd_jax.saliency.gradients import placed_at_stage
from sdd_jax.types import Explanation


def finer_cam(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    num_references: int = 3,
    strength: float = 1.0,
    stage: str | None = None,
) -> Explanation:
    """Return Grad-CAM of sum_d p_d (z_t - strength z_d) / sum_d p_d.

    The references d are the classes whose logits are closest to the target's, above or
    below it; p is the softmax over all classes. That is the version of the authors'
    program and of pytorch-grad-cam: p_d is differentiated too. All logits of a batch
    are held at once. The detail is `references`, int32 [batch, num_references], the
    closest first.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        num_references: classes compared with; all others where there are fewer.
        strength: the paper's alpha.
        stage: a name in `model.stages`; the last, the feature maps', where None.

    Raises:
        InputError: there is no other class, the stage is not known, or a number is out
            of range.

    References:
        Zhang, Gu, Chowdhury, Mai, Carlyn, Berger-Wolf, Su and Chao, "Finer-CAM:
        Spotting the Difference Reveals Finer Details for Visual Explanation",
        CVPR 2025.
    """
    checks.require(num_references, checks.whole(1), "num_references")
    checks.require(strength, checks.real(0), "strength")
    if model.num_classes < 2:
        raise InputError(
            f"references among {model.num_classes} class: a target needs another "
            f"class, use a model of at least 2"
        )
    number = min(num_references, model.num_classes - 1)
    is_class = checks.are_classes(clean.targets, model.num_classes)[:, None]
    targets = clean.targets[:, None]

    def of_targets(logits: Array) -> Array:
        value = jnp.take_along_axis(logits, targets, axis=1, mode="clip")
        return jnp.where(is_class, value, jnp.nan)

    logits = model.logits(clean.feature_maps)
    distances = jnp.abs(logits - of_targets(logits))
    is_target = jnp.arange(model.num_classes) == targets
    distances = jnp.where(is_target, jnp.inf, distances)
    _, references = jax.lax.top_k(-distances, number)

    def objective(feature_maps: Array) -> Array:
        logits = model.logits(feature_maps)
        chosen = jnp.take_along_axis(logits, references, axis=1)
        # The quotient of probabilities: what the softmax divides by cancels out.
        weights = jax.nn.softmax(chosen, axis=1)
        return (weights * (of_targets(logits) - strength * chosen)).sum(1)

    saliency = placed_at_stage(model, clean, stage, grad_cam_map, objective=objective)
    return Explanation(saliency, {"references": references})
