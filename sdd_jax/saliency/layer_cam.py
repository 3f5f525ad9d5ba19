"""LayerCAM: activations times their own positive gradients, at any stages."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from sdd_jax import checks
from sdd_jax.errors import InputError
from sdd_jax.models import FaceClassifier
from sdd_jax.saliency.class_maps import upsample
from sdd_jax.saliency.clean import CleanPass
from sdd_jax.saliency.gradients import (
    chosen_stages,
    placed_at_stage,
    stage_gradients,
)
from sdd_jax.saliency.placement import rescaled, supporting
from sdd_jax.types import Explanation


def layer_cam_map(
    activations: Float[Array, "batch rows columns channels"],
    gradients: Float[Array, "batch rows columns channels"],
) -> Float[Array, "batch rows columns"]:
    """Return max(0, sum_k max(0, g_k) A_k)."""
    return jnp.maximum(supporting(activations, gradients), 0)


def layer_cam(
    model: FaceClassifier,
    clean: CleanPass,
    key: Key[Array, "..."],
    *,
    stage: str | None = None,
    stages: Sequence[str] | None = None,
    sharpness: float = 2.0,
) -> Explanation:
    """Return LayerCAM of the target's logit, of one stage or fused from several.

    Of one stage, it is the map itself. Of several, the largest at each pixel of
    tanh(sharpness N(map)), N scaling an image's map to 0 to 1.

    Args:
        model: the classifier.
        clean: its clean pass.
        key: not used; nothing is drawn.
        stage: a name in `model.stages`; the last, the feature maps', where None.
        stages: names of the stages to fuse, in place of `stage`.
        sharpness: the paper's gamma.

    Raises:
        InputError: a stage is not known, both `stage` and `stages` are given, the
            latter are none, or sharpness is not above 0.

    References:
        Jiang, Zhang, Hou, Cheng and Wei, "LayerCAM: Exploring Hierarchical Class
        Activation Maps for Localization", IEEE Transactions on Image Processing 30,
        2021.
    """
    checks.require(sharpness, checks.real(0, above=True), "sharpness")
    if stages is not None and (stage is not None or not stages):
        raise InputError(
            f"stage is {stage!r} and stages are {list(stages)}: expected one stage, or "
            f"at least one to fuse, and not both"
        )
    if stages is None:
        return Explanation(placed_at_stage(model, clean, stage, layer_cam_map))
    places = chosen_stages(model, stages)
    found = stage_gradients(model, clean, stages=[place.name for place in places])
    size = clean.images.shape[1:3]
    fused = []
    for place in places:
        maps = layer_cam_map(found.activations[place.name], found.gradients[place.name])
        sharp = jnp.tanh(sharpness * rescaled(maps))
        fused.append(upsample(sharp, size, place.cells))
    return Explanation(jnp.stack(fused).max(0))
