"""SDD, placed by finer stages; see `fine_cam.py`, whose notation this is."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Key

from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.gradients import stage_gradients
from sdd_jax.saliency.placement import deepest, finely_placed
from sdd_jax.saliency.sdd import compared_classes, top_rivals
from sdd_jax.types import Explanation


def fine_sdd(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    num_stages: int = 3,
    num_classes_compared: int = 5,
    blur: float = 0.05,
) -> Explanation:
    """Return sqrt(u(T) u(CAM) E), blurred, T and CAM in SDD's direction.

    v = w_t - mean of the rivals' w: what every class shares has no part in it. The
    detail is `rivals`, int32 [batch, num_rivals], the likeliest first; they are SDD's.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        num_stages: how many of the deepest stages count.
        num_classes_compared: the target and its rivals together.
        blur: standard deviation of the Gaussian at the end, in image widths.

    Raises:
        InputError: there would be no rival, or a number is out of range.

    References:
        "Explainable Face Recognition via Improved Localization", Electronics 2025,
        14(14), 2745, equation 3, for the contrast; see `divergence.py`.
    """
    stages = deepest(model, num_stages)
    ranking = compared_classes(model, clean, num_classes_compared)
    rivals, _ = top_rivals(ranking, clean.targets)
    classes = jnp.concatenate([clean.targets[:, None], rivals], axis=1)

    def contrast(feature_maps: Array) -> Array:
        maps = model.class_maps(feature_maps, classes)
        return maps[:, 0] - maps[:, 1:].mean(1)

    def objective(feature_maps: Array) -> Array:
        return contrast(feature_maps).mean((1, 2))

    names = [stage.name for stage in stages]
    found = stage_gradients(model, clean, stages=names, objective=objective)
    contrasts = contrast(clean.feature_maps)
    saliency = finely_placed(model, clean, contrasts, stages, found, blur)
    return Explanation(saliency, {"rivals": rivals})
