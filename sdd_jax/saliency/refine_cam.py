"""RefineCAM: the product of every stage's Grad-CAM++."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from jaxtyping import Key

from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.grad_cam_plus_plus import grad_cam_plus_plus_map
from sdd_jax.saliency.gradients import chosen_stages, stage_gradients
from sdd_jax.saliency.placement import rescaled
from sdd_jax.types import Explanation


def refine_cam(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    stages: Sequence[str] | None = None,
) -> Explanation:
    """Return N(product over the stages of N(Grad-CAM++)), placed in the image first.

    N scales an image's map to 0 to 1. Where one stage's map is 0, so is the product.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        stages: names in `model.stages`; all of them where None.

    Raises:
        InputError: a stage is not known.

    References:
        Domeniconi, Stramiglio, Lombardi and Salti, "How to Evaluate and Refine your
        CAM", arXiv:2605.14641, 2026.
    """
    places = chosen_stages(model, stages)
    found = stage_gradients(model, clean, stages=[place.name for place in places])
    size = clean.images.shape[1:3]
    product = jnp.ones((len(clean.images), *size), jnp.float32)
    for place in places:
        maps = grad_cam_plus_plus_map(
            found.activations[place.name], found.gradients[place.name]
        )
        product = product * upsample(rescaled(maps), size, place.cells)
    return Explanation(rescaled(product))
