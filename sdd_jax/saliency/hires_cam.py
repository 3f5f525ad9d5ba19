"""HiResCAM: every activation times its own gradient."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Key

from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.gradients import chosen_stage, stage_gradients
from sdd_jax.types import Explanation


def hires_cam(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    stage: str | None = None,
) -> Explanation:
    """Return sum_k g_k A_k, signed, g the gradient of the target's logit.

    On the last stage of a network that averages over its h w cells and has one linear
    layer, it is CAM / (h w), of a class map that is not centred.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        stage: a name in `model.stages`; the last, the feature maps', where None.

    Raises:
        InputError: the stage is not known.

    References:
        Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations
        of convolutional neural networks", arXiv:2011.08891, 2020.
    """
    place = chosen_stage(model, stage)
    found = stage_gradients(model, clean, stages=[place.name])
    activations, gradients = found.activations[place.name], found.gradients[place.name]
    maps = (activations.astype(jnp.float32) * gradients.astype(jnp.float32)).sum(3)
    return Explanation(upsample(maps, clean.images.shape[1:3], place.cells))
